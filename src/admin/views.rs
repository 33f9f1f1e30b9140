//! What surveys found, as JSON.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::hub::{Denials, Findings, StreamView};
use crate::protocol::coding::Coding;
use crate::protocol::matcher::Matcher;
use crate::protocol::token::NEVER_MS;

/// What one shard found, with the clients' addresses in the order of the streams.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The shard.
    pub shard: usize,
    /// What it found.
    pub findings: Findings,
    /// Where the streams come from.
    pub addresses: Vec<Option<IpAddr>>,
}

/// Streams of all shards, as they stand in the slabs.
pub fn streams(seen: &[Seen], limit: usize) -> Value {
    let rows = seen.iter().flat_map(rows).take(limit).map(|(_, row)| row);
    json!({"matched": matched(seen), "connections": rows.collect::<Vec<_>>()})
}

/// The slowest readers of all shards, those with most bytes before them first.
pub fn slow(seen: &[Seen], limit: usize) -> Value {
    let mut rows: Vec<_> = seen.iter().flat_map(rows).collect();
    rows.sort_by_key(|(view, _)| std::cmp::Reverse((view.bytes_behind, view.events_behind)));
    let rows = rows.into_iter().take(limit).map(|(_, row)| row);
    json!({"matched": matched(seen), "slow": rows.collect::<Vec<_>>()})
}

/// The matchers with the largest audiences. What is small on each shard may be missing; the rest is exact.
pub fn audiences(seen: &[Seen], limit: usize) -> Value {
    let mut audiences: HashMap<(&str, &str), u64> = HashMap::new();
    for (matcher, members) in seen.iter().flat_map(|seen| &seen.findings.audiences) {
        *audiences.entry((matcher.kind().name(), matcher.text())).or_default() += members;
    }
    let mut rows: Vec<_> = audiences.into_iter().collect();
    rows.sort_by(|(one, members), (other, more)| more.cmp(members).then(one.cmp(other)));
    let rows = rows
        .into_iter()
        .take(limit)
        .map(|((kind, text), subscribers)| json!({"match": text, "match_type": kind, "subscribers": subscribers}));
    json!({"topics": rows.collect::<Vec<_>>()})
}

/// The deny list.
pub fn denied(denials: &Denials, now_ms: u64) -> Value {
    let entries = denials.entries();
    let counting = entries.iter().filter(|(_, until_ms)| *until_ms > now_ms);
    let rows = counting.map(|(whom, until_ms)| json!({whom.kind(): whom.text(), "until_ms": until_ms}));
    json!({"denied": rows.collect::<Vec<_>>()})
}

fn matched(seen: &[Seen]) -> u64 {
    seen.iter().map(|seen| seen.findings.matched).sum()
}

fn rows(seen: &Seen) -> impl Iterator<Item = (&StreamView, Value)> {
    let addresses = seen.addresses.iter().chain(std::iter::repeat(&None));
    seen.findings.streams.iter().zip(addresses).map(|(view, address)| (view, row(seen.shard, view, *address)))
}

fn row(shard: usize, view: &StreamView, address: Option<IpAddr>) -> Value {
    let access = view.access.as_deref();
    let state = match (view.behind, view.blocked) {
        (false, _) => "current",
        (true, false) => "behind",
        (true, true) => "slow",
    };
    json!({
        "shard": shard,
        "slot": view.id.slot,
        "generation": view.id.generation,
        "state": state,
        "address": address.map(|address| address.to_string()),
        "iss": access.map(|access| &*access.issuer),
        "sub": access.and_then(|access| access.subject.as_deref()),
        "jti": access.and_then(|access| access.token_id.as_deref()),
        "expires_ms": access.map(|access| access.expires_at_ms).filter(|at_ms| *at_ms != NEVER_MS),
        "matchers": view.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "events_behind": view.events_behind,
        "bytes_behind": view.bytes_behind,
        "encoding": view.coding.map_or("identity", Coding::name),
        "silent_ms": view.silent_ms,
    })
}

fn matcher(matcher: &Matcher) -> Value {
    json!({"match": matcher.text(), "match_type": matcher.kind().name()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Denied, SlotId};
    use crate::protocol::matcher::MatchType;
    use crate::protocol::topic::HubUrl;

    fn seen(shard: usize, bytes: &[u64]) -> Seen {
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
        let matcher = Matcher::parse(MatchType::Exact, "urn:a", &hub).unwrap();
        let view = |(slot, &bytes_behind): (usize, &u64)| StreamView {
            id: SlotId { slot: slot as u32, generation: 3 },
            behind: bytes_behind > 0,
            blocked: bytes_behind > 1,
            access: None,
            matchers: vec![matcher.clone()],
            address: 0,
            events_behind: 1,
            bytes_behind,
            coding: Some(Coding::Gzip).filter(|_| bytes_behind == 0),
            silent_ms: 100,
        };
        let findings = Findings {
            streams: bytes.iter().enumerate().map(view).collect(),
            audiences: vec![(matcher.clone(), bytes.len() as u64)],
            matched: 10,
        };
        Seen { shard, findings, addresses: vec![Some(IpAddr::from([127, 0, 0, 1]))] }
    }

    #[test]
    fn the_slowest_of_all_shards_come_first() {
        let seen = [seen(0, &[5, 0]), seen(1, &[9, 1])];
        let slow = slow(&seen, 3);
        let bytes: Vec<_> = slow["slow"].as_array().unwrap().iter().map(|row| row["bytes_behind"].clone()).collect();
        assert_eq!((&slow["matched"], bytes), (&json!(20), vec![json!(9), json!(5), json!(1)]));
        assert_eq!((&slow["slow"][0]["shard"], &slow["slow"][0]["state"]), (&json!(1), &json!("slow")));
        assert_eq!(slow["slow"][0]["address"], "127.0.0.1");
        let streams = streams(&seen, 2);
        assert_eq!(
            (&streams["connections"][1]["state"], &streams["connections"][1]["address"]),
            (&json!("current"), &Value::Null)
        );
        assert_eq!(streams["connections"].as_array().unwrap().len(), 2);
        assert_eq!(
            (&streams["connections"][0]["encoding"], &streams["connections"][1]["encoding"]),
            (&json!("identity"), &json!("gzip"))
        );
    }

    #[test]
    fn audiences_of_all_shards_are_added() {
        let topics = audiences(&[seen(0, &[1, 2]), seen(1, &[1, 2, 3])], 5);
        assert_eq!(topics, json!({"topics": [{"match": "urn:a", "match_type": "exact", "subscribers": 5}]}));
    }

    #[test]
    fn denials_that_are_over_are_not_shown() {
        let mut denials = Denials::default();
        denials.deny(&Denied::Subject("eve".into()), 100).unwrap();
        denials.deny(&Denied::Topic("urn:a".into()), 50).unwrap();
        assert_eq!(denied(&denials, 50), json!({"denied": [{"sub": "eve", "until_ms": 100}]}));
    }
}
