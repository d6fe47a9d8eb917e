//! The kernel's own counters of a namespace, as a second opinion on what a trace counts.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::expect::only;
use super::stale::challenged_once;
use crate::harness::{Actor, Connect, Ended, Icmp, Lab, Netns, Trace, Wire};

super::scenarios!["oracle":
    counters_of_the_kernel_agree_over_ten_thousand_attempts [HEAVY],
];

const REFUSED: usize = 6000;
const ACCEPTED: usize = 2500;
const CLOSED_AT_ONCE: usize = 1500;
const WAITING: usize = 100;
const TIMED_OUT: usize = 20;
const CHALLENGED: usize = 20;
const UNREACHABLE: usize = 20;
const WITHOUT_ROUTE: usize = 50;

const SILENT: &str = "203.0.113.7:22";

/// Counters of the namespace that the thread is in, by their names in /proc/net/snmp and /proc/net/netstat.
fn kernel_counters() -> Result<BTreeMap<String, u64>> {
    let mut counters = BTreeMap::new();
    for file in ["snmp", "netstat"] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks_exact(2) {
            let protocol = pair[0].split(':').next().unwrap_or_default();
            for (name, value) in pair[0].split(' ').zip(pair[1].split(' ')).skip(1) {
                counters.insert(format!("{protocol}.{name}"), value.parse().unwrap_or(0));
            }
        }
    }
    Ok(counters)
}

/// What a trace told: events by kind, failures by cause, and the SYNs that never left.
#[derive(Debug, Default)]
struct Told {
    events: BTreeMap<String, u64>,
    failures: BTreeMap<String, u64>,
    unsent: u64,
}

impl Told {
    /// Reads all that the trace has produced.
    fn by(trace: &mut Trace) -> Result<Self> {
        let produced = trace.state()?.count("/counters/produced")?;
        let mut told = Self::default();
        for _ in 0..produced {
            let event = trace.next_event()?;
            *told.events.entry(event.text("/event")?.to_owned()).or_default() += 1;
            if let Ok(cause) = event.text("/tcp/connect/cause") {
                *told.failures.entry(cause.to_owned()).or_default() += 1;
                told.unsent += event.count("/tcp/connect/syn_unsent").unwrap_or(0);
            }
        }
        Ok(told)
    }

    fn events(&self, kind: &str) -> u64 {
        self.events.get(kind).copied().unwrap_or(0)
    }

    fn failures(&self, causes: &[&str]) -> u64 {
        causes.iter().filter_map(|cause| self.failures.get(*cause)).sum()
    }
}

/// Some virtual machines run no BPF programs while an interrupt came upon a thread that they protect, and count
/// nothing: on one, ftrace saw six of 3,000 retransmissions that no program saw, all of them upon threads of process 1.
/// A mistake of ours would show each time.
const TRIES: usize = 3;

fn counters_of_the_kernel_agree_over_ten_thousand_attempts(lab: &Lab) -> Result<()> {
    let mut disagreed = Vec::new();
    for _ in 0..TRIES {
        match counters_agree(lab) {
            Ok(()) => return Ok(()),
            Err(error) => disagreed.push(format!("{error:#}")),
        }
    }
    bail!("each time: {}", disagreed.join("\n"))
}

fn counters_agree(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let before = netns.run("oracle", kernel_counters)?;
    let killed = Actor::connect(&netns, "to-be-killed", SILENT, Duration::from_mins(1))?;
    netns.run("oracle", mixed_run)?;
    drop(killed);
    netns.run("oracle", || without_a_port(&netns))?;
    let after = netns.run("oracle", kernel_counters)?;
    let delta = |name: &str| -> Result<u64> {
        let [before, after] = [&before, &after].map(|counters| counters.get(name).copied());
        Ok(after.with_context(|| format!("no counter {name}"))? - before.unwrap_or(0))
    };

    let state = trace.stop()?;
    let told = Told::by(&mut trace)?;
    let ours = |name: &str| state.count(&format!("/counters/attempts/{name}"));
    let (started, established, failed) = (ours("started")?, ours("established")?, ours("failed")?);
    ensure!(started >= 10_000 && started == established + failed, "{}", state.0);
    for uncertain in
        ["attempts/missed", "attempts/faults", "attempts/untracked", "lost/ringbuf", "lost/queue"]
    {
        state.is(&format!("/counters/{uncertain}"), 0)?;
    }
    let agree = |kernel: &str, ours: u64| -> Result<()> {
        let theirs = delta(kernel)?;
        ensure!(theirs == ours, "{kernel} grew by {theirs}, we count {ours}: {told:?}, {}", state.0);
        Ok(())
    };

    // tcp_connect() counts it, so not what fails before: no route (tcp_v4_connect: ip_route_connect), no port
    // (tcp_v4_connect: inet_hash_connect). All function names of 6.18.
    let never_sent = told.failures(&["no_route", "denied", "no_local_port"]);
    agree("Tcp.ActiveOpens", started - never_sent)?;

    // tcp_done() counts a socket that it finds in SYN_SENT: by RST (tcp_reset), ICMP (tcp_v4_err) or the timer
    // (tcp_write_err). The owner's close does not go through it (__tcp_close: tcp_close_state), be it of its
    // own will or killed, nor does a connect() that found no port (tcp_v4_connect: tcp_set_state).
    let by_network =
        ["refused", "port_unreachable", "host_unreachable", "net_unreachable", "timeout", "other"];
    agree("Tcp.AttemptFails", told.failures(&by_network))?;

    // __tcp_retransmit_skb() counts a SYN, also one that could not leave for another reason than EBUSY, and
    // tcp_rtx_synack() a SYN-ACK. Nothing is in the way of packets here.
    ensure!(told.unsent == 0, "SYNs that did not leave: {told:?}");
    agree("TcpExt.TCPSynRetrans", told.events("connect.retransmit") + told.events("accept.retransmit"))?;

    // tcp_send_challenge_ack() counts at the peer, which is in the same namespace, what we see arrive.
    agree("TcpExt.TCPChallengeACK", told.events("connect.challenge"))?;

    let made = |cause: &str, expected: usize| {
        ensure!(told.failures(&[cause]) == expected as u64, "{cause} is not {expected}: {told:?}");
        Ok(())
    };
    made("refused", REFUSED)?;
    made("timeout", TIMED_OUT)?;
    made("host_unreachable", UNREACHABLE)?;
    made("no_route", WITHOUT_ROUTE)?;
    made("no_local_port", 1)?;
    made("killed", 1)?;
    made("closed_by_app", CLOSED_AT_ONCE + WAITING)?;
    ensure!(established == (ACCEPTED + 2 * CHALLENGED + 1) as u64, "{}", state.0);
    ensure!(told.events("connect.challenge") == CHALLENGED as u64, "{told:?}");
    Ok(())
}

fn mixed_run() -> Result<()> {
    let begun = Instant::now();
    for _ in 0..WITHOUT_ROUTE {
        Connect::to_address("198.51.100.1:443")?.run()?;
    }
    let waiting: Vec<_> = (0..WAITING).map(|_| start(None)).collect::<Result<_>>()?;
    let patience = Some(Duration::from_millis(700));
    let timed_out: Vec<_> = (0..TIMED_OUT).map(|_| start(patience)).collect::<Result<_>>()?;
    for _ in 0..REFUSED {
        Connect::to_address("127.0.0.1:81")?.run()?;
    }
    for _ in 0..CLOSED_AT_ONCE {
        drop(start(None)?);
    }
    (0..UNREACHABLE).try_for_each(|_| unreachable())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    for _ in 0..ACCEPTED {
        let _client = TcpStream::connect(listener.local_addr()?)?;
        listener.accept()?;
    }
    for _ in 0..CHALLENGED {
        challenged_once()?;
    }
    // Until the timer has sent SYNs again, and has given up on those with less patience.
    thread::sleep(Duration::from_millis(1300).saturating_sub(begun.elapsed()));
    for socket in timed_out {
        while socket.take_error()?.is_none() {
            ensure!(begun.elapsed() < Duration::from_secs(30), "the user timeout did not end the attempt");
            thread::sleep(Duration::from_millis(20));
        }
    }
    drop(waiting);
    Ok(())
}

/// A connect to a silent peer that is under way.
fn start(user_timeout: Option<Duration>) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_user_timeout(user_timeout)?;
    let error = socket.connect(&SILENT.parse::<SocketAddr>()?.into()).err().context("it should be silent")?;
    ensure!(Errno::from_io_error(&error) == Some(Errno::INPROGRESS), "{error}");
    Ok(socket)
}

/// One that ICMP ends at once.
fn unreachable() -> Result<()> {
    let wire = Wire::tap(SILENT.parse::<SocketAddr>()?.ip())?;
    let socket = start(None)?;
    let local = socket.local_addr()?.as_socket().context("no address")?;
    // SYNs of others, sent again, may pass as well.
    let syn = loop {
        let syn = wire.next_syn()?;
        if syn.source() == local {
            break syn;
        }
    };
    syn.answer(Icmp(3, 1))?;
    ensure!(socket.take_error()?.is_some(), "ICMP did not reach the socket");
    Ok(())
}

/// One that succeeds with the only port there is, and one that finds none left.
fn without_a_port(netns: &Netns) -> Result<()> {
    netns.sysctl("ipv4/ip_local_port_range", "61001 61001")?;
    let listener = TcpListener::bind("127.0.0.1:62000")?;
    let peer = listener.local_addr()?;
    let _taken = TcpStream::connect(peer)?;
    let tried = Connect::to(peer).run()?;
    ensure!(tried.ended == Ended::Failed(Errno::ADDRNOTAVAIL), "{tried:?}");
    Ok(())
}
