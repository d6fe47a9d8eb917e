//! BTF that nobody vouches for: both readers end with an answer, and where both have one it is the same.
#![no_main]

use bpf_lab::btf as lab;
use libfuzzer_sys::fuzz_target;
use synscope_tracer::{
    Layout,
    btf::{Btf, Kind},
};

fuzz_target!(|data: &[u8]| {
    let theirs = lab::Btf::parse(data);
    let Ok(btf) = Btf::parse(data.to_vec()) else { return };
    let _ = Layout::resolve(&btf);
    let _ = btf.tracepoint_args("tcp_retransmit_skb");
    let _ = btf.enum_values("skb_drop_reason");
    let _ = btf.offset_of("sock_common", "skc_net.net");
    let Ok(theirs) = theirs else { return };
    for structure in ["sock", "sock_common", "task_struct"] {
        if let Some(layout) = theirs.layout(structure) {
            assert!(btf.has(Kind::Struct, structure));
            assert!(layout.members.len() <= data.len());
        }
    }
});
