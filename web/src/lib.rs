//! The browser page of Synscope: its HTML, its ES modules and its styles, embedded in the binary.
//!
//! Everything but the page itself is served below [`asset_base`], a directory named after the hash of all
//! assets. Relative imports between modules stay inside it, so each answer may be cached for ever.

mod assets;
#[cfg(test)]
mod comments;
mod page;

pub use assets::{Asset, asset, asset_base};
pub use page::{AttemptRow, Page, Recent, TraceRow, index, plain};

/// The policy that the page is written for: no inline script or style, nothing from elsewhere, and no way
/// to turn text into markup or script.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";
