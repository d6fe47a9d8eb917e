//! A strict interpreter. Where the kernel's verifier would need to reason, this one looks: every register
//! that is read was written, every access lies within one region, every reservation is given back.

use std::{collections::BTreeMap, rc::Rc};

use thiserror::Error;

use crate::{
    alu,
    coverage::{Coverage, Hits},
    frames,
    insn::{Insn, call, class, mode, op, pseudo},
    isa,
    maps::{Map, MapError},
    memory::{Access, Kind, Memory},
    object::{Link, Object, Program},
    world::World,
};

/// What the loader of the object does before anything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Values of globals, by name.
    pub globals: BTreeMap<String, Vec<u8>>,
    /// Sizes of maps that are not those of the object.
    pub max_entries: BTreeMap<String, u32>,
    /// The kernel that is modelled: helpers that came later cannot be called.
    pub kernel: (u8, u8),
}

impl Default for Setup {
    fn default() -> Self {
        Self { globals: BTreeMap::new(), max_entries: BTreeMap::new(), kernel: (5, 10) }
    }
}

/// A program did what no program may do, or what the model does not know.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{function} at {slot} (`{insn}`): {reason}")]
pub struct Trap {
    /// The function.
    pub function: String,
    /// The slot within the linked program.
    pub slot: usize,
    /// The instruction.
    pub insn: Insn,
    /// What is wrong.
    pub reason: String,
}

/// A program that never ends is stopped after this many instructions.
const MAX_STEPS: usize = 100_000;
const MAX_FRAMES: usize = 8;
const R10: usize = 10;

/// Loaded programs, their maps, and the world around them.
#[derive(Clone, Debug)]
pub struct Machine {
    programs: BTreeMap<String, Rc<Code>>,
    pub(crate) maps: Vec<Map>,
    pub(crate) memory: Memory,
    /// The clock, the current task and so on; free to be changed between two runs.
    pub world: World,
    coverage: Coverage,
    pub(crate) kernel: (u8, u8),
}

#[derive(Debug)]
struct Code {
    program: Program,
    /// What each wide load loads.
    wide: BTreeMap<usize, u64>,
}

/// Registers and stack of one function.
#[derive(Clone, Debug)]
struct Frame {
    stack: u64,
    /// Where the caller goes on, and its registers r6 to r9.
    back: Option<(usize, [Option<u64>; 4])>,
}

/// A run in progress.
pub(crate) struct Run<'a> {
    code: &'a Code,
    pub(crate) registers: [Option<u64>; 11],
    frames: Vec<Frame>,
    context: u64,
    at: usize,
    hits: Vec<Hits>,
}

impl Machine {
    /// Loads an object. Instructions that [`crate::isa`] refuses are refused here.
    pub fn load(object: &Object, setup: &Setup) -> Result<Self, MapError> {
        let mut memory = Memory::new();
        let mut maps = Vec::new();
        for def in &object.maps {
            let mut def = def.clone();
            if let Some(&entries) = setup.max_entries.get(&def.name) {
                def.max_entries = entries;
            }
            maps.push(Map::new(def, memory.handle())?);
        }
        let sections = load_data(object, setup, &mut memory)?;
        let mut programs = BTreeMap::new();
        for program in &object.programs {
            if let Some((slot, reason)) = isa::refuse_program(&program.insns) {
                return Err(MapError::new(&program.name, format!("{reason} at {slot}")));
            }
            let wide = resolve(program, &maps, &sections)?;
            programs.insert(program.name.clone(), Rc::new(Code { program: program.clone(), wide }));
        }
        Ok(Self {
            programs,
            maps,
            memory,
            world: World::default(),
            coverage: Coverage::default(),
            kernel: setup.kernel,
        })
    }

    /// What was executed since loading.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Makes kernel memory that programs can only reach through helpers; returns its address.
    pub fn add_kernel_memory(&mut self, bytes: Vec<u8>) -> u64 {
        self.memory.add(Kind::Kernel, bytes)
    }

    /// Makes a structure in kernel memory, of which helpers may read its members and nothing else: offset and
    /// length of each. Reading too much, or beside a member, is an error.
    pub fn add_structure(&mut self, bytes: Vec<u8>, members: Vec<(usize, usize)>) -> u64 {
        let address = self.add_kernel_memory(bytes);
        self.memory.set_members(address, members);
        address
    }

    /// Makes user memory that programs can only reach through helpers; returns its address.
    pub fn add_user_memory(&mut self, bytes: Vec<u8>) -> u64 {
        self.memory.add(Kind::User, bytes)
    }

    /// Memory made by one of the two, to be changed.
    pub fn foreign_memory(&mut self, address: u64) -> Option<&mut Vec<u8>> {
        self.memory.bytes_mut(address)
    }

    /// Unmaps memory made by one of the two.
    pub fn unmap(&mut self, address: u64) {
        self.memory.remove(address);
    }

    fn map_mut(&mut self, name: &str) -> Result<(&mut Map, &mut Memory), MapError> {
        let map = self.maps.iter_mut().find(|map| map.def.name == name);
        Ok((map.ok_or_else(|| MapError::new(name, "not in the object"))?, &mut self.memory))
    }

    /// Sets a map's entry from outside, as user space does.
    pub fn update(&mut self, map: &str, key: &[u8], value: &[u8]) -> Result<(), MapError> {
        let cpu = self.world.cpu;
        let (found, memory) = self.map_mut(map)?;
        if (found.def.key_size as usize, found.def.value_size as usize) != (key.len(), value.len()) {
            return Err(MapError::new(map, "the key or the value has another size"));
        }
        match found.update(memory, key, value, 0, cpu) {
            0 => Ok(()),
            error => Err(MapError::new(map, format!("errno {}", -error))),
        }
    }

    /// Removes a map's entry from outside, as user space does.
    pub fn remove(&mut self, map: &str, key: &[u8]) -> Result<(), MapError> {
        let (found, memory) = self.map_mut(map)?;
        match found.delete(memory, key) {
            0 => Ok(()),
            error => Err(MapError::new(map, format!("errno {}", -error))),
        }
    }

    /// All entries of a map: keys and values. Of arrays, only elements that were touched; the key of a
    /// per-CPU array is followed by the processor's number.
    pub fn entries(&self, map: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = self.maps.iter().find(|found| found.def.name == map);
        let entries = found.into_iter().flat_map(|found| found.entries(&self.memory));
        entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }

    /// Takes what lies in a ring buffer.
    pub fn drain(&mut self, ring: &str) -> Vec<Vec<u8>> {
        self.map_mut(ring).map(|(map, _)| map.drain()).unwrap_or_default()
    }

    /// Executes a program on a context and returns what it returns. Helpers read the context word by word.
    pub fn run(&mut self, program: &str, context: &[u8]) -> Result<u64, Trap> {
        let nowhere = |reason: &str| Trap {
            function: program.into(),
            slot: 0,
            insn: Insn::default(),
            reason: reason.into(),
        };
        let code = self.programs.get(program).cloned().ok_or_else(|| nowhere("no such program"))?;
        let words = (0..context.len() / 8).map(|word| (word * 8, 8)).collect();
        let context = self.memory.add(Kind::Context, context.to_vec());
        self.memory.set_members(context, words);
        self.world.called.clear();
        let hits = self.coverage.take(program, code.program.insns.len());
        let mut run = Run { code: &code, registers: [None; 11], frames: Vec::new(), context, at: 0, hits };
        run.registers[1] = Some(context);
        let result = self.execute(&mut run);
        self.coverage.keep(program, std::mem::take(&mut run.hits));
        self.memory.remove(run.context);
        for frame in &run.frames {
            self.memory.remove(frame.stack);
        }
        let trap = |reason| {
            let slot = run.at;
            let function = code.program.function_at(slot).to_owned();
            Trap { function, slot, insn: code.program.insns.get(slot).copied().unwrap_or_default(), reason }
        };
        let returned = result.map_err(trap)?;
        if self.maps.iter().any(Map::has_reservations) {
            return Err(trap("room in a ring buffer was reserved and not given back".into()));
        }
        Ok(returned)
    }

    fn execute(&mut self, run: &mut Run<'_>) -> Result<u64, String> {
        self.enter(run, None)?;
        for _ in 0..MAX_STEPS {
            let insn = *run.code.program.insns.get(run.at).ok_or("it ran off the end")?;
            run.hits[run.at].executed += 1;
            let mut next = run.at + 1 + usize::from(insn.is_wide());
            match insn.class() {
                class::LD => run.set(insn.dst, run.code.wide[&run.at])?,
                class::LDX => self.load_register(run, insn)?,
                class::ST | class::STX => self.store(run, insn)?,
                class::ALU | class::ALU64 => run.compute(insn)?,
                _ if insn.op == op::JA => next = run.target(insn)?,
                _ if insn.op == op::EXIT => match self.leave(run)? {
                    Some(back) => next = back,
                    None => return run.get(0),
                },
                _ if insn.op == op::CALL && insn.src == call::LOCAL => {
                    let distance = isize::try_from(insn.imm).map_err(|_| "a wild call")?;
                    let target = next.checked_add_signed(distance).ok_or("a wild call")?;
                    self.enter(run, Some(next))?;
                    next = target;
                }
                _ if insn.op == op::CALL => self.call(run, insn.imm)?,
                _ if run.holds(insn)? => {
                    run.hits[run.at].taken += 1;
                    next = run.target(insn)?;
                }
                _ => {}
            }
            run.at = next;
        }
        Err("it does not end".into())
    }

    /// A new frame. A called function keeps its arguments and loses everything else.
    fn enter(&mut self, run: &mut Run<'_>, back: Option<usize>) -> Result<(), String> {
        if run.frames.len() == MAX_FRAMES {
            return Err("too many frames".into());
        }
        let saved = [run.registers[6], run.registers[7], run.registers[8], run.registers[9]];
        let stack = self.memory.add(Kind::Stack, vec![0; frames::LIMIT]);
        run.frames.push(Frame { stack, back: back.map(|at| (at, saved)) });
        run.registers[0] = None;
        run.registers[6..R10].fill(None);
        run.registers[R10] = Some(stack + frames::LIMIT as u64);
        Ok(())
    }

    /// Drops the frame; says where the caller goes on, if there is one.
    fn leave(&mut self, run: &mut Run<'_>) -> Result<Option<usize>, String> {
        let frame = run.frames.pop().ok_or("no frame to leave")?;
        self.memory.remove(frame.stack);
        let Some((at, saved)) = frame.back else { return Ok(None) };
        run.registers[1..6].fill(None);
        run.registers[6..R10].copy_from_slice(&saved);
        run.registers[R10] = run.frames.last().map(|frame| frame.stack + frames::LIMIT as u64);
        Ok(Some(at))
    }

    fn load_register(&mut self, run: &mut Run<'_>, insn: Insn) -> Result<(), String> {
        let (address, width) = (run.address(insn.src, insn.off)?, insn.width());
        self.memory.check_alignment(address, width)?;
        let word = self.read_word(address, width)?;
        run.set(insn.dst, word)
    }

    fn read_word(&self, address: u64, width: usize) -> Result<u64, String> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.memory.read(address, width)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn store(&mut self, run: &mut Run<'_>, insn: Insn) -> Result<(), String> {
        let (address, width) = (run.address(insn.dst, insn.off)?, insn.width());
        let value = if insn.class() == class::STX { run.get(insn.src)? } else { sign_extended(insn.imm) };
        self.memory.check_alignment(address, width)?;
        let before = if insn.mode() == mode::ATOMIC { self.read_word(address, width)? } else { 0 };
        let value = before.wrapping_add(value);
        self.memory.write(address, &value.to_le_bytes()[..width])
    }
}

fn sign_extended(imm: i32) -> u64 {
    i64::from(imm).cast_unsigned()
}

impl Run<'_> {
    pub(crate) fn get(&self, register: u8) -> Result<u64, String> {
        self.registers[usize::from(register)].ok_or_else(|| format!("r{register} was never written"))
    }

    fn set(&mut self, register: u8, value: u64) -> Result<(), String> {
        if usize::from(register) == R10 {
            return Err("a write to the frame pointer".into());
        }
        self.registers[usize::from(register)] = Some(value);
        Ok(())
    }

    fn address(&self, register: u8, off: i16) -> Result<u64, String> {
        Ok(self.get(register)?.wrapping_add_signed(off.into()))
    }

    fn operand(&self, insn: Insn) -> Result<u64, String> {
        if insn.takes_register() { self.get(insn.src) } else { Ok(sign_extended(insn.imm)) }
    }

    fn compute(&mut self, insn: Insn) -> Result<(), String> {
        let is_move = insn.op >> 4 == 0xb;
        let is_swap = insn.op >> 4 == 0xd;
        let dst = if is_move { 0 } else { self.get(insn.dst)? };
        let operand = if is_swap { 0 } else { self.operand(insn)? };
        self.set(insn.dst, alu::compute(insn, dst, operand))
    }

    fn holds(&self, insn: Insn) -> Result<bool, String> {
        Ok(alu::holds(insn, self.get(insn.dst)?, self.operand(insn)?))
    }

    fn target(&self, insn: Insn) -> Result<usize, String> {
        insn.target(self.at).ok_or_else(|| "a wild jump".into())
    }
}

fn load_data(object: &Object, setup: &Setup, memory: &mut Memory) -> Result<BTreeMap<String, u64>, MapError> {
    let mut data = object.data.clone();
    for (name, value) in &setup.globals {
        let global = object.global(name).ok_or_else(|| MapError::new(name, "no such global"))?;
        if global.size != value.len() {
            return Err(MapError::new(name, "the global has another size"));
        }
        if let Some(bytes) = data.get_mut(&global.section) {
            let place = global.offset..global.offset.saturating_add(global.size);
            let place =
                bytes.get_mut(place).ok_or_else(|| MapError::new(name, "it lies outside its section"))?;
            place.copy_from_slice(value);
        }
    }
    let region = |(name, bytes): (String, Vec<u8>)| {
        let access = if name.starts_with(".rodata") { Access::Read } else { Access::ReadWrite };
        (name, memory.add(Kind::Data(access), bytes))
    };
    Ok(data.into_iter().map(region).collect())
}

fn resolve(
    program: &Program,
    maps: &[Map],
    sections: &BTreeMap<String, u64>,
) -> Result<BTreeMap<usize, u64>, MapError> {
    let missing = || MapError::new(&program.name, "a wide load refers to nothing");
    let mut wide = BTreeMap::new();
    let mut at = 0;
    while at < program.insns.len() {
        let insn = program.insns[at];
        if insn.is_wide() {
            let upper = program.insns[at + 1].imm;
            let value = match program.links.get(&at) {
                Some(Link::Map(name)) => {
                    maps.iter().find(|map| map.def.name == *name).ok_or_else(missing)?.handle
                }
                Some(Link::Data { section, offset }) => {
                    sections.get(section).ok_or_else(missing)? + *offset as u64
                }
                None if insn.src == pseudo::NUMBER => {
                    u64::from(insn.imm.cast_unsigned()) | u64::from(upper.cast_unsigned()) << 32
                }
                None => return Err(missing()),
            };
            wide.insert(at, value);
            at += 1;
        }
        at += 1;
    }
    Ok(wide)
}
