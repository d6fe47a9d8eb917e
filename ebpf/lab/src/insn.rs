//! One instruction: eight bytes, taken apart.

use std::fmt;

/// Instructions of a program; a 64-bit immediate load takes two slots, of which the second has opcode 0.
pub type Insns = Vec<Insn>;

/// One slot of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Class in the low three bits; operation, size and source in the others.
    pub op: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register, or a marker in loads of 64-bit immediates and in calls.
    pub src: u8,
    /// Memory or jump offset.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

/// Instruction classes, the low three bits of the opcode.
pub mod class {
    #![expect(missing_docs, reason = "the names are those of the instruction set's specification")]
    pub const LD: u8 = 0;
    pub const LDX: u8 = 1;
    pub const ST: u8 = 2;
    pub const STX: u8 = 3;
    pub const ALU: u8 = 4;
    pub const JMP: u8 = 5;
    pub const JMP32: u8 = 6;
    pub const ALU64: u8 = 7;
}

/// How a load or store finds its operand, the high three bits of the opcode.
pub mod mode {
    #![expect(missing_docs, reason = "the names are those of the instruction set's specification")]
    pub const IMM: u8 = 0x00;
    pub const MEM: u8 = 0x60;
    pub const ATOMIC: u8 = 0xc0;
}

/// Opcodes that are looked for by name.
pub mod op {
    #![expect(missing_docs, reason = "the names are those of the instruction set's specification")]
    pub const LD_IMM64: u8 = 0x18;
    pub const JA: u8 = 0x05;
    pub const CALL: u8 = 0x85;
    pub const EXIT: u8 = 0x95;
    pub const MOV64_IMM: u8 = 0xb7;
    pub const MOV64_REG: u8 = 0xbf;
}

/// A call's source: a helper of the kernel, or a function of the object.
pub mod call {
    /// A helper, by number.
    pub const HELPER: u8 = 0;
    /// A function of the object, by distance.
    pub const LOCAL: u8 = 1;
}

/// What a 64-bit immediate load loads, in its source field.
pub mod pseudo {
    /// The number itself.
    pub const NUMBER: u8 = 0;
    /// A map, by descriptor.
    pub const MAP: u8 = 1;
    /// The address of a map's first value, plus the second slot's immediate.
    pub const MAP_VALUE: u8 = 2;
}

impl Insn {
    /// Reads a slot.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        let [op, registers, off_low, off_high, imm @ ..] = bytes;
        Self {
            op,
            dst: registers & 0xf,
            src: registers >> 4,
            off: i16::from_le_bytes([off_low, off_high]),
            imm: i32::from_le_bytes(imm),
        }
    }

    /// Writes a slot.
    pub fn to_bytes(self) -> [u8; 8] {
        let [off_low, off_high] = self.off.to_le_bytes();
        let [a, b, c, d] = self.imm.to_le_bytes();
        [self.op, self.src << 4 | self.dst, off_low, off_high, a, b, c, d]
    }

    /// The class, see [`class`].
    pub fn class(self) -> u8 {
        self.op & 7
    }

    /// The mode of a load or store, see [`mode`].
    pub fn mode(self) -> u8 {
        self.op & 0xe0
    }

    /// True for the first slot of a 64-bit immediate load.
    pub fn is_wide(self) -> bool {
        self.op == op::LD_IMM64
    }

    /// True for arithmetic.
    pub fn is_alu(self) -> bool {
        matches!(self.class(), class::ALU | class::ALU64)
    }

    /// True for a jump that depends on a comparison.
    pub fn is_branch(self) -> bool {
        matches!(self.class(), class::JMP | class::JMP32) && !matches!(self.op, op::JA | op::CALL | op::EXIT)
    }

    /// Where a jump goes when it is taken, as a slot.
    pub fn target(self, at: usize) -> Option<usize> {
        (at + 1).checked_add_signed(isize::from(self.off))
    }

    /// Bytes that a load or store moves.
    pub fn width(self) -> usize {
        match self.op >> 3 & 3 {
            0 => 4,
            1 => 2,
            2 => 1,
            _ => 8,
        }
    }

    /// True when the second operand is a register.
    pub fn takes_register(self) -> bool {
        self.op & 0x08 != 0
    }
}

/// Reads a section of instructions. `None` when its length is not a multiple of eight.
pub fn decode(bytes: &[u8]) -> Option<Insns> {
    let (slots, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| slots.iter().copied().map(Insn::from_bytes).collect())
}

/// The bytes of a section of instructions.
pub fn encode(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.to_bytes()).collect()
}

const ALU_SIGNS: [&str; 14] =
    ["+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "=", "s>>=", "swap"];
const JUMP_SIGNS: [&str; 14] =
    ["", "==", ">", ">=", "&", "!=", "s>", "s>=", "call", "exit", "<", "<=", "s<", "s<="];

impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, dst, src, off, imm } = *self;
        let bits = self.width() * 8;
        let sign = usize::from(op >> 4);
        let wide = if matches!(self.class(), class::ALU64 | class::JMP) { 'r' } else { 'w' };
        let operand = if self.takes_register() { format!("{wide}{src}") } else { imm.to_string() };
        match self.class() {
            class::LD => write!(f, "r{dst} = {imm:#x} ll"),
            class::LDX => write!(f, "r{dst} = *(u{bits} *)(r{src} {off:+})"),
            class::ST => write!(f, "*(u{bits} *)(r{dst} {off:+}) = {imm}"),
            class::STX if self.mode() == mode::ATOMIC => {
                write!(f, "lock *(u{bits} *)(r{dst} {off:+}) += r{src}")
            }
            class::STX => write!(f, "*(u{bits} *)(r{dst} {off:+}) = r{src}"),
            class::ALU | class::ALU64 if sign == 0xd => write!(f, "{wide}{dst} = swap{imm} {wide}{dst}"),
            class::ALU | class::ALU64 => {
                write!(f, "{wide}{dst} {} {operand}", ALU_SIGNS.get(sign).unwrap_or(&"?"))
            }
            _ if op == op::JA => write!(f, "goto {off:+}"),
            _ if op == op::CALL && src == call::LOCAL => write!(f, "call pc{imm:+}"),
            _ if op == op::CALL => write!(f, "call helper {imm}"),
            _ if op == op::EXIT => write!(f, "exit"),
            _ => {
                write!(f, "if {wide}{dst} {} {operand} goto {off:+}", JUMP_SIGNS.get(sign).unwrap_or(&"?"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_survives_being_taken_apart() {
        let bytes = [0x63, 0x9a, 0x80, 0xff, 0xfe, 0xff, 0xff, 0xff];
        let insn = Insn::from_bytes(bytes);
        assert_eq!(insn, Insn { op: 0x63, dst: 10, src: 9, off: -128, imm: -2 });
        assert_eq!(insn.to_bytes(), bytes);
        assert_eq!(insn.to_string(), "*(u32 *)(r10 -128) = r9");
    }
}
