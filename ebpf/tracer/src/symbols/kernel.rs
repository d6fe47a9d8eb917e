//! Kernel stacks.

use super::{
    Frame, call_before,
    kallsyms::{Kallsyms, Place},
};
use crate::recent::Recent;

/// Addresses remembered that are not the kernel's own. A host's failing connects come from a few hundred.
const MAX_ADDRESSES: usize = 16_384;

/// Names that stand between a tracepoint and the program that takes the stack.
const TRACING: [&str; 4] = ["bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_"];
/// They are among the innermost frames. Further out, such a name is part of what happened.
const TRACING_FRAMES: usize = 8;

/// Names kernel addresses.
#[derive(Debug)]
pub(super) struct KernelSymbols {
    /// What modules and other people's BPF programs were found at, and what was not found: to look again is to
    /// read all of /proc/kallsyms.
    known: Recent<u64, Frame>,
}

impl KernelSymbols {
    pub(super) fn new() -> Self {
        Self { known: Recent::new(MAX_ADDRESSES) }
    }

    pub(super) fn frames(&mut self, addresses: &[u64]) -> Vec<Frame> {
        let symbols = Kallsyms::shared();
        let core = |&address: &u64| frame(address, symbols.core(call_before(address)));
        // First without the tracer's own programs, which every trace has at other addresses.
        let mut frames = without_tracing(addresses.iter().map(core).collect());
        for frame in frames.iter_mut().filter(|frame| frame.function.is_none()) {
            *frame = self.outside(frame.address);
        }
        frames
    }

    /// A frame that is not of the kernel itself.
    fn outside(&mut self, address: u64) -> Frame {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        let call = call_before(address);
        let symbols = Kallsyms::of_these_modules();
        let found = match symbols.module(call) {
            None if !symbols.is_empty() => frame(address, Kallsyms::reread().program(call)),
            place => frame(address, place),
        };
        self.known.insert(address, found.clone());
        found
    }
}

fn frame(address: u64, place: Option<Place<'_>>) -> Frame {
    Frame {
        function: place.map(|(name, _)| name.to_owned()),
        // One more for the byte that was subtracted before the look-up.
        offset: place.map(|(_, offset)| offset + 1),
        ..Frame::bare(address)
    }
}

/// Drops the frames that are there only because somebody traces.
fn without_tracing(mut frames: Vec<Frame>) -> Vec<Frame> {
    let is_tracing = |frame: &Frame| {
        frame.function.as_ref().is_some_and(|name| TRACING.iter().any(|prefix| name.starts_with(prefix)))
    };
    let last = frames.iter().take(TRACING_FRAMES).rposition(is_tracing);
    frames.drain(..last.map_or(0, |last| last + 1));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(stack: &[&str]) -> Vec<String> {
        let frame = |&name: &&str| Frame { function: (name != "?").then(|| name.into()), ..Frame::default() };
        let kept = without_tracing(stack.iter().map(frame).collect());
        kept.into_iter().map(|frame| frame.function.unwrap_or_else(|| "?".into())).collect()
    }

    #[test]
    fn the_tracers_own_frames_are_dropped() {
        let net = ["tcp_set_state", "tcp_done", "tcp_reset"];
        for own in [
            &["bpf_prog_0123456789abcdef_set_state", "bpf_trace_run3", "__traceiter_inet_sock_set_state"][..],
            &["bpf_prog_0123456789abcdef_set_state", "bpf_trace_run3", "__bpf_trace_inet_sock_set_state"],
            // Programs have names only where net.core.bpf_jit_kallsyms allows.
            &["?", "?", "bpf_trace_run2"],
            &["?", "bpf_trace_run2", "?", "__traceiter_tcp_retransmit_skb"],
            &[],
        ] {
            let stack = [own, &net].concat();
            assert_eq!(names(&stack), net, "{own:?}");
        }
        assert!(names(&["bpf_prog_0_x", "bpf_trace_run3"]).is_empty());
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn further_out_nothing_is_dropped() {
        let mut stack = vec!["tcp_connect"; TRACING_FRAMES];
        stack.extend(["bpf_prog_0_test", "bpf_trace_run1", "sys_connect"]);
        assert_eq!(names(&stack), stack);
    }

    /// The first exported function of the kernel's own text, and its address, where that is not hidden.
    fn a_function() -> Option<(u64, String)> {
        let symbols = std::fs::read_to_string("/proc/kallsyms").ok()?;
        let line = symbols.lines().find(|line| line.ends_with(" T tcp_v4_connect"))?;
        let (address, name) = line.split_once(" T ")?;
        let address = u64::from_str_radix(address, 16).ok()?;
        (address != 0).then(|| (address, name.to_owned()))
    }

    #[test]
    fn a_kernel_address_is_named_when_the_kernel_shows_its_symbols() {
        let mut symbols = KernelSymbols::new();
        let hidden = [Frame::bare(0x1234)];
        assert_eq!(symbols.frames(&[0x1234]), hidden);
        let Some((address, name)) = a_function() else { return };
        let frames = symbols.frames(&[address + 5, address + 5, 0x1234]);
        let named = Frame { function: Some(name), offset: Some(5), ..Frame::bare(address + 5) };
        assert_eq!(frames, [named.clone(), named, hidden[0].clone()]);
    }
}
