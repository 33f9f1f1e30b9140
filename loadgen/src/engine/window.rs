//! A measured window: everything is read at its start, watched meanwhile, and read again at its end.

use super::connecting::Connecting;
use super::findings::Findings;
use super::stage::Stage;
use crate::agents::Usage;
use crate::attack::Damage;
use crate::kernel::KernelWatch;
use crate::press::Published;
use crate::process::{Cpu, Kernel};
use crate::swarm::Counts;
use crate::sys;

/// How often memory is read during a window.
const WATCH_NS: u64 = 250_000_000;

/// What is read where memory stands still.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark {
    pub(super) private_bytes: Option<u64>,
    pub(super) open: u64,
    pub(super) kernel: Kernel,
}

/// A window that is open.
pub(super) struct Window {
    name: String,
    start_ns: u64,
    cpu: Cpu,
    agents: Vec<Usage>,
    counts: Counts,
    private_bytes: Option<u64>,
    next_watch_ns: u64,
    long_turns: u64,
    kernel: Vec<KernelWatch>,
    pub(super) connecting: Connecting,
    /// The publishers that published in it.
    pub(super) active: Vec<usize>,
    /// What attacks have done in it.
    pub(super) damages: Vec<(String, Damage)>,
    /// When the last of them had all its answers.
    pub(super) published_ns: Option<u64>,
}

impl Window {
    /// Opens one: what was timed before is forgotten.
    pub(super) fn open(name: &str, stage: &mut Stage) -> Self {
        stage.take_timings();
        stage.take_published();
        stage.arrivals.iter().flatten().for_each(|arrivals| drop(arrivals.take()));
        Self {
            name: name.to_owned(),
            private_bytes: stage.memory.begin(),
            next_watch_ns: 0,
            long_turns: stage.long_turns_full(),
            kernel: vec![KernelWatch::default(); stage.groups.len()],
            connecting: Connecting::default(),
            active: Vec::new(),
            damages: Vec::new(),
            published_ns: None,
            counts: stage.swarm.counts(),
            cpu: Cpu::now(&stage.pids()),
            agents: stage.swarm.usages(),
            start_ns: sys::now_ns(),
        }
    }

    /// Looks at memory, not more often than makes sense.
    pub(super) fn watch(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let now_ns = sys::now_ns();
        if now_ns < self.next_watch_ns {
            return Ok(());
        }
        self.next_watch_ns = now_ns + WATCH_NS;
        for (group, watch) in self.kernel.iter_mut().enumerate() {
            if stage.groups[group].watch_kernel {
                watch.look(stage.dialect.target.address, group)?;
            }
        }
        Ok(())
    }

    /// Closes it and enters its figures.
    pub(super) fn close(mut self, stage: &mut Stage, findings: &mut Findings) -> anyhow::Result<()> {
        let end_ns = sys::now_ns();
        let cpu = Cpu::now(&stage.pids()).since(self.cpu);
        let counts = stage.swarm.counts();
        self.next_watch_ns = 0;
        self.watch(stage)?;
        let seconds = (end_ns - self.start_ns) as f64 / 1e9;
        let (target, name) = (stage.name.clone(), self.name.clone());
        let mut enter = |figure: &str, label: &str, value: f64, unit| {
            findings.enter(&target, format!("{name}.{figure}"), format!("{name}: {label}"), value, unit);
        };
        enter("seconds", "time", seconds, "s");

        let opened = counts.opened - self.counts.opened;
        if opened > 0 {
            enter("connects", "response heads", opened as f64, "");
            if let Some(rate) = self.connecting.per_second() {
                enter("connects_per_s", "response heads per second", rate, "/s");
            }
        }
        let all_published = stage.take_published();
        let published = |mut sum: Published, one| {
            sum.add(one);
            sum
        };
        let each: Vec<(String, u64, Option<f64>)> = stage
            .publisher_names
            .iter()
            .zip(&all_published)
            .map(|(name, published)| (name.clone(), published.accepted, published.flow.percent()))
            .collect();
        let all = all_published.into_iter().fold(Published::none(), published);
        let delivered = counts.delivered - self.counts.delivered;
        let flowing = if all.spans.is_empty() {
            counts.last_ns.saturating_sub(self.start_ns) as f64 / 1e9
        } else {
            all.spans.iter().sum()
        };
        if delivered > 0 {
            enter("deliveries", "deliveries", delivered as f64, "");
            enter("deliveries_per_s", "deliveries per second", delivered as f64 / flowing, "/s");
        }
        if !all.spans.is_empty() {
            let last = crate::report::median(&all.spans) * 1e3;
            enter("last_delivery_ms", "last delivery of an event, median", last, "ms");
        }
        if all.accepted > 0 {
            // Without the time it took until everybody had everything.
            let seconds = (self.published_ns.unwrap_or(end_ns) - self.start_ns) as f64 / 1e9;
            enter("events", "events accepted", all.accepted as f64, "");
            enter("events_per_s", "events accepted per second", all.accepted as f64 / seconds, "/s");
            if all.refusals > 0 {
                enter("refusals", "publishes answered 429 or 503", all.refusals as f64, "");
            }
            if self.active.len() > 1 {
                for (publisher, accepted, under_way) in each.iter().filter(|(_, accepted, _)| *accepted > 0) {
                    let label = format!("events of {publisher} accepted");
                    enter(&format!("{publisher}_events"), &label, *accepted as f64, "");
                    if let Some(percent) = under_way {
                        let label = format!("time in which half the subscribers of {publisher} or more waited for one");
                        enter(&format!("{publisher}_under_way_percent"), &label, *percent, "%");
                    }
                    let label = format!("events of {publisher} accepted per second");
                    enter(&format!("{publisher}_events_per_s"), &label, *accepted as f64 / seconds, "/s");
                }
            }
        }
        let timings = stage.take_timings();
        let mut times = |figure: &str, label: &str, times: &hdrhistogram::Histogram<u64>| {
            findings.times(&target, &format!("{name}.{figure}"), &format!("{name}: {label}"), times);
        };
        times("head", "time to the response head", &timings.heads);
        times("answer", "time to the answer to a publish", &all.answers);
        let live = || stage.live_times(&timings).filter(|(_, times)| !times.is_empty());
        let mut everyone = crate::swarm::new_histogram();
        for (_, group) in live() {
            everyone.add(group).expect("histograms of one shape");
        }
        times("latency", "latency", &everyone);
        if live().count() > 1 {
            for (group, deliveries) in live() {
                times(&format!("{}_latency", group.name), &format!("latency of {}", group.name), deliveries);
            }
        }
        for (group, arrivals) in stage.groups.iter().zip(&*stage.arrivals) {
            if let Some(arrivals) = arrivals {
                let label = format!("until the last of {} has an event", group.name);
                times(&format!("{}_last", group.name), &label, &arrivals.take());
            }
        }
        if self.active.len() > 1 && live().count() > 1 {
            for (group, deliveries) in live() {
                let (key, label) = (&group.name, format!("{name}: deliveries to {} per second", group.name));
                let rate = deliveries.len() as f64 / flowing;
                findings.enter(&target, format!("{name}.{key}_deliveries_per_s"), label, rate, "/s");
            }
        }
        let mut enter = |figure: &str, label: &str, value: f64, unit| {
            findings.enter(&target, format!("{name}.{figure}"), format!("{name}: {label}"), value, unit);
        };
        if !all.late.is_empty() && all.late.max() >= 1000 {
            let late = all.late.value_at_quantile(0.99) as f64 / 1e3;
            enter("late_p99_ms", "this program behind its schedule, p99", late, "ms");
        }
        for (key, label, now, before) in [
            ("refused_connects", "connections answered 429 or 503", counts.refused, self.counts.refused),
            ("failed_connects", "connections that failed and were tried again", counts.failed, self.counts.failed),
            ("closed", "streams the server ended", counts.closed, self.counts.closed),
        ] {
            if now > before {
                enter(key, label, (now - before) as f64, "");
            }
        }

        for (attack, damage) in &self.damages {
            for (key, label, count) in [
                ("units", "connections, bytes or requests of", damage.units),
                ("connections", "connections begun by", damage.connections),
                ("answered", "handshakes the server answered to", damage.answered),
                ("ended", "connections the server ended of", damage.ended),
            ] {
                enter(&format!("{attack}_{key}"), &format!("{label} {attack}"), count as f64, "");
            }
        }
        if cpu.server_s > 0.0 {
            if delivered > 0 {
                let each = cpu.server_s * 1e6 / delivered as f64;
                enter("cpu_us_per_delivery", "server CPU per delivery", each, "us");
            } else if all.accepted > 0 {
                let each = cpu.server_s * 1e6 / all.accepted as f64;
                enter("cpu_us_per_event", "server CPU per event", each, "us");
                let each = cpu.machine_s * 1e6 / all.accepted as f64;
                enter("cpu_machine_us_per_event", "CPU of the machine per event", each, "us");
            } else if opened > 0 {
                enter("cpu_us_per_connect", "server CPU per connection", cpu.server_s * 1e6 / opened as f64, "us");
            }
        }
        let heartbeats = counts.heartbeats - self.counts.heartbeats;
        if heartbeats > 0 && delivered == 0 && all.accepted == 0 && opened == 0 {
            let count = heartbeats as f64;
            enter("heartbeats", "heartbeats received (comment lines)", count, "");
            enter("heartbeats_per_s", "heartbeats per second", count / seconds, "/s");
            if !stage.pids().is_empty() {
                let (each, share) = (cpu.server_s * 1e6 / count, cpu.server_s / seconds);
                enter("cpu_us_per_heartbeat", "server CPU per heartbeat", each, "us");
                enter("heartbeats_cpu_s_per_s", "server CPU on heartbeats, per second", share, "s/s");
            }
        }
        enter("cpu_server_s", "CPU of the server", cpu.server_s, "s");
        enter("cpu_server_percent", "CPU of the server, of one core", cpu.server_s * 100.0 / seconds, "%");
        enter("cpu_client_s", "CPU of this program", cpu.own_s, "s");
        enter("cpu_machine_s", "CPU of the whole machine", cpu.machine_s, "s");
        let others = (cpu.machine_s - cpu.server_s - cpu.own_s).max(0.0);
        enter("cpu_others_s", "CPU of neither: interrupts and other programs", others, "s");
        if !self.agents.is_empty() {
            let used = stage.swarm.usages().into_iter().zip(&self.agents).map(|(now, before)| now.since(*before));
            let used: Vec<Usage> = used.collect();
            enter("cpu_agents_s", "CPU of the agents", used.iter().map(|usage| usage.own_s).sum(), "s");
            let busy = used.iter().map(|usage| usage.busy_s * 100.0 / usage.total_s).fold(f64::NAN, f64::max);
            enter("cpu_agents_machine_percent_max", "CPU in use on the busiest agent's machine", busy, "%");
        }
        let (private_peak, tcp_peak) = stage.memory.peaks();
        if let (Some(before), Some(peak)) = (self.private_bytes, private_peak) {
            enter("private_bytes", "server's private memory at the start", before as f64, "B");
            enter("peak_private_bytes", "the most it was meanwhile", peak as f64, "B");
            if let Some(now) = stage.private_bytes() {
                enter("growth_bytes", "its growth", now as f64 - before as f64, "B");
            }
        }
        enter("peak_tcp_bytes", "TCP buffers of the whole machine, most", tcp_peak as f64, "B");
        if stage.tells_turns {
            let full = stage.long_turns_full() - self.long_turns;
            enter("long_turns_full", "turns over 2 ms of CPU that met a full socket", full as f64, "");
        }
        for (group, watch) in stage.groups.iter().zip(&self.kernel).filter(|(group, _)| group.watch_kernel) {
            let (key, label) = (&group.name, format!("kernel memory at the server per connection of {}", group.name));
            enter(&format!("{key}_kernel_bytes_max"), &format!("{label}, most"), watch.max as f64, "B");
            enter(&format!("{key}_kernel_bytes_mean"), &format!("{label}, highest mean"), watch.mean, "B");
            enter(&format!("{key}_open"), &format!("connections of {}", group.name), watch.sockets as f64, "");
        }
        Ok(())
    }
}
