//! One target with its subscribers and publishers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;

use super::findings::Findings;
use crate::dialect::{Dialect, Plain, Preset};
use crate::floor::Floor;
use crate::floor_press::FloorPress;
use crate::lanes::Lanes;
use crate::nchan;
use crate::options::{Options, cores};
use crate::press::{Limit, Pace, Press, Published, Turn};
use crate::progress::Progress;
use crate::publisher::Post;
use crate::report::Report;
use crate::sampler::Counts;
use crate::scenario::{Scenario, Step};
use crate::server::Server;
use crate::sources::Sources;
use crate::swarm::{Plan, Swarm, Timings, new_histogram};
use crate::timeline::Spread;
use crate::{sys, usage};

/// Each of the floor's threads has a descriptor table of its own with 20,000 places here, and the kernel doesn't spread
/// connections quite evenly.
const FLOOR_CONNECTIONS_PER_THREAD_MAX: usize = 18_000;

/// Who sends.
enum Sender {
    Server { server: Box<Server>, presses: Vec<Press> },
    Floor { floor: Box<Floor>, paces: Vec<(Pace, FloorPress)> },
}

/// A target in a run.
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) swarm: Swarm,
    pub(super) lanes: Arc<Lanes>,
    pub(super) groups: Arc<[crate::group::Group]>,
    pub(super) publisher_names: Vec<String>,
    pub(super) paces: Vec<Pace>,
    pub(super) dialect: Arc<Dialect>,
    sender: Sender,
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
    ) -> anyhow::Result<Self> {
        let arguments = [scenario.hub_arguments.as_slice(), arguments].concat();
        let server = Server::start(options, &arguments)?;
        let mut stage = Self::server(name, scenario, options, server, options.preset)?;
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
        Self::server("nchan", scenario, options, nchan::start()?, Preset::Nchan)
    }

    fn server(
        name: &str,
        scenario: &Scenario,
        options: &Options,
        server: Server,
        preset: Preset,
    ) -> anyhow::Result<Self> {
        let plain = Plain {
            subscribe: options.subscribe_url.clone(),
            publish: options.publish_url.clone(),
            body: options.publish_body.clone(),
            media_type: options.publish_type.clone(),
        };
        let dialect = Arc::new(Dialect {
            preset,
            target: server.target.clone(),
            plain,
            issuer: server.issuer.clone(),
            publish_token: server.token.clone(),
        });
        let mut published = Vec::new();
        let mut first = 0;
        for plan in &scenario.publishers {
            for (index, topics) in plan.topics_by_connection().into_iter().enumerate() {
                published.extend(topics.into_iter().map(|topic| (topic, 1_u64 << (first + index))));
            }
            first += plan.connections;
        }
        let lanes = Arc::new(Lanes::new(published));
        let mut presses = Vec::new();
        let mut first = 0;
        for plan in &scenario.publishers {
            let indexed = |name: String| {
                let index = lanes.topic(&name).expect("all published topics have lanes");
                (name, index)
            };
            let post = |topics: Vec<String>| Post {
                topics: topics.into_iter().map(indexed).collect(),
                sizes: plan.sizes.clone(),
            };
            let posts = plan.topics_by_connection().into_iter().map(post).collect();
            presses.push(Press::connect(&dialect, &lanes, posts, first, plan.pace, plan.pipeline)?);
            first += plan.connections;
        }
        let sender = Sender::Server { server: Box::new(server), presses };
        Self::new(name, scenario, options, dialect, lanes, sender)
    }

    /// The bare loop of sends.
    pub(super) fn floor(scenario: &Scenario, options: &Options) -> anyhow::Result<Self> {
        let threads = options.floor_threads.unwrap_or_else(cores);
        let connections: usize = scenario.groups.iter().map(|group| group.count).sum();
        if connections > threads * FLOOR_CONNECTIONS_PER_THREAD_MAX {
            bail!(
                "the floor holds {FLOOR_CONNECTIONS_PER_THREAD_MAX} connections per thread (its descriptor limit); give \
                 it more --floor-threads for {connections}"
            );
        }
        if scenario.publishers.len() > 1 {
            bail!("the floor sends everything to everyone: it has no place in a scenario with several publishers");
        }
        let Some(size) = scenario.publishers.first().and_then(|plan| plan.sizes.first()) else {
            bail!("the floor only sends: it has no place in a scenario that publishes nothing");
        };
        let floor = Floor::start(threads, *size, options.verbose)?;
        let dialect = Dialect {
            preset: Preset::Cinnabar,
            target: floor.server.target.clone(),
            plain: Plain::default(),
            issuer: None,
            publish_token: None,
        };
        let paces = scenario.publishers.iter().map(|plan| (plan.pace, FloorPress::new())).collect();
        let sender = Sender::Floor { floor: Box::new(floor), paces };
        Self::new("floor", scenario, options, Arc::new(dialect), Arc::new(Lanes::single()), sender)
    }

    fn new(
        name: &str,
        scenario: &Scenario,
        options: &Options,
        dialect: Arc<Dialect>,
        lanes: Arc<Lanes>,
        sender: Sender,
    ) -> anyhow::Result<Self> {
        let plan = Plan {
            dialect: Arc::clone(&dialect),
            groups: Arc::clone(&scenario.groups),
            lanes: Arc::clone(&lanes),
            sources: Sources(options.source.clone()),
            threads: options.client_threads.unwrap_or_else(cores),
            cpus: options.client_cpus.clone(),
            poll: Duration::from_micros(options.poll_us),
        };
        Ok(Self {
            name: name.to_owned(),
            swarm: Swarm::start(&plan)?,
            lanes,
            groups: Arc::clone(&scenario.groups),
            paces: scenario.publishers.iter().map(|plan| plan.pace).collect(),
            publisher_names: scenario.publishers.iter().map(|plan| plan.name.clone()).collect(),
            dialect,
            sender,
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

    /// The server, whoever it is.
    pub(super) fn server_ref(&self) -> &Server {
        match &self.sender {
            Sender::Server { server, .. } => server,
            Sender::Floor { floor, .. } => &floor.server,
        }
    }

    /// The processes whose CPU and memory count.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.server_ref().pids()
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

    /// What there is to count, and the latencies since the last call.
    pub(super) fn sample(&mut self) -> Counts {
        let mut new = self.swarm.take_timings();
        let mut everyone = new_histogram();
        for times in &new.deliveries {
            everyone.add(times).expect("histograms of one shape");
        }
        self.timings.drain(&mut new);
        let counts = self.swarm.counts();
        Counts {
            connections: counts.open,
            deliveries: counts.delivered,
            publishes: self.lanes.accepted(),
            refused: counts.refused,
            closed: counts.closed,
            latency: Spread::of(&everyone),
        }
    }

    /// A publisher begins.
    pub(super) fn begin(&mut self, publisher: usize, limit: Limit) {
        let now_ns = sys::now_ns();
        match &mut self.sender {
            Sender::Server { presses, .. } => presses[publisher].begin(limit, &self.swarm, now_ns),
            Sender::Floor { paces, .. } => paces[publisher].1.begin(limit, &self.swarm, now_ns),
        }
    }

    /// A publisher without a limit stops.
    pub(super) fn end(&mut self, publisher: usize) {
        match &mut self.sender {
            Sender::Server { presses, .. } => presses[publisher].end(),
            Sender::Floor { paces, .. } => paces[publisher].1.end(),
        }
    }

    /// A publisher's turn.
    pub(super) fn turn(&mut self, publisher: usize, now_ns: u64) -> anyhow::Result<Turn> {
        let (turn, trouble) = match &mut self.sender {
            Sender::Server { presses, .. } => {
                let press = &mut presses[publisher];
                (press.turn(&self.swarm, now_ns)?, &mut press.trouble)
            }
            Sender::Floor { floor, paces } => {
                let (pace, press) = &mut paces[publisher];
                (press.turn(floor, *pace, &self.lanes, &self.swarm, now_ns)?, &mut press.trouble)
            }
        };
        if turn == Turn::Done
            && let Some(trouble) = trouble.take()
        {
            self.trouble.push(trouble);
        }
        Ok(turn)
    }

    /// What each publisher published since the last call.
    pub(super) fn take_published(&mut self) -> Vec<Published> {
        match &mut self.sender {
            Sender::Server { presses, .. } => presses.iter_mut().map(Press::take_published).collect(),
            Sender::Floor { paces, .. } => {
                paces.iter_mut().map(|(_, press)| press.take_published(&self.lanes)).collect()
            }
        }
    }

    /// Closes the subscribers, enters whether they got what was sent, and stops the server if it is ours.
    pub(super) fn finish(self, report: &mut Report) {
        let Self { name, swarm, sender, trouble, .. } = self;
        let detail = if trouble.is_empty() { "nothing late".to_owned() } else { trouble.join("; ") };
        report.check(format!("{name}: everything came through in time"), trouble.is_empty(), detail);
        let uncoded = swarm.counts().uncoded;
        if uncoded > 0 {
            report.note(format!("{name}: {uncoded} streams came without the content coding that was asked for"));
        }
        report.check_delivery(&name, &swarm.finish());
        match sender {
            // Its publishing connections first: a server may wait for them to end.
            Sender::Server { mut server, presses } => {
                drop(presses);
                stop(&name, &mut server, report);
            }
            Sender::Floor { .. } => {}
        }
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
