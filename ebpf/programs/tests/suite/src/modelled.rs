//! Plays a case in user space: the real instructions, a modelled kernel.

use std::{collections::BTreeMap, fmt};

use bpf_lab::{Coverage, Machine, MapError, Object, Task, Trap, World};
use synscope_ebpf::{
    placeholder,
    record::{Attempt, Code, Counters},
};
use synscope_tracer::{Hook, PROBES};
use zerocopy::FromBytes as _;

use crate::{
    case::{Case, Index, Step},
    fabric::{Fabric, Memory},
    fixtures::{HAS_PREEMPT_DISABLE, Kernel},
    outcome::{Outcome, Sent, SentCode},
    program::Program,
    settings,
    things::{self, Bytes, Piece},
    world,
};

/// Why a case could not be played to its end.
#[derive(Debug)]
pub enum Broken {
    /// A program did what it must not.
    Trap(Trap),
    /// The object does not fit the case.
    Map(MapError),
    /// A record or a value is of no known size.
    Shape(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trap(trap) => trap.fmt(f),
            Self::Map(error) => error.fmt(f),
            Self::Shape(what) => f.write_str(what),
        }
    }
}

impl From<Trap> for Broken {
    fn from(trap: Trap) -> Self {
        Self::Trap(trap)
    }
}

impl From<MapError> for Broken {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

/// A case under way.
pub struct Bench<'a> {
    kernel: &'a Kernel,
    machine: Machine,
    fabric: Fabric,
    files: u64,
    task: u64,
    registers: u64,
    exiting: (u32, i32),
    user_stack_error: i32,
    /// Address of the current task's memory descriptor.
    mm: u64,
    /// All of them, with the number that tells each from the others.
    descriptors: BTreeMap<u64, u64>,
    sent: Vec<Sent>,
    codes: Vec<SentCode>,
}

/// Processors that run programs in the cases.
const PROCESSORS: u32 = 2;
/// File descriptors of the sockets start here.
const FIRST_DESCRIPTOR: u64 = 3;

/// Plays a case from beginning to end and tells what came of it, and which instructions were executed.
pub fn play(kernel: &Kernel, object: &Object, case: &Case) -> (Result<Outcome, Broken>, Coverage) {
    let mut bench = match Bench::new(kernel, object, case) {
        Ok(bench) => bench,
        Err(error) => return (Err(error.into()), Coverage::default()),
    };
    let played = case.steps.iter().try_for_each(|step| bench.step(step));
    let outcome = played.and_then(|()| bench.outcome());
    (outcome, bench.machine.coverage().clone())
}

impl<'a> Bench<'a> {
    fn new(kernel: &'a Kernel, object: &Object, case: &Case) -> Result<Self, MapError> {
        let mut machine = Machine::load(object, &settings::setup(kernel, &case.options))?;
        for entry in settings::entries(&case.options.filter) {
            machine.update(entry.map, &entry.key, &entry.value)?;
        }
        let registers = machine.add(
            &Bytes::of(kernel, "pt_regs").set("pt_regs", "di", &[0; 8]).set("pt_regs", "si", &[0; 8]).done(),
        );
        let task = machine.add(&task_struct(kernel, (0, 0), 0, 0));
        machine.world.now_ns = world::START_NS;
        // Counters start full in their lower half: adding one to a part of them only is noticed.
        for cpu in 0..PROCESSORS {
            machine.world.cpu = cpu;
            let words = [world::COUNTED; size_of::<Counters>() / 8].map(u64::to_le_bytes).concat();
            machine.update("COUNTERS", &0_u32.to_le_bytes(), &words)?;
        }
        machine.world.cpu = 0;
        machine.world.kernel_stack = world::kernel_stack();
        let fabric = Fabric::new(kernel, case, &mut machine);
        let files = open_files(kernel, &fabric.sockets, &mut machine);
        let mut bench = Self {
            kernel,
            machine,
            fabric,
            files,
            task,
            registers,
            exiting: (0, 0),
            user_stack_error: 0,
            mm: 0,
            descriptors: BTreeMap::new(),
            sent: Vec::new(),
            codes: Vec::new(),
        };
        bench.switch(world::task());
        Ok(bench)
    }

    fn switch(&mut self, task: Task) {
        self.machine.world.task = Task { address: self.task, registers: self.registers, ..task };
        self.machine.world.mappings = world::mappings(task);
        self.walk_user_stack(task);
        self.run_program(Some(&world::program(task)));
    }

    fn walk_user_stack(&mut self, task: Task) {
        self.machine.world.user_stack = world::user_stack(task, self.user_stack_error);
    }

    /// The current task runs a program from now on.
    fn run_program(&mut self, program: Option<&Program>) {
        self.mm = program.map_or(0, |program| {
            let known = self.descriptors.iter().find(|(_, number)| **number == program.number);
            if let Some((&address, _)) = known {
                return address;
            }
            let address = program.fabricate(self.kernel, &mut self.machine);
            self.descriptors.insert(address, program.number);
            address
        });
        self.write_task();
    }

    fn write_task(&mut self) {
        let piece = task_struct(self.kernel, self.exiting, self.files, self.mm);
        self.machine.put(self.task, &piece);
    }

    fn step(&mut self, step: &Step) -> Result<(), Broken> {
        let socket = |index: &Index| self.fabric.sockets[*index];
        let unsigned = |value: i32| u64::from(value.cast_unsigned());
        match step {
            Step::State(sock, old, new) => {
                self.fire("set_state", &[socket(sock), (*old).into(), (*new).into()])
            }
            Step::Retransmit(sock, error) => self.fire("retransmit", &[socket(sock), 0, unsigned(*error)]),
            Step::Challenge(sock) => self.fire("challenge", &[socket(sock)]),
            Step::Refusal => self.fire("challenge", &[0]),
            Step::Reset(sock) => self.fire("receive_reset", &[socket(sock)]),
            Step::Report(sock) => self.fire("error_report", &[socket(sock)]),
            Step::SynAck(request) => self.fire("synack", &[0, self.fabric.requests[*request]]),
            Step::Drop(packet, reason) => {
                self.fire("drop", &[self.fabric.packets[*packet], 0, unsigned(*reason)])
            }
            Step::Returned(sock, value) => self.return_from_connect(*sock, *value),
            Step::Become(sock, socket) => {
                self.fabric.change(self.kernel, *sock, socket, &mut self.machine);
                Ok(())
            }
            Step::Drain => self.drain(),
            Step::Promise(ns) => {
                let until = self.machine.world.now_ns + ns;
                Ok(self.machine.update("AWAKE_UNTIL", &0_u32.to_le_bytes(), &until.to_le_bytes())?)
            }
            Step::Unkept(sock) => {
                let key = self.fabric.sockets[*sock].to_le_bytes();
                Ok(self.machine.remove("USER_STACKS", &key)?)
            }
            Step::Counted(sock, count) => self.set_counts(*sock, *count),
            other => {
                self.change_world(other);
                Ok(())
            }
        }
    }

    fn change_world(&mut self, step: &Step) {
        let world = &mut self.machine.world;
        match *step {
            Step::Wait(ns) => world.now_ns += ns,
            Step::Cpu(cpu) => world.cpu = cpu,
            Step::FailRead(nth) => world.failing_read = Some(nth),
            Step::Switch(task) => self.switch(task),
            Step::Runs(ref program) => self.run_program(program.as_ref()),
            Step::Exiting(flags, code) => {
                self.exiting = (flags, code);
                self.write_task();
            }
            Step::UserStack(error) => {
                self.user_stack_error = error;
                let task = self.machine.world.task;
                self.walk_user_stack(task);
            }
            Step::Address(address, port, len) => {
                let mut bytes = vec![0; 28];
                let put = |bytes: &mut Vec<u8>, at: usize, value: &[u8]| {
                    bytes[at..at + value.len()].copy_from_slice(value);
                };
                let family = if address.is_ipv4() { things::AF_INET } else { things::AF_INET6 };
                put(&mut bytes, 0, &family.to_le_bytes());
                put(&mut bytes, 2, &port.to_be_bytes());
                match address {
                    std::net::IpAddr::V4(address) => put(&mut bytes, 4, &address.octets()),
                    std::net::IpAddr::V6(address) => put(&mut bytes, 8, &address.octets()),
                }
                bytes.truncate(len);
                let address = self.machine.add_user_memory(bytes);
                self.set_register("si", address);
            }
            _ => {}
        }
    }

    fn set_register(&mut self, register: &'static str, value: u64) {
        let at = self.kernel.offset("pt_regs", register);
        if let Some(memory) = self.machine.foreign_memory(self.registers) {
            memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Runs the program of a raw tracepoint, with as many arguments as this kernel gives it.
    fn fire(&mut self, program: &str, arguments: &[u64]) -> Result<(), Broken> {
        let hook = PROBES.iter().find(|probe| probe.program == program).map(|probe| probe.hook);
        let Some(Hook::Raw(tracepoint)) = hook else {
            return Err(Broken::Shape(format!("{program} hangs on no raw tracepoint")));
        };
        let (true, Some(count)) = (self.kernel.runs(program), self.kernel.tracepoint_args(tracepoint)) else {
            return Ok(());
        };
        let given = arguments.iter().copied().chain(std::iter::repeat(u64::from_le_bytes([0xee; 8])));
        let context: Vec<u8> = given.take(count).flat_map(u64::to_le_bytes).collect();
        returns_zero(program, self.machine.run(program, &context)?)?;
        self.held_preemption(program)
    }

    /// Whatever a program does, it does between the two placeholders, on a kernel that has what they stand for.
    fn held_preemption(&self, program: &str) -> Result<(), Broken> {
        let places = [placeholder::PREEMPT_DISABLE, placeholder::PREEMPT_ENABLE].map(u32::cast_signed);
        let called = self.machine.world.called.as_slice();
        let has_places = |part: &[i32]| part.iter().any(|helper| places.contains(helper));
        let held = match called {
            _ if !self.kernel.has(HAS_PREEMPT_DISABLE) => !has_places(called),
            [] => true,
            [first, between @ .., last] => [*first, *last] == places && !has_places(between),
            [_] => false,
        };
        if held { Ok(()) } else { Err(Broken::Shape(format!("{program} may be preempted: {called:?}"))) }
    }

    /// The record of `sys_exit_connect`: registers, number of the call, what it returns.
    fn return_from_connect(&mut self, sock: Index, value: i64) -> Result<(), Broken> {
        self.set_register("di", FIRST_DESCRIPTOR + sock as u64);
        // Kernels that have the helper may show other registers here.
        let registers = if self.kernel.has("HAS_TASK_PT_REGS") { 0xdead } else { self.registers };
        let context = [registers, 42, value.cast_unsigned()].map(u64::to_le_bytes).concat();
        returns_zero("connect_exit", self.machine.run("connect_exit", &context)?)
    }

    fn set_counts(&mut self, sock: Index, count: u16) -> Result<(), Broken> {
        let key = self.fabric.sockets[sock].to_le_bytes();
        let mut entries = self.machine.entries("ATTEMPTS").into_iter();
        let (_, mut value) = entries
            .find(|(found, _)| *found == key)
            .ok_or_else(|| Broken::Shape("no attempt under way".into()))?;
        settings::set_counts(&mut value, count);
        Ok(self.machine.update("ATTEMPTS", &key, &value)?)
    }

    fn drain(&mut self) -> Result<(), Broken> {
        for bytes in self.machine.drain("EVENTS") {
            if let Some(mut code) = SentCode::read(&bytes, self.sent.len()) {
                code.program.0 = self.number(code.program.0)?;
                self.codes.push(code);
                continue;
            }
            let read = Sent::read(&bytes);
            let mut sent = read.ok_or_else(|| Broken::Shape(format!("a record of {} bytes", bytes.len())))?;
            sent.record.attempt.mm = self.number(sent.record.attempt.mm)?;
            self.sent.push(sent);
        }
        Ok(())
    }

    /// The number of the program with this memory descriptor.
    fn number(&self, mm: u64) -> Result<u64, Broken> {
        if mm == 0 {
            return Ok(0);
        }
        let number = self.descriptors.get(&mm).copied();
        number.ok_or_else(|| Broken::Shape("a memory descriptor that does not exist".into()))
    }

    fn sock_at(&self, key: &[u8]) -> Result<Index, Broken> {
        let address = self.fabric.sockets.iter().position(|sock| sock.to_le_bytes() == key);
        address.ok_or_else(|| Broken::Shape("an entry of a socket that does not exist".into()))
    }

    fn outcome(&mut self) -> Result<Outcome, Broken> {
        self.drain()?;
        let shape = |what: &str| Broken::Shape(what.to_owned());
        let counters = self.machine.entries("COUNTERS");
        let counters = added(counters.iter().map(|(_, value)| value.as_slice()));
        let counters = Counters::read_from_bytes(&counters).map_err(|_| shape("counters"))?;
        let mut pending = BTreeMap::new();
        for (key, value) in self.machine.entries("ATTEMPTS") {
            let mut attempt = Attempt::read_from_bytes(&value).map_err(|_| shape("an attempt"))?;
            attempt.mm = self.number(attempt.mm)?;
            pending.insert(self.sock_at(&key)?, attempt);
        }
        let kept = self.machine.entries("USER_STACKS");
        let stacks_kept = kept.iter().map(|(key, _)| self.sock_at(key)).collect::<Result<_, _>>()?;
        let mut codes_kept = BTreeMap::new();
        for (_, value) in self.machine.entries("CODE") {
            let code = Code::read_from_bytes(&value).map_err(|_| shape("code"))?;
            codes_kept.insert((self.number(code.program.mm)?, code.program.tgid), code.is_sent == 1);
        }
        let World { reads, wakes, .. } = self.machine.world;
        Ok(Outcome {
            sent: std::mem::take(&mut self.sent),
            codes: std::mem::take(&mut self.codes),
            counters,
            pending,
            stacks_kept,
            codes_kept,
            reads,
            wakes,
        })
    }
}

/// To a tracepoint, anything else means that other readers of it are to see the event as well.
fn returns_zero(program: &str, returned: u64) -> Result<(), Broken> {
    if returned == 0 { Ok(()) } else { Err(Broken::Shape(format!("{program} returns {returned}"))) }
}

fn task_struct(kernel: &Kernel, (flags, exit_code): (u32, i32), files: u64, mm: u64) -> Piece {
    Bytes::of(kernel, "task_struct")
        .set("task_struct", "flags", &flags.to_le_bytes())
        .set("task_struct", "exit_code", &exit_code.to_le_bytes())
        .set("task_struct", "files", &files.to_le_bytes())
        .set("task_struct", "mm", &mm.to_le_bytes())
        .done()
}

/// A `files_struct` in which every socket is open, each behind a file; the last descriptor is closed.
fn open_files(kernel: &Kernel, sockets: &[u64], machine: &mut Machine) -> u64 {
    let first = usize::try_from(FIRST_DESCRIPTOR).unwrap_or(0);
    let mut array: Vec<u64> = vec![0; first];
    for sock in sockets {
        let socket = Bytes::of(kernel, "socket").set("socket", "sk", &sock.to_le_bytes()).done();
        let socket = machine.add(&socket);
        let file = Bytes::of(kernel, "file").set("file", "private_data", &socket.to_le_bytes()).done();
        array.push(machine.add(&file));
    }
    array.push(0);
    let members = (first..array.len()).map(|descriptor| (descriptor * 8, 8)).collect();
    let bytes = array.into_iter().flat_map(u64::to_le_bytes).collect();
    let array = machine.add_structure(bytes, members);
    let table = Bytes::of(kernel, "fdtable").set("fdtable", "fd", &array.to_le_bytes()).done();
    let table = machine.add(&table);
    let files = Bytes::of(kernel, "files_struct").set("files_struct", "fdt", &table.to_le_bytes()).done();
    machine.add(&files)
}

impl Memory for Machine {
    fn add(&mut self, piece: &Piece) -> u64 {
        self.add_structure(piece.bytes.clone(), piece.members.clone())
    }

    fn put(&mut self, address: u64, piece: &Piece) {
        if let Some(memory) = self.foreign_memory(address) {
            memory.copy_from_slice(&piece.bytes);
        }
    }
}

/// What was added to the counters, over all processors.
fn added<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut words: Vec<u64> = vec![0; size_of::<Counters>() / 8];
    for value in values {
        for (sum, word) in words.iter_mut().zip(value.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word).wrapping_sub(world::COUNTED));
        }
    }
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}
