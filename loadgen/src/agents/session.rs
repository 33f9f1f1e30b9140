//! An agent's end of a run: takes its part, carries out orders, tells how its subscribers stand, and judges at the end. When
//! the coordinator goes away, so do the subscribers.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};

use super::course::Course;
use super::frame::{self, FRAME_BYTES_MAX, FrameError, Frames};
use super::link::ALIVE_NS;
use super::message::{ENTRIES_MAX, Finished, Status, ToAgent, ToCoordinator, Usage};
use super::part::{Means, Part};
use super::serve::{say, shortened, wait_for};
use super::times::Times;
use crate::accounts::Opening;
use crate::joined::joined;
use crate::lanes::Lanes;
use crate::ledger::Verdict;
use crate::machine::Machine;
use crate::payload::TOPICS_MAX;
use crate::quantity::count;
use crate::record::Build;
use crate::scheduling::Scheduling;
use crate::swarm::{Counts, Order, Plan, Swarm};
use crate::sys;

/// How often it is looked at how the subscribers stand.
const LOOK: Duration = Duration::from_millis(5);
/// The same while they rest.
const LOOK_AT_REST: Duration = Duration::from_millis(50);
/// How often that is told when nothing has changed.
const TELL_NS: u64 = 200_000_000;
/// A coordinator says something every second; who is silent for so long is gone.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Orders that may wait. Who sends more waits.
const ORDERS_MAX: usize = 256;
/// How often a line is written while something changes.
const SAY_NS: u64 = 5_000_000_000;

/// What the reading thread hands over.
enum Heard {
    Message(ToAgent),
    /// A question for the time, and when it came.
    Time(u64),
    Lost(FrameError),
}

/// Does its part of a run on a connection whose other end is known.
pub(super) fn run(
    mut stream: TcpStream,
    mut frames: Frames<TcpStream>,
    opening: Opening,
    means: &Means,
    who: &str,
) -> anyhow::Result<()> {
    frames.allow(FRAME_BYTES_MAX);
    let begun = part(&mut stream, &mut frames, who)
        .and_then(|(part, topics)| in_good_time(&mut stream, || start(part, topics, means, who)));
    let (swarm, plan) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // Whoever is still there learns why; an error of the connection itself can't be told.
            let _ = frame::send(&mut stream, &ToCoordinator::Trouble(format!("{error:#}")));
            return Err(error);
        }
    };
    // There is no server beside them that they could disturb.
    let may_go_first = sys::may_go_first();
    swarm.keep_schedule(may_go_first);
    let any = |prompt| plan.groups.iter().any(|group| group.prompt == prompt);
    let scheduling = Scheduling::of_threads(any(true), any(false), may_go_first);
    let lanes = &*plan.lanes;
    std::thread::scope(|scope| {
        let (heard, inbox) = sync_channel(ORDERS_MAX);
        scope.spawn(move || listen(&mut frames, lanes, &heard));
        let session = Session {
            stream: &mut stream,
            inbox,
            plan: &plan,
            scheduling,
            who,
            resting: false,
            course: None,
            synced: Default::default(),
            told: Told::default(),
        };
        let ended = session.run(swarm, opening);
        // The reading thread ends with the connection.
        let _ = stream.shutdown(Shutdown::Both);
        ended
    })
}

/// What comes before the threads start: questions for the time, the topics, the part itself.
fn part(
    stream: &mut TcpStream,
    frames: &mut Frames<TcpStream>,
    who: &str,
) -> anyhow::Result<(Part, Vec<(String, u64)>)> {
    let mut topics = Vec::new();
    loop {
        match wait_for(frames, SILENCE_MAX).with_context(|| format!("{who} didn't say what to do"))? {
            ToAgent::Time => tell_time(stream, sys::now_ns())?,
            ToAgent::Topics(more) => {
                topics.extend(more);
                anyhow::ensure!(topics.len() as u64 <= TOPICS_MAX, "more topics than a run has");
            }
            ToAgent::Alive => {}
            ToAgent::Part(part) => return Ok((*part, topics)),
            _ => bail!("an order before there is a run"),
        }
    }
}

/// Makes a plan of the part and starts its threads.
fn start(part: Part, topics: Vec<(String, u64)>, means: &Means, who: &str) -> anyhow::Result<(Swarm, Plan)> {
    let title = shortened(&part.title);
    let plan = part.plan(topics, means).context("the part makes no sense")?;
    let (own, target) = (plan.connections(), plan.dialect.target.url());
    let share = plan.share;
    say(&format!(
        "{who}: a run begins, agent {} of {}: {title}; {} subscribers of {target} are here",
        share.index + 1,
        share.of,
        count(own as u64)
    ));
    Ok((Swarm::start(&plan)?, plan))
}

/// Does something that may take long, and says meanwhile that it is at it.
fn in_good_time<T: Send>(to: &mut impl Write, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut told_ns = sys::now_ns();
        while !working.is_finished() {
            std::thread::sleep(LOOK);
            if sys::now_ns() - told_ns > ALIVE_NS {
                told_ns = sys::now_ns();
                frame::send(to, &ToCoordinator::Starting)?;
            }
        }
        joined(working.join(), "the start")?
    })
}

fn tell_time(stream: &mut TcpStream, received_ns: u64) -> Result<(), FrameError> {
    frame::send(stream, &ToCoordinator::Time { received_ns, answered_ns: sys::now_ns() })
}

/// Reads until the connection ends. What is known of the lanes is entered here, so that reading never waits for long.
fn listen(frames: &mut Frames<TcpStream>, lanes: &Lanes, heard: &SyncSender<Heard>) {
    let mut last_ns = sys::now_ns();
    loop {
        let message = match frames.poll() {
            Ok(Some(ToAgent::Lanes { news, answers })) => {
                last_ns = sys::now_ns();
                if !news.into_iter().all(|state| lanes.mirror(state)) {
                    Heard::Lost(FrameError::Garbage("a lane that isn't there".to_owned()))
                } else {
                    answers.into_iter().for_each(|question| lanes.answer(question));
                    continue;
                }
            }
            Ok(Some(ToAgent::Time)) => Heard::Time(sys::now_ns()),
            Ok(Some(message)) => Heard::Message(message),
            Ok(None) if sys::now_ns() - last_ns > SILENCE_MAX.as_nanos() as u64 => {
                Heard::Lost(FrameError::Silent(SILENCE_MAX.as_secs()))
            }
            Ok(None) => continue,
            Err(error) => Heard::Lost(error),
        };
        last_ns = sys::now_ns();
        let over = matches!(message, Heard::Lost(_));
        if heard.send(message).is_err() || over {
            return;
        }
    }
}

/// What was told last.
#[derive(Default)]
struct Told {
    at_ns: u64,
    status: Status,
    audiences: Vec<u32>,
    /// Streams and heads when audiences were last looked at.
    looked_at: Option<(u64, u64)>,
    trouble: bool,
    said_ns: u64,
    said: Counts,
}

struct Session<'a> {
    stream: &'a mut TcpStream,
    inbox: Receiver<Heard>,
    plan: &'a Plan,
    scheduling: Scheduling,
    who: &'a str,
    resting: bool,
    /// The course of this clock, once it isn't what it was at the beginning.
    course: Option<Course>,
    /// The last question for everything as it is now, and the CPU time at that moment.
    synced: (u64, Usage),
    told: Told,
}

impl Session<'_> {
    fn run(mut self, mut swarm: Swarm, opening: Opening) -> anyhow::Result<()> {
        let worked = self.work(&mut swarm);
        if let Err(error) = worked {
            let open = swarm.counts().open;
            // Threads and sockets go; nobody is left to be told what they got.
            let _ = swarm.finish();
            bail!("{error}: the run is given up and its {} connections are dropped", count(open));
        }
        let (verdict, opening) = self.judge(swarm, opening)?;
        say(&format!("{}: the run is over: {}", self.who, verdict.detail()));
        self.report(verdict, opening)?;
        // Questions for the time at the end, until the coordinator has all it wants.
        loop {
            match self.inbox.recv() {
                Ok(Heard::Time(received_ns)) => tell_time(self.stream, received_ns)?,
                Ok(Heard::Message(_)) => {}
                Ok(Heard::Lost(FrameError::Ended)) | Err(_) => return Ok(()),
                Ok(Heard::Lost(error)) => return Err(error.into()),
            }
        }
    }

    /// Carries out orders until it is to finish.
    fn work(&mut self, swarm: &mut Swarm) -> Result<(), FrameError> {
        frame::send(self.stream, &ToCoordinator::Started)?;
        loop {
            let mut next = self.inbox.recv_timeout(if self.resting { LOOK_AT_REST } else { LOOK });
            loop {
                match next {
                    Ok(Heard::Message(ToAgent::Finish)) => return Ok(()),
                    Ok(Heard::Message(message)) => self.take(message, swarm)?,
                    Ok(Heard::Time(received_ns)) => tell_time(self.stream, received_ns)?,
                    Ok(Heard::Lost(error)) => return Err(error),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return Err(FrameError::Ended),
                }
                let Ok(more) = self.inbox.try_recv() else { break };
                next = Ok(more);
            }
            self.tell(swarm)?;
        }
    }

    fn take(&mut self, message: ToAgent, swarm: &mut Swarm) -> Result<(), FrameError> {
        match message {
            ToAgent::Order(order) => {
                let (Order::Connect { group, .. }
                | Order::Drop { group, .. }
                | Order::Leave { group }
                | Order::Churn { group, .. }
                | Order::Read { group, .. }) = order
                else {
                    swarm.order(order);
                    return Ok(());
                };
                if group >= self.plan.groups.len() {
                    return Err(FrameError::Garbage("an order to a group that isn't there".to_owned()));
                }
                swarm.order(order);
            }
            ToAgent::Rest(resting) => {
                self.resting = resting;
                swarm.rest(resting);
            }
            ToAgent::Sync(number) => {
                self.synced = (number, Usage::now());
                // Told at once, changed or not.
                self.told.at_ns = 0;
            }
            ToAgent::Alive => {}
            ToAgent::Clock(course) => self.course = Some(course),
            ToAgent::Time | ToAgent::Lanes { .. } | ToAgent::Topics(_) | ToAgent::Part(_) | ToAgent::Finish => {
                return Err(FrameError::Garbage("a message out of place".to_owned()));
            }
        }
        Ok(())
    }

    /// Tells how the subscribers stand, if it has changed.
    fn tell(&mut self, swarm: &Swarm) -> Result<(), FrameError> {
        let now_ns = sys::now_ns();
        if let Some(course) = self.course {
            self.plan.clock_shift.follow(course, now_ns);
        }
        if let Some(question) = self.plan.lanes.question() {
            frame::send(self.stream, &ToCoordinator::Ask(question))?;
        }
        if !self.told.trouble
            && let Err(error) = swarm.is_idle()
        {
            self.told.trouble = true;
            say(&format!("{}: {error:#}", self.who));
            frame::send(self.stream, &ToCoordinator::Trouble(shortened(&format!("{error:#}"))))?;
        }
        let mut status = self.look(swarm);
        self.say_counts(status.counts, now_ns);
        if status != self.told.status || now_ns.saturating_sub(self.told.at_ns) > TELL_NS {
            // More would not fit into a frame; they are told apart, before what counts them.
            while status.audiences.len() > ENTRIES_MAX {
                let audiences = status.audiences.split_off(status.audiences.len() - ENTRIES_MAX);
                let before = Status { audiences, todo: status.todo.clone(), ..self.told.status.clone() };
                frame::send(self.stream, &ToCoordinator::Status(Box::new(before)))?;
            }
            frame::send(self.stream, &ToCoordinator::Status(Box::new(status.clone())))?;
            self.told.at_ns = now_ns;
            self.told.status = Status { times: None, audiences: Vec::new(), ..status };
        }
        Ok(())
    }

    /// In this order: what is taken has left its traces in what is read after it.
    fn look(&mut self, swarm: &Swarm) -> Status {
        let taken = swarm.taken();
        let (todo, behind) = (swarm.todo_of_groups(), swarm.behind().unwrap_or(self.told.status.behind));
        let counts = swarm.counts();
        let times = Times::of(&swarm.take_timings());
        let mut audiences = Vec::new();
        if self.told.looked_at != Some((counts.open, counts.opened)) {
            self.told.looked_at = Some((counts.open, counts.opened));
            audiences = self.plan.lanes.audiences(&mut self.told.audiences);
        }
        let (synced, usage) = self.synced;
        Status { taken, todo, behind, counts, times, audiences, synced, usage }
    }

    fn say_counts(&mut self, counts: Counts, now_ns: u64) {
        let told = &mut self.told;
        let moved = counts.opened != told.said.opened
            || counts.open != told.said.open
            || counts.delivered != told.said.delivered;
        if moved && now_ns.saturating_sub(told.said_ns) > SAY_NS {
            (told.said, told.said_ns) = (counts, now_ns);
            say(&format!("{}: {} connected, {} delivered", self.who, count(counts.open), count(counts.delivered)));
        }
    }

    /// Closes everything and judges, which takes a while, and says meanwhile that it is still there.
    fn judge(&mut self, swarm: Swarm, opening: Opening) -> anyhow::Result<(Verdict, Opening)> {
        std::thread::scope(|scope| {
            let judging = scope.spawn(move || swarm.finish());
            while !judging.is_finished() {
                std::thread::sleep(LOOK);
                let now_ns = sys::now_ns();
                if now_ns.saturating_sub(self.told.at_ns) > TELL_NS {
                    self.told.at_ns = now_ns;
                    frame::send(self.stream, &ToCoordinator::Status(Box::new(self.told.status.clone())))?;
                }
            }
            let finished = joined(judging.join(), "the judge")?;
            if let Err(error) = &finished {
                frame::send(self.stream, &ToCoordinator::Trouble(shortened(&format!("{error:#}"))))?;
            }
            Ok((finished?.0, opening))
        })
    }

    fn report(&mut self, mut verdict: Verdict, opening: Opening) -> anyhow::Result<()> {
        for orders in verdict.take_orders().chunks(ENTRIES_MAX) {
            frame::send(self.stream, &ToCoordinator::Orders(orders.to_vec()))?;
        }
        let (accounts, _) = opening.close();
        let descriptors = sys::raise_descriptor_limit()?;
        let machine = Machine::now((*crate::SOFT_DESCRIPTOR_LIMIT.get().unwrap_or(&descriptors.0), descriptors.1));
        let finished = Finished { verdict, machine, build: Build::this(), accounts, scheduling: self.scheduling };
        Ok(frame::send(self.stream, &ToCoordinator::Finished(Box::new(finished)))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_start_is_heard_of_and_a_short_one_is_not() {
        let mut said = Vec::new();
        let started = in_good_time(&mut said, || {
            std::thread::sleep(Duration::from_nanos(2 * ALIVE_NS));
            Ok(())
        });
        assert!(started.is_ok());
        let mut frames = Frames::new(&said[..], 100);
        assert!(matches!(frames.poll(), Ok(Some(ToCoordinator::Starting))));
        let mut said = Vec::new();
        assert!(in_good_time(&mut said, || anyhow::Ok(())).is_ok());
        assert!(said.is_empty());
    }
}
