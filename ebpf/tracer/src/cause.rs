//! Why an attempt failed, from what the kernel showed, never from how long it took or which kernel it is.

use std::fmt;

use nix::errno::Errno;
use synscope_ebpf::record::{Record, evidence};

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The peer answered with RST.
    Refused,
    /// ICMP port unreachable: a firewall's reject rule, or a host without that protocol.
    PortUnreachable,
    /// ICMP host unreachable, or a neighbour that does not resolve.
    HostUnreachable,
    /// ICMP network unreachable.
    NetUnreachable,
    /// The kernel gave up retrying.
    Timeout,
    /// The application closed the socket before an answer came.
    ClosedByApp,
    /// The process was killed by a signal.
    Killed,
    /// No local port was free.
    NoLocalPort,
    /// There is no route.
    NoRoute,
    /// A policy forbade it.
    Denied,
    /// An error that has no name here; its number is kept.
    Other,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Refused,
        Self::PortUnreachable,
        Self::HostUnreachable,
        Self::NetUnreachable,
        Self::Timeout,
        Self::ClosedByApp,
        Self::Killed,
        Self::NoLocalPort,
        Self::NoRoute,
        Self::Denied,
        Self::Other,
    ];

    /// The name in the API: lower case, words joined by underscores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::PortUnreachable => "port_unreachable",
            Self::HostUnreachable => "host_unreachable",
            Self::NetUnreachable => "net_unreachable",
            Self::Timeout => "timeout",
            Self::ClosedByApp => "closed_by_app",
            Self::Killed => "killed",
            Self::NoLocalPort => "no_local_port",
            Self::NoRoute => "no_route",
            Self::Denied => "denied",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// The error that the application gets or would have got, as errno; 0 when it gave up by itself.
    pub errno: i32,
    /// The last ICMP error that did not end the attempt, as errno; 0 when there was none.
    pub soft_error: i32,
}

impl Failure {
    /// Reads the failure off the record of a SYN_SENT → CLOSE.
    pub(crate) fn of(record: &Record) -> Self {
        let attempt = &record.attempt;
        let soft_error = match record.soft_error {
            0 => attempt.reported_soft_error,
            pending => pending,
        };
        let (cause, errno) = match record.error {
            error if attempt.evidence & evidence::BEFORE_SYN != 0 => {
                (before_syn(Errno::from_raw(error)), error)
            }
            0 => gave_up(record),
            libc_errno => (forced(record, Errno::from_raw(libc_errno)), libc_errno),
        };
        Self { cause, errno, soft_error }
    }
}

/// connect() returned the error without sending anything.
fn before_syn(error: Errno) -> Cause {
    match error {
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => Cause::NoRoute,
        Errno::EACCES | Errno::EPERM => Cause::Denied,
        _ => Cause::Other,
    }
}

/// `sk_err` is set: the network or the kernel ended the attempt.
fn forced(record: &Record, error: Errno) -> Cause {
    match error {
        Errno::ECONNREFUSED if record.attempt.evidence & evidence::RESET != 0 => Cause::Refused,
        Errno::ETIMEDOUT => Cause::Timeout,
        // The retransmit timer gave up, and reports a pending soft error as its own (tcp_write_err; 6.18,
        // net/ipv4/tcp_timer.c). An ICMP error that ends the attempt by itself leaves the timer armed.
        _ if record.attempt.evidence & evidence::RETRY_DUE == 0 => Cause::Timeout,
        Errno::ECONNREFUSED => Cause::PortUnreachable,
        Errno::EHOSTUNREACH => Cause::HostUnreachable,
        Errno::ENETUNREACH => Cause::NetUnreachable,
        Errno::EACCES | Errno::EPERM => Cause::Denied,
        _ => Cause::Other,
    }
}

/// `sk_err` is clear: the process ended the attempt.
fn gave_up(record: &Record) -> (Cause, i32) {
    let attempt = &record.attempt;
    let killed = attempt.evidence & evidence::EXITING != 0 && record.exit_code & 0x7f != 0;
    // Reading SO_ERROR consumes a soft error: reported and no longer pending, the application was given it.
    let given = if record.soft_error == 0 { attempt.reported_soft_error } else { 0 };
    match Errno::from_raw(given) {
        // Nothing was ever sent: inet_hash_connect found no port, inside connect() itself.
        _ if record.local_port == 0 => (Cause::NoLocalPort, Errno::EADDRNOTAVAIL as i32),
        _ if killed => (Cause::Killed, 0),
        Errno::ECONNREFUSED => (Cause::PortUnreachable, given),
        Errno::EHOSTUNREACH => (Cause::HostUnreachable, given),
        Errno::ENETUNREACH => (Cause::NetUnreachable, given),
        _ => (Cause::ClosedByApp, 0),
    }
}

/// The name of an errno, as `ECONNREFUSED`.
pub fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}
