//! Why an attempt failed, from what the kernel showed, never from how long it took or which kernel it is.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use nix::errno::Errno;
use synscope_ebpf::record::{self, Record, evidence};

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
    /// The ICMP error that the attempt was last answered with, where the kernel shows it: on IPv4, and on IPv6 where the
    /// application asked for errors.
    pub icmp: Option<Icmp>,
}

/// An ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Who sent it: a router, or the peer itself.
    pub sender: IpAddr,
    /// ICMPv6 numbers its messages otherwise.
    pub is_v6: bool,
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
}

impl Icmp {
    fn of(record: &Record) -> Option<Self> {
        let record::Icmp { sender, errno, is_v6, kind, code, .. } = record.icmp;
        let sender = IpAddr::V6(Ipv6Addr::from(sender)).to_canonical();
        (errno != 0).then_some(Self { sender, is_v6: is_v6 != 0, kind, code })
    }

    /// What RFC 792, RFC 1812 and RFC 4443 call it; of the others only the numbers are told.
    pub fn name(self) -> Option<&'static str> {
        Some(match (self.is_v6, self.kind, self.code) {
            (false, 3, 0) => "network unreachable",
            (false, 3, 1) => "host unreachable",
            (false, 3, 2) => "protocol unreachable",
            (false, 3, 3) | (true, 1, 4) => "port unreachable",
            (false, 3, 9) => "network administratively prohibited",
            (false, 3, 10) => "host administratively prohibited",
            (false, 3, 13) | (true, 1, 1) => "communication administratively prohibited",
            (false, 11, _) | (true, 3, _) => "time exceeded",
            (true, 1, 0) => "no route to destination",
            (true, 1, 3) => "address unreachable",
            _ => return None,
        })
    }
}

impl Failure {
    /// Reads the failure off the record of a SYN_SENT → CLOSE.
    pub(crate) fn of(record: &Record) -> Self {
        let attempt = &record.attempt;
        let soft_error = match record.soft_error {
            // What ended the attempt is none.
            0 if record.error == 0 || attempt.evidence & evidence::RETRY_DUE == 0 => told_softly(record),
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
        Self { cause, errno, soft_error, icmp: Icmp::of(record) }
    }
}

/// An error that is pending no more: as the kernel reported it, or as the socket's error queue still has it.
fn told_softly(record: &Record) -> i32 {
    match record.attempt.reported_soft_error {
        0 => record.icmp.errno,
        reported => reported,
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
        error => icmp(error),
    }
}

/// What ICMP said, by the errno that the kernel makes of it (icmp_err_convert in net/ipv4/icmp.c, tab_unreach in
/// net/ipv6/icmp.c; 6.18). An unresolved neighbour reads like an unreachable host.
fn icmp(error: Errno) -> Cause {
    match error {
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
    // Reading SO_ERROR consumes a soft error: told and no longer pending, the application was given it.
    let given = if record.soft_error == 0 { told_softly(record) } else { 0 };
    match given {
        // Nothing was ever sent: inet_hash_connect found no port, inside connect() itself.
        _ if record.local_port == 0 => (Cause::NoLocalPort, Errno::EADDRNOTAVAIL as i32),
        _ if killed => (Cause::Killed, 0),
        0 => (Cause::ClosedByApp, 0),
        given => (icmp(Errno::from_raw(given)), given),
    }
}

/// The name of an errno, as `ECONNREFUSED`.
pub fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    /// The end of an attempt that had a port, as the kernel's evidence shows it.
    fn end(evidence: u16, error: i32) -> Record {
        let mut record = Record::new_zeroed();
        (record.local_port, record.error, record.attempt.evidence) = (40_000, error, evidence);
        record
    }

    #[track_caller]
    fn is(record: &Record, cause: Cause, errno: i32, soft_error: i32) {
        assert_eq!(Failure::of(record), Failure { cause, errno, soft_error, icmp: Icmp::of(record) });
    }

    #[test]
    fn a_reset_is_told_from_an_icmp_error_by_what_was_seen() {
        is(&end(evidence::RESET | evidence::RETRY_DUE, 111), Cause::Refused, 111, 0);
        is(&end(evidence::RETRY_DUE, 111), Cause::PortUnreachable, 111, 0);
    }

    #[test]
    fn an_icmp_error_that_ends_the_attempt_leaves_the_timer_armed() {
        for (errno, cause) in [
            (113, Cause::HostUnreachable),
            (101, Cause::NetUnreachable),
            (13, Cause::Denied),
            (1, Cause::Denied),
            (92, Cause::Other),
        ] {
            is(&end(evidence::RETRY_DUE, errno), cause, errno, 0);
        }
    }

    #[test]
    fn the_timer_gives_up_with_the_soft_error_for_its_own() {
        is(&end(0, 110), Cause::Timeout, 110, 0);
        // Whatever is armed.
        is(&end(evidence::RETRY_DUE, 110), Cause::Timeout, 110, 0);
        is(&Record { soft_error: 113, ..end(0, 113) }, Cause::Timeout, 113, 113);
    }

    #[test]
    fn a_soft_error_that_was_read_is_the_answer() {
        for (errno, cause) in [
            (111, Cause::PortUnreachable),
            (113, Cause::HostUnreachable),
            (101, Cause::NetUnreachable),
            (13, Cause::Denied),
            (92, Cause::Other),
        ] {
            let mut read = end(evidence::RETRY_DUE, 0);
            read.attempt.reported_soft_error = errno;
            is(&read, cause, errno, errno);
            // Still pending: the application has not looked.
            is(&Record { soft_error: errno, ..read }, Cause::ClosedByApp, 0, errno);
        }
    }

    #[test]
    fn who_gave_up_shows_in_the_task_that_ended_it() {
        is(&end(evidence::RETRY_DUE, 0), Cause::ClosedByApp, 0, 0);
        let exiting = end(evidence::RETRY_DUE | evidence::EXITING, 0);
        is(&Record { exit_code: 9, ..exiting }, Cause::Killed, 0, 0);
        is(&Record { exit_code: 0x300, ..exiting }, Cause::ClosedByApp, 0, 0);
        // Of a task that is not exiting, whatever stands there.
        is(&Record { exit_code: 9, ..end(evidence::RETRY_DUE, 0) }, Cause::ClosedByApp, 0, 0);
    }

    #[test]
    fn without_a_local_port_nothing_was_sent() {
        is(&Record { local_port: 0, ..end(0, 0) }, Cause::NoLocalPort, 99, 0);
    }

    #[test]
    fn what_connect_returned_before_a_syn_is_this_hosts_own() {
        for (errno, cause) in [
            (101, Cause::NoRoute),
            (113, Cause::NoRoute),
            (13, Cause::Denied),
            (1, Cause::Denied),
            (22, Cause::Other),
        ] {
            is(&end(evidence::BEFORE_SYN, errno), cause, errno, 0);
        }
    }

    #[test]
    fn an_icmp_error_that_only_the_queue_still_holds_is_told_with_its_sender() {
        let mut record = end(evidence::RETRY_DUE, 0);
        record.icmp = record::Icmp {
            sender: "::ffff:192.0.2.77".parse::<Ipv6Addr>().unwrap().octets(),
            errno: 113,
            is_v6: 0,
            kind: 3,
            code: 13,
            padding: 0,
        };
        is(&record, Cause::HostUnreachable, 113, 113);
        let icmp = Failure::of(&record).icmp.unwrap();
        assert_eq!(icmp.sender, IpAddr::from([192, 0, 2, 77]));
        assert_eq!(icmp.name(), Some("communication administratively prohibited"));
        // Still pending: the application never looked.
        record.soft_error = 113;
        is(&record, Cause::ClosedByApp, 0, 113);
        // It ended the attempt by itself: there was no other one before.
        (record.soft_error, record.error) = (0, 113);
        is(&record, Cause::HostUnreachable, 113, 0);
        // The timer gave up later.
        (record.error, record.attempt.evidence) = (110, 0);
        is(&record, Cause::Timeout, 110, 113);
    }
}
