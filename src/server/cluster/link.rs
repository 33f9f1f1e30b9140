//! The queues between the sequencer's thread and the tasks that talk to the engine.

use std::sync::{Arc, RwLock};

use tokio::sync::mpsc;

use super::recent::Recent;
use crate::cluster::{Entry, Identity, LogError, Placed};
use crate::hub::Draft;
use crate::server::clock;
use crate::server::commit::NotStored;
use crate::server::sequencer::Asker;

/// Entries that may wait for the appender. Their bytes are counted by the sequencer's queue until they are answered.
const OUTGOING_MAX: usize = 2_048;
/// Pieces of news that may wait for the sequencer's thread, each at most as large as a batch.
const NEWS_MAX: usize = 8;

/// An entry on its way to the engine, and who waits for it.
pub(crate) struct Outgoing {
    pub(super) entry: Entry,
    /// What the queue counts it with.
    pub(super) cost_bytes: usize,
    pub(super) asker: Asker,
}

impl Outgoing {
    /// A draft as the engine keeps it.
    pub(crate) fn new(draft: Draft, asker: Asker) -> Outgoing {
        let cost_bytes = draft.cost_bytes();
        let (update, announcement) = draft.into_update();
        Outgoing { entry: Entry { update, announcement, published_ms: clock::wall_ms(), tag: 0 }, cost_bytes, asker }
    }
}

/// The draft of what the engine keeps.
pub(crate) fn draft_of(entry: Entry) -> Draft {
    if entry.announcement { Draft::announcement(entry.update) } else { Draft::new(entry.update) }
}

/// What became of an entry: its id, or why it has none.
pub(crate) struct Answered {
    pub(crate) cost_bytes: usize,
    pub(crate) asker: Asker,
    pub(crate) outcome: Result<Box<str>, Arc<NotStored>>,
}

/// What the tasks tell.
pub(crate) enum News {
    Appended(Vec<Answered>),
    /// What follows in the log.
    Followed(Vec<Placed>),
    /// The log isn't what it was; it goes on after this offset.
    Lost {
        why: LogError,
        identity: Identity,
        head: u64,
        newest: Option<Placed>,
    },
}

/// The sequencer's end.
pub(crate) struct Link {
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    pub(crate) news: mpsc::Receiver<News>,
    /// What of the log is at hand.
    pub(crate) recent: Arc<RwLock<Recent>>,
}

/// The tasks' end, before anybody can be called.
pub(super) struct Quiet(mpsc::Sender<News>);

impl Quiet {
    pub(super) fn calling(self, call: Arc<dyn Fn() + Send + Sync>) -> Tell {
        Tell { news: self.0, call }
    }
}

/// Tells the sequencer's thread.
#[derive(Clone)]
pub(super) struct Tell {
    news: mpsc::Sender<News>,
    call: Arc<dyn Fn() + Send + Sync>,
}

impl Tell {
    /// Waits for room. False: there is nobody any more.
    pub(super) async fn tell(&self, news: News) -> bool {
        let told = self.news.send(news).await.is_ok();
        self.call();
        told
    }

    /// There is room again.
    pub(super) fn call(&self) {
        (self.call)();
    }
}

pub(super) fn new(recent: Arc<RwLock<Recent>>) -> (Link, mpsc::Receiver<Outgoing>, Quiet) {
    let (outgoing, outgoing_end) = mpsc::channel(OUTGOING_MAX);
    let (news_end, news) = mpsc::channel(NEWS_MAX);
    (Link { outgoing, news, recent }, outgoing_end, Quiet(news_end))
}
