//! What the programs must do, in plain Rust: no maps, no offsets, no helper functions. It knows one thing of
//! the programs' making: the order in which they read foreign memory, so that the n-th read can fail.

mod active;
mod code;
mod filter;
mod passive;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bpf_lab::Task;
use synscope_ebpf::record::{
    Attempt, Counters, KERNEL_FRAMES, NO_ICMP, Record, RecordWithStacks, USER_FRAMES, WAKE_EVERY_NS, kind,
};
use synscope_tracer::Options;

use crate::{
    case::{Case, Index, Step},
    fixtures::Kernel,
    outcome::{Outcome, Sent, SentCode, Walk},
    program::Program,
    settings::mapped,
    things::{Packet, Socket},
    world,
};

use code::Kept;

/// Where a case is played: who runs first, on which processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The current task.
    pub task: Task,
    /// What it runs.
    pub program: Program,
    /// The processor.
    pub cpu: u32,
    /// What its counters start from.
    pub counted: u64,
}

/// Foreign memory could not be read: the event is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fault;

type Fallible<T = ()> = Result<T, Fault>;

/// The state of everything, step by step.
#[derive(Clone, Debug)]
pub struct Reference<'a> {
    kernel: &'a Kernel,
    options: Options,
    sockets: Vec<Socket>,
    requests: Vec<Socket>,
    packets: Vec<Packet>,
    now: u64,
    cpu: u32,
    task: Task,
    /// What the task runs; nothing, if it belongs to the kernel.
    program: Option<Program>,
    flags: u32,
    exit_code: i32,
    failing_read: Option<usize>,
    user_stack_error: i32,
    address: Option<(IpAddr, u16, usize)>,
    /// Attempts under way, with the caller's stack where stacks are wanted.
    attempts: BTreeMap<Index, (Attempt, Option<Walk>)>,
    /// What is kept of processes' code, by memory descriptor and process.
    codes: BTreeMap<(u64, u32), Kept>,
    codes_sent: Vec<SentCode>,
    /// Sockets whose end was told and whose connect() may still have to return.
    ended: BTreeSet<Index>,
    counters: Counters,
    /// Attempts begun, by processor: each numbers its own.
    started: BTreeMap<u32, u64>,
    ring_used: usize,
    reads: usize,
    wakes: usize,
    /// Until when the reader needs no waking.
    awake_until: u64,
    counted: u64,
    sent: Vec<Sent>,
}

/// A failing task's flag (PF_EXITING).
const EXITING: u32 = 0x4;
/// What a record takes in the ring beside itself.
const RING_HEADER: usize = 8;

impl<'a> Reference<'a> {
    /// Before anything happened.
    pub fn new(kernel: &'a Kernel, case: &Case, host: &Host) -> Self {
        Self {
            kernel,
            options: case.options.clone(),
            sockets: case.sockets.clone(),
            requests: case.requests.clone(),
            packets: case.packets.clone(),
            now: world::START_NS,
            cpu: host.cpu,
            task: host.task,
            program: Some(host.program.clone()),
            flags: 0,
            exit_code: 0,
            failing_read: None,
            user_stack_error: 0,
            address: None,
            attempts: BTreeMap::new(),
            codes: BTreeMap::new(),
            codes_sent: Vec::new(),
            ended: BTreeSet::new(),
            counters: Counters::default(),
            started: BTreeMap::new(),
            ring_used: 0,
            reads: 0,
            wakes: 0,
            awake_until: 0,
            counted: host.counted,
            sent: Vec::new(),
        }
    }

    /// Everything that the case's steps must lead to, in the modelled world.
    pub fn play(kernel: &'a Kernel, case: &Case) -> Outcome {
        let (task, counted) = (world::task(), world::COUNTED);
        Self::play_as(kernel, case, &Host { task, program: world::program(task), cpu: 0, counted })
    }

    /// The same for another task and processor.
    pub fn play_as(kernel: &'a Kernel, case: &Case, host: &Host) -> Outcome {
        let mut reference = Self::new(kernel, case, host);
        for step in &case.steps {
            reference.step(step);
        }
        reference.outcome()
    }

    fn step(&mut self, step: &Step) {
        let done = match step {
            Step::State(sock, old, new) => self.state(*sock, *old, *new),
            Step::Retransmit(sock, error) => self.retransmit(*sock, *error),
            Step::Challenge(sock) => self.challenge(*sock),
            Step::Report(sock) if self.kernel.runs("error_report") => self.report(*sock),
            Step::SynAck(request) => self.synack(*request),
            Step::Drop(packet, reason) => self.dropped(*packet, *reason),
            Step::Returned(sock, value) => self.returned(*sock, *value),
            other => {
                self.change(other);
                Ok(())
            }
        };
        if done.is_err() {
            self.counters.faults += 1;
        }
    }

    fn change(&mut self, step: &Step) {
        match step {
            Step::Reset(sock) => self.reset(*sock),
            Step::Become(sock, socket) => self.sockets[*sock] = *socket,
            Step::Wait(ns) => self.now += ns,
            Step::Switch(task) => (self.task, self.program) = (*task, Some(world::program(*task))),
            Step::Runs(program) => self.program.clone_from(program),
            Step::Exiting(flags, exit_code) => (self.flags, self.exit_code) = (*flags, *exit_code),
            Step::Cpu(cpu) => self.cpu = *cpu,
            Step::FailRead(nth) => self.failing_read = Some(*nth),
            Step::UserStack(error) => self.user_stack_error = *error,
            Step::Address(address, port, len) => self.address = Some((*address, *port, *len)),
            Step::Drain => self.ring_used = 0,
            Step::Promise(ns) => self.awake_until = self.now + ns,
            Step::Unkept(sock) => {
                if let Some((_, stack)) = self.attempts.get_mut(sock) {
                    *stack = None;
                }
            }
            Step::Counted(sock, count) => {
                if let Some((attempt, _)) = self.attempts.get_mut(sock) {
                    (attempt.retransmits, attempt.unsent, attempt.challenges) = (*count, *count, *count);
                }
            }
            _ => {}
        }
    }

    /// What it has come to.
    pub fn outcome(self) -> Outcome {
        let kept = self.attempts.iter().filter(|(_, (_, stack))| stack.is_some());
        let stacks_kept = kept.map(|(&sock, _)| sock).collect();
        let pending = self.attempts.into_iter().map(|(sock, (attempt, _))| (sock, attempt)).collect();
        let codes_kept = self.codes.iter().map(|(&program, kept)| (program, kept.is_sent())).collect();
        Outcome {
            sent: self.sent,
            codes: self.codes_sent,
            counters: self.counters,
            pending,
            stacks_kept,
            codes_kept,
            reads: self.reads,
            wakes: self.wakes,
        }
    }

    /// Reads foreign memory once.
    fn read(&mut self) -> Fallible {
        self.reads += 1;
        match &mut self.failing_read {
            Some(0) => {
                self.failing_read = None;
                Err(Fault)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn reads(&mut self, times: usize) -> Fallible {
        (0..times).try_for_each(|_| self.read())
    }

    fn user_stack(&self) -> Walk {
        Walk::of(world::user_stack(self.task, self.user_stack_error), USER_FRAMES)
    }

    /// A new attempt's number, unique by processor.
    fn number(&mut self) -> u64 {
        self.counters.started += 1;
        let started = self.started.entry(self.cpu).or_default();
        *started += 1;
        u64::from(self.cpu) << 40 | (self.counted + *started)
    }

    fn attempt_of_current_task(&self) -> Attempt {
        let Task { tgid, tid, uid, comm, cgroup, .. } = self.task;
        Attempt { start_ns: self.now, cgroup, tgid, tid, uid, comm, ..NOBODY }
    }

    /// Puts a record into the ring, or counts that there was no room.
    fn send(&mut self, record: Record, user: UserStack) {
        if !self.passes_when_told(record.local_port) {
            return;
        }
        if record.kind == kind::FAILED {
            self.send_code(&record.attempt);
        }
        self.counters.produced += 1;
        let size = if self.options.stacks { size_of::<RecordWithStacks>() } else { size_of::<Record>() };
        let room = (size + RING_HEADER).next_multiple_of(8);
        if self.ring_used + room > self.options.ringbuf_bytes as usize - 1 {
            self.counters.lost_ringbuf += 1;
            return;
        }
        self.ring_used += room;
        let stacks = self.options.stacks.then(|| {
            let kernel = Walk::of(world::kernel_stack(), KERNEL_FRAMES);
            (self.user_stack_of(user), kernel)
        });
        self.wake_up(record.time_ns);
        self.sent.push(Sent { record, stacks });
    }

    fn wake_up(&mut self, now: u64) {
        if now >= self.awake_until {
            self.awake_until = now + WAKE_EVERY_NS;
            self.wakes += 1;
        }
    }

    fn user_stack_of(&mut self, user: UserStack) -> Walk {
        match user {
            UserStack::Current => self.user_stack(),
            UserStack::Kept(sock) => match self.attempts.get(&sock).and_then(|(_, stack)| stack.clone()) {
                // A stack that cannot be copied is left out; the event is told all the same.
                Some(stack) if self.read().is_ok() => stack,
                _ => Walk::default(),
            },
            UserStack::None => Walk::default(),
        }
    }

    /// What the socket shows now.
    fn describe(&mut self, sock: Index, attempt: Attempt, kind: u8, error: Option<i32>) -> Fallible<Record> {
        // family, error, both addresses, both ports, the namespace and its number, the soft error
        self.reads(if error.is_some() { 8 } else { 9 })?;
        let socket = &self.sockets[sock];
        Ok(Record {
            time_ns: self.now,
            attempt,
            local_addr: mapped(socket.local),
            peer_addr: mapped(socket.peer),
            local_port: socket.local_port,
            peer_port: socket.peer_port,
            netns: socket.netns,
            error: error.unwrap_or(socket.error),
            soft_error: socket.soft_error,
            exit_code: 0,
            kind,
            padding: [0; 3],
            icmp: NO_ICMP,
        })
    }

    /// Tells one event of an attempt under way.
    fn tell(&mut self, sock: Index, kind: u8, error: Option<i32>) -> Fallible {
        let Some((attempt, _)) = self.attempts.get(&sock) else { return Ok(()) };
        let record = self.describe(sock, *attempt, kind, error)?;
        self.send(record, UserStack::Kept(sock));
        Ok(())
    }
}

/// Which user stack goes with a record.
#[derive(Clone, Copy, Debug)]
enum UserStack {
    Kept(Index),
    Current,
    None,
}

/// An attempt of nobody.
const NOBODY: Attempt = Attempt {
    id: 0,
    start_ns: 0,
    cgroup: 0,
    mm: 0,
    tgid: 0,
    tid: 0,
    uid: 0,
    reported_soft_error: 0,
    comm: [0; 16],
    retransmits: 0,
    unsent: 0,
    challenges: 0,
    evidence: 0,
};
