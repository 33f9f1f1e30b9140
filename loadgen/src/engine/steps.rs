//! Carries out steps: one at a time, or tracks of them side by side, on one thread that never waits for long.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::bail;

use super::findings::Findings;
use super::stage::Stage;
use super::window::{Mark, Window};
use crate::attack::Attack;
use crate::press::{Limit, Pace, Turn};
use crate::process::{self, Kernel};
use crate::progress::Progress;
use crate::report::number;
use crate::scenario::{Does, Step};
use crate::server::Server;
use crate::swarm::Order;
use crate::sys::{self, Precedence};

/// Nobody opened or left for so long: the server doesn't answer.
const CONNECT_STALL_NS: u64 = 30_000_000_000;
/// After publishing: how long nothing may move before the rest counts as lost.
const DRAIN_PATIENCE_NS: u64 = 15_000_000_000;
/// How often it is counted who hasn't got everything yet.
const COUNT_NS: u64 = 10_000_000;
/// Two readings of memory a second apart that differ by less are the same.
const STILL_BYTES: u64 = 64 * 1024;
/// What a turn without anything to do waits, while nothing is published.
const NAP: Duration = Duration::from_millis(2);

/// Something that has begun.
enum Activity {
    Swarming { group: usize, connects: bool, before: u64, most: u64, since_ns: u64 },
    Churning { group: usize, until_ns: u64 },
    Publishing { by: usize, unlimited: bool },
    Attacking { by: usize, attack: Attack, unlimited: bool },
    Draining { counting: bool, next_ns: u64, before: u64, since_ns: u64 },
    Waiting { since_ns: u64, until_ns: u64 },
    Settling { mark: String, since: Option<String>, until_ns: u64, next_ns: u64, before: Option<u64> },
}

/// Steps one after another.
struct Track {
    steps: VecDeque<Does>,
    now: Option<Activity>,
}

impl Track {
    /// Does it only go on as long as others do?
    fn is_company(&self) -> bool {
        let goes_on = |now| {
            matches!(now, &Activity::Publishing { unlimited: true, .. } | &Activity::Attacking { unlimited: true, .. })
        };
        self.steps.is_empty() && self.now.as_ref().is_some_and(goes_on)
    }

    fn is_over(&self) -> bool {
        self.steps.is_empty() && self.now.is_none()
    }
}

/// Carries out a step and enters what was measured.
pub(super) fn run(
    stage: &mut Stage,
    step: &Step,
    findings: &mut Findings,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    if step.measure.is_some() {
        stage.swarm.sync()?;
    }
    let mut window = step.measure.as_ref().map(|name| Window::open(name, stage));
    let tracks = match &step.does {
        Does::Together { tracks } => {
            tracks.iter().map(|track| track.iter().map(|step| step.does.clone()).collect()).collect()
        }
        // Who publishes waits until everybody has it.
        Does::Publish { .. } => vec![VecDeque::from([step.does.clone(), Does::Drain])],
        other => vec![VecDeque::from([other.clone()])],
    };
    let mut tracks: Vec<Track> = tracks.into_iter().map(|steps| Track { steps, now: None }).collect();
    let mut draining = false;
    // While nothing is to come the client threads shouldn't disturb what is measured.
    let rests = matches!(step.does, Does::Wait { .. } | Does::Settle { .. });
    if rests {
        stage.swarm.rest(true);
    }
    // Nor should they delay what is to be published at its time.
    let on_schedule = keeps_schedule(&step.does, stage) && sys::may_go_first();
    if on_schedule {
        sys::go(Precedence::First);
        stage.swarm.keep_schedule(true);
    }
    let mut idle = 0;
    loop {
        stage.swarm.watch_agents()?;
        let mut moved = false;
        for track in &mut tracks {
            moved |= advance(track, stage, window.as_mut(), findings)?;
        }
        if let Some(window) = &mut window {
            window.watch(stage)?;
        }
        show(stage, &tracks, progress);
        let running = tracks.iter().filter(|track| !track.is_over()).count();
        if running > 0 && tracks.iter().all(|track| track.is_over() || track.is_company()) {
            for track in &tracks {
                match &track.now {
                    Some(Activity::Publishing { by, .. }) => stage.end(*by),
                    Some(Activity::Attacking { attack, .. }) => attack.end(),
                    _ => {}
                }
            }
        }
        if running == 0 {
            if matches!(step.does, Does::Together { .. }) && !draining {
                draining = true;
                tracks.push(Track { steps: VecDeque::from([Does::Drain]), now: None });
                continue;
            }
            break;
        }
        idle = if moved { 0 } else { idle + 1 };
        if !moved {
            let nap = |track: &Track| match track.now {
                Some(Activity::Publishing { by, .. }) => stage.paces[by].nap(idle),
                _ => NAP,
            };
            std::thread::sleep(tracks.iter().map(nap).min().unwrap_or(NAP));
        }
    }
    if on_schedule {
        sys::go(Precedence::Fair);
        stage.swarm.keep_schedule(false);
    }
    if rests {
        stage.swarm.rest(false);
    }
    stage.swarm.sync()?;
    progress.sample_now(stage.sample());
    match window {
        Some(window) => window.close(stage, findings),
        None => Ok(()),
    }
}

/// Is something published at a rate in it?
fn keeps_schedule(does: &Does, stage: &Stage) -> bool {
    match does {
        Does::Publish { by, .. } => matches!(stage.paces[*by], Pace::Rate(_)),
        Does::Together { tracks } => tracks.iter().flatten().any(|step| keeps_schedule(&step.does, stage)),
        _ => false,
    }
}

fn show(stage: &mut Stage, tracks: &[Track], progress: &mut Progress) {
    progress.sample(|| stage.sample());
    match tracks {
        [Track { now: Some(Activity::Swarming { most, before, .. }), .. }] if *most > 0 => {
            return progress.advance(most - before, *most, "connections come or gone");
        }
        [Track { now: Some(Activity::Waiting { since_ns, until_ns }), .. }] => {
            let seconds = |ns: u64| ns / 1_000_000_000;
            return progress.advance(seconds(sys::now_ns() - since_ns), seconds(until_ns - since_ns), "s waited");
        }
        _ => {}
    }
    progress.show(|| {
        let counts = stage.swarm.counts();
        let [open, published, delivered] =
            [counts.open, stage.published(), counts.delivered].map(|count| number(count as f64));
        let todo = stage.swarm.todo();
        let to_come = if todo > 0 { format!(" ({todo} to come or go)") } else { String::new() };
        format!("{open} connected{to_come}, {published} published, {delivered} delivered")
    });
}

/// Begins, drives or ends what a track is at. Answers whether it should be looked at again at once.
fn advance(
    track: &mut Track,
    stage: &mut Stage,
    mut window: Option<&mut Window>,
    findings: &mut Findings,
) -> anyhow::Result<bool> {
    let now_ns = sys::now_ns();
    let Some(activity) = &mut track.now else {
        let Some(does) = track.steps.pop_front() else {
            return Ok(false);
        };
        if let (Does::Publish { by, .. }, Some(window)) = (&does, &mut window) {
            window.active.push(*by);
        }
        let connects = matches!(does, Does::Connect { .. } | Does::Churn { .. });
        if let (true, Some(window)) = (connects, &mut window) {
            window.connecting.begin(now_ns, stage.swarm.counts().opened);
        }
        track.now = begin(does, stage, now_ns)?;
        return Ok(true);
    };
    let (over, moved) = match activity {
        Activity::Swarming { group, connects, before, most, since_ns } => {
            let idle = stage.swarm.is_idle_in(*group)?;
            let todo = stage.swarm.todo_of(*group);
            *most = todo.max(*most);
            if todo != *before {
                (*before, *since_ns) = (todo, now_ns);
            } else if !idle && now_ns - *since_ns > CONNECT_STALL_NS {
                bail!("{}: {todo} connections got no answer", stage.name);
            }
            if let (true, true, Some(window)) = (idle, *connects, &mut window) {
                window.connecting.end(now_ns, stage.swarm.counts().opened);
            }
            (idle, false)
        }
        Activity::Churning { group, until_ns } => {
            let over = now_ns >= *until_ns;
            if over {
                stage.swarm.order(Order::Churn { group: *group, rate: 0.0 });
                track.now =
                    Some(Activity::Swarming { group: *group, connects: true, before: 0, most: 0, since_ns: now_ns });
                return Ok(true);
            }
            (false, false)
        }
        Activity::Publishing { by, .. } => match stage.turn(*by, now_ns)? {
            Turn::Done => {
                if let Some(window) = &mut window {
                    window.published_ns = Some(now_ns);
                }
                (true, true)
            }
            turn => (false, turn == Turn::Moved),
        },
        Activity::Attacking { by, attack, .. } => {
            let over = attack.is_over()?;
            if let (true, Some(window)) = (over, &mut window) {
                window.damages.push((stage.attacks[*by].name.clone(), attack.damage()));
            }
            (over, false)
        }
        Activity::Draining { counting, next_ns, before, since_ns } => {
            let delivered = stage.swarm.delivered();
            if delivered != *before {
                (*before, *since_ns) = (delivered, now_ns);
            }
            if !*counting && now_ns >= *next_ns {
                stage.swarm.order(Order::CountBehind);
                *counting = true;
            }
            let mut over = false;
            if *counting && let Some(behind) = stage.swarm.behind() {
                (*counting, *next_ns) = (false, now_ns + COUNT_NS);
                over = behind == 0 && stage.swarm.todo() == 0;
                if !over && now_ns - *since_ns > DRAIN_PATIENCE_NS {
                    stage.trouble.push(format!("{behind} subscribers waited in vain for what was published"));
                    over = true;
                }
            }
            stage.swarm.is_idle()?;
            (over, false)
        }
        Activity::Waiting { until_ns, .. } => (now_ns >= *until_ns, false),
        Activity::Settling { mark, since, until_ns, next_ns, before } => {
            if now_ns < *next_ns {
                return Ok(false);
            }
            *next_ns = now_ns + 1_000_000_000;
            let now = stage.private_bytes();
            let still = matches!((now, *before), (Some(now), Some(before)) if now.abs_diff(before) <= STILL_BYTES);
            *before = now;
            if still || now.is_none() || now_ns >= *until_ns {
                settled(mark, since.as_deref(), now, stage, findings)?;
                (true, false)
            } else {
                (false, false)
            }
        }
    };
    if over {
        track.now = None;
    }
    Ok(moved || over)
}

fn begin(does: Does, stage: &mut Stage, now_ns: u64) -> anyhow::Result<Option<Activity>> {
    let seconds_on = |seconds: f64| now_ns + (seconds * 1e9) as u64;
    let connects = matches!(does, Does::Connect { .. });
    let (group, order) = match does {
        Does::Connect { group, rate, goes_on, at_once } => (group, Order::Connect { group, rate, goes_on, at_once }),
        Does::Drop { group, share } => (group, Order::Drop { group, share }),
        Does::Leave { group } => (group, Order::Leave { group }),
        Does::Read { group, reads } => (group, Order::Read { group, reads }),
        Does::Churn { group, rate, seconds } => {
            stage.swarm.order(Order::Churn { group, rate });
            return Ok(Some(Activity::Churning { group, until_ns: seconds_on(seconds) }));
        }
        Does::Publish { by, seconds, count } => {
            let limit = Limit { time_ns: seconds.map(|seconds| (seconds * 1e9) as u64), count };
            stage.begin(by, limit)?;
            let unlimited = seconds.is_none() && count.is_none();
            return Ok(Some(Activity::Publishing { by, unlimited }));
        }
        Does::Attack { by, seconds, count } => {
            let limit = Limit { time_ns: seconds.map(|seconds| (seconds * 1e9) as u64), count };
            let attack = Attack::begin(&stage.attacks[by], &stage.dialect, limit)?;
            let unlimited = seconds.is_none() && count.is_none();
            return Ok(Some(Activity::Attacking { by, attack, unlimited }));
        }
        Does::Drain => {
            let before = stage.swarm.delivered();
            return Ok(Some(Activity::Draining { counting: false, next_ns: 0, before, since_ns: now_ns }));
        }
        Does::Wait { seconds } => {
            return Ok(Some(Activity::Waiting { since_ns: now_ns, until_ns: seconds_on(seconds) }));
        }
        Does::Settle { mark, since, seconds } => {
            let until_ns = seconds_on(seconds);
            // The server first notices what has just happened.
            let next_ns = now_ns + 1_000_000_000;
            return Ok(Some(Activity::Settling { mark, since, until_ns, next_ns, before: None }));
        }
        Does::Together { .. } => return Ok(None),
    };
    stage.swarm.order(order);
    Ok(Some(Activity::Swarming { group, connects, before: 0, most: 0, since_ns: now_ns }))
}

/// Enters what memory is, and what it has grown by since another mark.
fn settled(
    mark: &str,
    since: Option<&str>,
    private_bytes: Option<u64>,
    stage: &mut Stage,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let now = Mark { private_bytes, open: stage.swarm.counts().open, kernel: Kernel::now() };
    let name = stage.name.clone();
    let mut enter = |figure: &str, label: &str, value: f64, unit| {
        findings.enter(&name, format!("{mark}.{figure}"), format!("{mark}: {label}"), value, unit);
    };
    enter("connections", "connections", now.open as f64, "");
    if let Some(bytes) = now.private_bytes {
        enter("private_bytes", "server's private memory", bytes as f64, "B");
    }
    if let [Some(pid)] = *stage.servers_ref().iter().map(Server::pid).collect::<Vec<_>>() {
        let (open, limit) = process::descriptors(pid)?;
        enter("descriptors", "descriptors the server has open", open as f64, "");
        enter("descriptors_limit", "its descriptor limit", limit as f64, "");
        enter("threads", "its threads", process::threads(pid)? as f64, "");
    }
    enter("tcp_bytes", "TCP buffers of the whole machine", now.kernel.tcp_buffer_bytes as f64, "B");
    if let Some(since) = since {
        let Some(before) = stage.marks.get(since) else {
            bail!("the mark `{since}` isn't set when `{mark}` is compared with it");
        };
        if let (Some(now_bytes), Some(before_bytes)) = (now.private_bytes, before.private_bytes) {
            let growth = now_bytes as f64 - before_bytes as f64;
            enter("growth_bytes", &format!("its growth since {since}"), growth, "B");
            let connections = now.open.saturating_sub(before.open) as f64;
            if connections > 0.0 {
                enter("bytes_per_connection", "user memory per connection", growth / connections, "B");
            }
        }
        let connections = now.open.saturating_sub(before.open);
        if let Some(growth) = now.kernel.slab_growth(&before.kernel).filter(|_| connections > 0) {
            let each = growth as f64 / connections as f64;
            enter("kernel_bytes_per_connection", "kernel slabs per connection, both ends", each, "B");
        }
    }
    stage.marks.insert(mark.to_owned(), now);
    Ok(())
}
