//! Arithmetic and comparisons of the instruction set, after its specification (RFC 9669).
#![expect(
    clippy::cast_possible_truncation,
    reason = "32-bit operations are defined by cutting off the upper half"
)]

use crate::insn::{Insn, class};

/// The result of an arithmetic instruction. The instruction is one that [`crate::isa`] lets pass.
pub(crate) fn compute(insn: Insn, dst: u64, operand: u64) -> u64 {
    if insn.op >> 4 == 0xd {
        return swap(insn, dst);
    }
    if insn.class() == class::ALU64 {
        wide(insn.op >> 4, dst, operand)
    } else {
        narrow(insn.op >> 4, dst as u32, operand as u32).into()
    }
}

fn wide(operation: u8, dst: u64, operand: u64) -> u64 {
    match operation {
        0x0 => dst.wrapping_add(operand),
        0x1 => dst.wrapping_sub(operand),
        0x2 => dst.wrapping_mul(operand),
        0x3 => dst.checked_div(operand).unwrap_or(0),
        0x4 => dst | operand,
        0x5 => dst & operand,
        0x6 => dst.wrapping_shl(operand as u32),
        0x7 => dst.wrapping_shr(operand as u32),
        0x8 => dst.wrapping_neg(),
        0x9 => dst.checked_rem(operand).unwrap_or(dst),
        0xa => dst ^ operand,
        0xc => dst.cast_signed().wrapping_shr(operand as u32).cast_unsigned(),
        _ => operand,
    }
}

fn narrow(operation: u8, dst: u32, operand: u32) -> u32 {
    match operation {
        0x0 => dst.wrapping_add(operand),
        0x1 => dst.wrapping_sub(operand),
        0x2 => dst.wrapping_mul(operand),
        0x3 => dst.checked_div(operand).unwrap_or(0),
        0x4 => dst | operand,
        0x5 => dst & operand,
        0x6 => dst.wrapping_shl(operand),
        0x7 => dst.wrapping_shr(operand),
        0x8 => dst.wrapping_neg(),
        0x9 => dst.checked_rem(operand).unwrap_or(dst),
        0xa => dst ^ operand,
        0xc => dst.cast_signed().wrapping_shr(operand).cast_unsigned(),
        _ => operand,
    }
}

/// `le16` … `be64`, on a little-endian machine.
fn swap(insn: Insn, dst: u64) -> u64 {
    let to_big = insn.takes_register();
    match (insn.imm, to_big) {
        (16, true) => (dst as u16).swap_bytes().into(),
        (32, true) => (dst as u32).swap_bytes().into(),
        (64, true) => dst.swap_bytes(),
        (16, false) => (dst as u16).into(),
        (32, false) => (dst as u32).into(),
        _ => dst,
    }
}

/// Whether a branch is taken.
pub(crate) fn holds(insn: Insn, dst: u64, operand: u64) -> bool {
    let (unsigned, signed) = if insn.class() == class::JMP {
        ((dst, operand), (dst.cast_signed(), operand.cast_signed()))
    } else {
        let (dst, operand) = (dst as u32, operand as u32);
        ((dst.into(), operand.into()), (dst.cast_signed().into(), operand.cast_signed().into()))
    };
    match insn.op >> 4 {
        0x1 => unsigned.0 == unsigned.1,
        0x2 => unsigned.0 > unsigned.1,
        0x3 => unsigned.0 >= unsigned.1,
        0x4 => unsigned.0 & unsigned.1 != 0,
        0x5 => unsigned.0 != unsigned.1,
        0x6 => signed.0 > signed.1,
        0x7 => signed.0 >= signed.1,
        0xa => unsigned.0 < unsigned.1,
        0xb => unsigned.0 <= unsigned.1,
        0xc => signed.0 < signed.1,
        _ => signed.0 <= signed.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(op: u8, imm: i32) -> Insn {
        Insn { op, imm, ..Insn::default() }
    }

    #[test]
    fn narrow_results_clear_the_upper_half() {
        assert_eq!(compute(op(0x04, 0), u64::MAX, 1), 0, "w += 1");
        assert_eq!(compute(op(0xb4, 0), 7, u64::MAX), 0xffff_ffff, "w = -1");
        assert_eq!(compute(op(0xc4, 0), 0x8000_0000, 31), 0xffff_ffff, "w s>>= 31");
    }

    #[test]
    fn division_by_zero_is_zero_and_its_remainder_the_dividend() {
        assert_eq!(compute(op(0x3f, 0), 7, 0), 0);
        assert_eq!(compute(op(0x9f, 0), 7, 0), 7);
    }

    #[test]
    fn a_negative_immediate_is_compared_with_its_sign() {
        let minus_one = (-1_i64).cast_unsigned();
        assert!(holds(op(0x15, -1), u64::MAX, minus_one), "r == -1");
        assert!(!holds(op(0x15, -1), 0xffff_ffff, minus_one), "r == -1, upper half clear");
        assert!(holds(op(0x16, -1), 0xffff_ffff, minus_one), "w == -1");
        assert!(holds(op(0xc5, 0), minus_one, 0), "r s< 0");
        assert!(holds(op(0x25, 0), minus_one, 0), "r > 0");
    }

    #[test]
    fn swaps_cut_to_their_width() {
        assert_eq!(compute(op(0xdc, 16), 0x1122_3344, 0), 0x4433);
        assert_eq!(compute(op(0xd4, 16), 0x1122_3344, 0), 0x3344);
        assert_eq!(compute(op(0xdc, 64), 1, 0), 1 << 56);
    }
}
