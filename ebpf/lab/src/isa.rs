//! Which instructions may stand in a program: those of version 3 of the instruction set at most, which
//! kernel 5.10 takes on every architecture that Debian builds for.
//!
//! What came later is often encoded in fields that older kernels require to be zero, so every field is
//! looked at, and anything that is not known to be allowed is refused.

use crate::insn::{Insn, call, class, mode, op, pseudo};

const R10: u8 = 10;

/// Says why an instruction may not stand in a program; `None` when it may.
pub fn refuse(insn: Insn) -> Option<&'static str> {
    if insn.dst > R10 || insn.src > R10 {
        return Some("there is no such register");
    }
    match insn.class() {
        class::LD => refuse_wide(insn),
        class::LDX if insn.mode() != mode::MEM => Some("a load that is not a plain one"),
        class::LDX if insn.imm != 0 => Some("a load with an immediate"),
        class::LDX if insn.dst == R10 => Some("the frame pointer is read-only"),
        // With an immediate of zero it adds; the other operations, and sums that are fetched, came with 5.12.
        class::STX if insn.mode() == mode::ATOMIC && insn.width() < 4 => {
            Some("an atomic operation on a part")
        }
        class::STX if insn.mode() == mode::ATOMIC && insn.imm != 0 => Some("an atomic operation of 5.12"),
        class::STX if insn.mode() == mode::ATOMIC => None,
        class::ST | class::STX if insn.mode() != mode::MEM => Some("an unknown store"),
        class::ST if insn.src != 0 => Some("a store of an immediate with a register"),
        class::STX if insn.imm != 0 => Some("a store with an immediate"),
        class::ALU | class::ALU64 => refuse_arithmetic(insn),
        class::JMP | class::JMP32 => refuse_jump(insn),
        _ => None,
    }
}

fn refuse_wide(insn: Insn) -> Option<&'static str> {
    let known = [pseudo::NUMBER, pseudo::MAP, pseudo::MAP_VALUE];
    if insn.mode() != mode::IMM || !insn.is_wide() {
        Some("a packet or unknown load")
    } else if !known.contains(&insn.src) || insn.off != 0 {
        Some("a wide load of an unknown kind")
    } else {
        None
    }
}

fn refuse_arithmetic(insn: Insn) -> Option<&'static str> {
    let (operation, is_64) = (insn.op >> 4, insn.class() == class::ALU64);
    if insn.dst == R10 {
        return Some("the frame pointer is read-only");
    }
    if insn.off != 0 {
        // Version 4: MOVSX, SDIV and SMOD hide in the offset of MOV, DIV and MOD.
        return Some("sign-extending or signed arithmetic (version 4)");
    }
    match operation {
        0xd if is_64 => Some("BSWAP (version 4)"),
        0xd if ![16, 32, 64].contains(&insn.imm) || insn.src != 0 => Some("a byte swap of an unknown width"),
        0xe.. => Some("unknown arithmetic"),
        // NEG has one operand.
        0x8 if insn.takes_register() || insn.src != 0 || insn.imm != 0 => Some("NEG with an operand"),
        0xd | 0x8 => None,
        _ if insn.takes_register() && insn.imm != 0 => Some("two operands"),
        _ if !insn.takes_register() && insn.src != 0 => Some("two operands"),
        0x3 | 0x9 if !insn.takes_register() && insn.imm == 0 => Some("a division by zero"),
        0x6 | 0x7 | 0xc
            if !insn.takes_register() && !(0..if is_64 { 64 } else { 32 }).contains(&insn.imm) =>
        {
            Some("a shift that is too wide")
        }
        _ => None,
    }
}

fn refuse_jump(insn: Insn) -> Option<&'static str> {
    let is_64 = insn.class() == class::JMP;
    match insn.op >> 4 {
        // The same number in class JMP32 is GOTOL, of version 4.
        0x0 if insn.op != op::JA => Some("a long or unknown jump (version 4)"),
        0x0 if insn.dst != 0 || insn.src != 0 || insn.imm != 0 => Some("a jump with operands"),
        0x8 if insn.op != op::CALL => Some("an indirect or unknown call"),
        0x8 if insn.dst != 0 || insn.off != 0 => Some("a call with operands"),
        0x8 if ![call::HELPER, call::LOCAL].contains(&insn.src) => Some("a call of a kernel function"),
        0x9 if !is_64 || insn.op != op::EXIT => Some("an unknown exit"),
        0x9 if insn.dst != 0 || insn.src != 0 || insn.off != 0 || insn.imm != 0 => {
            Some("an exit with operands")
        }
        0xe.. => Some("an unknown jump"),
        0x0 | 0x8 | 0x9 => None,
        _ if insn.takes_register() && insn.imm != 0 => Some("two operands"),
        _ if !insn.takes_register() && insn.src != 0 => Some("two operands"),
        _ => None,
    }
}

/// Looks at a whole program: every instruction, where jumps and local calls go, and how it ends.
/// The first thing that is wrong is told with its slot.
pub fn refuse_program(insns: &[Insn]) -> Option<(usize, &'static str)> {
    let mut starts = vec![false; insns.len()];
    let mut at = 0;
    while let Some(&insn) = insns.get(at) {
        if let Some(reason) = refuse(insn) {
            return Some((at, reason));
        }
        starts[at] = true;
        if insn.is_wide() {
            match insns.get(at + 1) {
                Some(second) if second.op == 0 && second.dst == 0 && second.src == 0 && second.off == 0 => {}
                _ => return Some((at, "half a wide load")),
            }
            at += 1;
        }
        at += 1;
    }
    let lands =
        |target: Option<usize>| target.and_then(|target| starts.get(target)).is_some_and(|&start| start);
    for (at, &insn) in insns.iter().enumerate().filter(|&(at, _)| starts[at]) {
        let is_jump = matches!(insn.class(), class::JMP | class::JMP32);
        let target = match (insn.op, insn.src) {
            (op::CALL, call::LOCAL) => {
                isize::try_from(insn.imm).ok().and_then(|far| (at + 1).checked_add_signed(far))
            }
            (op::CALL | op::EXIT, _) => continue,
            _ if is_jump => insn.target(at),
            _ => continue,
        };
        if !lands(target) {
            return Some((at, "it leads nowhere"));
        }
    }
    match insns.last() {
        Some(last) if [op::EXIT, op::JA].contains(&last.op) => None,
        _ => Some((insns.len().saturating_sub(1), "the end is open")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(op: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
        Insn { op, dst, src, off, imm }
    }

    #[test]
    fn what_came_after_5_10_is_refused() {
        let newer = [
            ("MOVSX", insn(0xbf, 1, 2, 8, 0)),
            ("SDIV", insn(0x3f, 1, 2, 1, 0)),
            ("SMOD", insn(0x9f, 1, 2, 1, 0)),
            ("BSWAP", insn(0xd7, 1, 0, 0, 64)),
            ("GOTOL", insn(0x06, 0, 0, 0, 5)),
            ("MEMSX", insn(0x81, 1, 2, 0, 0)),
            ("atomic add that fetches", insn(0xdb, 1, 2, 0, 1)),
            ("atomic add to a byte", insn(0xd3, 1, 2, 0, 0)),
            ("atomic exchange", insn(0xdb, 1, 2, 0, 0xe1)),
            ("kernel function", insn(0x85, 0, 2, 0, 7)),
            ("CALLX", insn(0x8d, 0, 0, 0, 1)),
            ("packet load", insn(0x20, 0, 0, 0, 0)),
            ("address of a function", insn(0x18, 1, 4, 0, 0)),
        ];
        for (name, insn) in newer {
            assert!(refuse(insn).is_some(), "{name} was taken");
        }
    }

    #[test]
    fn versions_1_to_3_are_taken() {
        let older = [
            insn(0xb7, 1, 0, 0, -1),
            insn(0xdc, 1, 0, 0, 16),
            insn(0x56, 1, 0, 2, 7),
            insn(0x3f, 1, 2, 0, 0),
            insn(0xad, 1, 2, -3, 0),
            insn(0x72, 10, 0, -1, 9),
            insn(0xdb, 1, 2, 8, 0),
        ];
        for insn in older {
            assert_eq!(refuse(insn), None, "{insn}");
        }
    }

    #[test]
    fn a_jump_into_a_wide_load_leads_nowhere() {
        let wide = [insn(0x18, 1, 0, 0, 1), insn(0, 0, 0, 0, 0)];
        let exit = insn(0x95, 0, 0, 0, 0);
        let into = [insn(0x05, 0, 0, 1, 0), wide[0], wide[1], exit];
        assert_eq!(refuse_program(&into), Some((0, "it leads nowhere")));
        let over = [insn(0x05, 0, 0, 2, 0), wide[0], wide[1], exit];
        assert_eq!(refuse_program(&over), None);
        assert_eq!(refuse_program(&over[..3]), Some((0, "it leads nowhere")));
    }
}
