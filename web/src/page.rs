//! The page's HTML.

use std::fmt::Write as _;

use askama::Template;

use crate::assets::{asset_base, names};

/// What the page says before any script runs.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Version of the server.
    pub version: &'a str,
    /// Name of the host, for the title: people keep several of these pages open.
    pub host: &'a str,
}

/// Traces and newest attempts, as the page without JavaScript shows them.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Newest first.
    pub traces: Vec<TraceRow>,
    /// Id of the trace whose attempts these are, or nothing where there is no trace.
    pub shown: String,
    /// Newest first; some tens are plenty.
    pub attempts: Vec<AttemptRow>,
}

/// One trace in the table.
#[derive(Clone, Debug)]
pub struct TraceRow {
    /// Its id.
    pub id: String,
    /// Its name, or nothing.
    pub name: String,
    /// `running`, `stopped` or `failed`.
    pub state: String,
    /// Events delivered.
    pub events: u64,
    /// Events lost at any stage.
    pub lost: u64,
}

/// One attempt in the table.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// When it began.
    pub time: String,
    /// Its cause or state.
    pub outcome: String,
    /// Address and port.
    pub peer: String,
    /// Thread name and process id; shown with control characters made visible.
    pub process: String,
    /// How often its SYN was sent again.
    pub syn_retransmits: u64,
    /// How long it took, with its unit.
    pub duration: String,
    /// What it means, in a sentence.
    pub summary: String,
}

/// The page at `/`.
///
/// # Panics
/// Never: rendering into memory fails only where writing to memory does.
pub fn index(page: &Page<'_>) -> String {
    let template = Index {
        version: page.version,
        host: page.host,
        base: asset_base(),
        styles: names(".css").collect(),
        // What runs before the first paint is no module.
        modules: names(".js").filter(|name| *name != "js/early.js").collect(),
    };
    template.render().expect("rendering into memory")
}

/// The page at `/plain`; without `recent` it asks for the token.
///
/// # Panics
/// Never: rendering into memory fails only where writing to memory does.
pub fn plain(page: &Page<'_>, recent: Option<&Recent>) -> String {
    let &Page { version, host } = page;
    let template = Plain { version, host, base: asset_base(), styles: names(".css").collect(), recent };
    template.render().expect("rendering into memory")
}

#[derive(Template)]
#[template(path = "index.html")]
struct Index<'a> {
    version: &'a str,
    host: &'a str,
    base: &'static str,
    styles: Vec<&'static str>,
    modules: Vec<&'static str>,
}

#[derive(Template)]
#[template(path = "plain.html")]
struct Plain<'a> {
    version: &'a str,
    host: &'a str,
    base: &'static str,
    styles: Vec<&'static str>,
    recent: Option<&'a Recent>,
}

/// Control characters, and those that hide or reorder text, as something that can be seen: names of threads
/// are whatever their owners chose.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match u32::from(character) {
            code @ (0..0x20
            | 0x7f..=0x9f
            | 0xad
            | 0x61c
            | 0x200b..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x2069
            | 0xfeff) => write!(shown, "‹U+{code:04X}›").expect("writing to memory"),
            _ => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Page<'_> = Page { version: "1.2.3", host: "web-1 <b>" };

    #[test]
    fn has_no_inline_script_or_style() {
        let html = index(&PAGE);
        assert_eq!(
            html.matches("<script").count(),
            html.matches("<script type=\"module\" src=\"/").count() + html.matches("<script src=\"/").count()
        );
        assert!(html.contains("/js/main.js\"></script>"));
        assert!(!html.contains("<style"));
        assert!(!html.contains(" style="));
        for attribute in [" onclick=", " onload=", " onsubmit=", " oninput=", "javascript:"] {
            assert!(!html.contains(attribute), "{attribute}");
        }
    }

    #[test]
    fn everything_it_links_is_embedded() {
        let html = index(&PAGE);
        let mut seen = 0;
        for part in html.split([' ', '>', '\n']) {
            let Some(link) = part.strip_prefix("href=\"").or_else(|| part.strip_prefix("src=\"")) else {
                continue;
            };
            let link = link.trim_end_matches('"');
            if link == "/plain" {
                continue; // the page for browsers without JavaScript
            }
            let path = link.strip_prefix("/assets/").unwrap_or_else(|| panic!("{link} is not of this page"));
            assert!(crate::asset(path).is_some(), "{path}");
            seen += 1;
        }
        assert!(seen > 10, "the scan found {seen} links only");
    }

    #[test]
    fn escapes_and_shows_what_is_hostile() {
        let recent = Recent {
            traces: vec![],
            shown: String::new(),
            attempts: vec![AttemptRow {
                time: "now".into(),
                outcome: "refused".into(),
                peer: "[::1]:22".into(),
                process: "</td><script>\u{1b}[31m\u{202e}".into(),
                syn_retransmits: 0,
                duration: "1 ms".into(),
                summary: "<i>".into(),
            }],
        };
        let html = plain(&PAGE, Some(&recent));
        assert!(html.contains("web-1 &#60;b&#62;"));
        assert!(html.contains("&#60;/td&#62;&#60;script&#62;‹U+001B›[31m‹U+202E›"));
    }

    #[test]
    fn says_nothing_of_traces_to_strangers() {
        assert!(!plain(&PAGE, None).contains("Newest attempts"));
        assert!(plain(&PAGE, Some(&Recent::default())).contains("Newest attempts"));
    }

    #[test]
    fn the_page_without_javascript_has_none() {
        let html = plain(&PAGE, Some(&Recent::default()));
        assert!(!html.contains("<script") && !html.contains("modulepreload") && html.contains("/css/"));
    }
}
