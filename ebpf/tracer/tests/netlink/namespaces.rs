//! Getting into namespaces, staying out of them, and letting go of them.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use synscope_tracer::netlink::{Asker, FourTuple, MAX_OPEN, Netns, Unanswered};

use crate::{
    Test,
    lab::{Lab, inode},
};

pub(crate) const TESTS: &[Test] = &[
    ("namespace_is_found_without_a_process", namespace_is_found_without_a_process),
    ("process_in_another_namespace_misleads_nobody", process_in_another_namespace_misleads_nobody),
    ("asking_leaves_the_thread_where_it_is", asking_leaves_the_thread_where_it_is),
    ("namespace_that_is_gone", namespace_that_is_gone),
    ("open_sockets_are_bounded", open_sockets_are_bounded),
];

/// The port that every lab listens on: who answers tells which namespace was asked.
const PORT: u16 = 4000;

fn listening_inode(asker: &mut Asker, netns: Netns) -> Result<Option<u32>, Unanswered> {
    let destination = ([127, 0, 0, 1], PORT).into();
    let source = ([127, 0, 0, 1], 9).into();
    let listener = asker.listener(netns, FourTuple { source, destination })?;
    Ok(listener.and_then(|listener| listener.socket.inode))
}

fn namespace_is_found_without_a_process() -> Result<()> {
    let lab = Lab::new()?;
    let listener = lab.listen(&format!("127.0.0.1:{PORT}"))?;
    assert_eq!(listening_inode(&mut Asker::new(), lab.numbered())?, Some(inode(&listener)?));
    Ok(())
}

fn process_in_another_namespace_misleads_nobody() -> Result<()> {
    let (lab, other) = (Lab::new()?, Lab::new()?);
    let listener = lab.listen(&format!("127.0.0.1:{PORT}"))?;
    let _other = other.listen(&format!("127.0.0.1:{PORT}"))?;
    let misled = Netns { number: lab.numbered().number, seen: other.netns().seen };
    assert_eq!(listening_inode(&mut Asker::new(), misled)?, Some(inode(&listener)?));
    Ok(())
}

fn asking_leaves_the_thread_where_it_is() -> Result<()> {
    let lab = Lab::new()?;
    let own = || anyhow::Ok(fs::metadata("/proc/thread-self/ns/net")?.ino());
    let before = own()?;
    listening_inode(&mut Asker::new(), lab.netns())?;
    assert_eq!(own()?, before);
    ensure!(before != u64::from(lab.numbered().number));
    // The namespace of the thread itself needs no other thread.
    lab.inside(|| Ok(listening_inode(&mut Asker::new(), lab.numbered())?))?;
    Ok(())
}

fn namespace_that_is_gone() -> Result<()> {
    let gone = {
        let lab = Lab::new()?;
        lab.netns()
    };
    let mut asker = Asker::new();
    assert_eq!(listening_inode(&mut asker, gone), Err(Unanswered::NamespaceGone(gone.number)));
    // The search is not repeated for every attempt of a namespace that is gone.
    let start = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(listening_inode(&mut asker, gone), Err(Unanswered::NamespaceGone(gone.number)));
    }
    ensure!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
    assert_eq!(asker.open_sockets(), 0);
    Ok(())
}

fn open_sockets_are_bounded() -> Result<()> {
    let labs: Vec<Lab> = (0..=MAX_OPEN).map(|_| Lab::new()).collect::<Result<_>>()?;
    let listeners: Vec<_> = labs.iter().map(|lab| lab.listen("127.0.0.1:4000")).collect::<Result<_>>()?;
    let mut asker = Asker::new();
    for _ in 0..2 {
        for (lab, listener) in labs.iter().zip(&listeners) {
            assert_eq!(listening_inode(&mut asker, lab.netns())?, Some(inode(listener)?));
        }
        assert_eq!(asker.open_sockets(), MAX_OPEN);
    }
    let next = asker.close_idle().context("nothing is open")?;
    ensure!(next > Duration::from_secs(5), "everything was used just now, and {next:?} are left");
    Ok(())
}
