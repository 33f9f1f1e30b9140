//! Who is subscribed where, and which hub lives: three buckets.
//!
//! A lease is an entry of a bucket whose entries age: while it is there, its hub lives, by the server's clock. A hub is known as long as it
//! has an entry `hub.HUB` in the bucket of members, which doesn't age, and dead as soon as it has `dead.HUB` there besides, which stays
//! until it is buried. Who takes part in a race brings the number of the message he has seen, and JetStream lets one of them win.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::connections::Ask;
use super::consumer::Consumer;
use super::jetstream::{self, Fault, Stored};
use super::{AGE_MIN_MS, CALL_TIMEOUT, Nats, OPEN_PAUSE, OPEN_TRIES_MAX, hex, locked, refusal};
use crate::cluster::{EngineError, Member, NodeId, Subscriber, fresh};

/// Subscribers noted or forgotten at once.
const PIECE: usize = 1_000;

/// Keys removed at once: all that they hold comes along.
const REMOVED_PIECE: usize = 100;

/// Places that are made for one page.
const PLACES_MAX: usize = 5;

/// Of what kind the keys of hubs are.
const KNOWN: &str = "hub";
const DEAD: &str = "dead";

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

    /// Removes keys, without a trace of them: message by message. A purge by subject makes the server (2.9) move consumers of more than that
    /// subject to the stream's end, and who is read just then would be passed over.
    async fn remove(&self, bucket: &str, keys: &[String]) -> Result<(), EngineError> {
        let stream = format!("KV_{bucket}");
        for piece in keys.chunks(REMOVED_PIECE) {
            let newest = piece.iter().map(|key| json!({ "last_by_subj": format!("$KV.{bucket}.{key}") }));
            let mut kept = Vec::new();
            for answer in self.api_all(&format!("STREAM.MSG.GET.{stream}"), newest).await? {
                kept.extend(self.found(answer)?.map(|stored| stored.sequence));
            }
            let removed = kept.iter().map(|sequence| json!({ "seq": sequence, "no_erase": true }));
            let answers = self.api_all(&format!("STREAM.MSG.DELETE.{stream}"), removed).await?;
            for (answer, sequence) in answers.into_iter().zip(kept) {
                // Whoever else has removed it, it is gone.
                if let Err(fault) = answer
                    && self.message(&stream, &json!({ "seq": sequence })).await?.is_some()
                {
                    return Err(self.explained(&fault));
                }
            }
        }
        Ok(())
    }

    /// Hubs that a bucket has keys of a kind of.
    async fn hubs(&self, bucket: &str, kind: &str) -> Result<Vec<NodeId>, EngineError> {
        let prefix = format!("$KV.{bucket}.{kind}.");
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

    /// Whether a hub has an entry of a kind among the members.
    async fn is(&self, kind: &str, hub: NodeId) -> Result<bool, EngineError> {
        Ok(self.last(&self.members_bucket(), &key(kind, hub)).await?.is_some())
    }

    /// Whether a hub is known, and not taken for dead.
    async fn lives(&self, hub: NodeId) -> Result<bool, EngineError> {
        Ok(!self.is(DEAD, hub).await? && self.is(KNOWN, hub).await?)
    }

    async fn has_lease(&self, hub: NodeId) -> Result<bool, EngineError> {
        Ok(self.last(&self.aging_bucket(Aging::Leases), &key(KNOWN, hub)).await?.is_some())
    }

    async fn put_lease(&self, hub: NodeId, lease: Duration) -> Result<(), EngineError> {
        for _ in 0..OPEN_TRIES_MAX {
            self.aging(Aging::Leases, lease).await?;
            let bucket = self.aging_bucket(Aging::Leases);
            if let Put::Stored = self.put(&bucket, &key(KNOWN, hub), None, Bytes::new()).await? {
                return Ok(());
            }
            *locked(&self.ages) = [None; 2];
            tokio::time::sleep(OPEN_PAUSE).await;
        }
        Err(refusal::no_leader(&self.connections))
    }

    pub(super) async fn presence_arrive(&self, hub: NodeId, lease: Duration) -> Result<(), EngineError> {
        // First the lease: whoever is known without one is dead.
        self.put_lease(hub, lease).await?;
        let members = self.members_bucket();
        if let Put::NoBucket = self.put(&members, &key(KNOWN, hub), None, Bytes::new()).await? {
            self.bucket(&members, Duration::ZERO).await?;
            if let Put::NoBucket = self.put(&members, &key(KNOWN, hub), None, Bytes::new()).await? {
                return Err(refusal::no_leader(&self.connections));
            }
        }
        Ok(())
    }

    pub(super) async fn presence_renew(&self, hub: NodeId, lease: Duration) -> Result<bool, EngineError> {
        if !self.lives(hub).await? {
            return Ok(false);
        }
        self.put_lease(hub, lease).await?;
        // Who claims marks the dead first and looks for a lease then: one of the two sees the other.
        Ok(!self.is(DEAD, hub).await?)
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
                match jetstream::read(&answer?)? {
                    Some(Ok(_)) => {}
                    Some(Err(fault)) => return Err(self.explained(&fault)),
                    // Without the bucket the hub isn't known either. A bucket nobody answers for is there, and has noted nothing.
                    None if self.info(&format!("KV_{bucket}")).await?.is_none() => return Ok(()),
                    None => return Err(refusal::no_leader(&self.connections)),
                }
            }
            // Of a hub that was taken for dead nothing is noted: it learns so when it renews, and enters all of them again.
            if !self.lives(hub).await? {
                let keys: Vec<_> = piece.iter().map(|subscriber| place(hub, &subscriber.id)).collect();
                return self.remove(&bucket, &keys).await;
            }
        }
        Ok(())
    }

    pub(super) async fn presence_leave(&self, hub: NodeId, subscribers: &[String]) -> Result<(), EngineError> {
        let keys: Vec<_> = subscribers.iter().map(|id| place(hub, id)).collect();
        self.remove(&self.members_bucket(), &keys).await
    }

    /// Subscribers after a number, and that of the last one.
    async fn page(
        &self,
        key: &str,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> Result<(Vec<Member>, u64, bool), EngineError> {
        let bucket = self.members_bucket();
        let filter = format!("$KV.{bucket}.{key}");
        let stream = format!("KV_{bucket}");
        let (mut members, mut last, mut size) = (Vec::new(), after, 0);
        let mut places = 0;
        let consumer = loop {
            places += 1;
            let from = last.checked_add(1).ok_or_else(|| self.odd("a cursor"))?;
            let Some(mut consumer) = Consumer::create(self, &stream, &filter, from).await? else {
                return Ok((members, last, true));
            };
            let wanted = |members: &[Member], size| members.len() < count && (members.is_empty() || size < bytes);
            let mut silent = false;
            while !silent && consumer.pending > 0 && wanted(&members, size) {
                let some = consumer.next(&self.connections, count - members.len(), bytes - size, None).await?;
                let some = some.unwrap_or_default();
                silent = some.is_empty();
                for (sequence, value) in some {
                    last = sequence;
                    size = (size + value.len()).min(bytes);
                    members.extend(member(&value));
                }
            }
            if !silent {
                break consumer;
            }
            // Those it counted have left meanwhile, or it was too slow: a new place is counted anew.
            consumer.delete(&self.connections).await;
            if places == PLACES_MAX {
                return Err(refusal::withheld(&self.connections));
            }
        };
        let end = consumer.pending == 0;
        consumer.delete(&self.connections).await;
        Ok((members, last, end))
    }

    pub(super) async fn presence_members(
        &self,
        cursor: &str,
        count: usize,
        bytes: usize,
    ) -> Result<(Vec<Member>, String), EngineError> {
        let after = if cursor.is_empty() { 0 } else { cursor.parse().map_err(|_| self.odd("a cursor"))? };
        // First those who are dead by now: whoever is buried before the page is read has nobody in it.
        let dead = self.hubs(&self.members_bucket(), DEAD).await?;
        let (mut members, last, end) = self.page("at.*.*", after, count, bytes).await?;
        members.retain(|member| !dead.contains(&member.node));
        Ok((members, if end { String::new() } else { last.to_string() }))
    }

    pub(super) async fn presence_member(&self, id: &str) -> Result<Option<Member>, EngineError> {
        let bucket = self.members_bucket();
        let subject = format!("$KV.{bucket}.at.*.{}", hex(&fresh::id_digest(id)));
        let stream = format!("KV_{bucket}");
        let mut from = 1;
        // Two ids could have the same digest, and a hub that was taken for dead enters its subscribers again under another name.
        while let Some(found) = self.message(&stream, &json!({ "seq": from, "next_by_subj": subject })).await? {
            if let Some(member) = member(&found.value).filter(|member| member.subscriber.id == id)
                && !self.is(DEAD, member.node).await?
            {
                return Ok(Some(member));
            }
            from = found.sequence + 1;
        }
        Ok(None)
    }

    pub(super) async fn presence_claim(&self, hub: NodeId, lease: Duration) -> Result<Option<NodeId>, EngineError> {
        let (leases, claims, members) =
            (self.aging_bucket(Aging::Leases), self.aging_bucket(Aging::Claims), self.members_bucket());
        let known = self.hubs(&members, KNOWN).await?;
        if known.iter().all(|known| *known == hub) {
            return Ok(None);
        }
        let (alive, dead) = (self.hubs(&leases, KNOWN).await?, self.hubs(&members, DEAD).await?);
        // Whoever has not been heard of for so long can't tell who else could have been.
        if !alive.contains(&hub) || dead.contains(&hub) {
            return Ok(None);
        }
        // Only those are asked for that are there: a server 2.9 that is asked for a message of a stream that has just been made, and has
        // none yet, may fall.
        let claimed = self.hubs(&claims, KNOWN).await?;
        let mut silent = Vec::new();
        for silent_hub in known.into_iter().filter(|known| *known != hub) {
            if dead.contains(&silent_hub) || !alive.contains(&silent_hub) {
                let claim = match claimed.contains(&silent_hub) {
                    true => self.last(&claims, &key(KNOWN, silent_hub)).await?,
                    false => None,
                };
                silent.push((silent_hub, claim));
            }
        }
        if silent.is_empty() {
            return Ok(None);
        }
        self.aging(Aging::Claims, lease).await?;
        let own = |claim: &Option<Stored>| claim.as_ref().is_some_and(|claim| claim.value == hub.0);
        silent.retain(|(_, claim)| claim.is_none() || own(claim));
        silent.sort_by_key(|(_, claim)| !own(claim));
        for (silent_hub, claim) in silent {
            let (key, seen) = (key(KNOWN, silent_hub), claim.map_or(0, |claim| claim.sequence));
            match self.put(&claims, &key, Some(seen), Bytes::copy_from_slice(&hub.0)).await? {
                Put::Stored if dead.contains(&silent_hub) || self.mark_dead(silent_hub).await? => {
                    return Ok(Some(silent_hub));
                }
                Put::Stored => self.remove(&claims, &[key]).await?,
                Put::Lost => {}
                Put::NoBucket => {
                    *locked(&self.ages) = [None; 2];
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Marks a hub that was claimed, unless it has renewed its lease meanwhile.
    async fn mark_dead(&self, hub: NodeId) -> Result<bool, EngineError> {
        let (members, mark) = (self.members_bucket(), key(DEAD, hub));
        if let Put::NoBucket = self.put(&members, &mark, None, Bytes::new()).await? {
            return Ok(false);
        }
        if self.has_lease(hub).await? {
            self.remove(&members, &[mark]).await?;
            return Ok(false);
        }
        Ok(true)
    }

    pub(super) async fn presence_left(
        &self,
        dead: NodeId,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<Subscriber>, EngineError> {
        let (members, _, _) = self.page(&format!("at.{}.*", hex(&dead.0)), 0, count, bytes).await?;
        Ok(members.into_iter().map(|member| member.subscriber).collect())
    }

    pub(super) async fn presence_bury(&self, dead: NodeId) -> Result<(), EngineError> {
        let bucket = self.members_bucket();
        if !self.is(DEAD, dead).await? {
            return Ok(());
        }
        let subject = format!("$KV.{bucket}.at.{}.*", hex(&dead.0));
        if self.message(&format!("KV_{bucket}"), &json!({ "seq": 1, "next_by_subj": subject })).await?.is_some() {
            return Ok(());
        }
        // In this order: what isn't known any more isn't known to be dead, and nobody comes back to life meanwhile.
        self.remove(&bucket, &[key(KNOWN, dead)]).await?;
        self.remove(&bucket, &[key(DEAD, dead)]).await?;
        self.remove(&self.aging_bucket(Aging::Claims), &[key(KNOWN, dead)]).await
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

/// The key of a hub.
fn key(kind: &str, hub: NodeId) -> String {
    format!("{kind}.{}", hex(&hub.0))
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
