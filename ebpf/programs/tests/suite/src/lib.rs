//! What Synscope's BPF programs must do, as data and as a reference, independent of who executes them: the
//! model in user space and the running kernel play the same [cases](cases) and are held to the same
//! [reference](reference).

pub mod case;
pub mod cases;
pub mod fabric;
pub mod fixtures;
#[cfg(feature = "random")]
pub mod histories;
pub mod in_kernel;
pub mod live;
pub mod modelled;
pub mod outcome;
pub mod program;
pub mod reference;
pub mod settings;
pub mod things;
#[cfg(feature = "verifier")]
pub mod verifier;
pub mod world;
