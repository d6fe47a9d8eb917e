//! Events and attempts read by request.

use anyhow::{Result, ensure};

use super::expect::{only, refuse};
use crate::harness::{Json, Lab, Netns, Trace};

super::scenarios!["paging":
    events_page_by_page_are_the_whole,
    events_as_ndjson_are_the_same_events,
    attempts_newest_first_page_by_page,
];

const CONNECTS: usize = 5;

/// A trace that has told [`CONNECTS`] refused connects.
fn refusals(lab: &Lab, netns: &Netns) -> Result<Trace> {
    let mut trace = lab.trace(&only(netns))?;
    for _ in 0..CONNECTS {
        refuse(netns, "paging", "127.0.0.1:81")?;
    }
    for _ in 0..CONNECTS {
        trace.expect("connect.failed")?;
    }
    Ok(trace)
}

fn events_page_by_page_are_the_whole(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = refusals(lab, &netns)?;
    let (mut after, mut paged) = (0, Vec::new());
    loop {
        let path = trace.path(&format!("/events?after={after}&limit=2"));
        let page = trace.api().get(&path)?.expect(200)?;
        page.is("/first_seq", 1)?;
        let events = page.list("/events")?;
        ensure!(events.len() <= 2, "a page longer than its limit: {}", page.0);
        if events.is_empty() {
            break;
        }
        paged.extend(events);
        after = page.count("/next_after")?;
    }
    ensure!(paged == trace.told(), "pages and stream differ:\n{paged:?}\n{:?}", trace.told());
    ensure!(trace.events()? == paged, "one page and many differ");
    Ok(())
}

fn events_as_ndjson_are_the_same_events(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = refusals(lab, &netns)?;
    let accept = [("accept", "application/x-ndjson")];
    let reply = trace.api().send("GET", &trace.path("/events"), &accept, None)?;
    ensure!(reply.status == 200 && reply.content_type.starts_with(accept[0].1), "{reply:?}");
    let lines = reply.body.lines().map(|line| Ok(Json(serde_json::from_str(line)?)));
    ensure!(lines.collect::<Result<Vec<_>>>()? == trace.told(), "lines differ: {}", reply.body);
    Ok(())
}

fn attempts_newest_first_page_by_page(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = refusals(lab, &netns)?;
    let (mut query, mut attempts) = ("?limit=2".to_owned(), Vec::new());
    loop {
        let page = trace.api().get(&trace.path(&format!("/attempts{query}")))?.expect(200)?;
        attempts.extend(page.list("/attempts")?);
        if page.is("/next_before", serde_json::Value::Null).is_ok() {
            break;
        }
        let cursor = page.at("/next_before").to_string();
        query = format!("?limit=2&before={}", cursor.trim_matches('"'));
    }
    ensure!(attempts.len() == CONNECTS, "{} attempts in {attempts:?}", attempts.len());
    for (attempt, event) in attempts.iter().zip(trace.told().iter().rev()) {
        attempt.is("/state", "failed")?.is("/last_seq", event.count("/seq")?)?;
        for member in ["/attempt", "/network", "/process", "/error", "/tcp/connect/cause"] {
            attempt.is(member, event.at(member).clone())?;
        }
    }
    Ok(())
}
