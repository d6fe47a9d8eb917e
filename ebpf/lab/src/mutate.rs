//! Slightly wrong programs, to see whether a test suite notices: each differs from the right one in one
//! instruction. All mutants of an object are the same on every machine, and so is a sample with the same seed.

use crate::{
    insn::{Insn, call, class, op},
    isa,
    object::{Link, Object, Program},
};

/// A program with one mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// The program.
    pub program: String,
    /// Where.
    pub slot: usize,
    /// The right instruction.
    pub original: Insn,
    /// What stands there instead.
    pub change: Change,
}

/// What a mutant has in place of the right thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another instruction.
    Insn(Insn),
    /// Another map, or another global.
    Link(Link, Link),
}

impl std::fmt::Display for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}: ", self.program, self.slot)?;
        match &self.change {
            Change::Insn(insn) => write!(f, "`{}` → `{insn}`", self.original),
            Change::Link(right, wrong) => write!(f, "{} → {}", name(right), name(wrong)),
        }
    }
}

fn name(link: &Link) -> String {
    match link {
        Link::Map(name) => name.clone(),
        Link::Data { section, offset } => format!("{section}+{offset}"),
    }
}

impl Mutant {
    /// The object with the mistake in it.
    pub fn apply(&self, object: &Object) -> Object {
        let mut object = object.clone();
        if let Some(program) = object.programs.iter_mut().find(|program| program.name == self.program) {
            match &self.change {
                Change::Insn(insn) => program.insns[self.slot] = *insn,
                Change::Link(_, wrong) => {
                    program.links.insert(self.slot, wrong.clone());
                }
            }
        }
        object
    }

    /// True when nobody can notice, because what the right instruction computes is overwritten before anyone
    /// reads it. Compilers leave such instructions behind.
    pub fn is_of_no_use(&self, object: &Object) -> bool {
        let Some(program) = object.program(&self.program) else { return false };
        let writes = |insn: &Insn| insn.is_alu() || [class::LD, class::LDX].contains(&insn.class());
        let stays = match &self.change {
            Change::Insn(insn) => insn.op == op::JA || (writes(insn) && insn.dst == self.original.dst),
            Change::Link(..) => true,
        };
        if !writes(&self.original) || !stays {
            return false;
        }
        let register = self.original.dst;
        let after = self.slot + 1 + usize::from(self.original.is_wide());
        for insn in &program.insns[after..] {
            let is_move = insn.op & 0xf7 == op::MOV64_IMM || insn.op & 0xf7 == 0xb4;
            let reads_dst = (insn.is_alu() && !is_move) || [class::ST, class::STX].contains(&insn.class());
            let reads_src =
                (insn.is_alu() && insn.takes_register()) || [class::LDX, class::STX].contains(&insn.class());
            let is_read = (reads_dst && insn.dst == register) || (reads_src && insn.src == register);
            if is_read || matches!(insn.class(), class::JMP | class::JMP32) {
                return false;
            }
            if writes(insn) && insn.dst == register {
                return true;
            }
        }
        false
    }

    /// True when the condition asks the same in other words: whether an unsigned number is above zero, or is not zero.
    pub fn asks_the_same(&self) -> bool {
        let Change::Insn(insn) = &self.change else { return false };
        let above_or_not = [0x2, 0x5];
        let is_about_zero = self.original.imm == 0 && !self.original.takes_register();
        is_about_zero
            && self.original.is_branch()
            && Insn { op: self.original.op, ..*insn } == self.original
            && [self.original.op, insn.op].iter().all(|op| above_or_not.contains(&(op >> 4)))
    }

    /// The bytes of the ELF file with the mistake in it. `None` where the mistake cannot be written there:
    /// what a linker fills in stands elsewhere.
    pub fn patch(&self, object: &Object, elf: &[u8]) -> Option<Vec<u8>> {
        let Change::Insn(insn) = &self.change else { return None };
        if self.original.op == op::CALL && self.original.src == call::LOCAL {
            return None;
        }
        let at = object.program(&self.program)?.file_offset(self.slot)?;
        let mut elf = elf.to_vec();
        elf.get_mut(at..at + 8)?.copy_from_slice(&insn.to_bytes());
        Some(elf)
    }
}

/// Every mutant of every program that could be taken for a program at all.
pub fn all(object: &Object) -> Vec<Mutant> {
    object.programs.iter().flat_map(|program| of_program(object, program)).collect()
}

/// So many of them, chosen by the seed.
pub fn sample(object: &Object, seed: u64, count: usize) -> Vec<Mutant> {
    let mut all = all(object);
    let mut random = SplitMix(seed);
    // The first steps of Fisher and Yates' shuffle.
    for at in 0..count.min(all.len()) {
        let left = u64::try_from(all.len() - at).unwrap_or(1);
        all.swap(at, at + usize::try_from(random.next() % left).unwrap_or(0));
    }
    all.truncate(count);
    all
}

fn of_program(object: &Object, program: &Program) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (slot, &original) in
        program.insns.iter().enumerate().filter(|(slot, _)| !program.is_second_half(*slot))
    {
        let mutant = |change| Mutant { program: program.name.clone(), slot, original, change };
        if let Some(link) = program.links.get(&slot) {
            mutants.extend(other_links(object, link).map(|wrong| mutant(Change::Link(link.clone(), wrong))));
            continue;
        }
        let is_sound = |insn: &Insn| {
            let mut insns = program.insns.clone();
            insns[slot] = *insn;
            *insn != original && isa::refuse_program(&insns).is_none()
        };
        mutants
            .extend(variants(original).into_iter().filter(is_sound).map(|insn| mutant(Change::Insn(insn))));
    }
    mutants
}

/// The neighbours: a map with keys of the same size, a global beside the right one.
fn other_links(object: &Object, link: &Link) -> impl Iterator<Item = Link> {
    let found = match link {
        Link::Map(name) => {
            let key_size = object.map(name).map(|map| map.key_size);
            let others = object.maps.iter().filter(|map| map.name != *name && Some(map.key_size) == key_size);
            others.map(|map| Link::Map(map.name.clone())).next()
        }
        Link::Data { section, offset } => {
            let mut globals = object.globals.iter().filter(|global| global.section == *section);
            let next = globals.find(|global| global.offset > *offset && global.size == 4);
            next.map(|global| Link::Data { section: section.clone(), offset: global.offset })
        }
    };
    found.into_iter()
}

/// What an instruction can be mistaken for.
fn variants(insn: Insn) -> Vec<Insn> {
    let mut variants = Vec::new();
    if insn.is_branch() {
        variants.extend(conditions(insn).map(|op| Insn { op, ..insn }));
        variants.extend([1, -1].map(|by| Insn { off: insn.off.wrapping_add(by), ..insn }));
    }
    match insn.class() {
        class::LDX | class::ST | class::STX => {
            let width = i16::try_from(insn.width()).unwrap_or(0);
            variants.extend([width, -width].map(|by| Insn { off: insn.off.wrapping_add(by), ..insn }));
            // The size is in bits 3 and 4.
            variants.push(Insn { op: insn.op ^ 0x08, ..insn });
        }
        class::ALU | class::ALU64 => variants.extend(operations(insn).map(|op| Insn { op, ..insn })),
        _ => {}
    }
    let has_operand = insn.is_alu() || insn.is_branch();
    let has_immediate = (has_operand && !insn.takes_register()) || insn.class() == class::ST;
    let is_helper = insn.op == op::CALL && insn.src == call::HELPER;
    if has_immediate || is_helper {
        variants.extend([1, -1].map(|by| Insn { imm: insn.imm.wrapping_add(by), ..insn }));
    }
    if (has_operand && insn.takes_register()) || [class::LDX, class::STX].contains(&insn.class()) {
        variants.push(Insn { src: (insn.src + 1) % 10, ..insn });
    }
    if ![op::EXIT, op::JA].contains(&insn.op) {
        // Left out: a jump to the next instruction.
        variants.push(Insn { op: op::JA, ..Insn::default() });
    }
    variants
}

/// The opposite condition, and the one that differs at the bound.
fn conditions(insn: Insn) -> impl Iterator<Item = u8> {
    // ==, >, >=, &, !=, s>, s>=, -, -, <, <=, s<, s<=
    let (opposite, nearby) = match insn.op >> 4 {
        0x1 => (0x5, 0x3),
        0x2 => (0xb, 0x3),
        0x3 => (0xa, 0x2),
        0x5 => (0x1, 0x2),
        0x6 => (0xd, 0x7),
        0x7 => (0xc, 0x6),
        0xa => (0x3, 0xb),
        0xb => (0x2, 0xa),
        0xc => (0x7, 0xd),
        0xd => (0x6, 0xc),
        other => (0x5, other),
    };
    [opposite, nearby].into_iter().map(move |operation: u8| operation << 4 | insn.op & 0x0f)
}

/// Operations that are easily mistaken for each other.
fn operations(insn: Insn) -> impl Iterator<Item = u8> {
    // +, -, *, /, |, &, <<, >>, neg, %, ^, =, s>>, swap
    let mistaken: &[u8] = match insn.op >> 4 {
        0x0 => &[0x1],
        0x1 => &[0x0],
        0x3 => &[0x2],
        0x4 => &[0x5, 0xa],
        0x5 => &[0x4],
        0x6 => &[0x7],
        0x7 => &[0x6],
        _ => &[],
    };
    let swapped_order = (insn.op >> 4 == 0xd).then_some(insn.op ^ 0x08);
    mistaken.iter().map(move |operation| operation << 4 | insn.op & 0x0f).chain(swapped_order)
}

/// Sebastiano Vigna's SplitMix64: good enough to choose, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
