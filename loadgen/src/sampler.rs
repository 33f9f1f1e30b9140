//! Looks at a target again and again: what the scenario counted and what `/proc` says, as samples of the timeline.

use crate::process::{self, MachineTime};
use crate::sys;
use crate::timeline::{Sample, Spread};

/// How often a target is looked at.
const INTERVAL_NS: u64 = 500_000_000;

/// What a scenario has counted of a target, from the beginning. Connections are those there are now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: u64,
    pub(crate) deliveries: u64,
    pub(crate) publishes: u64,
    /// Publishes and subscribers refused.
    pub(crate) refused: u64,
    /// Streams that ended.
    pub(crate) closed: u64,
    /// Latencies since the last sample.
    pub(crate) latency: Option<Spread>,
    /// The server's private memory, if it is known.
    pub(crate) server_bytes: Option<u64>,
}

/// The clocks of a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Clocks {
    at_ns: u64,
    server_s: Option<f64>,
    own_s: f64,
    machine: MachineTime,
}

impl Clocks {
    fn now(server: &[u32]) -> Self {
        let both = |pid| process::cpu_seconds(pid).map(|(user, system)| user + system).ok();
        Self {
            at_ns: sys::now_ns(),
            server_s: server.iter().map(|pid| both(*pid)).reduce(|sum, one| Some(sum? + one?)).flatten(),
            own_s: both(std::process::id()).unwrap_or_default(),
            machine: MachineTime::now(),
        }
    }
}

/// Watches one target.
#[derive(Debug)]
pub(crate) struct Sampler {
    target: String,
    server: Vec<u32>,
    clocks: Clocks,
    counts: Counts,
}

impl Sampler {
    /// Of a target, with its processes if they are known. The first stretch begins now.
    pub(crate) fn new(target: impl Into<String>, server: &[u32]) -> Self {
        Self { target: target.into(), server: server.to_vec(), clocks: Clocks::now(server), counts: Counts::default() }
    }

    /// The target's name.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// A stretch begins now: whatever happened since the last sample belongs to none. `server` may be other processes.
    pub(crate) fn resume(&mut self, server: &[u32]) {
        self.server = server.to_vec();
        self.clocks = Clocks::now(server);
    }

    /// Is it time for a sample?
    pub(crate) fn is_due(&self) -> bool {
        sys::now_ns().saturating_sub(self.clocks.at_ns) >= INTERVAL_NS
    }

    /// Takes a sample. `began_ns` is the beginning of the run.
    pub(crate) fn take(&mut self, began_ns: u64, part: &str, counts: Counts) -> Sample {
        let (before, now) = (self.clocks, Clocks::now(&self.server));
        let was = self.counts;
        self.clocks = now;
        self.counts = counts;
        let cpu = |now: f64, before: f64| rounded((now - before).max(0.0));
        Sample {
            at_s: rounded(now.at_ns.saturating_sub(began_ns) as f64 / 1e9),
            span_s: rounded(now.at_ns.saturating_sub(before.at_ns) as f64 / 1e9),
            part: part.to_owned(),
            target: self.target.clone(),
            connections: counts.connections,
            // A target that is started anew counts from zero again.
            deliveries: counts.deliveries.checked_sub(was.deliveries).unwrap_or(counts.deliveries),
            publishes: counts.publishes.checked_sub(was.publishes).unwrap_or(counts.publishes),
            refused: counts.refused.checked_sub(was.refused).unwrap_or(counts.refused),
            closed: counts.closed.checked_sub(was.closed).unwrap_or(counts.closed),
            latency: counts.latency,
            server_cpu_s: now.server_s.zip(before.server_s).map(|(now, before)| cpu(now, before)),
            server_bytes: counts.server_bytes,
            tcp_bytes: process::tcp_buffer_bytes(),
            slab_bytes: process::slab_bytes(),
            own_cpu_s: cpu(now.own_s, before.own_s),
            interrupts_cpu_s: cpu(now.machine.interrupts_s, before.machine.interrupts_s),
            busy_cpu_s: cpu(now.machine.busy_s, before.machine.busy_s),
            total_cpu_s: cpu(now.machine.total_s, before.machine.total_s),
        }
    }
}

/// To a tenth of a millisecond: further digits only make records longer.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_what_happened_since_the_last_one() {
        let mut sampler = Sampler::new("hub", &[std::process::id()]);
        let began = sys::now_ns();
        let counts =
            Counts { connections: 5, deliveries: 100, publishes: 20, server_bytes: Some(7), ..Counts::default() };
        sampler.take(began, "connect", counts);
        let sample = sampler.take(began, "broadcast", Counts { deliveries: 130, closed: 1, ..counts });
        assert_eq!((sample.deliveries, sample.publishes, sample.closed, sample.connections), (30, 0, 1, 5));
        assert_eq!((sample.target.as_str(), sample.part.as_str()), ("hub", "broadcast"));
        assert_eq!(sample.server_bytes, Some(7));
        assert!(sample.server_cpu_s.is_some());
        assert!(sample.slab_bytes > 0);
    }

    #[test]
    fn a_target_that_counts_anew_has_no_endless_rate() {
        let mut sampler = Sampler::new("hub", &[]);
        sampler.take(0, "", Counts { deliveries: 100, ..Counts::default() });
        let sample = sampler.take(0, "", Counts { deliveries: 7, ..Counts::default() });
        assert_eq!(sample.deliveries, 7);
        assert_eq!((sample.server_cpu_s, sample.server_bytes), (None, None));
    }
}
