//! What the threads have counted, as copied out of them now and then.

use super::{Http2Tally, Limit, Memory, TlsTally};
use crate::hub::{CloseReason, Counters, Latencies, Population, Sizes, Times};
use crate::protocol::coding::Coding;

/// How far a hub has come on its way from serving to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It serves.
    #[default]
    Serving,
    /// It serves everything, and says that it is about to stop.
    Leaving,
    /// It accepts nobody and ends its streams one by one.
    Draining,
    /// All that is left ends now.
    Stopping,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 4] = [Stage::Serving, Stage::Leaving, Stage::Draining, Stage::Stopping];
}

/// What a shard counts of its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Updates taken.
    pub published: u64,
    /// Publishes refused with a status 4xx, and 5xx.
    pub publishes_refused: [u64; 2],
    /// Subscriptions refused with a status 4xx, and 5xx.
    pub subscriptions_refused: [u64; 2],
    /// Tokens known to be valid from before.
    pub verdict_hits: u64,
    /// Publishes whose head was the same as the one before on their connection.
    pub recognised: u64,
    /// Tokens that were verified.
    pub tokens_checked: u64,
    /// Those of them that were refused.
    pub tokens_refused: u64,
    /// Requests of somebody denied.
    pub denied: u64,
    /// Clients turned away, by [`Limit`].
    pub limited: [u64; Limit::ALL.len()],
    /// Times accepting was put off for the accept rate.
    pub accept_pauses: u64,
    /// See [`TlsTally`].
    pub tls: TlsTally,
    /// See [`Http2Tally`].
    pub http2: Http2Tally,
}

impl Tally {
    /// Counts the answer to a publish.
    pub fn publish(&mut self, status: u16) {
        match status {
            400.. => self.publishes_refused[usize::from(status >= 500)] += 1,
            _ => self.published += 1,
        }
    }

    /// Counts the refusal of a subscription.
    pub fn subscription_refused(&mut self, status: u16) {
        if status >= 400 {
            self.subscriptions_refused[usize::from(status >= 500)] += 1;
        }
    }
}

/// A shard at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardSnapshot {
    /// When, milliseconds of monotonic time. A shard that doesn't say anything new is stuck.
    pub at_ms: u64,
    /// What fan-out has counted.
    pub counters: Counters,
    /// How long fan-out took.
    pub latencies: Latencies,
    /// Streams by state.
    pub population: Population,
    /// Streams by content coding, in the order of [`Coding::ALL`].
    pub coded_streams: [u32; Coding::ALL.len()],
    /// Readers whose sockets are full.
    pub slow_readers: u64,
    /// What requests have come to.
    pub tally: Tally,
    /// How late ticks were.
    pub loop_lag: Times,
    /// Bytes of the log that fan-out still owes somebody.
    pub lag_bytes: u64,
    /// Connections that carry requests; of HTTP/2, the requests.
    pub requests: u64,
    /// HTTP/2 connections, and event streams on them.
    pub http2: [u64; 2],
    /// Publishes wait for this shard.
    pub overloaded: bool,
}

/// The sequencer at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequencing {
    /// When it last had nothing to do, or was done with something; milliseconds of monotonic time.
    pub at_ms: u64,
    /// Events committed.
    pub events: u64,
    /// Events per commit.
    pub batches: Sizes,
    /// Bytes of publishes that wait for it.
    pub queued_bytes: u64,
    /// Commits that history refused.
    pub failures: u64,
    /// Why the newest one was, if none has succeeded since.
    pub trouble: Option<String>,
}

/// The compressor at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// Events compressed, in the order of [`Coding::ALL`].
    pub events: [u64; Coding::ALL.len()],
    /// Bytes that they are smaller by.
    pub saved_bytes: [u64; Coding::ALL.len()],
    /// Events that found it busy and went out as they are.
    pub passed_by: u64,
}

/// The engine of a cluster as a hub knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clustering {
    /// Why it doesn't answer.
    pub trouble: Option<String>,
    /// Times it answered again.
    pub reconnects: u64,
    /// Entries it has taken from this hub.
    pub appended: u64,
    /// Entries read of its log.
    pub followed: u64,
    /// The offset up to which it has been read.
    pub position: u64,
    /// Times the log wasn't what it had been.
    pub losses: u64,
}

/// The hub at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When, milliseconds of monotonic time since the start.
    pub now_ms: u64,
    /// When the hub started, milliseconds of Unix time.
    pub started_ms: u64,
    /// Its version.
    pub version: &'static str,
    /// How it talks to the kernel: `io_uring` or `epoll`.
    pub driver: &'static str,
    /// Whether it is on its way out.
    pub stage: Stage,
    /// Connections of all kinds.
    pub connections: u64,
    /// Events that history keeps, and their bytes.
    pub history: (u64, u64),
    /// Entries of the deny list.
    pub denials: u64,
    /// Addresses and subjects that limits count connections and streams of.
    pub counted: (u64, u64),
    /// See [`Memory`].
    pub memory: Memory,
    /// See [`Sequencing`].
    pub sequencer: Sequencing,
    /// See [`Compression`].
    pub compression: Compression,
    /// See [`Clustering`]; `None`: the hub is by itself.
    pub cluster: Option<Clustering>,
    /// Seconds until each certificate ends, by its name.
    pub certificates: Vec<(String, f64)>,
    /// The names whose certificates the hub gets itself.
    pub acme: Vec<AcmeStanding>,
    /// One for each shard.
    pub shards: Vec<ShardSnapshot>,
}

/// Where a name stands whose certificates the hub gets itself, by ACME. Times are seconds of Unix time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeStanding {
    /// Which.
    pub name: String,
    /// How many tries came to a certificate, and how many to nothing.
    pub outcomes: [u64; 2],
    /// When this run last got one.
    pub got_s: Option<u64>,
    /// When the last try failed, if none has come to something since.
    pub failed_s: Option<u64>,
    /// When it is asked for next.
    pub next_s: u64,
}

impl Snapshot {
    /// All shards as one: numbers are added up.
    pub fn sum(&self) -> ShardSnapshot {
        let mut sum = ShardSnapshot::default();
        for shard in &self.shards {
            let (all, one) = (&mut sum.counters, &shard.counters);
            all.registered += one.registered;
            for reason in CloseReason::ALL {
                all.closed[reason as usize] += one.closed[reason as usize];
            }
            all.deliveries += one.deliveries;
            all.sends += one.sends;
            all.bytes += one.bytes;
            all.short_sends += one.short_sends;
            all.heartbeats += one.heartbeats;
            all.dispatched += one.dispatched;
            all.history_reads += one.history_reads;
            sum.latencies.first_byte.add(&shard.latencies.first_byte);
            sum.latencies.last_byte.add(&shard.latencies.last_byte);
            sum.population.current += shard.population.current;
            sum.population.behind += shard.population.behind;
            sum.population.closing += shard.population.closing;
            for coding in Coding::ALL {
                sum.coded_streams[coding as usize] += shard.coded_streams[coding as usize];
            }
            sum.slow_readers += shard.slow_readers;
            let (all, one) = (&mut sum.tally, &shard.tally);
            all.published += one.published;
            for class in 0..2 {
                all.publishes_refused[class] += one.publishes_refused[class];
                all.subscriptions_refused[class] += one.subscriptions_refused[class];
            }
            all.verdict_hits += one.verdict_hits;
            all.recognised += one.recognised;
            all.tokens_checked += one.tokens_checked;
            all.tokens_refused += one.tokens_refused;
            all.denied += one.denied;
            for limit in Limit::ALL {
                all.limited[limit as usize] += one.limited[limit as usize];
            }
            all.accept_pauses += one.accept_pauses;
            all.tls.add(&one.tls);
            all.http2.add(&one.http2);
            sum.loop_lag.add(&shard.loop_lag);
            sum.lag_bytes += shard.lag_bytes;
            sum.requests += shard.requests;
            for what in 0..2 {
                sum.http2[what] += shard.http2[what];
            }
            sum.overloaded |= shard.overloaded;
            sum.at_ms = sum.at_ms.max(shard.at_ms);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class() {
        let mut tally = Tally::default();
        [200, 400, 403, 503].into_iter().for_each(|status| tally.publish(status));
        [204, 401, 503, 503].into_iter().for_each(|status| tally.subscription_refused(status));
        assert_eq!((tally.published, tally.publishes_refused, tally.subscriptions_refused), (1, [2, 1], [1, 2]));
    }

    #[test]
    fn the_sum_is_of_all_shards() {
        let mut shard = ShardSnapshot { at_ms: 5, slow_readers: 2, overloaded: true, ..ShardSnapshot::default() };
        shard.counters.closed[CloseReason::Kicked as usize] = 3;
        shard.latencies.first_byte.record(7);
        shard.tally.published = 4;
        let snapshot = Snapshot { shards: vec![shard.clone(), ShardSnapshot::default(), shard], ..Snapshot::default() };
        let sum = snapshot.sum();
        assert_eq!((sum.slow_readers, sum.overloaded, sum.tally.published), (4, true, 8));
        assert_eq!((sum.counters.closed[CloseReason::Kicked as usize], sum.latencies.first_byte.count()), (6, 2));
    }
}
