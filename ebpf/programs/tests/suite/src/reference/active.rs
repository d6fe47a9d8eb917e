//! The side that connects: an attempt from SYN_SENT to its end.

use synscope_ebpf::record::{DURATION_BUCKETS, Icmp, NO_ICMP, evidence, kind};

use super::{EXITING, Fallible, NOBODY, Reference, UserStack};
use crate::{
    case::{Index, state},
    settings::mapped,
    things::TCP,
};

/// What ends an attempt and is no error that connect() returns also before a SYN: the application closed it, a timeout,
/// a refusal.
const NOT_RETURNED: [i32; 3] = [0, 110, 111];

impl Reference<'_> {
    pub(super) fn state(&mut self, sock: Index, old: u8, new: u8) -> Fallible {
        match (old, new) {
            (state::CLOSE, state::SYN_SENT) => self.start(sock),
            (state::SYN_SENT, state::CLOSE) => self.ends(sock, Self::failed),
            (state::SYN_SENT, _) => self.ends(sock, Self::established),
            _ => Ok(()),
        }
    }

    fn start(&mut self, sock: Index) -> Fallible {
        self.read()?;
        if self.sockets[sock].protocol != TCP {
            return Ok(());
        }
        if !self.owner_passes() || !self.socket_passes(sock)? {
            let was_missed = self.attempts.remove(&sock).is_some();
            self.counters.replaced += u64::from(was_missed);
            return Ok(());
        }
        let (id, mm) = (self.number(), self.mm());
        let is_known = self.attempts.contains_key(&sock);
        if !is_known && self.attempts.len() == self.options.max_attempts as usize {
            self.counters.untracked += 1;
            return Ok(());
        }
        self.counters.replaced += u64::from(is_known);
        let attempt = super::Attempt { id, mm, ..self.attempt_of_current_task() };
        let stack = self.options.stacks.then(|| self.user_stack());
        self.attempts.insert(sock, (attempt, stack));
        self.keep_code(&attempt);
        if self.options.starts { self.tell(sock, kind::START, None) } else { Ok(()) }
    }

    /// However the end is told, the attempt is over.
    fn ends(&mut self, sock: Index, told: fn(&mut Self, Index) -> Fallible) -> Fallible {
        if !self.attempts.contains_key(&sock) {
            return Ok(());
        }
        let done = told(self, sock);
        self.attempts.remove(&sock);
        done
    }

    fn failed(&mut self, sock: Index) -> Fallible {
        self.counters.failed += 1;
        self.read()?;
        let mut exit_code = 0;
        if self.flags & EXITING != 0 {
            self.read()?;
            exit_code = self.exit_code;
            self.attempt(sock).evidence |= evidence::EXITING;
        }
        self.read()?;
        if self.sockets[sock].pending != 0 {
            self.attempt(sock).evidence |= evidence::RETRY_DUE;
        }
        self.read()?;
        let error = self.sockets[sock].error;
        let attempt = *self.attempt(sock);
        let mut record = self.describe(sock, attempt, kind::FAILED, Some(error))?;
        record.exit_code = exit_code;
        if record.local_port == 0 || !NOT_RETURNED.contains(&error) {
            self.ended.insert(sock);
        }
        if attempt.evidence & evidence::RESET == 0 && self.kernel.has("HAS_ICMP") {
            record.icmp = self.icmp(sock)?;
        }
        self.send(record, UserStack::Kept(sock));
        Ok(())
    }

    /// The ICMP error at the end of the socket's queue.
    fn icmp(&mut self, sock: Index) -> Fallible<Icmp> {
        self.read()?;
        let Some(queued) = self.sockets[sock].queued else { return Ok(NO_ICMP) };
        self.read()?;
        if !matches!(queued.origin, 2 | 3) {
            return Ok(NO_ICMP);
        }
        // the buffer, where the IP header lies in it, the header's source
        self.reads(3)?;
        Ok(Icmp {
            sender: mapped(queued.sender),
            errno: queued.errno,
            is_v6: u8::from(queued.origin == 3),
            kind: queued.kind,
            code: queued.code,
            padding: 0,
        })
    }

    fn established(&mut self, sock: Index) -> Fallible {
        let attempt = *self.attempt(sock);
        let duration = self.now - attempt.start_ns;
        let is_slow = u128::from(duration) >= self.options.slow.as_nanos();
        let is_quiet =
            !is_slow && !self.options.starts && (attempt.retransmits, attempt.challenges) == (0, 0);
        let bucket = (duration / 1000).checked_ilog2().unwrap_or(0) as usize;
        let counters = &mut self.counters;
        counters.established += 1;
        counters.quiet += u64::from(is_quiet);
        counters.durations[bucket.min(DURATION_BUCKETS - 1)] += 1;
        if is_quiet { Ok(()) } else { self.tell(sock, kind::ESTABLISHED, None) }
    }

    /// # Panics
    ///
    /// When the socket has none: callers have looked.
    fn attempt(&mut self, sock: Index) -> &mut super::Attempt {
        self.attempts.get_mut(&sock).map(|(attempt, _)| attempt).expect("an attempt is under way")
    }

    pub(super) fn retransmit(&mut self, sock: Index, error: i32) -> Fallible {
        let error = if self.kernel.has("RETRANSMIT_HAS_ERROR") { error } else { 0 };
        let Some((attempt, _)) = self.attempts.get_mut(&sock) else { return Ok(()) };
        if error != 0 {
            attempt.unsent = attempt.unsent.saturating_add(1);
            return Ok(());
        }
        attempt.retransmits = attempt.retransmits.saturating_add(1);
        self.tell(sock, kind::RETRANSMIT, None)
    }

    pub(super) fn challenge(&mut self, sock: Index) -> Fallible {
        let Some((attempt, _)) = self.attempts.get_mut(&sock) else { return Ok(()) };
        attempt.challenges = attempt.challenges.saturating_add(1);
        self.tell(sock, kind::CHALLENGE, None)
    }

    pub(super) fn reset(&mut self, sock: Index) {
        if let Some((attempt, _)) = self.attempts.get_mut(&sock) {
            attempt.evidence |= evidence::RESET;
        }
    }

    pub(super) fn report(&mut self, sock: Index) -> Fallible {
        if !self.attempts.contains_key(&sock) {
            return Ok(());
        }
        self.read()?;
        let soft_error = self.sockets[sock].soft_error;
        if soft_error != 0 {
            self.attempt(sock).reported_soft_error = soft_error;
        }
        Ok(())
    }

    /// An attempt that nobody owns, from now on.
    pub(super) fn nobody(&self) -> super::Attempt {
        super::Attempt { start_ns: self.now, ..NOBODY }
    }
}
