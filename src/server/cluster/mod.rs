//! A hub's part in a cluster: two tasks on the backbone that append to the engine's log and follow it, and the past as it is read there.
//!
//! The sequencer's thread gives the [`Appender`](appender) what publishers send, and gets from the [`Follower`](follower) what the
//! engine has put in order, this hub's own events among it: only then they become events here. So every hub has the same events at the same
//! offsets under the same ids. Both tasks talk to that thread by bounded queues ([`Link`]) and wait for room on their side. What is known
//! of the engine stands in [`LinkState`].

mod appender;
mod backoff;
mod burial;
mod document;
pub(crate) mod elsewhere;
#[cfg(test)]
mod fake;
mod follower;
mod history;
mod life;
mod link;
mod members;
mod recent;
mod relay;
mod state;
mod warming;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use self::appender::Appender;
use self::backoff::{Backoff, node_id};
use self::follower::{Follower, newest_of};
pub(crate) use self::history::EngineHistory;
pub(crate) use self::link::{Answered, Link, News, Outgoing, draft_of};
use self::members::{Members, announce};
pub(crate) use self::recent::Recent;
pub(crate) use self::state::LinkState;
use crate::cluster::{Engine, EngineError, Nats, NodeId, Opened, OutboxRules, Placed, Postgres, Redis, Retention};
use crate::config::{Cluster, EngineKind};
use crate::hub::{Event, Log};
use crate::protocol::coding::Codings;
use crate::protocol::event_id::IdCipher;
use crate::server::backbone::Backbone;
use crate::server::inbox::Inbox;
use crate::server::presence::Roster;
use crate::server::sequencer::SequencerHandle;
use crate::server::settings::Settings;
use crate::server::shared::Shared;

/// How long a hub that starts tries to reach the engine.
const JOIN_PATIENCE: Duration = Duration::from_secs(6);
/// How long an engine may take to be opened: tables may have to be made.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A hub that has reached its engine.
pub(crate) struct Joined {
    pub(crate) history: Box<dyn crate::history::Remote>,
    pub(crate) log: Log,
    pub(crate) newest: Option<Arc<Event>>,
    pub(crate) link: Link,
    pub(crate) state: Arc<LinkState>,
    /// Begins to append and to follow, once there is somebody to talk to.
    pub(crate) go: Go,
    /// Where the announcer notes who is subscribed, if that is announced.
    pub(crate) roster: Option<Arc<dyn Roster>>,
    /// Where shards ask who is subscribed at other hubs.
    pub(crate) elsewhere: Option<mpsc::Sender<elsewhere::Asked>>,
}

/// What begins the work; to be given whom to talk to.
pub(crate) type Go = Box<dyn FnOnce(&Backbone, &SequencerHandle, Vec<Inbox>)>;

/// Reaches the engine, on the backbone; waits for it.
///
/// # Errors
/// Why that can't be, a sentence without secrets.
pub(crate) fn join(
    cluster: &Cluster,
    settings: &Settings,
    data_bytes_max: usize,
    shared: &Arc<Shared>,
    backbone: &Backbone,
) -> Result<Joined, String> {
    let retention = Retention {
        events_max: settings.retention.events_max as u64,
        bytes_max: settings.retention.bytes_max as u64,
        age_max_ms: settings.retention.age_max_ms,
    };
    let address = cluster.address.clone();
    match cluster.engine {
        EngineKind::Redis => {
            join_by(Redis::new(address, retention), cluster.lease, settings, shared, backbone, |_, _, _| {})
        }
        EngineKind::Nats => {
            join_by(Nats::new(address, retention), cluster.lease, settings, shared, backbone, |_, _, _| {})
        }
        EngineKind::Postgres => {
            let rules = OutboxRules { hub: settings.hub.clone(), limits: settings.update, data_bytes_max };
            let relay = move |backbone: &Backbone, engine, state| backbone.spawn(relay::run(engine, state, rules));
            join_by(Postgres::new(address, retention), cluster.lease, settings, shared, backbone, relay)
        }
    }
}

fn join_by<E: Engine + std::fmt::Debug>(
    engine: E,
    lease: Duration,
    settings: &Settings,
    shared: &Arc<Shared>,
    backbone: &Backbone,
    besides: impl FnOnce(&Backbone, Arc<E>, Arc<LinkState>) + 'static,
) -> Result<Joined, String> {
    let engine = Arc::new(engine);
    // Known to the cluster from the start, so that its subscribers can be entered.
    let node = settings.shard.announces.then(|| (node_id(), lease));
    let (sender, opened) = crossbeam_channel::bounded(1);
    {
        let engine = engine.clone();
        backbone.spawn(async move {
            let opened = timeout(JOIN_PATIENCE, open(&*engine, node)).await;
            let _ = sender.send(opened.unwrap_or_else(|_| Err("it doesn't answer".to_owned())));
        });
    }
    let (opened, newest) = opened.recv().map_err(|_| "the backbone has ended".to_owned())??;
    let Opened { identity, bounds, server, durability: (durability, warn) } = opened;
    tracing::info!(engine = ?engine, server, first = bounds.first, last = bounds.last, "joined the cluster");
    if warn {
        tracing::warn!("what is acknowledged: {durability}");
    } else {
        tracing::info!("what is acknowledged: {durability}");
    }
    let log = Log::new(0, bounds.last, IdCipher::new(identity.id_key));
    let codings = settings.codings;
    let tag = newest.as_ref().map(|placed| placed.entry.tag);
    let newest = newest.map(|placed| Arc::new(event_of(&log, placed, codings)));
    let mut recent = Recent::new(identity, log.clone(), settings.retention);
    // Most of those who come back have the newest event.
    recent.prepend(newest.iter().cloned().collect());
    let recent = Arc::new(RwLock::new(recent));
    let state = Arc::new(LinkState::new(identity, bounds.last));
    let history =
        EngineHistory::new(engine.clone(), state.clone(), recent.clone(), backbone.runtime().clone(), codings);
    let (link, outgoing, news) = link::new(recent.clone());
    let members = node.map(|(node, lease)| {
        let (engine, state, shared) = (engine.clone(), state.clone(), shared.clone());
        Arc::new(Members::new(engine, state, shared, backbone.runtime().clone(), lease, node))
    });
    let roster = members.clone().map(|members| members as Arc<dyn Roster>);
    let (questions, asked) = elsewhere::channel();
    let elsewhere = roster.is_some().then_some(questions);
    let go = {
        let (state, shared) = (state.clone(), shared.clone());
        move |backbone: &Backbone, sequencer: &SequencerHandle, shards: Vec<Inbox>| {
            let news = news.calling(sequencer.caller());
            if let Some(members) = members {
                let sequencer = sequencer.clone();
                backbone.spawn(members.clone().live(Arc::new(move |drafts| announce(&sequencer, drafts))));
                backbone.spawn(elsewhere::answer(asked, members, shards));
            }
            backbone.spawn(warming::warm(engine.clone(), recent, codings));
            backbone.spawn(Appender::new(engine.clone(), state.clone(), news.clone()).run(outgoing));
            backbone.spawn(Follower::new(engine.clone(), state.clone(), news, shared, tag).run());
            besides(backbone, engine, state);
        }
    };
    Ok(Joined { history: Box::new(history), log, newest, link, state, go: Box::new(go), roster, elsewhere })
}

/// Opens the engine and reads its newest event, again and again as long as it can't be reached. Who calls has patience or not.
async fn open<E: Engine>(engine: &E, node: Option<(NodeId, Duration)>) -> Result<(Opened, Option<Placed>), String> {
    let mut backoff = Backoff::default();
    loop {
        let opened = async {
            let opened = engine.open().await?;
            let newest = newest_of(engine, &opened).await?;
            if let Some((node, lease)) = node {
                engine.arrive(node, lease).await?;
            }
            Ok((opened, newest))
        };
        match opened.await {
            Ok(opened) => return Ok(opened),
            Err(EngineError::Unavailable(why)) if backoff.tries() >= JOIN_TRIES_MAX => return Err(why),
            Err(EngineError::Unavailable(_)) => sleep(backoff.next()).await,
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Tries of a hub that starts.
const JOIN_TRIES_MAX: u32 = 4;

/// The event of an entry that the engine keeps.
fn event_of(log: &Log, placed: Placed, codings: Codings) -> Event {
    let Placed { offset, entry } = placed;
    let (tag, published_ms) = (entry.tag, entry.published_ms);
    let mut draft = draft_of(entry);
    draft.store(codings);
    log.stored(draft, offset, tag, published_ms)
}
