//! The ceiling of memory: new subscribers are refused before anything else suffers.

use super::{A, assert_refused, reload, reloadable};
use crate::admin::{metric, see};
use crate::harness::*;

/// A ceiling so near what the hub takes that some two thousand connections reach it, by what the kernel takes for them.
#[test]
fn near_its_ceiling_a_hub_refuses_new_subscribers_and_goes_on_with_all_else_until_there_is_room() {
    let hub = reloadable();
    let mut first = hub.subscribe(A);
    // What comes once with the first thousand connections is there before the ceiling is chosen.
    drop((0..1000).map(|_| hub.subscribe(A)).collect::<Vec<_>>());
    eventually("they are gone", || metric(&hub, "cinnabar_connections") == 1.0);
    let used = || metric(&hub, "cinnabar_memory_bytes{of=\"process\"}");
    let mut before = used();
    eventually("memory is what it was a moment ago", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = used();
        now <= std::mem::replace(&mut before, now)
    });
    let used = before;
    assert!(used > 0.0);
    // What was used before has to be below 85 % of it, with some room for what an allocator doesn't give back.
    let ceiling = (used * 1.06 + 6_000_000.0) / 0.9;
    reload(&hub, &format!("memory_max = {}", ceiling as u64));

    let mut streams = Vec::new();
    let refused = loop {
        match hub.try_subscribe(A, &[]) {
            Ok(stream) => streams.push(stream),
            Err(refused) => break refused,
        }
        assert!(streams.len() < 5000, "never refused");
    };
    assert!(!streams.is_empty());
    assert_refused(&refused, 503, "memory");
    hub.say("urn:a", "goes on");
    assert_eq!(first.data(), "goes on");
    assert!(streams.iter_mut().all(|stream| stream.data() == "goes on"));
    let ready = see(&hub, "/health/ready");
    assert!(ready["detail"].as_str().is_some_and(|detail| detail.contains("(process)")), "{ready}");
    assert_eq!(see(&hub, "/stats")["memory"]["near_ceiling"], "process");
    assert_eq!(metric(&hub, "cinnabar_memory_near_ceiling"), 1.0);
    assert_eq!(hub.request("GET", "/", &[]).status, 200);

    drop(streams);
    eventually("there is room again", || hub.subscribe_status(A, &[]) == 200);
    assert_eq!(see(&hub, "/stats")["memory"]["near_ceiling"], serde_json::Value::Null);
    assert!(metric(&hub, "cinnabar_limit_refusals_total{limit=\"memory\"}") >= 1.0);
    let log = hub.log();
    assert!(log.contains("memory is near its ceiling") && log.contains("memory is below its ceiling again"), "{log}");
}
