//! What becomes of a publish: it is in the log, or why it isn't.

use std::sync::Arc;

use crate::history::AppendError;
use crate::hub::Event;

/// A publish that is in the log, or why it isn't.
pub(crate) type Committed = Result<Stored, Arc<NotStored>>;

/// An event that is in the log, as far as its publisher is told.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    /// All of it.
    Event(Arc<Event>),
    /// The event is made when it comes back from where it is stored; this is its id.
    Id(Box<str>),
}

impl Stored {
    /// Its id.
    pub(crate) fn id(&self) -> &str {
        match self {
            Stored::Event(event) => event.id(),
            Stored::Id(id) => id,
        }
    }
}

/// Why updates could not be stored. None of them is in the log, unless it says that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotStored {
    /// There is no room.
    Full(String),
    /// It may go better next time.
    Failed(String),
    /// It will not before somebody has looked at it.
    Stopped(String),
    /// The engine of the cluster can't be asked, or hasn't answered: in the latter case the update may be there all the same.
    Unreachable(String),
    /// The engine of the cluster doesn't take it.
    Refused(String),
}

/// What publishers are told while the engine of a cluster can't be reached.
pub(crate) const UNREACHABLE: &str = "the engine of the hub's cluster can't be reached; whether the update was stored isn't known: publish it again later";

impl NotStored {
    /// What administrators and the log are told.
    pub(crate) fn why(&self) -> &str {
        match self {
            NotStored::Full(why)
            | NotStored::Failed(why)
            | NotStored::Stopped(why)
            | NotStored::Unreachable(why)
            | NotStored::Refused(why) => why,
        }
    }

    /// Status and detail for the publisher, who isn't told about the hub's disks.
    pub(crate) fn answer(&self) -> (u16, &'static str) {
        match self {
            NotStored::Full(_) => {
                (507, "the hub has no room to store updates: its disk is full; publish this one again later")
            }
            NotStored::Failed(_) => (503, "the hub could not store the update; publish it again"),
            NotStored::Stopped(_) => {
                (503, "the hub can't store updates any more: its administrator has to look at its log and restart it")
            }
            NotStored::Unreachable(_) => (503, UNREACHABLE),
            NotStored::Refused(_) => (
                507,
                "the engine of the hub's cluster doesn't take the update, maybe for lack of room; the hub's log says why",
            ),
        }
    }
}

impl From<AppendError> for NotStored {
    fn from(error: AppendError) -> NotStored {
        match error {
            AppendError::Full(why) => NotStored::Full(why),
            AppendError::Failed(why) => NotStored::Failed(why),
            AppendError::Stopped(why) => NotStored::Stopped(why),
        }
    }
}
