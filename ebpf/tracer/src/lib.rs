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
//!
//! What is traced is asked in [`Options`]; the [`Filter`] is checked in the kernel, when a connection begins:
//!
//! ```
//! use synscope_tracer::{Filter, Options};
//!
//! let filter = Filter {
//!     peers: vec!["10.0.0.0/8".parse()?],
//!     peer_ports: vec![443..=443, 8000..=9000],
//!     ..Filter::default()
//! };
//! // The start and end of each attempt too, not only what goes wrong.
//! let options = Options { filter, starts: true, ..Options::default() };
//! assert!(options.stacks, "user and kernel stacks, unless turned off");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An [`Event`] says what happened, and a failure [why](Cause), from what the kernel showed. The modules say more of it:
//! [`symbols`] names the functions of a stack, [`process`], [`cgroups`], [`container`] and [`netns`] the caller and where
//! it runs, [`netlink`] the sockets and translations around it. [`host`] says what this host lacks, when
//! [`Tracer::start`] does not.
//!
//! Nothing is lost silently: what the ring buffer had no room for, and what was not followed, is counted in
//! [`Counters`]. Dropping the [`Tracer`] takes everything out of the kernel; so does the end of the process.

pub mod btf;
pub mod cgroups;
pub mod container;
pub mod host;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod symbols;

mod aside;
mod cause;
mod clock;
mod code;
mod error;
mod event;
mod filter;
mod layout;
mod load;
mod loader;
mod recent;
mod tracefs;
mod tracer;
mod watch;

pub use cause::{Cause, Failure, Icmp, errno_name};
pub use code::{BuildId, Code};
pub use error::Error;
pub use event::{Event, EventKind, Owner, Stacks};
pub use filter::{Family, Filter};
pub use layout::{Hook, Layout, PROBES, Probe};
pub use synscope_ebpf::record::{Counters, DURATION_BUCKETS};
pub use tracer::{CounterReader, Kernel, Options, Tracer};
