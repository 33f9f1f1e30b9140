//! One target with its subscribers and publishers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;

use super::findings::Findings;
use crate::agents::{ClockShift, hire};
use crate::arrival::Arrivals;
use crate::attack::AttackPlan;
use crate::dialect::{Dialect, Plain, Preset};
use crate::floor::{Floor, FloorKind, FloorPress};
use crate::group::Group;
use crate::hammer::Hammer;
use crate::lanes::Lanes;
use crate::memory_watch::MemoryWatch;
use crate::nchan;
use crate::options::{Options, cores};
use crate::payload::SIZE_BYTES_MIN;
use crate::press::{Limit, Pace, Press, Published, Turn};
use crate::progress::Progress;
use crate::publisher::Post;
use crate::report::Report;
use crate::sampler::Counts;
use crate::scenario::{Scenario, Step};
use crate::server::{Server, own_issuer, publish_token};
use crate::sources::Sources;
use crate::swarm::{Plan, Share, Swarm, Timings, new_histogram};
use crate::timeline::Spread;
use crate::tls::Tls;
use crate::{sys, usage};

/// Each of the floor's threads has a descriptor table of its own with 20,000 places here, and the kernel doesn't spread
/// connections quite evenly.
const FLOOR_CONNECTIONS_PER_THREAD_MAX: usize = 18_000;

/// Who is measured.
enum Host {
    /// One, or the hubs of a cluster.
    Servers(Vec<Server>),
    Floor(Box<Floor>),
}

impl Host {
    fn servers(&self) -> &[Server] {
        match self {
            Host::Servers(servers) => servers,
            Host::Floor(floor) => std::slice::from_ref(&floor.server),
        }
    }
}

/// How a publisher's events get there.
enum Publishing {
    /// Posted, and accounted for to those who must get them.
    Press(Press),
    /// Posted to nobody, as fast as it goes.
    Hammer(Box<Hammer>),
    /// Orders to a floor.
    Orders(FloorPress),
}

/// A target in a run.
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) swarm: Swarm,
    pub(super) lanes: Arc<Lanes>,
    pub(super) groups: Arc<[Group]>,
    pub(super) arrivals: Arc<[Option<Arrivals>]>,
    pub(super) publisher_names: Vec<String>,
    pub(super) paces: Vec<Pace>,
    pub(super) attacks: Vec<AttackPlan>,
    pub(super) dialect: Arc<Dialect>,
    host: Host,
    pub(super) memory: MemoryWatch,
    publishing: Vec<Publishing>,
    /// What samples took from the swarm of the window that is open.
    timings: Timings,
    /// The hub was asked to tell of its long turns.
    pub(super) tells_turns: bool,
    /// What was found at marks: private bytes, kernel bytes, open connections.
    pub(super) marks: HashMap<String, super::window::Mark>,
    /// Why something didn't come through.
    pub(super) trouble: Vec<String>,
}

impl Stage {
    /// The hub the options name, with arguments of the scenario and of this target.
    pub(super) fn hub(
        name: &str,
        scenario: &Scenario,
        options: &Options,
        arguments: &[String],
        tls: Option<Tls>,
    ) -> anyhow::Result<Self> {
        let arguments = [scenario.hub_arguments.as_slice(), arguments].concat();
        if scenario.hubs > 1 && tls.is_some() {
            bail!("hubs that are a cluster are spoken to without TLS here: take `tls` or `count` out of [hub]");
        }
        let mut first = Server::start(options, &arguments, tls)?;
        if first.trust.is_some() && options.agents.are_used() {
            bail!("agents speak plain HTTP only: measure TLS without --agents");
        }
        let others = (1..scenario.hubs).map(|_| first.start_another(options, &arguments));
        let others = others.collect::<anyhow::Result<Vec<_>>>()?;
        let servers = std::iter::once(first).chain(others).collect();
        let mut stage = Self::servers(name, scenario, options, servers, options.preset)?;
        stage.tells_turns = options.hub.is_some() && arguments.iter().any(|argument| argument.contains("turns=debug"));
        Ok(stage)
    }

    /// nginx with nchan.
    pub(super) fn nchan(scenario: &Scenario, options: &Options) -> anyhow::Result<Self> {
        let connections: usize = scenario.groups.iter().map(|group| group.count).sum();
        let most = nchan::CONNECTIONS_PER_WORKER_MAX * cores();
        if connections > most {
            bail!("nchan holds {most} connections here (its descriptor limit); make the scenario smaller with --set");
        }
        Self::servers("nchan", scenario, options, vec![nchan::start(options.listen_address)?], Preset::Nchan)
    }

    fn servers(
        name: &str,
        scenario: &Scenario,
        options: &Options,
        servers: Vec<Server>,
        preset: Preset,
    ) -> anyhow::Result<Self> {
        let mercure = matches!(preset, Preset::Cinnabar | Preset::Mercure1 | Preset::Mercure0);
        if !mercure && FloorKind::replays(scenario) {
            bail!("{name} can't be asked for everything stored (`from-earliest`): only Mercure hubs can");
        }
        let plain = Plain {
            subscribe: options.subscribe_url.clone(),
            publish: options.publish_url.clone(),
            body: options.publish_body.clone(),
            media_type: options.publish_type.clone(),
        };
        let server = &servers[0];
        let dialect = Arc::new(Dialect {
            preset,
            target: server.target.clone(),
            plain,
            trust: server.trust.clone(),
            issuer: server.issuer.clone(),
            publish_token: server.token.clone(),
        });
        Self::posting(name, scenario, options, dialect, Host::Servers(servers))
    }

    /// A target that takes publishes.
    fn posting(
        name: &str,
        scenario: &Scenario,
        options: &Options,
        dialect: Arc<Dialect>,
        host: Host,
    ) -> anyhow::Result<Self> {
        let mut published = Vec::new();
        let mut first = 0;
        for plan in &scenario.publishers {
            for (index, topics) in plan.topics_by_connection().into_iter().enumerate() {
                published.extend(topics.into_iter().map(|topic| (topic, 1_u64 << (first + index))));
            }
            first += plan.connections;
        }
        let lanes = Arc::new(Lanes::new(published));
        let mut publishing = Vec::new();
        let mut first = 0;
        for plan in &scenario.publishers {
            let (sizes, pipeline) = (plan.sizes.clone(), plan.pipeline);
            if scenario.groups.is_empty() && matches!(plan.pace, Pace::Flood { .. }) {
                let hammer = Hammer::connect(&dialect, &plan.all_topics(), &sizes, plan.connections, pipeline)?;
                publishing.push(Publishing::Hammer(Box::new(hammer)));
            } else {
                let indexed = |name: String| {
                    let index = lanes.topic(&name).expect("all published topics have lanes");
                    (name, index)
                };
                let post = |topics: Vec<String>| Post {
                    topics: topics.into_iter().map(indexed).collect(),
                    sizes: sizes.clone(),
                };
                let posts = plan.topics_by_connection().into_iter().map(post).collect();
                let press = Press::connect(&dialect, &lanes, posts, first, plan.pace, pipeline)?;
                publishing.push(Publishing::Press(press));
            }
            first += plan.connections;
        }
        Self::new(name, scenario, options, dialect, lanes, host, publishing)
    }

    /// The floor, of the kind the scenario needs. It is asked the same as a hub, byte for byte.
    pub(super) fn floor(scenario: &Scenario, options: &Options) -> anyhow::Result<Self> {
        if let Some(why) = FloorKind::refusal(scenario) {
            bail!("the floor has no place in this scenario: {why}");
        }
        let threads = options.floor_threads.unwrap_or_else(cores);
        let connections: usize = scenario.groups.iter().map(|group| group.count).sum();
        if connections > threads * FLOOR_CONNECTIONS_PER_THREAD_MAX {
            bail!(
                "the floor holds {FLOOR_CONNECTIONS_PER_THREAD_MAX} connections per thread (its descriptor limit); give \
                 it more --floor-threads for {connections}"
            );
        }
        let kind = FloorKind::of(scenario);
        let is_ordered = kind == FloorKind::Send || FloorKind::replays(scenario);
        let size = scenario.publishers.first().and_then(|plan| plan.sizes.first()).copied().unwrap_or(SIZE_BYTES_MIN);
        let floor = Floor::start(kind, threads, size, options.listen_address, options.verbose, scenario.tls)?;
        let target = floor.server.target.clone();
        let issuer = own_issuer(Preset::Cinnabar, target.url());
        let dialect = Arc::new(Dialect {
            preset: Preset::Cinnabar,
            target,
            plain: Plain::default(),
            trust: floor.server.trust.clone(),
            publish_token: Some(publish_token(&issuer)),
            issuer: Some(issuer),
        });
        let host = Host::Floor(Box::new(floor));
        if is_ordered {
            let orders = scenario.publishers.iter().map(|_| Publishing::Orders(FloorPress::new())).collect();
            return Self::new("floor", scenario, options, dialect, Arc::new(Lanes::single()), host, orders);
        }
        Self::posting("floor", scenario, options, dialect, host)
    }

    fn new(
        name: &str,
        scenario: &Scenario,
        options: &Options,
        dialect: Arc<Dialect>,
        lanes: Arc<Lanes>,
        host: Host,
        publishing: Vec<Publishing>,
    ) -> anyhow::Result<Self> {
        let title = format!("{} ({name}): {}", scenario.name, scenario.title);
        let mut groups = Arc::clone(&scenario.groups);
        if options.agents.are_used() {
            // The kernel's memory is told apart by loopback addresses, which agents don't have.
            groups = groups.iter().map(|group| Group { watch_kernel: false, ..group.clone() }).collect();
        }
        let arrivals = |group: &Group| group.last.then(|| Arrivals::new(group.count, &lanes));
        let plan = Plan {
            dialect: Arc::clone(&dialect),
            groups: Arc::clone(&groups),
            lanes: Arc::clone(&lanes),
            sources: Sources(options.source.clone()),
            threads: options.client_threads.unwrap_or_else(cores),
            cpus: options.client_cpus.clone(),
            poll: Duration::from_micros(options.poll_us),
            share: Share::default(),
            clock_shift: ClockShift::default(),
            arrivals: groups.iter().map(arrivals).collect(),
        };
        Ok(Self {
            name: name.to_owned(),
            swarm: hire(&options.agents, &plan, &title)?,
            arrivals: plan.arrivals,
            lanes,
            groups,
            attacks: scenario.attacks.clone(),
            paces: scenario.publishers.iter().map(|plan| plan.pace).collect(),
            publisher_names: scenario.publishers.iter().map(|plan| plan.name.clone()).collect(),
            dialect,
            memory: MemoryWatch::start(host.servers().iter().filter_map(Server::pid).collect())?,
            host,
            publishing,
            timings: Timings::new(scenario.groups.len()),
            tells_turns: false,
            marks: HashMap::new(),
            trouble: Vec::new(),
        })
    }

    /// Runs steps one after another.
    pub(super) fn run(
        &mut self,
        steps: &[Step],
        findings: &mut Findings,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        for step in steps {
            super::steps::run(self, step, findings, progress)?;
        }
        Ok(())
    }

    /// The server, whoever it is; all of them where hubs are a cluster.
    pub(super) fn servers_ref(&self) -> &[Server] {
        self.host.servers()
    }

    /// The long turns with a full socket that they have told of.
    pub(super) fn long_turns_full(&self) -> u64 {
        self.servers_ref().iter().map(Server::long_turns_full).sum()
    }

    /// The processes whose CPU and memory count.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.servers_ref().iter().flat_map(Server::pids).collect()
    }

    /// Private memory of the server.
    pub(super) fn private_bytes(&self) -> Option<u64> {
        usage::private_bytes(&self.pids())
    }

    /// The times taken since the last call.
    pub(super) fn take_timings(&mut self) -> Timings {
        let mut all = Timings::new(self.groups.len());
        all.drain(&mut self.timings);
        all.drain(&mut self.swarm.take_timings());
        all
    }

    /// The times of those groups that don't come for stored events, whose age says nothing.
    pub(super) fn live_times<'a>(
        &'a self,
        timings: &'a Timings,
    ) -> impl Iterator<Item = (&'a Group, &'a Histogram<u64>)> {
        self.groups.iter().zip(&timings.deliveries).filter(|(group, _)| !group.earliest)
    }

    /// What there is to count, and the latencies since the last call.
    pub(super) fn sample(&mut self) -> Counts {
        let mut new = self.swarm.peek_timings();
        let mut everyone = new_histogram();
        for (_, times) in self.live_times(&new) {
            everyone.add(times).expect("histograms of one shape");
        }
        self.timings.drain(&mut new);
        let counts = self.swarm.counts();
        Counts {
            connections: counts.open,
            deliveries: counts.delivered,
            publishes: self.published(),
            refused: counts.refused,
            closed: counts.closed,
            latency: Spread::of(&everyone),
            server_bytes: self.memory.private_bytes(),
        }
    }

    /// Events accepted so far.
    pub(super) fn published(&self) -> u64 {
        let hammered = |publishing: &Publishing| match publishing {
            Publishing::Hammer(hammer) => hammer.accepted(),
            Publishing::Press(_) | Publishing::Orders(_) => 0,
        };
        self.lanes.accepted() + self.publishing.iter().map(hammered).sum::<u64>()
    }

    /// Deliveries that what all publishers posted must lead to.
    fn expected(&self) -> u64 {
        let expected = |publishing: &Publishing| match publishing {
            Publishing::Press(press) => press.expected(),
            Publishing::Hammer(_) | Publishing::Orders(_) => 0,
        };
        self.publishing.iter().map(expected).sum()
    }

    /// A publisher begins.
    pub(super) fn begin(&mut self, publisher: usize, limit: Limit) -> anyhow::Result<()> {
        let now_ns = sys::now_ns();
        let expected = self.expected();
        match &mut self.publishing[publisher] {
            Publishing::Press(press) => press.begin(limit, &self.swarm, expected, now_ns),
            Publishing::Hammer(hammer) => hammer.begin(limit)?,
            Publishing::Orders(orders) => orders.begin(limit, &self.swarm, now_ns),
        }
        Ok(())
    }

    /// A publisher without a limit stops.
    pub(super) fn end(&mut self, publisher: usize) {
        match &mut self.publishing[publisher] {
            Publishing::Press(press) => press.end(),
            Publishing::Hammer(hammer) => hammer.end(),
            Publishing::Orders(orders) => orders.end(),
        }
    }

    /// A publisher's turn.
    pub(super) fn turn(&mut self, publisher: usize, now_ns: u64) -> anyhow::Result<Turn> {
        let expected = self.expected();
        let (turn, trouble) = match (&mut self.publishing[publisher], &mut self.host) {
            (Publishing::Press(press), _) => (press.turn(&self.swarm, expected, now_ns)?, &mut press.trouble),
            (Publishing::Hammer(hammer), _) => return hammer.turn(),
            (Publishing::Orders(orders), Host::Floor(floor)) => {
                let pace = self.paces[publisher];
                (orders.turn(floor, pace, &self.lanes, &self.swarm, now_ns)?, &mut orders.trouble)
            }
            (Publishing::Orders(_), Host::Servers(_)) => unreachable!("only a floor takes orders"),
        };
        if turn == Turn::Done {
            self.trouble.extend(trouble.take());
        }
        Ok(turn)
    }

    /// What each publisher published since the last call.
    pub(super) fn take_published(&mut self) -> Vec<Published> {
        let lanes = &self.lanes;
        let take = |publishing: &mut Publishing| match publishing {
            Publishing::Press(press) => press.take_published(),
            Publishing::Hammer(hammer) => hammer.take_published(),
            Publishing::Orders(orders) => orders.take_published(lanes),
        };
        self.publishing.iter_mut().map(take).collect()
    }

    /// Closes the subscribers, enters whether they got what was sent, and stops the server if it is ours.
    pub(super) fn finish(self, report: &mut Report) -> anyhow::Result<()> {
        let Self { name, swarm, host, publishing, trouble, .. } = self;
        let detail = if trouble.is_empty() { "nothing late".to_owned() } else { trouble.join("; ") };
        report.check(format!("{name}: everything came through in time"), trouble.is_empty(), detail);
        let uncoded = swarm.counts().uncoded;
        if uncoded > 0 {
            report.note(format!("{name}: {uncoded} streams came without the content coding that was asked for"));
        }
        let (verdict, agents) = swarm.finish()?;
        report.check_delivery(&name, &verdict);
        agents.into_iter().for_each(|agent| report.agent(agent));
        // The publishing connections first: a server may wait for them to end.
        drop(publishing);
        if let Host::Servers(mut servers) = host {
            let one_of = |n| if servers.len() > 1 { format!("{name}, hub {n} of its cluster") } else { name.clone() };
            let names: Vec<String> = (1..=servers.len()).map(one_of).collect();
            for (server, name) in servers.iter_mut().zip(names) {
                stop(&name, server, report);
            }
        }
        Ok(())
    }
}

/// Stops the server if it is ours and enters how it ended.
fn stop(name: &str, server: &mut Server, report: &mut Report) {
    let early = server.ended();
    let what = format!("{name}: the server ran to the end and stopped on SIGTERM");
    match server.stop() {
        Ok(None) => {}
        Ok(Some(status)) => {
            let detail = if status.success() { String::new() } else { format!(":\n{}", server.last_words()) };
            report.check(what, early.is_none() && status.success(), format!("{status}{detail}"));
        }
        Err(error) => report.check(what, false, format!("{error:#}")),
    }
}
