//! What an engine is to a hub.

use std::future::Future;
use std::time::Duration;

use crate::protocol::update::Update;

/// One event as an engine keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The update: ids made by hubs are none here, they follow from offset and tag.
    pub update: Update,
    /// The word of a hub about a subscription, not a publisher's.
    pub announcement: bool,
    /// When the hub took it, milliseconds of Unix time.
    pub published_ms: u64,
    /// A random number of 22 bits that goes into the event's id: should an engine lose its newest events and give their
    /// offsets again, the ids differ.
    pub tag: u32,
}

/// An entry with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// From 1, gap-free in every engine.
    pub offset: u64,
    /// What stands there.
    pub entry: Entry,
}

/// Which log an engine holds: made at random with the log, and kept in the engine beside it. Whoever finds another one has
/// another log in front of him.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Names the log.
    pub log: [u8; 16],
    /// Enciphers the ids that hubs make of offsets. A secret.
    pub id_key: [u8; 32],
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:02x?}…)", &self.log[..4])
    }
}

/// What is kept of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest offset kept; one more than `last` when nothing is.
    pub first: u64,
    /// The newest offset ever given, 0 when there was none.
    pub last: u64,
}

/// An engine that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Of the log that was found, or made because there was none.
    pub identity: Identity,
    /// What is in it.
    pub bounds: Bounds,
    /// What this server is, for the log: name and version.
    pub server: String,
    /// What `acked` means with the settings found there, a sentence for the log, and whether it deserves a warning.
    pub durability: (String, bool),
}

/// How much an engine keeps. Enforced by the engine itself or, where it can't, with every append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events at most.
    pub events_max: u64,
    /// Bytes of their texts at most; engines count what they can count.
    pub bytes_max: u64,
    /// How old an event may get, milliseconds; `None`: as old as it likes.
    pub age_max_ms: Option<u64>,
}

/// Why an engine didn't do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It can't be reached, or doesn't answer in time. Whether it did what was asked is not known.
    #[error("{0}")]
    Unavailable(String),
    /// It refuses: credentials, permissions, its memory or disk is full. Nothing was done.
    #[error("{0}")]
    Refused(String),
    /// The log isn't the one it was.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// How a log can fail those that follow it: none of this may pass silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// What follows the cursor has been trimmed; this is the oldest offset kept.
    #[error("the engine has dropped what follows the cursor; the oldest event it keeps has offset {first}")]
    Trimmed {
        /// See [`Bounds::first`].
        first: u64,
    },
    /// The log ends before the cursor: it has lost its newest events.
    #[error("the engine has lost events: its log ends at offset {last}, before what was read of it")]
    Shorter {
        /// See [`Bounds::last`].
        last: u64,
    },
    /// There is another log, or none any more.
    #[error("the engine holds another log than before, or none")]
    Replaced,
}

/// What became of one appended entry.
pub type Appended = Result<u64, EngineError>;

/// Names a hub among those of a cluster, for one run of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub [u8; 16]);

/// A subscriber of some hub, as the others have to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Its id, `urn:uuid:…`.
    pub id: String,
    /// Its subscriptions, a text the hubs understand.
    pub document: String,
}

/// A subscriber and the hub that holds its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The hub.
    pub node: NodeId,
    /// Who is subscribed there.
    pub subscriber: Subscriber,
}

/// A server that orders and remembers for several hubs.
///
/// Every call may be made at any time from any task, again after every failure, and dropped at any point. Calls end within seconds
/// even if the server doesn't answer, but for [`Engine::follow`], which has its own bound.
pub trait Engine: Send + Sync + 'static {
    /// Reaches the server and makes the log if there is none; of several hubs that try, all get the same.
    fn open(&self) -> impl Future<Output = Result<Opened, EngineError>> + Send;

    /// Appends entries in this order, in one round trip, to the log of this identity: one result for each. Other hubs' may come in between.
    /// An entry stands in the log once, or not at all, whatever the answer. Never retried by the engine.
    fn append(&self, log: &Identity, entries: Vec<Entry>) -> impl Future<Output = Vec<Appended>> + Send;

    /// What follows `after`, at most `count` entries and about `bytes` of texts, but one at least; waits up to `wait` for one, and gives none
    /// if none came. When it comes back with none it has looked that the log is still this one, and not shorter than `after`.
    ///
    /// # Errors
    /// [`EngineError::Log`] as soon as the next entry can't be `after + 1`.
    fn follow(
        &self,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Placed>, EngineError>> + Send;

    /// Stored entries after `after`, the next ones there are: for replays. Fewer than `count` only if about `bytes` are reached or the
    /// end is. [`LogError::Trimmed`] if the one after `after` is gone, unless `after` is 0.
    fn range(
        &self,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<Placed>, EngineError>> + Send;

    /// The offset of the earliest event still kept to which a publisher gave this id.
    fn find(&self, log: &Identity, id: &str) -> impl Future<Output = Result<Option<u64>, EngineError>> + Send;

    /// What is kept.
    fn bounds(&self, log: &Identity) -> impl Future<Output = Result<Bounds, EngineError>> + Send;

    /// Makes a hub known under a name nobody has had before, for `lease` from now on. Again: the same, unless it was taken for dead
    /// meanwhile.
    fn arrive(&self, node: NodeId, lease: Duration) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Says that a hub lives, and may be taken for dead `lease` from now unless it says so again. A lease that has run out is renewed as
    /// well, as long as nobody has claimed the hub. False: somebody has, or nobody knows it (any more). It stays dead, and comes back under
    /// another name.
    fn renew(&self, node: NodeId, lease: Duration) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// Notes who is subscribed at a hub (again: replaces what was noted of the same subscriber). Of a hub that isn't known, or was taken for
    /// dead, nothing is noted: it learns so when it renews, and enters all of them anew.
    fn enter(&self, node: NodeId, subscribers: Vec<Subscriber>)
    -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Forgets subscribers of a hub. Those that aren't there are forgotten already.
    fn leave(&self, node: NodeId, subscribers: Vec<String>) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// A piece of the list of all subscribers of all hubs: those after `cursor` (empty: from the beginning) in an order of the engine's, and
    /// the next cursor, empty at the end. At most `count`, and about `bytes` of documents, but one at least. Somebody who comes or goes
    /// meanwhile may be in it or not; everybody else is, once. Those of a hub that was taken for dead are in no list begun after that.
    fn members(
        &self,
        cursor: &str,
        count: usize,
        bytes: usize,
    ) -> impl Future<Output = Result<(Vec<Member>, String), EngineError>> + Send;

    /// One subscriber; as in the list, nobody of a hub that was taken for dead.
    fn member(&self, id: &str) -> impl Future<Output = Result<Option<Member>, EngineError>> + Send;

    /// A hub whose lease has run out, claimed for `node`: nobody else gets it for `lease`. If `node` has claimed one already and didn't
    /// [`Engine::bury`] it, it gets that one, for another `lease`; but for that, when the time is over, it can be claimed again by anybody.
    /// Nobody is given to a hub whose own lease has run out: it can't tell whether the others could have renewed theirs.
    fn claim(&self, node: NodeId, lease: Duration) -> impl Future<Output = Result<Option<NodeId>, EngineError>> + Send;

    /// Up to `count` of the subscribers a dead hub left, and about `bytes` of documents, but one at least if there is one; [`Engine::leave`]
    /// with the dead hub's name forgets them.
    fn left(
        &self,
        dead: NodeId,
        count: usize,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<Subscriber>, EngineError>> + Send;

    /// Forgets a hub that was claimed, once it has no subscribers any more.
    fn bury(&self, dead: NodeId) -> impl Future<Output = Result<(), EngineError>> + Send;
}
