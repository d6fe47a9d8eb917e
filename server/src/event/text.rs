//! Events as text. Serde writes each quote, name and comma by itself, which is most of what an event costs; here are the
//! same bytes, in larger pieces.

use std::net::IpAddr;

use serde::Serialize;

use super::{Connect, Diagnosis, Endpoint, ErrorType, EventBody, Facts, Network, Tcp, UnixNano};

impl EventBody {
    /// Appends the event as JSON, with its number.
    pub(crate) fn write(&self, seq: u64, out: &mut Vec<u8>) {
        // Whatever an event gets one day is named here too, or this does not compile.
        let Self { time_unix_nano, event, attempt, facts } = self;
        let Facts { network, who, error, tcp: Tcp { connect }, diagnosis, found, related, stack } = facts;
        member(out, r#"{"seq":"#, &seq);
        time(out, r#","time_unix_nano":"#, *time_unix_nano);
        text(out, r#","event":"#, event.name());
        option(out, r#","attempt":"#, attempt.as_ref());
        network.write(out);
        push(out, r#","process":"#);
        push(out, who.json.get());
        members(out, &who.surroundings);
        if let Some(ErrorType { r#type }) = error {
            text(out, r#","error":{"type":"#, r#type);
            push(out, "}");
        }
        connect.write(out);
        if let Some(Diagnosis { summary, next }) = diagnosis {
            text(out, r#","diagnosis":{"summary":"#, summary);
            text(out, r#","next":"#, next);
            push(out, "}");
        }
        members(out, found);
        members(out, related);
        option(out, r#","stack":"#, stack.as_ref());
        push(out, "}");
    }
}

impl Network {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { transport, r#type, local, peer } = self;
        text(out, r#","network":{"transport":"#, transport);
        text(out, r#","type":"#, r#type);
        endpoint(out, r#","local":{"address":""#, *local);
        endpoint(out, r#","peer":{"address":""#, *peer);
        push(out, "}");
    }
}

impl Connect {
    fn write(&self, out: &mut Vec<u8>) {
        let Self {
            start_unix_nano,
            duration_ms,
            syn_retransmits,
            syn_unsent,
            stale_peer,
            challenges,
            cause,
            errno,
            soft_error,
            icmp,
            drop_reason,
        } = self;
        time(out, r#","tcp":{"connect":{"start_unix_nano":"#, *start_unix_nano);
        member(out, r#","duration_ms":"#, duration_ms);
        member(out, r#","syn_retransmits":"#, syn_retransmits);
        option(out, r#","syn_unsent":"#, Some(syn_unsent).filter(|count| **count > 0));
        member(out, r#","stale_peer":"#, stale_peer);
        member(out, r#","challenges":"#, challenges);
        option(out, r#","cause":"#, cause.as_ref());
        option(out, r#","errno":"#, errno.as_ref());
        option(out, r#","soft_error":"#, soft_error.as_ref());
        option(out, r#","icmp":"#, icmp.as_ref());
        option(out, r#","drop_reason":"#, drop_reason.as_ref());
        push(out, "}}");
    }
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    // Strings, numbers and maps with string keys always serialise, and into memory.
    let _ = serde_json::to_writer(out, value);
}

/// A member; all that stands before its value comes with the name.
fn member(out: &mut Vec<u8>, name: &str, value: &impl Serialize) {
    push(out, name);
    json(out, value);
}

/// A member that is absent when there is nothing to tell.
fn option(out: &mut Vec<u8>, name: &str, value: Option<&impl Serialize>) {
    if let Some(value) = value {
        member(out, name, value);
    }
}

/// The members of a struct, as members of the object that is being written.
fn members(out: &mut Vec<u8>, value: &impl Serialize) {
    let begin = out.len();
    json(out, value);
    out.pop();
    if out.len() > begin + 1 {
        out[begin] = b',';
    } else {
        out.truncate(begin);
    }
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    push(out, name);
    // Looked at as a whole, which takes a fraction of the time that looking for the first one does.
    let is_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if value.bytes().fold(false, |found, byte| found | is_escaped(byte)) {
        json(out, &value);
    } else {
        push(out, "\"");
        push(out, value);
        push(out, "\"");
    }
}

fn time(out: &mut Vec<u8>, name: &str, UnixNano(nanos): UnixNano) {
    push(out, name);
    push(out, "\"");
    json(out, &nanos);
    push(out, "\"");
}

fn endpoint(out: &mut Vec<u8>, name: &str, Endpoint { address, port }: Endpoint) {
    push(out, name);
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            json(out, &first);
            for octet in rest {
                member(out, ".", &octet);
            }
        }
        IpAddr::V6(address) => push(out, &address.to_string()),
    }
    member(out, r#"","port":"#, &port);
    push(out, "}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use synscope_tracer::{Cause, Event, EventKind, Failure, Icmp};

    use super::*;
    use crate::{
        event::{
            EventName, Found, FrameJson, Process, Related, Stack, Surroundings, Who, diagnosis::diagnose,
            origin::surroundings, relations::Relations, sample,
        },
        trace::Numbered,
    };

    /// An event of which as little is known as can be.
    fn bare() -> EventBody {
        let Event { local, peer, .. } = sample(EventKind::Started);
        let process = Process { netns: None, netns_name: None, caller: None };
        EventBody {
            time_unix_nano: UnixNano(0),
            event: EventName::SynAckRetransmit,
            attempt: None,
            facts: Facts {
                network: Network { transport: "tcp", r#type: "ipv4", local: local.into(), peer: peer.into() },
                who: Arc::new(Who::new(process, Surroundings::default())),
                error: None,
                tcp: Tcp {
                    connect: Connect {
                        start_unix_nano: UnixNano(u64::MAX),
                        duration_ms: 0.0,
                        syn_retransmits: 0,
                        syn_unsent: 0,
                        stale_peer: false,
                        challenges: 0,
                        cause: None,
                        errno: None,
                        soft_error: None,
                        icmp: None,
                        drop_reason: None,
                    },
                },
                diagnosis: None,
                found: Found::default(),
                related: Related::default(),
                stack: None,
            },
        }
    }

    /// One with whatever an event may have.
    fn full() -> EventBody {
        let failure = Failure { cause: Cause::ClosedByApp, errno: 110, soft_error: 113, icmp: None };
        let mut event = sample(EventKind::Failed(failure));
        event.owner.as_mut().unwrap().comm[..4].copy_from_slice(b"\"\\\n\xff");
        let mut relations = Relations::new();
        relations.relate(&mut Event { attempt: Some(9), ..event.clone() }, None);
        let related = relations.relate(&mut event, None);
        let process =
            Process { netns: Some(4_026_531_840), netns_name: Some("initial".into()), caller: None };
        let found = surroundings("/system.slice/ssh.service", None);
        let mut body = bare();
        (body.time_unix_nano, body.event, body.attempt) = (UnixNano(5), EventName::Failed, Some(1 << 60));
        let facts = &mut body.facts;
        facts.network.local = Endpoint { address: "2001:db8::1".parse().unwrap(), port: 65_535 };
        facts.who = Arc::new(Who::new(process, found));
        facts.error = Some(ErrorType { r#type: "ETIMEDOUT".into() });
        let connect = &mut facts.tcp.connect;
        (connect.duration_ms, connect.syn_retransmits, connect.syn_unsent) = (1234.567, 3, 2);
        (connect.stale_peer, connect.challenges, connect.cause) = (true, 4, Some("closed_by_app"));
        (connect.errno, connect.soft_error) = (Some(-1), Some("EHOSTUNREACH".into()));
        let sender = [192, 0, 2, 77].into();
        connect.icmp = Some(Icmp { sender, is_v6: false, kind: 3, code: 1 }.into());
        connect.drop_reason = Some("NETFILTER_DROP".into());
        (facts.diagnosis, facts.related) = (diagnose(&event), related);
        let frame = FrameJson {
            address: "0x1".into(),
            function: Some("operator\"\"".into()),
            offset: None,
            module: None,
            module_offset: None,
            build_id: None,
            file: None,
            line: None,
            inlined: true,
        };
        facts.stack = Some(Stack { user: vec![frame], kernel: Vec::new() });
        body
    }

    #[test]
    fn events_are_written_as_serde_writes_them() {
        for body in [bare(), full()] {
            let mut out = Vec::new();
            body.write(7, &mut out);
            let by_serde = serde_json::to_string(&Numbered { seq: 7, body: &body }).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), by_serde);
        }
    }
}
