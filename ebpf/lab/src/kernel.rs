//! Memory in the running kernel whose address a test knows. A raw tracepoint program that is run by
//! `BPF_PROG_TEST_RUN` takes its arguments from the test: given such an address for a `struct sock *`, the
//! unmodified program reads the fabricated structure as it would read a real one.
//!
//! The memory is the values of an array map; a program of a few lines, which nothing ever attaches, tells
//! where they lie. Needs root and Linux 5.10 or later.

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, MapError},
    programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use thiserror::Error;

use crate::{
    asm, elf,
    insn::{Insn, Insns},
    object::MapDef,
    world::Task,
};

/// Why the kernel does not play along.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The helper program or its maps were refused.
    #[error("loading the program that tells addresses: {0}")]
    Load(#[from] EbpfError),
    /// It could not be run.
    #[error("running the program that tells addresses: {0}")]
    Run(#[from] ProgramError),
    /// Its maps could not be used.
    #[error("the memory's map: {0}")]
    Map(#[from] MapError),
    /// There is no piece of memory left, or it is too small.
    #[error("no room for {0} bytes")]
    Room(usize),
}

/// Bytes of one piece of memory: larger than any structure that is worth fabricating.
pub const PIECE: usize = 8192;

const ARENA: &str = "ARENA";
const ANSWERS: &str = "ANSWERS";
const PROGRAM: &str = "program";
/// Answers that the program gives: an address, and what it sees of the current task.
const ANSWER_COUNT: u32 = 4;

/// Kernel memory in pieces of [`PIECE`] bytes. Dropping it frees all of them.
pub struct Arena {
    ebpf: Ebpf,
    addresses: Vec<u64>,
    used: usize,
}

impl Arena {
    /// Makes as many pieces.
    pub fn new(pieces: u32) -> Result<Self, KernelError> {
        let array = |name: &str, value_size: usize, max_entries: u32| MapDef {
            name: name.into(),
            kind: 2,
            key_size: 4,
            value_size: u32::try_from(value_size).unwrap_or(u32::MAX),
            max_entries,
            flags: 0,
            is_pinned: false,
        };
        let maps = [array(ARENA, PIECE, pieces), array(ANSWERS, 8, ANSWER_COUNT)];
        let (insns, links) = teller();
        let object = elf::write("raw_tp/lab", &insns, &maps, &links);
        let mut ebpf = EbpfLoader::new().btf(None).load(&object)?;
        program(&mut ebpf)?.load()?;
        let mut arena = Self { ebpf, addresses: Vec::new(), used: 0 };
        arena.addresses =
            (0..pieces).map(|piece| Ok(arena.ask(piece)?[0])).collect::<Result<_, KernelError>>()?;
        Ok(arena)
    }

    /// Runs the program: the address of a piece, and the current task.
    fn ask(&mut self, piece: u32) -> Result<[u64; ANSWER_COUNT as usize], KernelError> {
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = piece.into();
        program(&mut self.ebpf)?.test_run(options)?;
        let answers: Array<_, u64> = Array::try_from(map(&mut self.ebpf, ANSWERS)?)?;
        let mut given = [0; ANSWER_COUNT as usize];
        for (at, answer) in (0..).zip(&mut given) {
            *answer = answers.get(&at, 0)?;
        }
        Ok(given)
    }

    /// The current task as programs see it; its name is the caller's business.
    pub fn current_task(&mut self) -> Result<Task, KernelError> {
        let [_, process, user, cgroup] = self.ask(0)?;
        Ok(Task {
            tgid: upper(process),
            tid: lower(process),
            uid: lower(user),
            gid: upper(user),
            cgroup,
            ..Task::default()
        })
    }

    /// Takes the next piece, fills it, and returns its address.
    pub fn add(&mut self, bytes: &[u8]) -> Result<u64, KernelError> {
        let address = *self.addresses.get(self.used).ok_or(KernelError::Room(bytes.len()))?;
        self.used += 1;
        self.put(address, bytes)?;
        Ok(address)
    }

    /// Overwrites a piece from its start.
    pub fn put(&mut self, address: u64, bytes: &[u8]) -> Result<(), KernelError> {
        let piece = self.addresses.iter().position(|&known| known == address);
        let (Some(piece), true) = (piece, bytes.len() <= PIECE) else {
            return Err(KernelError::Room(bytes.len()));
        };
        let mut value = [0; PIECE];
        value[..bytes.len()].copy_from_slice(bytes);
        let mut arena: Array<_, [u8; PIECE]> = Array::try_from(map(&mut self.ebpf, ARENA)?)?;
        Ok(arena.set(u32::try_from(piece).unwrap_or(u32::MAX), value, 0)?)
    }

    /// Gives all pieces back, so that they can be taken again.
    pub fn clear(&mut self) {
        self.used = 0;
    }
}

fn upper(both: u64) -> u32 {
    lower(both >> 32)
}

fn lower(both: u64) -> u32 {
    u32::try_from(both & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn map<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::maps::Map, MapError> {
    ebpf.map_mut(name).ok_or_else(|| MapError::InvalidName { name: name.into() })
}

fn program(ebpf: &mut Ebpf) -> Result<&mut RawTracePoint, ProgramError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(ProgramError::NotLoaded)?;
    program.try_into()
}

/// Looks the piece up whose number is the first argument, and writes four answers.
fn teller() -> (Insns, Vec<&'static str>) {
    const FOUND: u8 = 7;
    const KEY: i16 = -4;
    let lookup = |to: u8| {
        let key = [asm::copy(2, 10), asm::add(2, KEY.into())];
        [key.as_slice(), &asm::map(1), &[asm::helper(1), asm::jump_ne(0, 0, 2), asm::mov(0, 0), asm::exit()]]
            .into_iter()
            .flatten()
            .copied()
            .chain([asm::copy(to, 0)])
            .collect::<Vec<Insn>>()
    };
    let mut insns = vec![asm::load(6, 1, 0), asm::store_low(10, KEY, 6)];
    insns.extend(lookup(FOUND));
    // bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_current_cgroup_id
    let answers = [None, Some(14), Some(15), Some(80)];
    for (at, helper) in (0..).zip(answers) {
        if let Some(helper) = helper {
            insns.extend([asm::helper(helper), asm::copy(FOUND, 0)]);
        }
        insns.push(asm::store_imm(10, KEY, at));
        insns.extend(lookup(8));
        insns.push(asm::store(8, 0, FOUND));
    }
    insns.extend([asm::mov(0, 0), asm::exit()]);
    (insns, [[ARENA].as_slice(), &[ANSWERS; ANSWER_COUNT as usize]].concat())
}
