//! What the binary can be told to do.

pub(crate) mod doctor;
pub(crate) mod manual;
mod secrets;
pub(crate) mod serve;
pub(crate) mod trace;
