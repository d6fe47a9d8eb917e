//! What a scenario is written with: a running server, a namespace of its own, and connects to make.

pub mod actor;
pub mod cli;
pub mod connect;
pub mod http;
pub mod json;
pub mod kernel;
pub mod lab;
pub mod needs;
pub mod netns;
pub mod server;
pub mod stream;
pub mod trace;

pub use actor::Actor;
pub use cli::Run;
pub use connect::{Connect, Ended, Try, listen, listen_deaf};
pub use http::{Api, Reply};
pub use json::Json;
pub use lab::Lab;
pub use needs::Need;
pub use netns::{Netns, OWN_V6};
pub use server::Server;
pub use stream::{Frame, Stream};
pub use trace::Trace;
