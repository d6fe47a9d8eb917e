//! A tiny assembler: one function an instruction, for programs of a few lines in tests.

use crate::insn::{Insn, call, op, pseudo};

/// `dst = imm`
pub fn mov(dst: u8, imm: i32) -> Insn {
    Insn { op: op::MOV64_IMM, dst, imm, ..Insn::default() }
}

/// `dst = src`
pub fn copy(dst: u8, src: u8) -> Insn {
    Insn { op: op::MOV64_REG, dst, src, ..Insn::default() }
}

/// `dst += imm`
pub fn add(dst: u8, imm: i32) -> Insn {
    Insn { op: 0x07, dst, imm, ..Insn::default() }
}

/// `dst = *(u64 *)(src + off)`
pub fn load(dst: u8, src: u8, off: i16) -> Insn {
    Insn { op: 0x79, dst, src, off, ..Insn::default() }
}

/// `*(u64 *)(dst + off) = src`
pub fn store(dst: u8, off: i16, src: u8) -> Insn {
    Insn { op: 0x7b, dst, src, off, ..Insn::default() }
}

/// `*(u32 *)(dst + off) = src`
pub fn store_low(dst: u8, off: i16, src: u8) -> Insn {
    Insn { op: 0x63, dst, src, off, ..Insn::default() }
}

/// `*(u32 *)(dst + off) = imm`
pub fn store_imm(dst: u8, off: i16, imm: i32) -> Insn {
    Insn { op: 0x62, dst, off, imm, ..Insn::default() }
}

/// `if dst == imm goto off`
pub fn jump_eq(dst: u8, imm: i32, off: i16) -> Insn {
    Insn { op: 0x15, dst, off, imm, ..Insn::default() }
}

/// `if dst != imm goto off`
pub fn jump_ne(dst: u8, imm: i32, off: i16) -> Insn {
    Insn { op: 0x55, dst, off, imm, ..Insn::default() }
}

/// `goto off`
pub fn jump(off: i16) -> Insn {
    Insn { op: op::JA, off, ..Insn::default() }
}

/// A call of a helper, by number.
pub fn helper(number: i32) -> Insn {
    Insn { op: op::CALL, src: call::HELPER, imm: number, ..Insn::default() }
}

/// `exit`
pub fn exit() -> Insn {
    Insn { op: op::EXIT, ..Insn::default() }
}

/// A load of a map's descriptor: two slots, of which the first is to be linked to the map.
pub fn map(dst: u8) -> [Insn; 2] {
    [Insn { op: op::LD_IMM64, dst, src: pseudo::MAP, ..Insn::default() }, Insn::default()]
}
