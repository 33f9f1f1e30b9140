//! Who is subscribed where, and which hub lives: three buckets.
//!
//! A lease is an entry of a bucket whose entries age: while it is there, its hub lives, by the server's clock. A hub is known as long as it
//! has an entry `hub.HUB` in the bucket of members, which doesn't age. Who takes part in a race brings the number of the message
//! he has seen, and JetStream lets one of them win.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::connections::Ask;
use super::consumer::Consumer;
use super::jetstream::{self, Fault, Stored};
use super::{AGE_MIN_MS, CALL_TIMEOUT, Nats, OPEN_PAUSE, OPEN_TRIES_MAX, hex, locked};
use crate::cluster::{EngineError, Member, NodeId, Subscriber, fresh};

/// Subscribers noted or forgotten at once.
const PIECE: usize = 1_000;

/// How often a hub may lose a race against others for its own lease.
const RENEW_TRIES_MAX: usize = 3;

/// Bytes of a page of subscribers.
const PAGE_BYTES: usize = 8 << 20;

/// What a lease says: its hub is coming, and knows nothing of it yet; or it has been told.
const JOINING: &[u8] = b"0";
const KNOWN: &[u8] = b"1";

/// Buckets whose entries age.
#[derive(Clone, Copy)]
enum Aging {
    Leases,
    Claims,
}

impl Nats {
    fn members_bucket(&self) -> String {
        format!("{}_members", self.name)
    }

    fn aging_bucket(&self, which: Aging) -> String {
        let what = match which {
            Aging::Leases => "leases",
            Aging::Claims => "claims",
        };
        format!("{}_{what}", self.name)
    }

    /// Sees to it that a bucket is there and its entries age as they should.
    async fn bucket(&self, bucket: &str, age: Duration) -> Result<(), EngineError> {
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let stream = format!("KV_{bucket}");
        if let Some(info) = self.info(&stream).await? {
            if info["config"]["max_age"].as_u64().unwrap_or_default() == age {
                return Ok(());
            }
            let mut config = info["config"].clone();
            config["max_age"] = age.into();
            config["duplicate_window"] = age.min(120_000_000_000).into();
            let updated = self.api(&format!("STREAM.UPDATE.{stream}"), &config).await?;
            return updated.map(|_| ()).map_err(|fault| self.explained(&fault));
        }
        let mut config = json!({
            "name": stream,
            "subjects": [format!("$KV.{bucket}.>")],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msgs_per_subject": 1,
            "max_age": age,
            "allow_rollup_hdrs": true,
            "num_replicas": self.replicas().await?,
        });
        if age > 0 {
            config["duplicate_window"] = age.min(120_000_000_000).into();
        }
        match self.api(&format!("STREAM.CREATE.{stream}"), &config).await? {
            Ok(_) | Err(Fault { code: jetstream::NAME_IN_USE, .. }) => Ok(()),
            Err(fault) => Err(self.explained(&fault)),
        }
    }

    async fn aging(&self, which: Aging, age: Duration) -> Result<(), EngineError> {
        let age = age.max(Duration::from_millis(AGE_MIN_MS));
        if locked(&self.ages)[which as usize] != Some(age) {
            self.bucket(&self.aging_bucket(which), age).await?;
            locked(&self.ages)[which as usize] = Some(age);
        }
        Ok(())
    }

    /// Finds or makes the key of a log.
    pub(super) async fn open_id_key(&self, log: &[u8; 16]) -> Result<[u8; 32], EngineError> {
        let bucket = self.members_bucket();
        self.bucket(&bucket, Duration::ZERO).await?;
        let key = format!("log.{}", hex(log));
        let made = fresh::identity()?.id_key;
        for _ in 0..OPEN_TRIES_MAX {
            if let Put::Stored = self.put(&bucket, &key, Some(0), Bytes::copy_from_slice(&made)).await? {
                return Ok(made);
            }
            if let Some(kept) = self.last(&bucket, &key).await? {
                return kept.value.try_into().map_err(|_| self.odd("an id key"));
            }
            // Another hub is just making the bucket.
            tokio::time::sleep(OPEN_PAUSE).await;
        }
        Err(self.odd("an id key"))
    }

    /// Stores a value, if the newest message of its key is the one expected.
    async fn put(&self, bucket: &str, key: &str, expected: Option<u64>, value: Bytes) -> Result<Put, EngineError> {
        let ask = Ask { subject: format!("$KV.{bucket}.{key}"), expected, payload: value };
        let answer = self.connections.ask(CALL_TIMEOUT, ask).await?;
        match jetstream::read(&answer)? {
            None => Ok(Put::NoBucket),
            Some(Ok(_)) => Ok(Put::Stored),
            Some(Err(Fault { code: jetstream::WRONG_LAST, .. })) => Ok(Put::Lost),
            Some(Err(fault)) => Err(self.explained(&fault)),
        }
    }

    /// The newest message of a key, asked of the server that stores first.
    async fn last(&self, bucket: &str, key: &str) -> Result<Option<Stored>, EngineError> {
        self.message(&format!("KV_{bucket}"), &json!({ "last_by_subj": format!("$KV.{bucket}.{key}") })).await
    }

    /// Removes keys, without a trace of them.
    async fn purge(&self, bucket: &str, keys: &[String]) -> Result<(), EngineError> {
        for piece in keys.chunks(PIECE) {
            let asks = piece.iter().map(|key| Ask {
                subject: format!("$JS.API.STREAM.PURGE.KV_{bucket}"),
                expected: None,
                payload: jetstream::text(&json!({ "filter": format!("$KV.{bucket}.{key}") })),
            });
            for answer in self.connections.ask_all(CALL_TIMEOUT * 2, asks.collect()).await {
                match jetstream::read(&answer?)? {
                    None | Some(Ok(_)) | Some(Err(Fault { code: jetstream::STREAM_NOT_FOUND, .. })) => {}
                    Some(Err(fault)) => return Err(self.explained(&fault)),
                }
            }
        }
        Ok(())
    }

    /// Hubs that a bucket has keys of.
    async fn hubs(&self, bucket: &str) -> Result<Vec<NodeId>, EngineError> {
        let prefix = format!("$KV.{bucket}.hub.");
        let request = json!({ "subjects_filter": format!("{prefix}*") });
        let info = match self.api(&format!("STREAM.INFO.KV_{bucket}"), &request).await? {
            Ok(info) => info,
            Err(Fault { code: jetstream::STREAM_NOT_FOUND, .. }) => return Ok(Vec::new()),
            Err(fault) => return Err(self.explained(&fault)),
        };
        let subjects = info["state"]["subjects"].as_object();
        let hub = |subject: &String| subject.strip_prefix(&prefix).and_then(node);
        let mut hubs: Vec<_> = subjects.into_iter().flatten().filter_map(|(subject, _)| hub(subject)).collect();
        hubs.sort_unstable_by_key(|hub| hub.0);
        Ok(hubs)
    }

    async fn alive(&self, hub: NodeId) -> Result<Option<Stored>, EngineError> {
        self.last(&self.aging_bucket(Aging::Leases), &format!("hub.{}", hex(&hub.0))).await
    }

    pub(super) async fn presence_renew(&self, hub: NodeId, lease: Duration) -> Result<bool, EngineError> {
        let (leases, members, key) =
            (self.aging_bucket(Aging::Leases), self.members_bucket(), format!("hub.{}", hex(&hub.0)));
        for _ in 0..RENEW_TRIES_MAX {
            self.aging(Aging::Leases, lease).await?;
            let found = self.alive(hub).await?;
            let known = found.as_ref().is_some_and(|found| found.value == KNOWN);
            let first = Bytes::from_static(if known { KNOWN } else { JOINING });
            // First the lease: who buries looks for the hub, then for its lease, and removes the entry of the hub that it has seen.
            match self.put(&leases, &key, Some(found.map_or(0, |found| found.sequence)), first).await? {
                Put::Stored if known => return Ok(true),
                Put::Stored => {}
                Put::Lost => continue,
                Put::NoBucket => {
                    *locked(&self.ages) = [None; 2];
                    continue;
                }
            }
            if let Put::NoBucket = self.put(&members, &key, None, Bytes::new()).await? {
                self.bucket(&members, Duration::ZERO).await?;
                self.put(&members, &key, None, Bytes::new()).await?;
            }
            self.purge(&members, &[format!("at.{}.*", hex(&hub.0))]).await?;
            self.purge(&self.aging_bucket(Aging::Claims), std::slice::from_ref(&key)).await?;
            self.put(&leases, &key, None, Bytes::from_static(KNOWN)).await?;
            return Ok(false);
        }
        Err(EngineError::Unavailable(format!("{:?}: the lease of this hub comes and goes", self.connections)))
    }

    pub(super) async fn presence_enter(&self, hub: NodeId, subscribers: &[Subscriber]) -> Result<(), EngineError> {
        let bucket = self.members_bucket();
        for piece in subscribers.chunks(PIECE) {
            let asks = piece.iter().map(|subscriber| Ask {
                subject: format!("$KV.{bucket}.{}", place(hub, &subscriber.id)),
                expected: None,
                payload: written(hub, subscriber),
            });
            for answer in self.connections.ask_all(CALL_TIMEOUT * 2, asks.collect()).await {
                if let Some(Err(fault)) = jetstream::read(&answer?)? {
                    return Err(self.explained(&fault));
                }
            }
            // Of a hub that was taken for dead nothing is noted: it learns so when it renews, and enters all of them again.
            if self.alive(hub).await?.is_none() {
                let keys: Vec<_> = piece.iter().map(|subscriber| place(hub, &subscriber.id)).collect();
                return self.purge(&bucket, &keys).await;
            }
        }
        Ok(())
    }

    pub(super) async fn presence_leave(&self, hub: NodeId, subscribers: &[String]) -> Result<(), EngineError> {
        let keys: Vec<_> = subscribers.iter().map(|id| place(hub, id)).collect();
        self.purge(&self.members_bucket(), &keys).await
    }

    /// Subscribers after a number, and that of the last one.
    async fn page(&self, key: &str, after: u64, count: usize) -> Result<(Vec<Member>, u64, bool), EngineError> {
        let bucket = self.members_bucket();
        let filter = format!("$KV.{bucket}.{key}");
        let Some(mut consumer) = Consumer::create(self, &format!("KV_{bucket}"), &filter, after + 1).await? else {
            return Ok((Vec::new(), after, true));
        };
        let (mut members, mut last) = (Vec::new(), after);
        while consumer.pending > 0 && members.len() < count {
            let some = consumer.next(&self.connections, count - members.len(), PAGE_BYTES, None).await?;
            let Some(some) = some.filter(|some| !some.is_empty()) else { break };
            for (sequence, value) in some {
                last = sequence;
                members.extend(member(&value));
            }
        }
        let end = consumer.pending == 0;
        consumer.delete(&self.connections).await;
        Ok((members, last, end))
    }

    pub(super) async fn presence_members(
        &self,
        cursor: &str,
        count: usize,
    ) -> Result<(Vec<Member>, String), EngineError> {
        let after = if cursor.is_empty() { 0 } else { cursor.parse().map_err(|_| self.odd("a cursor"))? };
        let (members, last, end) = self.page("at.*.*", after, count).await?;
        Ok((members, if end { String::new() } else { last.to_string() }))
    }

    pub(super) async fn presence_member(&self, id: &str) -> Result<Option<Member>, EngineError> {
        let bucket = self.members_bucket();
        let subject = format!("$KV.{bucket}.at.*.{}", hex(&fresh::id_digest(id)));
        let found = self.message(&format!("KV_{bucket}"), &json!({ "seq": 1, "next_by_subj": subject })).await?;
        Ok(found.and_then(|found| member(&found.value)).filter(|member| member.subscriber.id == id))
    }

    pub(super) async fn presence_claim(&self, hub: NodeId, lease: Duration) -> Result<Option<NodeId>, EngineError> {
        let (leases, claims) = (self.aging_bucket(Aging::Leases), self.aging_bucket(Aging::Claims));
        let known = self.hubs(&self.members_bucket()).await?;
        if known.iter().all(|known| *known == hub) {
            return Ok(None);
        }
        let alive = self.hubs(&leases).await?;
        let dead: Vec<_> = known.into_iter().filter(|known| *known != hub && !alive.contains(known)).collect();
        if dead.is_empty() {
            return Ok(None);
        }
        self.aging(Aging::Claims, lease).await?;
        let claimed = self.hubs(&claims).await?;
        for dead in dead.into_iter().filter(|dead| !claimed.contains(dead)) {
            match self.put(&claims, &format!("hub.{}", hex(&dead.0)), Some(0), Bytes::copy_from_slice(&hub.0)).await? {
                Put::Stored => return Ok(Some(dead)),
                Put::Lost => {}
                Put::NoBucket => {
                    *locked(&self.ages) = [None; 2];
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    pub(super) async fn presence_left(&self, dead: NodeId, count: usize) -> Result<Vec<Subscriber>, EngineError> {
        let (members, _, _) = self.page(&format!("at.{}.*", hex(&dead.0)), 0, count).await?;
        Ok(members.into_iter().map(|member| member.subscriber).collect())
    }

    pub(super) async fn presence_bury(&self, dead: NodeId) -> Result<(), EngineError> {
        let (bucket, key) = (self.members_bucket(), format!("hub.{}", hex(&dead.0)));
        let Some(seen) = self.last(&bucket, &key).await? else { return Ok(()) };
        if self.alive(dead).await?.is_some() {
            return Ok(());
        }
        let subject = format!("$KV.{bucket}.at.{}.*", hex(&dead.0));
        if self.message(&format!("KV_{bucket}"), &json!({ "seq": 1, "next_by_subj": subject })).await?.is_some() {
            return Ok(());
        }
        // That very message: a hub that has come back meanwhile has written another one.
        let request = json!({ "seq": seen.sequence, "no_erase": true });
        let _ = self.api(&format!("STREAM.MSG.DELETE.KV_{bucket}"), &request).await?;
        self.purge(&self.aging_bucket(Aging::Claims), &[key]).await
    }
}

/// What became of a value.
enum Put {
    Stored,
    /// Somebody else was first.
    Lost,
    /// There is no bucket: the server has been emptied, or nobody has been here yet.
    NoBucket,
}

fn node(hex: &str) -> Option<NodeId> {
    u128::from_str_radix(hex, 16).ok().map(|number| NodeId(number.to_be_bytes()))
}

/// The key of a subscriber.
fn place(hub: NodeId, id: &str) -> String {
    format!("at.{}.{}", hex(&hub.0), hex(&fresh::id_digest(id)))
}

/// A subscriber as it is kept: its hub, the length of its id in four bytes, its id, its document.
fn written(hub: NodeId, subscriber: &Subscriber) -> Bytes {
    let length = u32::try_from(subscriber.id.len()).expect("no id has 4 GiB").to_be_bytes();
    [&hub.0[..], &length, subscriber.id.as_bytes(), subscriber.document.as_bytes()].concat().into()
}

/// Reads what [`written`] made; what isn't of this kind is left out.
fn member(value: &[u8]) -> Option<Member> {
    let (node, rest) = value.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (id, document) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(ToOwned::to_owned).ok();
    Some(Member { node: NodeId(*node), subscriber: Subscriber { id: text(id)?, document: text(document)? } })
}
