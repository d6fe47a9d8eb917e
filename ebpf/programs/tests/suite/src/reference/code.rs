//! What is kept of processes' code, and sent before the first failure of each.

use synscope_ebpf::record::{Attempt, Code, PATH_ROOM, USER_FRAMES};

use super::{Fallible, Fault, RING_HEADER, Reference};
use crate::{outcome::SentCode, program::Program, world};

/// Steps on the way from an executable to the root that are gone.
const STEPS: usize = 32;

/// A process's code, as far as it was read.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    code: SentCode,
    is_sent: bool,
}

impl Kept {
    pub(super) fn is_sent(&self) -> bool {
        self.is_sent
    }
}

impl Reference<'_> {
    fn keeps_code(&self) -> bool {
        self.options.stacks && self.kernel.has("HAS_CODE")
    }

    /// The number of the current task's memory descriptor.
    pub(super) fn mm(&mut self) -> u64 {
        if !self.keeps_code() || self.read().is_err() {
            return 0;
        }
        self.program.as_ref().map_or(0, |program| program.number)
    }

    pub(super) fn keep_code(&mut self, attempt: &Attempt) {
        let key = (attempt.mm, attempt.tgid);
        let Some(program) = self.program.clone().filter(|_| attempt.mm != 0) else { return };
        if self.codes.contains_key(&key) {
            return;
        }
        let mut code = SentCode { program: key, ..SentCode::default() };
        // What cannot be read is missing.
        let _ = self.look_at_executable(&program, &mut code);
        code.addresses = self.user_stack();
        let frames = world::user_stack(self.task, self.user_stack_error);
        let mappings = world::mappings(self.task);
        let place = |frame: u64| {
            let mapping = mappings.iter().find(|mapping| mapping.start <= frame && frame < mapping.end);
            match mapping.and_then(|mapping| Some((mapping, mapping.build_id?))) {
                Some((mapping, id)) => (1, id, mapping.offset + (frame - mapping.start)),
                None => (2, [0; 20], frame),
            }
        };
        code.places = match frames {
            Ok(frames) => Ok(frames.into_iter().take(USER_FRAMES).map(place).collect()),
            Err(errno) => Err(-i64::from(errno)),
        };
        self.codes.insert(key, Kept { code, is_sent: false });
    }

    fn look_at_executable(&mut self, program: &Program, code: &mut SentCode) -> Fallible {
        self.read()?;
        code.code.0 = program.code.0;
        self.read()?;
        code.code.1 = program.code.1;
        // the file, its directory entry
        self.reads(2)?;
        if program.mounts.is_empty() {
            return Err(Fault);
        }
        // the mount, the inode, its number
        self.reads(3)?;
        code.inode = program.inode;
        // the file system and its device
        self.reads(2)?;
        code.device = program.device;
        self.walk(program, code)
    }

    fn walk(&mut self, program: &Program, code: &mut SentCode) -> Fallible {
        self.read()?;
        let mut steps = 0..STEPS;
        for (mount, names) in program.mounts.iter().enumerate() {
            for name in names {
                let Some(_) = steps.next() else { return Ok(()) };
                // where the name is, the name, the directory
                self.reads(2)?;
                code.path.extend([name.as_bytes(), b"\0"].concat());
                self.read()?;
            }
            let Some(_) = steps.next() else { return Ok(()) };
            self.read()?;
            if mount + 1 == program.mounts.len() {
                code.path_is_whole = true;
            } else {
                // the mount point, the root of what it is in
                self.reads(2)?;
            }
        }
        Ok(())
    }

    /// Before a failure is told.
    pub(super) fn send_code(&mut self, attempt: &Attempt) {
        let before = self.sent.len();
        let Some(kept) = self.codes.get_mut(&(attempt.mm, attempt.tgid)).filter(|kept| !kept.is_sent) else {
            return;
        };
        let room = (size_of::<Code>() + RING_HEADER).next_multiple_of(8);
        if self.ring_used + room > self.options.ringbuf_bytes as usize - 1 {
            self.counters.code_unsent += 1;
            return;
        }
        self.ring_used += room;
        kept.is_sent = true;
        let mut code = SentCode { before, ..kept.code.clone() };
        code.path_len = code.path.len();
        if code.path_len > PATH_ROOM {
            code.path.clear();
        }
        self.codes_sent.push(code);
    }
}
