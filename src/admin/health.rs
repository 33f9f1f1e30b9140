//! Whether the hub is well: ready to take clients, and alive at all.

use serde_json::json;

use super::{Reply, Snapshot, Stage};

/// A thread that hasn't said anything for so long makes the hub unready.
pub const READY_MS: u64 = 3_000;
/// A shard that hasn't said anything for so long is taken for stuck: only a restart helps.
pub const LIVE_MS: u64 = 10_000;

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Whether clients may be sent here.
    Ready,
    /// Whether the process is to be left running.
    Live,
}

impl Health {
    /// Why not; `None`: it is well.
    pub fn trouble(self, snapshot: &Snapshot) -> Option<String> {
        let silent = |at_ms: u64| snapshot.now_ms.saturating_sub(at_ms);
        let limit_ms = match self {
            Health::Ready => READY_MS,
            Health::Live => LIVE_MS,
        };
        if self == Health::Ready {
            match snapshot.stage {
                Stage::Serving => {}
                Stage::Leaving => return Some("the hub is about to stop".to_owned()),
                Stage::Draining => return Some("the hub is draining".to_owned()),
                Stage::Stopping => return Some("the hub is stopping".to_owned()),
            }
        }
        // A stopping shard ends its loop: nothing is to be heard of it any more.
        let mut shards = snapshot.shards.iter().enumerate().filter(|_| snapshot.stage < Stage::Stopping);
        if let Some((index, shard)) = shards.find(|(_, shard)| silent(shard.at_ms) > limit_ms) {
            return Some(format!("the loop of shard {index} has been stuck for {} ms", silent(shard.at_ms)));
        }
        if let (Health::Ready, Some(why)) = (self, &snapshot.sequencer.trouble) {
            return Some(format!("updates can't be stored: {why}"));
        }
        let engine = snapshot.cluster.as_ref().and_then(|cluster| cluster.trouble.as_ref());
        if let (Health::Ready, Some(why)) = (self, engine) {
            return Some(format!("the engine of the cluster doesn't answer: {why}"));
        }
        let sequencer_ms = silent(snapshot.sequencer.at_ms);
        (self == Health::Ready && sequencer_ms > limit_ms)
            .then(|| format!("the sequencer has been stuck for {sequencer_ms} ms"))
    }

    /// 200, or 503 with the reason.
    pub fn reply(self, snapshot: &Snapshot) -> Reply {
        match self.trouble(snapshot) {
            None => match snapshot.memory.near.filter(|_| self == Health::Ready) {
                None => Reply::json(&json!({"status": "ok"})),
                // Streams and publishes go on, so the hub stays where it is; whoever balances by this can see it.
                Some(what) => Reply::json(&json!({
                    "status": "ok",
                    "detail": format!("memory is near its ceiling ({what}): new subscribers are refused"),
                })),
            },
            Some(why) => Reply::json(&json!({"status": "error", "error": why})).with_status(503),
        }
        .with_field("Cache-Control", "no-store")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Clustering, Sequencing, ShardSnapshot};
    use super::*;

    fn snapshot(shard_ms: u64, sequencer_ms: u64) -> Snapshot {
        let shard = |at_ms| ShardSnapshot { at_ms, ..ShardSnapshot::default() };
        Snapshot {
            now_ms: 100_000,
            shards: vec![shard(99_990), shard(shard_ms)],
            sequencer: Sequencing { at_ms: sequencer_ms, ..Sequencing::default() },
            ..Snapshot::default()
        }
    }

    fn states(snapshot: &Snapshot) -> [bool; 2] {
        [Health::Ready, Health::Live].map(|health| health.trouble(snapshot).is_none())
    }

    #[test]
    fn a_silent_shard_makes_the_hub_unready_and_later_dead() {
        assert_eq!(states(&snapshot(99_000, 99_000)), [true, true]);
        assert_eq!(states(&snapshot(96_000, 99_000)), [false, true]);
        assert_eq!(states(&snapshot(89_000, 99_000)), [false, false]);
        let why = Health::Ready.trouble(&snapshot(96_000, 99_000));
        assert_eq!(why.as_deref(), Some("the loop of shard 1 has been stuck for 4000 ms"));
    }

    #[test]
    fn a_hub_short_of_memory_stays_ready_and_says_so() {
        let mut short = snapshot(99_000, 99_000);
        short.memory.near = Some("group");
        let body = |health: Health| String::from_utf8(health.reply(&short).body).unwrap();
        assert!(body(Health::Ready).contains("memory is near its ceiling (group)"), "{}", body(Health::Ready));
        assert_eq!((states(&short), body(Health::Live).as_str()), ([true, true], "{\"status\":\"ok\"}\n"));
    }

    #[test]
    fn a_stuck_sequencer_makes_the_hub_unready_only() {
        assert_eq!(states(&snapshot(99_000, 10_000)), [false, true]);
    }

    #[test]
    fn a_hub_that_cannot_store_updates_is_alive_and_not_ready() {
        let mut full = snapshot(99_000, 99_000);
        full.sequencer.trouble = Some("no space left on device".to_owned());
        assert_eq!(states(&full), [false, true]);
        let why = Health::Ready.trouble(&full);
        assert_eq!(why.as_deref(), Some("updates can't be stored: no space left on device"));
    }

    #[test]
    fn a_hub_whose_cluster_is_out_of_reach_is_alive_and_not_ready() {
        let trouble = Some("redis://r: connection refused".to_owned());
        let alone =
            Snapshot { cluster: Some(Clustering { trouble, ..Clustering::default() }), ..snapshot(99_000, 99_000) };
        assert_eq!(states(&alone), [false, true]);
        let joined = Snapshot { cluster: Some(Clustering::default()), ..alone };
        assert_eq!(states(&joined), [true, true]);
    }

    #[test]
    fn a_stopping_hub_is_alive_and_not_ready() {
        let stopping = Snapshot { stage: Stage::Stopping, ..snapshot(10_000, 10_000) };
        assert_eq!(states(&stopping), [false, true]);
        let reply = Health::Ready.reply(&stopping);
        let body = String::from_utf8(reply.body).unwrap();
        assert_eq!((reply.status, body.as_str()), (503, "{\"error\":\"the hub is stopping\",\"status\":\"error\"}\n"));
        assert_eq!(Health::Live.reply(&stopping).body, b"{\"status\":\"ok\"}\n");
        for stage in [Stage::Leaving, Stage::Draining] {
            assert_eq!(states(&Snapshot { stage, ..snapshot(99_000, 99_000) }), [false, true], "{stage:?}");
            assert_eq!(states(&Snapshot { stage, ..snapshot(10_000, 99_000) }), [false, false], "a drain is no excuse");
        }
    }
}
