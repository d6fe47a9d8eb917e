//! Filters: each trace must tell what matches, and nothing that was made just before it.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::expect::refuse;
use crate::harness::{Actor, Json, Lab, Netns};

super::scenarios!["filters":
    by_process,
    by_thread_name,
    by_user,
    by_network_namespace,
    by_family (needs IPV6),
    by_peer_network,
    by_ipv6_peer_network (needs IPV6),
    by_several_peers,
    by_peer_port,
    by_port_range_and_list,
    by_local_port,
    all_of_several_must_match,
];

/// A refused connect of another process takes this long at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the connects that `filter` must hide, then the one it must show, and returns what was told.
fn told(
    lab: &Lab,
    netns: &Netns,
    filter: &Value,
    hidden: impl FnOnce() -> Result<()>,
    shown: impl FnOnce() -> Result<()>,
) -> Result<Json> {
    let mut filter = filter.clone();
    // Without the namespace, other scenarios' connects would be told as well.
    if filter.get("netns").is_none() {
        filter["netns"] = json!(netns.inode());
    }
    let mut trace = lab.trace(&json!({"filter": filter, "stacks": false}))?;
    hidden()?;
    shown()?;
    trace.expect("connect.failed")
}

/// As [`told`], where only the peer differs.
fn told_peer(lab: &Lab, filter: &Value, hidden: &[&str], shown: &str) -> Result<()> {
    let netns = Netns::new()?;
    let connect = |peer: &str| refuse(&netns, "filters", peer).map(drop);
    let hide = || hidden.iter().try_for_each(|peer| connect(peer));
    let event = told(lab, &netns, filter, hide, || connect(shown))?;
    let shown: std::net::SocketAddr = shown.parse()?;
    event.is("/network/peer/address", shown.ip().to_string())?;
    event.is("/network/peer/port", shown.port())?;
    Ok(())
}

fn by_process(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let filter = json!({"pid": std::process::id()});
    let other = || Actor::connect(&netns, "other", "127.0.0.1:81", PATIENCE)?.wait();
    let event = told(lab, &netns, &filter, other, || refuse(&netns, "own", "127.0.0.1:81").map(drop))?;
    event.is("/process/pid", std::process::id())?.is("/process/comm", "own")?;
    Ok(())
}

fn by_thread_name(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let connect = |comm: &str| refuse(&netns, comm, "127.0.0.1:81").map(drop);
    let filter = json!({"comm": ["fifteen-letters", "unused"]});
    let hidden = || connect("fifteen-letter").and_then(|()| connect("unuse"));
    let event = told(lab, &netns, &filter, hidden, || connect("fifteen-letters"))?;
    event.is("/process/comm", "fifteen-letters")?;
    Ok(())
}

fn by_user(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let connect = |uid: u32| Actor::connect_as(uid, &netns, "127.0.0.1:81", PATIENCE)?.wait();
    let event = told(lab, &netns, &json!({"uid": 4711}), || connect(4712), || connect(4711))?;
    event.is("/process/user/id", 4711)?;
    Ok(())
}

fn by_network_namespace(lab: &Lab) -> Result<()> {
    let (netns, other) = (Netns::new()?, Netns::new()?);
    let connect = |netns: &Netns| refuse(netns, "filters", "127.0.0.1:81").map(drop);
    let filter = json!({"netns": [netns.inode()]});
    let event = told(lab, &netns, &filter, || connect(&other), || connect(&netns))?;
    event.is("/process/netns", netns.inode())?;
    Ok(())
}

fn by_family(lab: &Lab) -> Result<()> {
    told_peer(lab, &json!({"family": "ipv4"}), &["[::1]:81"], "127.0.0.1:81")?;
    told_peer(lab, &json!({"family": "ipv6"}), &["127.0.0.1:81"], "[::1]:81")
}

fn by_peer_network(lab: &Lab) -> Result<()> {
    told_peer(lab, &json!({"peer": "127.1.0.0/16"}), &["127.2.0.1:81", "127.0.255.255:81"], "127.1.2.3:81")
}

fn by_ipv6_peer_network(lab: &Lab) -> Result<()> {
    let hidden = ["[::1]:81", "127.0.0.1:81"];
    told_peer(lab, &json!({"peer": "fd00:99::/32"}), &hidden, "[fd00:99::1]:81")
}

fn by_several_peers(lab: &Lab) -> Result<()> {
    let filter = json!({"peer": ["127.1.0.0/16", "127.3.3.3"]});
    told_peer(lab, &filter, &["127.2.0.1:81", "127.3.3.4:81"], "127.3.3.3:81")
}

fn by_peer_port(lab: &Lab) -> Result<()> {
    told_peer(lab, &json!({"peer_port": 81}), &["127.0.0.1:80", "127.0.0.1:82"], "127.0.0.1:81")
}

fn by_port_range_and_list(lab: &Lab) -> Result<()> {
    let filter = json!({"peer_port": ["8000-8009", 9000]});
    let hidden = ["127.0.0.1:7999", "127.0.0.1:8010", "127.0.0.1:9001"];
    told_peer(lab, &filter, &hidden, "127.0.0.1:8009")?;
    told_peer(lab, &filter, &hidden, "127.0.0.1:9000")
}

fn by_local_port(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let connect_from = |ports: &str| {
        netns.sysctl("ipv4/ip_local_port_range", ports)?;
        refuse(&netns, "filters", "127.0.0.1:81").map(drop)
    };
    let filter = json!({"local_port": "45000-45009"});
    let hidden = || connect_from("46000 46009");
    let event = told(lab, &netns, &filter, hidden, || connect_from("45000 45009"))?;
    event.within("/network/local/port", 45000.0..=45009.0)?;
    Ok(())
}

fn all_of_several_must_match(lab: &Lab) -> Result<()> {
    let filter = json!({"peer": "127.1.0.0/16", "peer_port": 81, "family": "ipv4"});
    told_peer(lab, &filter, &["127.1.0.1:82", "127.2.0.1:81"], "127.1.0.1:81")
}
