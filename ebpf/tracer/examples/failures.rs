//! Prints every TCP connection attempt on this host that is retried or fails. Needs root.

use anyhow::Result;
use synscope_tracer::{EventKind, Kernel, Options, Tracer};

#[tokio::main]
async fn main() -> Result<()> {
    let kernel = Kernel::of_this_host()?;
    let (mut tracer, _counters) = Tracer::start(&kernel, &Options::default())?;
    eprintln!("tracing; Ctrl-C ends");

    let mut events = Vec::new();
    loop {
        tracer.read(&mut events, 256).await?;
        for event in events.drain(..) {
            let what = match event.kind {
                EventKind::Started => "started".into(),
                EventKind::Retransmitted => format!("SYN retransmit {}", event.syn_retransmits),
                EventKind::Challenged => "the peer holds an old connection".into(),
                EventKind::Established => "established".into(),
                EventKind::Failed(failure) => format!("failed: {}", failure.cause),
                EventKind::Dropped { reason } => format!("dropped here, reason {reason}"),
                EventKind::SynAckRetransmitted => "our SYN-ACK is not answered".into(),
            };
            let owner =
                event.owner.map_or_else(String::new, |owner| format!("{}[{}] ", owner.comm(), owner.pid));
            println!("{:>9.3?} {owner}{} -> {}: {what}", event.duration, event.local, event.peer);
        }
    }
}
