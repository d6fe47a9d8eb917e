//! Scenarios of TCP connects that go wrong, run against the real Synscope binary.
//!
//! One list of [scenarios] runs in two places: on this machine's kernel (`tests/live.rs`), and inside
//! virtual machines that boot other kernels ([`vm`], with the [guest] as their `/init`). Both go
//! through the [harness], which drives `synscope serve` by HTTP and WebSocket as any client would.

pub mod compare;
pub mod guest;
pub mod harness;
pub mod runner;
pub mod scenarios;
pub mod vm;
