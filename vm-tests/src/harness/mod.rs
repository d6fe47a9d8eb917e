//! What a scenario is written with: a running server, a namespace of its own, and connects to make.

pub mod actor;
pub mod cgroup;
pub mod cli;
pub mod connect;
#[cfg(target_arch = "x86_64")]
pub mod debugger;
pub mod firewall;
pub mod following;
pub mod held;
pub mod http;
pub mod json;
pub mod kernel;
pub mod lab;
mod listing;
pub mod mptcp;
pub mod needs;
mod netlink;
pub mod netns;
pub mod packets;
pub mod raw;
pub mod reader;
pub mod server;
pub mod storm;
pub mod stream;
pub mod trace;
pub mod wiring;

pub use actor::Actor;
pub use cgroup::{Cgroup, DenyingCgroup};
pub use cli::Run;
pub use connect::{Connect, Ended, Try, listen, listen_deaf, listen_with_backlog};
pub use firewall::{Fate, Which};
pub use following::Following;
pub use held::Held;
pub use http::{Api, Reply};
pub use json::Json;
pub use lab::Lab;
pub use needs::Need;
pub use netns::{Netns, OWN_V6};
pub use packets::{Icmp, Wire};
pub use raw::Raw;
pub use reader::{Reader, Seen};
pub use server::Server;
pub use storm::{Length, Load, storm, storms};
pub use stream::{Frame, Stream};
pub use trace::{Trace, missed};
