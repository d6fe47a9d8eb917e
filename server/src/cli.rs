//! The command line. Every flag is defined here, once.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Explains failed TCP connections.
///
/// Without a command it serves the dashboard: open the printed URL and press Start.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the dashboard and the HTTP API (the default)
    Serve(ServeArgs),
    /// Print retried and failed attempts to the terminal, without a server
    Trace(Box<TraceArgs>),
    /// Say what this host allows, what it lacks, and what to do about it
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on; loopback only. Port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7117")]
    pub(crate) listen: SocketAddr,
    /// Directory for what is kept between runs: history and the access token [default: /var/lib/synscope for root,
    /// else synscope in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Traces that may run at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) max_traces: u16,
    #[command(flatten)]
    pub(crate) history: HistoryArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "History")]
pub(crate) struct HistoryArgs {
    /// Whether traces are kept between runs
    #[arg(long = "history", value_name = "WHETHER", value_enum, default_value_t = Switch::On)]
    pub(crate) keep: Switch,
    /// Days after which what was told is removed
    #[arg(long = "history-days", value_name = "N", default_value_t = 30)]
    pub(crate) days: u32,
    /// Mebibytes beyond which the oldest is removed
    #[arg(long = "history-mib", value_name = "N", default_value_t = 2048)]
    pub(crate) mib: u32,
    /// Mebibytes of the file system that stay free: with less, nothing is written
    #[arg(
        long = "history-keep-free-mib",
        value_name = "N",
        default_value_t = 256,
        overrides_with = "keep_free_mib"
    )]
    pub(crate) keep_free_mib: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// Filters take several values, separated by commas; an attempt matches when every given filter has a value
/// that fits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    synscope trace 'peer=10.0.0.0/8 port=443,8000-9000 cause=timeout retransmits>=2'\n  \
    synscope trace --peer 10.0.0.0/8 --peer-port 443,8000-9000\n  \
    synscope trace --comm envoy --json | jq .tcp.connect.cause")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct TraceArgs {
    /// Terms of the filter language. What the kernel can check (comm, pid, uid, cgroup, netns, family, peer, port,
    /// local_port with =) is checked there; the rest is held against each event before it is shown
    #[arg(value_name = "TERM", allow_hyphen_values = true)]
    pub(crate) terms: Vec<String>,
    /// Process ids of the caller
    #[arg(long, value_name = "PID", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) pid: Vec<u32>,
    /// Thread names of the caller, up to 15 bytes
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) comm: Vec<String>,
    /// User ids of the caller
    #[arg(long, value_name = "UID", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) uid: Vec<u32>,
    /// Cgroups of the caller, as paths below the cgroup root
    #[arg(long, value_name = "PATH", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) cgroup: Vec<String>,
    /// Network namespaces, by number
    #[arg(long, value_name = "INODE", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) netns: Vec<u32>,
    /// One address family only
    #[arg(long, value_name = "FAMILY", value_parser = ["ipv4", "ipv6"], help_heading = "Filters")]
    pub(crate) family: Option<String>,
    /// Networks or addresses of the peer
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) peer: Vec<String>,
    /// Ports of the peer, single or as a range
    #[arg(long, value_name = "PORTS", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) peer_port: Vec<String>,
    /// Local ports, single or as a range
    #[arg(long, value_name = "PORTS", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) local_port: Vec<String>,
    /// Also tell attempts that took at least this long to establish, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub(crate) slow_ms: u64,
    /// Tell every start and every end, of quick healthy attempts too
    #[arg(long)]
    pub(crate) starts: bool,
    /// Tell packets that this host itself dropped
    #[arg(long)]
    pub(crate) drops: bool,
    /// Do not take stacks
    #[arg(long)]
    pub(crate) no_stacks: bool,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) ttl_s: Option<u64>,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    pub(crate) max_events: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// One JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
