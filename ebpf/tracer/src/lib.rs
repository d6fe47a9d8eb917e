//! Traces TCP connection attempts in the kernel, and tells of those that are retried or fail: who tried, to
//! where, from which ephemeral port, each SYN retransmit, and how it ended. Quick healthy attempts never
//! leave the kernel.
//!
//! Linux 5.10 or later with BTF, as root. No kprobes, no kernel headers, no C compiler.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use synscope_tracer::{Kernel, Options, Tracer};
//!
//! let kernel = Kernel::of_this_host()?;
//! let (mut tracer, _counters) = Tracer::start(&kernel, &Options::default())?;
//! let mut events = Vec::new();
//! loop {
//!     tracer.read(&mut events, 256).await?;
//!     for event in events.drain(..) {
//!         println!("{} -> {}: {:?}", event.local, event.peer, event.kind);
//!     }
//! }
//! # }
//! ```

pub mod btf;
pub mod cgroups;
pub mod container;
pub mod host;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod symbols;

mod cause;
mod clock;
mod code;
mod error;
mod event;
mod filter;
mod layout;
mod load;
mod recent;
mod tracefs;
mod tracer;

pub use cause::{Cause, Failure, Icmp, errno_name};
pub use code::{BuildId, Code};
pub use error::Error;
pub use event::{Event, EventKind, Owner, Stacks};
pub use filter::{Family, Filter};
pub use layout::{Hook, Layout, PROBES, Probe};
pub use synscope_ebpf::record::{Counters, DURATION_BUCKETS};
pub use tracer::{CounterReader, Kernel, Options, Tracer};
