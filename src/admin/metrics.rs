//! The metrics, one row each: what is served and what docs/metrics.md says are made from the same table.
//!
//! Labels have a few fixed values each, or one for each certificate: no topic, subject or address ever becomes one.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{
    AcmeStanding, Clustering, HandshakeFailure, Http2End, Limit, MemoryUse, SealedEnd, ShardSnapshot, Snapshot, Stage,
};
use crate::hub::{CloseReason, Histogram, Sizes, Times};
use crate::protocol::coding::Coding;

/// The media type of what [`metrics`] gives.
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name without the endings that follow from unit and kind.
    pub stem: &'static str,
    /// What its values count.
    pub unit: MetricUnit,
    /// Its label and the label's values, if it has one.
    pub label: Option<&'static str>,
    /// What it means, for people.
    pub help: &'static str,
    read: fn(&Snapshot, &ShardSnapshot) -> Reading,
}

/// The unit a name ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Numbers of things.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// A value and with it the kind of the metric.
enum Reading {
    Count(u64),
    CountBy(Vec<(&'static str, u64)>),
    Level(f64),
    LevelBy(Vec<(&'static str, u64)>),
    LevelOf(Vec<(String, f64)>),
    Times(Times),
    Sizes(Sizes),
    Info(&'static str),
}

const fn row(
    stem: &'static str,
    unit: MetricUnit,
    label: Option<&'static str>,
    help: &'static str,
    read: fn(&Snapshot, &ShardSnapshot) -> Reading,
) -> Metric {
    Metric { stem, unit, label, help, read }
}

use MetricUnit::{Bytes, None as Plain, Seconds};
use Reading::{Count, CountBy, Info, Level, LevelBy, LevelOf};

/// Every metric, in the order they are served and documented.
pub const METRICS: &[Metric] = &[
    row("cinnabar_publishes", Plain, None, "Updates taken and acknowledged.", |_, sum| Count(sum.tally.published)),
    row(
        "cinnabar_publish_refusals",
        Plain,
        Some("status"),
        "Publishes refused, by class of the status: 4xx the publisher's fault, 5xx the hub's.",
        |_, sum| by_class(sum.tally.publishes_refused),
    ),
    row("cinnabar_deliveries", Plain, None, "Events written to a subscriber, whole.", |_, sum| {
        Count(sum.counters.deliveries)
    }),
    row("cinnabar_sent", Bytes, None, "Bytes of streams that the kernel has taken.", |_, sum| {
        Count(sum.counters.bytes)
    }),
    row("cinnabar_sends", Plain, None, "Sends handed to the kernel. One carries all that is pending.", |_, sum| {
        Count(sum.counters.sends)
    }),
    row(
        "cinnabar_short_sends",
        Plain,
        None,
        "Sends that a full socket cut short or refused: a subscriber fell behind.",
        |_, sum| Count(sum.counters.short_sends),
    ),
    row("cinnabar_heartbeats", Plain, None, "Comments sent on silent streams.", |_, sum| {
        Count(sum.counters.heartbeats)
    }),
    row(
        "cinnabar_history_reads",
        Plain,
        None,
        "Ranges of history read for subscribers that came back or fell far behind.",
        |_, sum| Count(sum.counters.history_reads),
    ),
    row(
        "cinnabar_draining",
        Plain,
        None,
        "1 from the signal to stop on, when the readiness probe says 503, else 0. How many streams are left says cinnabar_subscribers.",
        |snapshot, _| Level(f64::from(u8::from(snapshot.stage > Stage::Serving))),
    ),
    row("cinnabar_connections", Plain, None, "Connections open now, streams and requests together.", |snapshot, _| {
        Level(snapshot.connections as f64)
    }),
    row("cinnabar_request_connections", Plain, None, "Connections that carry requests, not streams.", |_, sum| {
        Level(sum.requests as f64)
    }),
    row(
        "cinnabar_subscribers",
        Plain,
        Some("state"),
        "Streams by state: current; behind (replaying, or slow); closing.",
        |_, sum| {
            let population = sum.population;
            LevelBy(vec![
                ("current", population.current.into()),
                ("behind", population.behind.into()),
                ("closing", population.closing.into()),
            ])
        },
    ),
    row(
        "cinnabar_streams",
        Plain,
        Some("encoding"),
        "Streams that aren't ending, by content coding: identity, gzip, zstd.",
        |_, sum| {
            let population = sum.population;
            let all = u64::from(population.current) + u64::from(population.behind);
            let coded = Coding::ALL.map(|coding| (coding.name(), u64::from(sum.coded_streams[coding as usize])));
            let identity = all.saturating_sub(coded.iter().map(|(_, streams)| streams).sum());
            LevelBy([[("identity", identity)].as_slice(), &coded].concat())
        },
    ),
    row("cinnabar_slow_readers", Plain, None, "Subscribers whose sockets are full, a second ago at most.", |_, sum| {
        Level(sum.slow_readers as f64)
    }),
    row("cinnabar_subscriptions", Plain, None, "Streams begun.", |_, sum| Count(sum.counters.registered)),
    row(
        "cinnabar_subscription_refusals",
        Plain,
        Some("status"),
        "Subscriptions refused, by class of the status.",
        |_, sum| by_class(sum.tally.subscriptions_refused),
    ),
    row(
        "cinnabar_disconnects",
        Plain,
        Some("reason"),
        "Streams ended, by reason: the client went (gone), its token ended (expired), maximum lifetime (lifetime), write \
         deadline (stalled), it kept sending (talkative), its next event is no longer kept (trimmed) or can't be read \
         (unreadable), the cluster's engine has lost or replaced its log (log-lost), the hub stopped (stopping), the key of \
         its token was withdrawn (revoked), an administrator ended it (kicked).",
        |_, sum| CountBy(CloseReason::ALL.map(|reason| (reason.name(), sum.counters.closed[reason as usize])).to_vec()),
    ),
    row(
        "cinnabar_publish_first_byte",
        Seconds,
        None,
        "From a publish having been read to the first byte of its event written to anybody, per shard with readers of it.",
        |_, sum| Reading::Times(sum.latencies.first_byte),
    ),
    row(
        "cinnabar_publish_last_byte",
        Seconds,
        None,
        "From a publish having been read to the last byte of its fan-out, per shard with readers of it; readers that fall \
         behind are not waited for.",
        |_, sum| Reading::Times(sum.latencies.last_byte),
    ),
    row("cinnabar_loop_lag", Seconds, None, "How late the shards' ticks were, which are due every 50 ms.", |_, sum| {
        Reading::Times(sum.loop_lag)
    }),
    row(
        "cinnabar_fan_out_lag",
        Bytes,
        None,
        "Bytes of the log that fan-out still owes subscribers whose sockets aren't full, over all shards.",
        |_, sum| Level(sum.lag_bytes as f64),
    ),
    row("cinnabar_sequencer_batch_events", Plain, None, "Events per commit of the sequencer.", |snapshot, _| {
        Reading::Sizes(snapshot.sequencer.batches)
    }),
    row("cinnabar_sequencer_queue", Bytes, None, "Bytes of publishes that wait for the sequencer.", |snapshot, _| {
        Level(snapshot.sequencer.queued_bytes as f64)
    }),
    row(
        "cinnabar_compressed_events",
        Plain,
        Some("encoding"),
        "Events compressed, once for all streams of a content coding.",
        |snapshot, _| by_coding(snapshot.compression.events),
    ),
    row(
        "cinnabar_compression_saved",
        Bytes,
        Some("encoding"),
        "Bytes by which compressed events are smaller, counted once for each, however many streams they go to.",
        |snapshot, _| by_coding(snapshot.compression.saved_bytes),
    ),
    row(
        "cinnabar_compressor_passes",
        Plain,
        None,
        "Events that found the compressor's queue full and went out uncompressed.",
        |snapshot, _| Count(snapshot.compression.passed_by),
    ),
    row("cinnabar_history_events", Plain, None, "Events that history keeps.", |snapshot, _| {
        Level(snapshot.history.0 as f64)
    }),
    row("cinnabar_history", Bytes, None, "Bytes of the events that history keeps.", |snapshot, _| {
        Level(snapshot.history.1 as f64)
    }),
    row(
        "cinnabar_history_failures",
        Plain,
        None,
        "Commits that history could not store: their publishers were told so.",
        |snapshot, _| Count(snapshot.sequencer.failures),
    ),
    row(
        "cinnabar_cluster_link",
        Plain,
        None,
        "1 while the engine of the cluster answers, 0 while it doesn't; 1 too of a hub that is in no cluster.",
        |snapshot, _| Level(f64::from(u8::from(clustering(snapshot).trouble.is_none()))),
    ),
    row(
        "cinnabar_cluster_reconnects",
        Plain,
        None,
        "Times the engine of the cluster answered again.",
        |snapshot, _| Count(clustering(snapshot).reconnects),
    ),
    row(
        "cinnabar_cluster_appended_events",
        Plain,
        None,
        "Events that the engine of the cluster has taken from this hub.",
        |snapshot, _| Count(clustering(snapshot).appended),
    ),
    row(
        "cinnabar_cluster_followed_events",
        Plain,
        None,
        "Events that this hub has read of the cluster's log, its own among them.",
        |snapshot, _| Count(clustering(snapshot).followed),
    ),
    row(
        "cinnabar_cluster_position",
        Plain,
        None,
        "How far this hub has read the cluster's log: behind the other hubs' figure lies what it has yet to pass on.",
        |snapshot, _| Level(clustering(snapshot).position as f64),
    ),
    row(
        "cinnabar_cluster_losses",
        Plain,
        None,
        "Times the cluster's log wasn't what it had been: all streams were closed.",
        |snapshot, _| Count(clustering(snapshot).losses),
    ),
    row("cinnabar_verdict_cache_hits", Plain, None, "Tokens known to be valid from an earlier request.", |_, sum| {
        Count(sum.tally.verdict_hits)
    }),
    row(
        "cinnabar_recognised_heads",
        Plain,
        None,
        "Publishes whose head was the same as the one before on their connection, so that it was neither read nor judged again.",
        |_, sum| Count(sum.tally.recognised),
    ),
    row("cinnabar_token_checks", Plain, None, "Tokens whose signature was checked.", |_, sum| {
        Count(sum.tally.tokens_checked)
    }),
    row("cinnabar_token_refusals", Plain, None, "Tokens that were not valid.", |_, sum| {
        Count(sum.tally.tokens_refused)
    }),
    row("cinnabar_denied_requests", Plain, None, "Requests refused for the deny list.", |_, sum| {
        Count(sum.tally.denied)
    }),
    row("cinnabar_deny_list_entries", Plain, None, "Entries of the deny list.", |snapshot, _| {
        Level(snapshot.denials as f64)
    }),
    row(
        "cinnabar_limit_refusals",
        Plain,
        Some("limit"),
        "Connections and requests turned away, by limit: connections in total, or requests at once (connections); those of an \
         address (address); streams of a subject (subject); publishes of an issuer and subject in a time (publish_rate); \
         memory near its ceiling (memory); no PROXY protocol header where one has to be (proxy_header).",
        |_, sum| CountBy(Limit::ALL.map(|limit| (limit.name(), sum.tally.limited[limit as usize])).to_vec()),
    ),
    row(
        "cinnabar_accept_pauses",
        Plain,
        None,
        "Times a shard put off accepting for `--max-accept-rate`: connections waited in the kernel's queue.",
        |_, sum| Count(sum.tally.accept_pauses),
    ),
    row(
        "cinnabar_counted_addresses",
        Plain,
        None,
        "Addresses (of IPv6: networks of 64 bits) whose connections are counted for `--max-connections-per-address`.",
        |snapshot, _| Level(snapshot.counted.0 as f64),
    ),
    row(
        "cinnabar_counted_subjects",
        Plain,
        None,
        "Subjects whose streams are counted for `--max-streams-per-subject`.",
        |snapshot, _| Level(snapshot.counted.1 as f64),
    ),
    row(
        "cinnabar_memory",
        Bytes,
        Some("of"),
        "Memory in use: the process's and the kernel's for its connections (process); the control group's nearest its limit, \
         without cached files (group); what all TCP sockets of the machine hold (tcp). Those that can't be read are left out.",
        |snapshot, _| memory(snapshot, |memory| memory.used_bytes),
    ),
    row(
        "cinnabar_memory_ceiling",
        Bytes,
        Some("of"),
        "The ceilings of the same: `--memory-max` (0: none), the limit of the group, the last number of `tcp_mem`.",
        |snapshot, _| memory(snapshot, |memory| memory.ceiling_bytes),
    ),
    row(
        "cinnabar_memory_near_ceiling",
        Plain,
        None,
        "1 while memory is near one of its ceilings and new subscribers are refused, else 0.",
        |snapshot, _| Level(f64::from(u8::from(snapshot.memory.near.is_some()))),
    ),
    row(
        "cinnabar_tls_handshakes",
        Plain,
        Some("kind"),
        "TLS handshakes done: full; resumed, which went on with a session ticket.",
        |_, sum| {
            let [full, resumed] = sum.tally.tls.handshakes;
            CountBy(vec![("full", full), ("resumed", resumed)])
        },
    ),
    row(
        "cinnabar_tls_handshake_failures",
        Plain,
        Some("reason"),
        "TLS handshakes that came to nothing: plain HTTP on a TLS port (plain), nothing in common (incompatible), the client ended \
         it, mostly for the certificate (alert), it wasn't TLS (protocol), there is no certificate yet for the name \
         (no-certificate), it took too long (slow), the client went (gone).",
        |_, sum| {
            let failures = sum.tally.tls.failures;
            CountBy(HandshakeFailure::ALL.map(|reason| (reason.name(), failures[reason as usize])).to_vec())
        },
    ),
    row(
        "cinnabar_tls_stream_ends",
        Plain,
        Some("reason"),
        "Streams that TLS ended: its key had sealed as many records as it may (record-limit), the client wanted other keys \
         (key-update), it sent what can't be opened (bad-record).",
        |_, sum| CountBy(SealedEnd::ALL.map(|reason| (reason.name(), sum.tally.tls.ends[reason as usize])).to_vec()),
    ),
    row(
        "cinnabar_tls_certificate_expires",
        Seconds,
        Some("name"),
        "How long each certificate is good for yet, by the first name in it; less than 0 once it has ended.",
        |snapshot, _| LevelOf(snapshot.certificates.clone()),
    ),
    row(
        "cinnabar_http2_connections",
        Plain,
        None,
        "HTTP/2 connections open. They are among `cinnabar_connections`, each once.",
        |_, sum| Level(sum.http2[0] as f64),
    ),
    row(
        "cinnabar_http2_streams",
        Plain,
        None,
        "Event streams open on HTTP/2 connections. They are among `cinnabar_subscribers`.",
        |_, sum| Level(sum.http2[1] as f64),
    ),
    row("cinnabar_http2_requests", Plain, None, "Requests that came over HTTP/2, event streams included.", |_, sum| {
        Count(sum.tally.http2.requests)
    }),
    row(
        "cinnabar_http2_ends",
        Plain,
        Some("reason"),
        "HTTP/2 connections closed: by the client (gone), for want of requests (idle), at the hub's stop (stopping), for a breach of \
         the protocol (protocol), for slowness at their beginning or in a head (slow) or at taking answers (stalled); and those of \
         clients that did too much of something: streams reset by either side (resets), pings, settings, window-updates, frames \
         that are empty or of no use (frames), heads in too many pieces (heads), something else (excess).",
        |_, sum| {
            let ends = sum.tally.http2.ends;
            CountBy(Http2End::ALL.map(|reason| (reason.name(), ends[reason as usize])).to_vec())
        },
    ),
    row(
        "cinnabar_acme_tries",
        Plain,
        Some("outcome"),
        "Certificates that were asked for by ACME: got; failed, which the log explains and which are asked for again.",
        |snapshot, _| {
            let sum = |which: usize| snapshot.acme.iter().map(|name| name.outcomes[which]).sum();
            CountBy(vec![("got", sum(0)), ("failed", sum(1))])
        },
    ),
    row(
        "cinnabar_acme_got_time",
        Seconds,
        Some("name"),
        "When this run of the hub last got a certificate for each name, seconds of Unix time.",
        |snapshot, _| acme(snapshot, |name| name.got_s),
    ),
    row(
        "cinnabar_acme_failed_time",
        Seconds,
        Some("name"),
        "When each name was last asked for in vain, seconds of Unix time; gone once a certificate was got.",
        |snapshot, _| acme(snapshot, |name| name.failed_s),
    ),
    row(
        "cinnabar_acme_next_time",
        Seconds,
        Some("name"),
        "When each name is asked for next: to renew its certificate, or after a failure; seconds of Unix time.",
        |snapshot, _| acme(snapshot, |name| Some(name.next_s)),
    ),
    row("cinnabar_shards", Plain, None, "Event loops.", |snapshot, _| Level(snapshot.shards.len() as f64)),
    row(
        "cinnabar_io_driver",
        Plain,
        Some("driver"),
        "How the hub talks to the kernel: io_uring or epoll.",
        |snapshot, _| Info(snapshot.driver),
    ),
    row("cinnabar_build", Plain, Some("version"), "The hub's version.", |snapshot, _| Info(snapshot.version)),
    row("cinnabar_start_time", Seconds, None, "When the hub started, seconds of Unix time.", |snapshot, _| {
        Level(snapshot.started_ms as f64 / 1000.0)
    }),
];

fn acme(snapshot: &Snapshot, time_s: fn(&AcmeStanding) -> Option<u64>) -> Reading {
    LevelOf(snapshot.acme.iter().filter_map(|name| Some((name.name.clone(), time_s(name)? as f64))).collect())
}

fn clustering(snapshot: &Snapshot) -> Clustering {
    snapshot.cluster.clone().unwrap_or_default()
}

fn memory(snapshot: &Snapshot, which: fn(MemoryUse) -> u64) -> Reading {
    LevelBy(snapshot.memory.known().map(|(part, memory)| (part, which(memory))).collect())
}

fn by_coding(counts: [u64; Coding::ALL.len()]) -> Reading {
    CountBy(Coding::ALL.map(|coding| (coding.name(), counts[coding as usize])).to_vec())
}

fn by_class([client, server]: [u64; 2]) -> Reading {
    CountBy(vec![("4xx", client), ("5xx", server)])
}

impl Metric {
    /// The name it has in the text, apart from what histograms append: `_bucket`, `_sum`, `_count`.
    pub fn name(&self) -> String {
        let unit = match self.unit {
            Plain => "",
            Seconds => "_seconds",
            Bytes => "_bytes",
        };
        let ending = match self.kind() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        format!("{}{unit}{ending}", self.stem)
    }

    /// Its type, as the text has it.
    pub fn kind(&self) -> &'static str {
        match self.read(&Snapshot::default(), &ShardSnapshot::default()) {
            Count(_) | CountBy(_) => "counter",
            Level(_) | LevelBy(_) | LevelOf(_) => "gauge",
            Reading::Times(_) | Reading::Sizes(_) => "histogram",
            Info(_) => "info",
        }
    }

    fn read(&self, snapshot: &Snapshot, sum: &ShardSnapshot) -> Reading {
        (self.read)(snapshot, sum)
    }

    fn encode(&self, snapshot: &Snapshot, sum: &ShardSnapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let unit = match self.unit {
            Plain => None,
            Seconds => Some(Unit::Seconds),
            Bytes => Some(Unit::Bytes),
        };
        let reading = self.read(snapshot, sum);
        let mut metric = encoder.encode_descriptor(self.stem, self.help, unit.as_ref(), reading.kind())?;
        let label = self.label.unwrap_or_default();
        match reading {
            Count(value) => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
            Level(value) => metric.encode_gauge(&value),
            CountBy(values) => values.into_iter().try_for_each(|(name, value)| {
                metric.encode_family(&[(label, name)])?.encode_counter::<NoLabelSet, _, u64>(&value, None)
            }),
            LevelBy(values) => values
                .into_iter()
                .try_for_each(|(name, value)| metric.encode_family(&[(label, name)])?.encode_gauge(&value)),
            LevelOf(values) => values
                .iter()
                .try_for_each(|(name, value)| metric.encode_family(&[(label, name.as_str())])?.encode_gauge(value)),
            Reading::Times(times) => {
                let (sum, buckets) = buckets(&times, 1_000_000.0);
                metric.encode_histogram::<NoLabelSet>(sum, times.count(), &buckets, None)
            }
            Reading::Sizes(sizes) => {
                let (sum, buckets) = buckets(&sizes, 1.0);
                metric.encode_histogram::<NoLabelSet>(sum, sizes.count(), &buckets, None)
            }
            Info(value) => metric.encode_info(&[(label, value)]),
        }
    }
}

/// The sum, and each bucket's upper bound and count, in a larger unit.
fn buckets<const N: usize>(histogram: &Histogram<N>, per_unit: f64) -> (f64, Vec<(f64, u64)>) {
    let in_unit = |value: u64| value as f64 / per_unit;
    let buckets = histogram.buckets().map(|(bound, count)| (bound.map_or(f64::INFINITY, in_unit), count));
    (in_unit(histogram.sum()), buckets.collect())
}

impl Reading {
    fn kind(&self) -> MetricType {
        match self {
            Count(_) | CountBy(_) => MetricType::Counter,
            Level(_) | LevelBy(_) | LevelOf(_) => MetricType::Gauge,
            Reading::Times(_) | Reading::Sizes(_) => MetricType::Histogram,
            Info(_) => MetricType::Info,
        }
    }
}

#[derive(Debug)]
struct Scrape(Snapshot);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sum = self.0.sum();
        METRICS.iter().try_for_each(|metric| metric.encode(&self.0, &sum, &mut encoder))
    }
}

/// All metrics as text (OpenMetrics 1.0, which Prometheus reads).
pub fn metrics(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(snapshot)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes everything");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const INTRODUCTION: &str = "\
# Metrics

<!-- Written from src/admin/metrics.rs by `UPDATE_DOCS=1 cargo test --lib admin::metrics`; a test holds the two together. -->

`GET /metrics` on the admin listener, or on `--health-listen`, answers in the text format of OpenMetrics 1.0, which Prometheus
reads. How to reach it: [admin.md](admin.md).

- Counters start at 0 with the process and only grow. Numbers of a shard are copied out of it every 100 ms.
- Labels have the few values named here and no others (and certificates their names): the number of series doesn't depend on what
  clients do.
- Histograms have fixed buckets, so that those of several hubs add up: times from 100 µs to 10 s, numbers from 1 to 1,024.

| metric | type | unit | label | meaning |
|---|---|---|---|---|
";

    fn page() -> String {
        let row = |metric: &Metric| {
            let unit = match metric.unit {
                Plain => "",
                Seconds => "seconds",
                Bytes => "bytes",
            };
            let label = metric.label.map(|label| format!("`{label}`")).unwrap_or_default();
            format!("| `{}` | {} | {unit} | {label} | {} |\n", metric.name(), metric.kind(), metric.help)
        };
        INTRODUCTION.to_owned() + &METRICS.iter().map(row).collect::<String>()
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "says what to run")]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/metrics.md differs: run UPDATE_DOCS=1 cargo test --lib admin::metrics");
    }

    #[test]
    fn names_are_unique_and_their_endings_follow_from_unit_and_type() {
        let names: HashSet<String> = METRICS.iter().map(Metric::name).collect();
        assert_eq!(names.len(), METRICS.len());
        for name in [
            "cinnabar_publishes_total",
            "cinnabar_sent_bytes_total",
            "cinnabar_publish_first_byte_seconds",
            "cinnabar_history_bytes",
            "cinnabar_build_info",
            "cinnabar_start_time_seconds",
        ] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn the_text_has_every_metric_with_its_values() {
        let mut shard = ShardSnapshot::default();
        shard.tally.published = 3;
        shard.tally.publishes_refused = [1, 2];
        shard.counters.closed[CloseReason::Stalled as usize] = 5;
        shard.latencies.first_byte.record(200);
        shard.latencies.first_byte.record(20_000_000);
        let snapshot =
            Snapshot { shards: vec![shard.clone(), shard], driver: "epoll", started_ms: 1_500, ..Snapshot::default() };
        let text = metrics(snapshot);
        for line in [
            "# TYPE cinnabar_publishes counter",
            "cinnabar_publishes_total 6",
            "cinnabar_publish_refusals_total{status=\"4xx\"} 2",
            "cinnabar_publish_refusals_total{status=\"5xx\"} 4",
            "cinnabar_disconnects_total{reason=\"stalled\"} 10",
            "cinnabar_subscribers{state=\"behind\"} 0",
            "cinnabar_publish_first_byte_seconds_bucket{le=\"0.0001\"} 0",
            "cinnabar_publish_first_byte_seconds_bucket{le=\"0.00025\"} 2",
            "cinnabar_publish_first_byte_seconds_bucket{le=\"10.0\"} 2",
            "cinnabar_publish_first_byte_seconds_bucket{le=\"+Inf\"} 4",
            "cinnabar_publish_first_byte_seconds_count 4",
            "cinnabar_publish_first_byte_seconds_sum 40.0004",
            "cinnabar_io_driver_info{driver=\"epoll\"} 1",
            "cinnabar_start_time_seconds 1.5",
            "cinnabar_shards 2.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        for metric in METRICS {
            assert!(text.contains(&metric.name()), "{}", metric.name());
        }
    }
}
