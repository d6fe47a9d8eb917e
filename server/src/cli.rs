//! The command line. Every flag is defined here, once.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use synscope_tracer::Cause;

use crate::commands::trace::{Column, USUAL};

use crate::listen::Address;

/// Explains failed TCP connections.
///
/// Without a command it serves the dashboard: open the printed URL and press Start.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    args_conflicts_with_subcommands = true,
    max_term_width = 100,
    after_help = "\
Examples:
  synscope                                  serve the dashboard on this host
  synscope trace                            or print what goes wrong to the terminal
  synscope doctor                           when neither works: what is missing, and what to do"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the dashboard and the HTTP API (the default)
    Serve(Box<ServeArgs>),
    /// Print retried and failed attempts to the terminal, without a server
    Trace(Box<TraceArgs>),
    /// Print what a server's trace tells
    Attach(Box<AttachArgs>),
    /// Say what this host allows, what it lacks, and what to do about it
    Doctor(DoctorArgs),
    /// Print the man page, of one command or of synscope itself
    Man(ManArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    /// Directory for what is kept between runs: history and the access token [default: /var/lib/synscope for root,
    /// else synscope in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Traces that may run at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) max_traces: u16,
    /// Send attempts that failed, were retried or slow, and all figures, to the OpenTelemetry collector whose OTLP/HTTP
    /// receiver this is: http://127.0.0.1:4318. Headers come from OTEL_EXPORTER_OTLP_HEADERS
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) otlp: Option<String>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) history: HistoryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Address to listen on, or unix:PATH for a Unix socket. Port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7117")]
    pub(crate) listen: Address,
    /// Listen on an address that other hosts reach; needs TLS
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Speak TLS 1.3 with this certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessArgs {
    /// Names by which browsers and scripts reach the server, besides the address and localhost
    #[arg(long = "host", value_name = "NAME", value_delimiter = ',')]
    pub(crate) hosts: Vec<String>,
    /// File of the token, made when it is absent [default: token in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File of a second token, which may read and change nothing; made when it is absent
    #[arg(long, value_name = "FILE")]
    pub(crate) read_token_file: Option<PathBuf>,
    /// Traces that may be started in a minute
    #[arg(
        long,
        value_name = "N",
        default_value_t = 240,
        value_parser = clap::value_parser!(u32).range(1..=6000),
        overrides_with = "starts_per_minute"
    )]
    pub(crate) starts_per_minute: u32,
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

#[derive(Debug, Args)]
#[command(
    after_help = "\
Examples:
  synscope trace                                   all attempts that are retried or fail
  synscope trace 'peer=10.0.0.0/8 cause=timeout'   those that one line of the filter language means
  synscope trace --comm envoy --json | jq .tcp.connect.cause
  synscope trace --attempts -o time,comm,peer,cause,code
  synscope trace --fail-on refused,timeout -- make integration-test
  synscope trace --replay trace.ndjson 'retransmits>=2'

With a command, lines and summary go to standard error, and the exit code is the command's.
Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 --fail-on found what it names.",
    override_usage = "synscope trace [OPTIONS] [TERM]... [-- COMMAND...]"
)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) view: ViewArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
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
    #[arg(long, value_name = "SECONDS", conflicts_with = "command")]
    pub(crate) ttl_s: Option<u64>,
    /// Stop after so many lines
    #[arg(long, value_name = "N")]
    pub(crate) max_events: Option<u64>,
    /// Show what this file holds, as --json prints it or an export has it, instead of tracing; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["FilterArgs", "starts", "drops", "no_stacks", "ttl_s", "command"])]
    pub(crate) replay: Option<PathBuf>,
    /// Trace this command and its children alone, until it ends
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["cgroup", "max_events"])]
    pub(crate) command: Vec<String>,
}

/// What is shown of what is told, and how.
#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    /// Terms of the filter language. A trace has the kernel check what it can (comm, pid, uid, cgroup, netns, family,
    /// peer, port, local_port with =); the rest is held against each event before it is shown.
    /// Turn a term round with ! before it
    #[arg(value_name = "TERM")]
    pub(crate) terms: Vec<String>,
    /// Columns of a line
    #[arg(
        short = 'o', long, value_name = "COLUMNS", value_enum, value_delimiter = ',', default_value = USUAL,
        help_heading = "Output"
    )]
    pub(crate) columns: Vec<Column>,
    /// One line an attempt that has ended, instead of one an event
    #[arg(long, help_heading = "Output")]
    pub(crate) attempts: bool,
    /// One JSON object a line
    #[arg(long, help_heading = "Output", conflicts_with = "columns")]
    pub(crate) json: bool,
    /// Write lines to this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
    /// End with exit code 3 when one of these causes was shown; `any` means all
    #[arg(long, value_name = "CAUSES", value_delimiter = ',', value_parser = causes(), help_heading = "Output")]
    pub(crate) fail_on: Vec<String>,
}

fn causes() -> PossibleValuesParser {
    Cause::ALL.iter().map(|cause| cause.name()).chain(["any"]).collect::<Vec<_>>().into()
}

/// Filters take several values, separated by commas; an attempt matches when every given filter has a value
/// that fits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Process ids of the caller
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Thread names of the caller, up to 15 bytes
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) comm: Vec<String>,
    /// User ids of the caller
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    pub(crate) uid: Vec<u32>,
    /// Cgroups of the caller, as paths below the cgroup root
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(crate) cgroup: Vec<String>,
    /// Network namespaces, by number
    #[arg(long, value_name = "INODE", value_delimiter = ',')]
    pub(crate) netns: Vec<u32>,
    /// One address family only
    #[arg(long, value_name = "FAMILY", value_parser = ["ipv4", "ipv6"])]
    pub(crate) family: Option<String>,
    /// Networks or addresses of the peer
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) peer: Vec<String>,
    /// Ports of the peer, single or as a range
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub(crate) peer_port: Vec<String>,
    /// Local ports, single or as a range
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub(crate) local_port: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  SYNSCOPE_TOKEN=… synscope attach                 the newest running trace of the server on this host
  synscope attach --token-file token http://127.0.0.1:7118 'cause=timeout'
  synscope attach --token-file token --trace k3v9x2ma7q --attempts --json > attempts.ndjson

The token comes from --token-file, the URL's #token=…, or SYNSCOPE_TOKEN, in this order.
Other users can see a process's arguments, so prefer a file or the environment.")]
pub(crate) struct AttachArgs {
    /// The server: the URL that it printed
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:7117")]
    pub(crate) url: String,
    /// File of the token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Id of the trace [default: the newest one that runs]
    #[arg(long, value_name = "ID")]
    pub(crate) trace: Option<String>,
    /// Leave out what was told before
    #[arg(long)]
    pub(crate) from_now: bool,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// One JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  synscope man trace | man -l -")]
pub(crate) struct ManArgs {
    /// A command; synscope itself when left out
    #[arg(value_name = "COMMAND")]
    pub(crate) page: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synscope completions bash > /usr/share/bash-completion/completions/synscope
  synscope completions zsh > /usr/share/zsh/vendor-completions/_synscope
  synscope completions fish > /usr/share/fish/vendor_completions.d/synscope.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
