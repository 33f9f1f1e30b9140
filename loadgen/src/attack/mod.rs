//! Connections that do harm on purpose while others are measured: handshakes that are begun and left, records that come byte
//! by byte, requests that are taken back at once.
//!
//! An attack has a thread and a descriptor table of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::dialect::Dialect;
use crate::press::Limit;
use crate::sources::Sources;
use crate::sys;

mod abandon;
mod reset;
mod trickle;

/// Connections one attack holds at most.
pub(crate) const CONNECTIONS_MAX: usize = 16_000;
/// Attacks connect from the loopback addresses of a group that no scenario has.
const NET: usize = 199;
/// What an attack that is early sleeps.
const NAP: Duration = Duration::from_millis(1);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Connections that are left behind after TCP's handshake, after half a ClientHello, and when the server has sent its flight, in
    /// turn. A unit is a connection.
    AbandonedHandshakes,
    /// Connections that send a byte at a time of a ClientHello, of the record of a request, and of a record on a stream, a third each.
    /// A unit is a byte.
    TrickledRecords,
    /// Requests over HTTP/2 that are reset as soon as they are made, over TLS or with prior knowledge. A unit is a request.
    RapidResets,
}

impl Kind {
    /// Is it made on TLS itself?
    pub(crate) fn needs_tls(self) -> bool {
        self != Self::RapidResets
    }
}

/// An attack as a scenario has it.
#[derive(Clone, Debug)]
pub(crate) struct AttackPlan {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Held at the same time.
    pub(crate) connections: usize,
    /// Units per second.
    pub(crate) rate: f64,
}

/// What an attack has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Connections begun.
    pub(crate) connections: u64,
    /// Connections, bytes or requests.
    pub(crate) units: u64,
    /// Handshakes that the server had answered when they were left.
    pub(crate) answered: u64,
    /// Connections the server ended.
    pub(crate) ended: u64,
}

/// Counts that its thread keeps.
#[derive(Default)]
struct Shared {
    connections: AtomicU64,
    units: AtomicU64,
    answered: AtomicU64,
    ended: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A running attack.
pub(crate) struct Attack {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Attack {
    /// Begins one.
    pub(crate) fn begin(plan: &AttackPlan, dialect: &Arc<Dialect>, limit: Limit) -> anyhow::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (plan, dialect, own) = (plan.clone(), Arc::clone(dialect), Arc::clone(&shared));
        let work = move || {
            sys::own_descriptor_table()?;
            let pace = Pace { limit, rate: plan.rate, start_ns: sys::now_ns(), units: 0, shared: &own };
            match plan.kind {
                Kind::AbandonedHandshakes => abandon::run(&plan, &dialect, pace),
                Kind::RapidResets => reset::run(&plan, &dialect, pace),
                Kind::TrickledRecords => trickle::run(&plan, &dialect, pace),
            }
        };
        let thread = std::thread::Builder::new().name("attack".to_owned()).spawn(work)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ends one before its limit.
    pub(crate) fn end(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Is it over? Fails when it couldn't go on.
    pub(crate) fn is_over(&mut self) -> anyhow::Result<bool> {
        let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) else {
            return Ok(self.thread.is_none());
        };
        match thread.join() {
            Ok(outcome) => outcome.context("the attack couldn't go on").map(|()| true),
            Err(_) => bail!("the attack's thread stopped"),
        }
    }

    /// What it has done so far.
    pub(crate) fn damage(&self) -> Damage {
        let Shared { connections, units, answered, ended, .. } = &*self.shared;
        let [connections, units, answered, ended] =
            [connections, units, answered, ended].map(|counter| counter.load(Ordering::Relaxed));
        Damage { connections, units, answered, ended }
    }
}

/// However a run ends, its threads do.
impl Drop for Attack {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// When the next unit is due.
struct Pace<'a> {
    limit: Limit,
    rate: f64,
    start_ns: u64,
    units: u64,
    shared: &'a Shared,
}

impl Pace<'_> {
    /// Waits until another unit is due. False: no more are.
    fn next(&mut self) -> bool {
        loop {
            let now_ns = sys::now_ns();
            if self.shared.stop.load(Ordering::Acquire) || self.limit.is_over(self.start_ns, now_ns, self.units) {
                return false;
            }
            let due_ns = self.start_ns + (self.units as f64 * 1e9 / self.rate) as u64;
            if due_ns <= now_ns {
                self.units += 1;
                Shared::add(&self.shared.units);
                return true;
            }
            std::thread::sleep(NAP.min(Duration::from_nanos(due_ns - now_ns)));
        }
    }
}

/// Where the `n`th connection of an attack comes from: ports aren't used up however many there are.
fn connect(dialect: &Dialect, n: u64, shared: &Shared) -> anyhow::Result<std::net::TcpStream> {
    Shared::add(&shared.connections);
    Sources::default().connect(dialect.target.address, NET, n as usize, 0)
}
