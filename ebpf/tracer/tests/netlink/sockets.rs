//! Sockets that sock_diag finds, and those that it must not.

use std::{
    net::{Shutdown, SocketAddr},
    process,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use synscope_tracer::netlink::{
    Asker, Evidence, FourTuple, MAX_SOCKETS, TcpState, TimerKind, Twin, Unanswered,
    holder::{self, Budget},
};

use crate::{
    Test,
    lab::{Lab, OWN_V4, inode, tuple, until},
};

pub(crate) const TESTS: &[Test] = &[
    ("twin_of_an_established_connection", twin_of_an_established_connection),
    ("twin_of_a_v4_mapped_connection", twin_of_a_v4_mapped_connection),
    ("twin_in_fin_wait_2_after_shutdown", twin_in_fin_wait_2_after_shutdown),
    ("twin_in_fin_wait_2_that_nobody_holds", twin_in_fin_wait_2_that_nobody_holds),
    ("twin_known_by_its_peer_only", twin_known_by_its_peer_only),
    ("no_twin", no_twin),
    ("holder_of_a_socket", holder_of_a_socket),
    ("listener_and_its_backlog", listener_and_its_backlog),
    ("listener_is_chosen_as_for_a_syn", listener_is_chosen_as_for_a_syn),
    ("sockets_on_a_port", sockets_on_a_port),
    ("more_sockets_than_one_answer_holds", more_sockets_than_one_answer_holds),
];

fn twin(lab: &Lab, tuple: FourTuple) -> Result<Option<Twin>> {
    Ok(Asker::new().twin(lab.netns(), tuple)?)
}

fn twin_of_an_established_connection() -> Result<()> {
    let lab = Lab::new()?;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = lab.listen(address)?;
        let (client, server) = lab.pair(&listener)?;
        let twin = twin(&lab, tuple(&client, server.local_addr()?)?)?.context("no twin")?;
        assert_eq!(twin.evidence, Evidence::SameTuple);
        assert_eq!(twin.socket.state, TcpState::Established);
        assert_eq!(twin.socket.local, server.local_addr()?);
        assert_eq!(twin.socket.peer, client.local_addr()?);
        assert_eq!(twin.socket.inode, Some(inode(&server)?));
        assert_eq!(twin.socket.uid, 0);
    }
    Ok(())
}

fn twin_of_a_v4_mapped_connection() -> Result<()> {
    let lab = Lab::new()?;
    let listener = lab.listen("[::]:0")?;
    let port = listener.local_addr()?.port();
    let client = lab.connect(SocketAddr::new("127.0.0.1".parse()?, port))?;
    let (server, _) = listener.accept()?;
    ensure!(server.local_addr()?.ip().is_ipv6(), "the server's end is not v4-mapped");
    let mapped = SocketAddr::new("::ffff:127.0.0.1".parse()?, port);
    for destination in [client.peer_addr()?, mapped] {
        let twin = twin(&lab, tuple(&client, destination)?)?.context("no twin")?;
        assert_eq!(twin.socket.inode, Some(inode(&server)?));
        assert_eq!((twin.socket.local, twin.socket.peer), (client.peer_addr()?, client.local_addr()?));
    }
    let others = Asker::new().sockets_with_peer(lab.netns(), client.local_addr()?)?;
    assert_eq!(others.found.len(), 1, "{others:?}");
    Ok(())
}

fn twin_in_fin_wait_2_after_shutdown() -> Result<()> {
    let lab = Lab::new()?;
    let (client, server) = lab.pair(&lab.listen("127.0.0.1:0")?)?;
    server.shutdown(Shutdown::Write)?;
    let tuple = tuple(&client, server.local_addr()?)?;
    let twin = in_fin_wait_2(&lab, tuple)?;
    assert_eq!(twin.socket.state.to_string(), "FIN-WAIT-2");
    assert_eq!(twin.socket.inode, Some(inode(&server)?));
    Ok(())
}

fn twin_in_fin_wait_2_that_nobody_holds() -> Result<()> {
    let lab = Lab::new()?;
    let (client, server) = lab.pair(&lab.listen("127.0.0.1:0")?)?;
    let tuple = tuple(&client, server.local_addr()?)?;
    drop(server);
    let twin = in_fin_wait_2(&lab, tuple)?;
    assert_eq!(twin.socket.inode, None);
    let timer = twin.socket.timer.context("FIN-WAIT-2 without an end")?;
    // net.ipv4.tcp_fin_timeout is 60 s.
    ensure!(timer.kind == TimerKind::TimeWait || timer.kind == TimerKind::KeepAlive, "{timer:?}");
    ensure!((50..=60).contains(&timer.left.as_secs()), "{timer:?}");
    Ok(())
}

/// The twin once it is in FIN-WAIT-2.
fn in_fin_wait_2(lab: &Lab, tuple: FourTuple) -> Result<Twin> {
    until(|| twin(lab, tuple)?.context("no twin"), |twin| twin.socket.state == TcpState::FinWait2)
}

fn twin_known_by_its_peer_only() -> Result<()> {
    let lab = Lab::new()?;
    let listener = lab.listen("127.0.0.1:15001")?;
    let (client, server) = lab.pair(&listener)?;
    let (_bystander, _) = lab.pair(&listener)?;
    let (_same_port, _) =
        lab.pair_from(SocketAddr::new(OWN_V4.parse()?, client.local_addr()?.port()), &listener)?;
    // As the client of a translated connection sees it, of which nobody remembers the translation.
    let translated = tuple(&client, format!("{OWN_V4}:80").parse()?)?;
    let twin = twin(&lab, translated)?.context("no twin")?;
    assert_eq!(twin.evidence, Evidence::SameSource);
    assert_eq!(twin.socket.inode, Some(inode(&server)?));
    Ok(())
}

fn no_twin() -> Result<()> {
    let lab = Lab::new()?;
    let listener = lab.listen("127.0.0.1:0")?;
    let (client, server) = lab.pair(&listener)?;
    let other_source = FourTuple { source: "127.0.0.1:1".parse()?, destination: server.local_addr()? };
    assert_eq!(twin(&lab, other_source)?, None, "a listener is not a twin");
    assert_eq!(
        twin(&Lab::new()?, tuple(&client, server.local_addr()?)?)?,
        None,
        "it is in another namespace"
    );
    let itself = lab.connect_from("127.0.0.1:4242".parse()?, "127.0.0.1:4242".parse()?)?;
    assert_eq!(twin(&lab, tuple(&itself, itself.peer_addr()?)?)?, None, "it is connected to itself");
    Ok(())
}

fn holder_of_a_socket() -> Result<()> {
    let lab = Lab::new()?;
    let listener = lab.listen("127.0.0.1:0")?;
    let inode = inode(&listener)?;
    let budget = Budget { entries: usize::MAX, time: Duration::from_secs(10) };
    let found = holder::find(inode, budget)?.context("nobody holds it")?;
    assert_eq!(found.pid, process::id());
    assert_eq!(std::fs::read_to_string("/proc/self/comm")?.trim_end(), found.comm);
    let ended = Err(Unanswered::SearchEnded { entries: 1 });
    assert_eq!(holder::find(inode, Budget { entries: 1, ..budget }), ended);
    assert!(holder::find(inode, Budget { time: Duration::ZERO, ..budget }).is_err());
    drop(listener);
    until(|| Ok(holder::find(inode, budget)?), Option::is_none)?;
    Ok(())
}

fn listener_and_its_backlog() -> Result<()> {
    let lab = Lab::new()?;
    let socket = lab.listen_with_backlog("127.0.0.1:0", 2)?;
    let destination = socket.local_addr()?;
    let tuple = FourTuple { source: "127.0.0.1:9".parse()?, destination };
    let mut asker = Asker::new();
    let mut ask = || asker.listener(lab.netns(), tuple)?.context("no listener");
    let mut clients = vec![lab.connect(destination)?];
    let one = until(&mut ask, |listener| listener.queued == 1)?;
    assert_eq!((one.backlog, one.is_full()), (2, false));
    assert_eq!(one.socket.inode, Some(inode(&socket)?));
    assert_eq!(one.socket.local, destination);
    clients.extend([lab.connect(destination)?, lab.connect(destination)?]);
    let full = until(&mut ask, |listener| listener.queued == 3)?;
    assert!(full.is_full(), "{full:?}");
    drop(socket.accept()?);
    assert!(!until(&mut ask, |listener| listener.queued == 2)?.is_full());
    drop(socket);
    until(|| Ok(asker.listener(lab.netns(), tuple)?), Option::is_none)?;
    Ok(())
}

fn listener_is_chosen_as_for_a_syn() -> Result<()> {
    let lab = Lab::new()?;
    let exact = lab.listen("127.0.0.1:80")?;
    let own = lab.listen(&format!("{OWN_V4}:80"))?;
    let any = lab.listen("[::]:81")?;
    let (client, _server) = lab.pair(&exact)?;
    let mut asker = Asker::new();
    let mut taker = |source: SocketAddr, destination: &str| {
        let tuple = FourTuple { source, destination: destination.parse()? };
        let listener = asker.listener(lab.netns(), tuple)?;
        anyhow::Ok(listener.and_then(|listener| listener.socket.inode))
    };
    let elsewhere: SocketAddr = "127.0.0.1:9".parse()?;
    assert_eq!(taker(elsewhere, "127.0.0.1:80")?, Some(inode(&exact)?));
    assert_eq!(taker(elsewhere, &format!("{OWN_V4}:80"))?, Some(inode(&own)?));
    assert_eq!(taker(elsewhere, "127.0.0.1:81")?, Some(inode(&any)?), "[::] takes IPv4 too");
    assert_eq!(taker("[::1]:9".parse()?, "[::1]:81")?, Some(inode(&any)?));
    assert_eq!(taker("[::1]:9".parse()?, "[::1]:80")?, None);
    let behind = taker(client.local_addr()?, "127.0.0.1:80")?;
    assert_eq!(behind, Some(inode(&exact)?), "a connection hides its listener");
    Ok(())
}

fn sockets_on_a_port() -> Result<()> {
    let lab = Lab::new()?;
    let (client, server) = lab.pair(&lab.listen("127.0.0.1:0")?)?;
    let (_bystander, _) = lab.pair(&lab.listen("127.0.0.1:0")?)?;
    let port = client.local_addr()?.port();
    let mut asker = Asker::new();
    let mut states = || {
        let sockets = asker.sockets_on_port(lab.netns(), port)?;
        ensure!(sockets.complete && sockets.found.iter().all(|socket| socket.local.port() == port));
        Ok(sockets.found.iter().map(|socket| socket.state).collect::<Vec<_>>())
    };
    assert_eq!(states()?, [TcpState::Established]);
    let reused = lab.listen(&format!("{OWN_V4}:{port}"))?;
    assert_eq!(states()?, [TcpState::Listen, TcpState::Established]);
    // TIME-WAIT is for the end that closes first.
    client.shutdown(Shutdown::Write)?;
    drop((client, server, reused));
    until(states, |states| states == &[TcpState::TimeWait])?;
    Ok(())
}

fn more_sockets_than_one_answer_holds() -> Result<()> {
    let lab = Lab::new()?;
    // So many that their dump takes several packets: the kernel refuses another dump before the first is done.
    let many = 300;
    let listener = lab.listen_with_backlog("127.0.0.1:0", many)?;
    let address = listener.local_addr()?;
    let clients: Vec<_> = (0..many).map(|_| lab.connect(address)).collect::<Result<_>>()?;
    let mut asker = Asker::new();
    let sockets = asker.sockets_on_port(lab.netns(), address.port())?;
    assert_eq!((sockets.found.len(), sockets.complete), (MAX_SOCKETS, false));
    // What is left of that answer must not be taken for the next one.
    let port = clients[0].local_addr()?.port();
    let sockets = asker.sockets_on_port(lab.netns(), port)?;
    assert_eq!((sockets.found.len(), sockets.complete), (1, true), "{sockets:?}");
    Ok(())
}
