//! `/proc/PID/stat`: who a process is and who started it.

use std::{fs, io};

/// What is read of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Name of the main thread.
    pub(super) comm: String,
    /// Process id of the parent, 0 when there is none.
    pub(super) parent: u32,
    /// Clock ticks from boot to the start of the process.
    pub(super) start_ticks: u64,
    /// First address of the executable's code and the first behind; 0 or 1 where they are not told.
    pub(super) code: (u64, u64),
    /// Address of the bottom of the stack, random since exec(); 0 when the process is exiting, is a kernel
    /// thread, or may not be looked at.
    pub(super) start_stack: u64,
}

// Fields of proc_pid_stat(5), counted from the first after the name.
const PARENT: usize = 1;
const START_TICKS: usize = 19;
const START_CODE: usize = 23;
const END_CODE: usize = 24;
const START_STACK: usize = 25;

impl Stat {
    pub(super) fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat"))
    }

    /// The name stands in parentheses and may itself hold anything, parentheses and newlines too.
    fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let comm = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(&text[close + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            comm,
            parent: fields.get(PARENT)?.parse().ok()?,
            start_ticks: fields.get(START_TICKS)?.parse().ok()?,
            code: (fields.get(START_CODE)?.parse().ok()?, fields.get(END_CODE)?.parse().ok()?),
            start_stack: fields.get(START_STACK)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Stat;

    const TAIL: &str = "S 41 42 42 0 -1 4194304 93 0 0 0 0 0 0 0 20 0 1 0 8836 2859008 402 18446744073709551615 \
                        94 95 140727 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 96 97 98 99 100 101 102 0\n";

    #[test]
    fn any_name_is_read() {
        for comm in ["sleep", "", "a b", ") S 1 2", "((", "new\nline", "(sd-pam)", "\u{fffd}"] {
            let text = format!("42 ({comm}) {TAIL}");
            let expected = Stat {
                comm: comm.into(),
                parent: 41,
                start_ticks: 8836,
                code: (94, 95),
                start_stack: 140_727,
            };
            assert_eq!(Stat::parse(text.as_bytes()), Some(expected), "{comm}");
        }
        let mut hostile = b"42 (\xff\xfe) ".to_vec();
        hostile.extend(TAIL.as_bytes());
        assert_eq!(Stat::parse(&hostile).unwrap().comm, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = format!("42 (sleep) {TAIL}");
        let needed = whole.find("140727").unwrap();
        for len in 0..needed {
            assert_eq!(Stat::parse(&whole.as_bytes()[..len]), None, "{len} bytes");
        }
        assert_eq!(Stat::parse(b"42 )sleep( S 1"), None);
    }

    #[test]
    fn this_process_has_a_parent_and_a_start() {
        let stat = Stat::read(std::process::id()).unwrap();
        assert_eq!(stat.parent, std::os::unix::process::parent_id());
        assert!(stat.start_ticks > 0 && stat.start_stack > 0, "{stat:?}");
    }
}
