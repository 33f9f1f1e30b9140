//! The way out: what a hub does between the signal to stop and its end, stage by stage, as the thread that waits for signals sees it.
//!
//! Probes hear of it first. Then the shards close their listeners, when nobody waits there any more, and end their streams one by one;
//! what is published meanwhile is taken. In the end all that is left stops. Every stage has an end, and another signal ends all at once.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::admin::Stage;
use crate::hub::Drain;
use crate::server::clock::Clock;
use crate::server::inbox::{Inbox, Message};
use crate::server::notify::Watch;
use crate::server::shared::Shared;
use crate::server::sys::Signals;
use crate::server::unix_socket::SocketFile;

/// The shortest time after which a client whose stream is ended is told to come back, where `--retry` says nothing.
pub(crate) const RETRY_LEAST_MS: u64 = 1_000;
/// How long a stop waits for requests and for what is owed to streams, at most.
const FINISH_MS: u64 = 3_000;
/// How long a shard has to make room for a message.
const SAY_MS: u64 = 2_000;
/// How long shards have to empty and close their listeners.
const LISTENERS_MS: u64 = 2_000;
/// How long the threads beside the shards may take to end, with some slack.
const REST_MS: u64 = 5_000;
/// Between two looks at how far the shards have come.
const LOOK: Duration = Duration::from_millis(5);
/// Between two lines of the log that say how many streams are left.
const PROGRESS_MS: u64 = 1_000;

/// How a hub has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All was done that was to be done.
    InOrder,
    /// A second signal, of this number, asked for the end at once.
    AtOnce(u8),
}

/// How long the stages of the way out may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// Everything is still served.
    pub(crate) delay_ms: u64,
    /// Streams end one by one.
    pub(crate) window_ms: u64,
    /// What is left ends.
    pub(crate) stop_ms: u64,
    /// See [`Drain::retry_least_ms`].
    pub(crate) retry_least_ms: u64,
}

/// What is needed to lead a hub to its end.
pub(super) struct WayOut<'a> {
    pub(super) signals: &'a Signals,
    pub(super) watch: &'a Watch<'a>,
    pub(super) shared: &'a Shared,
    pub(super) inboxes: &'a [Inbox],
    pub(super) shards: &'a [JoinHandle<()>],
    pub(super) clock: Clock,
}

impl WayOut<'_> {
    /// Leads the hub to its end. `random` is what the order of streams is drawn from, `files` are those of the sockets that are listened on.
    ///
    /// # Errors
    /// The number of a second signal.
    pub(super) fn go(&self, ending: Ending, random: u64, files: &mut Vec<SocketFile>) -> Result<(), u8> {
        let Ending { delay_ms, window_ms, stop_ms, retry_least_ms } = ending;
        let end_ms = self.now_ms() + delay_ms + window_ms + LISTENERS_MS + stop_ms + REST_MS;
        let tell = |status: &str| self.watch.notifier.stopping(status, end_ms.saturating_sub(self.now_ms()));
        if delay_ms > 0 {
            self.shared.enter(Stage::Leaving);
            tell("about to stop: everything is still served");
            tracing::info!(
                delay_ms,
                "the readiness probe says that the hub is about to stop; everything is still served"
            );
            self.wait(delay_ms, || false)?;
        }
        self.shared.enter(Stage::Draining);
        tell("draining");
        tracing::info!(window_ms, "stopping: no new connections, streams are being ended");
        // Before the shards close them: who finds a file connects.
        drop(std::mem::take(files));
        let began_ms = self.now_ms();
        self.say(|| Message::Drain(Drain { window_ms, retry_least_ms, random }))?;
        let closed = || self.shared.listening.load(Ordering::Acquire) == 0;
        let mut said_ms = began_ms;
        self.wait(window_ms, || {
            let left = self.shared.streams_left();
            if let Some(streams_left) = left
                && self.now_ms() >= said_ms + PROGRESS_MS
            {
                said_ms = self.now_ms();
                tracing::info!(streams_left, "draining");
                tell(&format!("draining: {streams_left} streams are left"));
            }
            left == Some(0) && closed()
        })?;
        self.wait((began_ms + LISTENERS_MS).saturating_sub(self.now_ms()), closed)?;
        if window_ms > 0 {
            let streams_left = self.shared.streams_left().unwrap_or_default();
            tracing::info!(streams_left, "drained: what is left ends now");
        }
        tell("stopping: what is left ends now");
        self.shared.stop(self.now_ms() + (stop_ms / 2).min(FINISH_MS));
        self.say(|| Message::Stop)?;
        let left = || self.shards.iter().filter(|shard| !shard.is_finished()).count();
        self.wait(stop_ms, || left() == 0)?;
        if left() > 0 {
            tracing::warn!(shards = left(), "some connections did not end in time and are cut");
        }
        Ok(())
    }

    /// Says something to all shards. Who is stuck and has no room for it isn't waited for longer than it takes to be sure.
    fn say(&self, message: impl Fn() -> Message) -> Result<(), u8> {
        let mut left: Vec<&Inbox> = self.inboxes.iter().collect();
        self.wait(SAY_MS, || {
            left.retain(|inbox| !inbox.offer(message()));
            left.is_empty()
        })?;
        if !left.is_empty() {
            tracing::error!(shards = left.len(), "shards are stuck: their connections will be cut");
        }
        Ok(())
    }

    /// Waits until something is so, or the time is up.
    fn wait(&self, patience_ms: u64, mut until: impl FnMut() -> bool) -> Result<(), u8> {
        let end_ms = self.now_ms() + patience_ms;
        while !until() && self.now_ms() < end_ms {
            self.watch.look();
            if let ControlFlow::Break(signal) = self.look() {
                tracing::warn!("a second signal: the hub ends at once, streams are cut");
                return Err(signal);
            }
        }
        Ok(())
    }

    /// Waits a moment for another signal to stop.
    fn look(&self) -> ControlFlow<u8> {
        match self.signals.wait_for(LOOK) {
            Some(libc::SIGHUP) => {
                tracing::warn!("the hub is stopping: the configuration isn't reloaded any more");
                ControlFlow::Continue(())
            }
            Some(signal) => ControlFlow::Break(signal as u8),
            None => ControlFlow::Continue(()),
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().mono_ms
    }
}
