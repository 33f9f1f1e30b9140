//! The hub's numbers as JSON, for a page that draws them. Field names are stable; docs/admin.md lists them.

use serde_json::{Map, Value, json};

use super::{Limit, Memory, ShardSnapshot, Snapshot, Stage};
use crate::hub::{CloseReason, Histogram};

/// Everything counted: totals, histograms, and each shard for itself. Counters are raw; who wants rates asks twice.
pub fn stats(snapshot: &Snapshot) -> Value {
    let sum = snapshot.sum();
    let mut totals = numbers(&sum);
    totals.insert("connections".into(), snapshot.connections.into());
    totals.insert("history_events".into(), snapshot.history.0.into());
    totals.insert("history_bytes".into(), snapshot.history.1.into());
    totals.insert("committed".into(), snapshot.sequencer.events.into());
    totals.insert("sequencer_queue_bytes".into(), snapshot.sequencer.queued_bytes.into());
    totals.insert("denials".into(), snapshot.denials.into());
    totals.insert("counted_addresses".into(), snapshot.counted.0.into());
    totals.insert("counted_subjects".into(), snapshot.counted.1.into());
    let shards = snapshot.shards.iter().enumerate().map(|(index, shard)| {
        let mut numbers = numbers(shard);
        numbers.insert("shard".into(), index.into());
        numbers.insert("silent_ms".into(), snapshot.now_ms.saturating_sub(shard.at_ms).into());
        Value::Object(numbers)
    });
    json!({
        "version": snapshot.version,
        "driver": snapshot.driver,
        "started_ms": snapshot.started_ms,
        "uptime_ms": snapshot.now_ms,
        "stopping": snapshot.stage > Stage::Serving,
        "memory": memory(&snapshot.memory),
        "totals": totals,
        "histograms": {
            "publish_first_byte_us": histogram(&sum.latencies.first_byte),
            "publish_last_byte_us": histogram(&sum.latencies.last_byte),
            "loop_lag_us": histogram(&sum.loop_lag),
            "sequencer_batch_events": histogram(&snapshot.sequencer.batches),
        },
        "shards": shards.collect::<Vec<_>>(),
    })
}

fn numbers(shard: &ShardSnapshot) -> Map<String, Value> {
    let ShardSnapshot { counters, population, tally, .. } = shard;
    let disconnects =
        CloseReason::ALL.map(|reason| (reason.name().to_owned(), json!(counters.closed[reason as usize])));
    let disconnects = Map::from_iter(disconnects);
    let limited =
        Map::from_iter(Limit::ALL.map(|limit| (limit.name().to_owned(), json!(tally.limited[limit as usize]))));
    let by_class = |[client, server]: [u64; 2]| json!({"4xx": client, "5xx": server});
    let numbers = [
        ("publishes", json!(tally.published)),
        ("publish_refusals", by_class(tally.publishes_refused)),
        ("subscriptions", json!(counters.registered)),
        ("subscription_refusals", by_class(tally.subscriptions_refused)),
        ("disconnects", Value::Object(disconnects)),
        (
            "subscribers",
            json!({"current": population.current, "behind": population.behind, "closing": population.closing}),
        ),
        ("slow_readers", json!(shard.slow_readers)),
        ("request_connections", json!(shard.requests)),
        ("deliveries", json!(counters.deliveries)),
        ("sent_bytes", json!(counters.bytes)),
        ("sends", json!(counters.sends)),
        ("short_sends", json!(counters.short_sends)),
        ("heartbeats", json!(counters.heartbeats)),
        ("history_reads", json!(counters.history_reads)),
        ("verdict_cache_hits", json!(tally.verdict_hits)),
        ("token_checks", json!(tally.tokens_checked)),
        ("token_refusals", json!(tally.tokens_refused)),
        ("denied_requests", json!(tally.denied)),
        ("limit_refusals", Value::Object(limited)),
        ("accept_pauses", json!(tally.accept_pauses)),
        ("fan_out_lag_bytes", json!(shard.lag_bytes)),
        ("overloaded", json!(shard.overloaded)),
    ];
    numbers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is used and where its ceiling is, for what is known.
fn memory(memory: &Memory) -> Value {
    let parts = memory.known().map(|(part, it)| {
        let numbers = json!({"used_bytes": it.used_bytes, "ceiling_bytes": it.ceiling_bytes});
        (part.to_owned(), numbers)
    });
    let mut parts = Map::from_iter(parts);
    parts.insert("near_ceiling".into(), memory.near.into());
    Value::Object(parts)
}

/// `bounds` are upper bounds; `counts` has one entry more, for what is above the last of them.
fn histogram<const N: usize>(histogram: &Histogram<N>) -> Value {
    let bounds: Vec<u64> = histogram.buckets().filter_map(|(bound, _)| bound).collect();
    let counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
    json!({"bounds": bounds, "counts": counts, "count": histogram.count(), "sum": histogram.sum()})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages rely on these; a rename is a breaking change.
    #[test]
    fn the_field_names_are_those_of_the_documentation() {
        let page = include_str!("../../docs/admin.md");
        let snapshot = Snapshot { shards: vec![ShardSnapshot::default()], ..Snapshot::default() };
        let stats = stats(&snapshot);
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for name in [
            names(&stats),
            names(&stats["totals"]),
            names(&stats["memory"]),
            names(&stats["histograms"]),
            names(&stats["shards"][0]),
            names(&stats["histograms"]["loop_lag_us"]),
        ]
        .concat()
        {
            assert!(page.contains(&format!("`{name}`")), "docs/admin.md doesn't have `{name}`");
        }
    }

    #[test]
    fn totals_are_the_sum_of_the_shards() {
        let mut shard = ShardSnapshot::default();
        shard.counters.deliveries = 7;
        shard.loop_lag.record(80);
        let snapshot = Snapshot { shards: vec![shard.clone(), shard], now_ms: 50, ..Snapshot::default() };
        let stats = stats(&snapshot);
        assert_eq!((&stats["totals"]["deliveries"], &stats["shards"][1]["deliveries"]), (&json!(14), &json!(7)));
        assert_eq!(stats["shards"][1]["silent_ms"], 50);
        let lag = &stats["histograms"]["loop_lag_us"];
        assert_eq!((&lag["counts"][0], &lag["count"], &lag["sum"]), (&json!(2), &json!(2), &json!(160)));
        assert_eq!(lag["counts"].as_array().unwrap().len(), lag["bounds"].as_array().unwrap().len() + 1);
    }
}
