//! Opening a log: what is in its segments, without reading more than the newest of them.
//!
//! Whatever stopped the run before – an end in order, kill -9, a loss of power – the row of segments ends in one that may
//! have an unfinished batch at its end, which nobody was told of. It is cut off.

use std::io;
use std::sync::Arc;

use super::index::{self, Index, Summary};
use super::log::{Active, Sealed, Segments, hash};
use super::segment::{self, Headed, START};
use super::storage::{Storage, StorageFile};
use super::writer::{DRAFT, create, write_index};
use super::{Durability, OpenError};

/// Why a log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be written.
    Write(Durability),
    /// To be looked at; nothing is changed.
    Look,
}

/// What is added to the name of a file that can't be used and isn't thrown away.
pub(super) const ASIDE: &str = ".damaged";

/// A segment that is there.
struct Found<F> {
    file: F,
    summary: Summary,
    /// `None`: it is a file.
    index: Option<Index>,
}

/// Opens the segments of a log; `None`: there is nothing to look at.
///
/// # Errors
/// When they are of another version, or the system says no.
pub(super) fn open<S: Storage>(
    storage: &S,
    log: &'static str,
    keys: [u64; 2],
    purpose: Purpose,
) -> Result<Option<Segments<S::File>>, OpenError> {
    let names = storage.names().map_err(|error| OpenError::io("the folder", &error))?;
    let places = |ending: &str| {
        let mut found: Vec<u64> = names.iter().filter_map(|name| segment::parse_name(log, name, ending)).collect();
        found.sort_unstable();
        found
    };
    let (segments, indexes) = (places(".log"), places(".index"));
    let mut found: Vec<Found<S::File>> = Vec::new();
    for &after in &segments {
        let name = segment::name(log, after);
        let look = || look_into(storage, log, keys, after, indexes.contains(&after));
        let looked = match look() {
            Err(error) if purpose == Purpose::Look && error.kind() == io::ErrorKind::NotFound => {
                // Whoever has the folder dropped it meanwhile, and before it what is older.
                found.clear();
                continue;
            }
            looked => looked.map_err(|error| OpenError::io(&name, &error))?,
        };
        match looked {
            Look::Version(found) => return Err(OpenError::Version { found }),
            Look::Segment(next) => {
                if let Some(before) = found.pop_if(|before| is_in_place_of(&next.summary, &before.summary)) {
                    remove(storage, log, before.summary.after, purpose)?;
                }
                if next.summary.events == 0 && found.last().is_some_and(|before| before.summary.last > after) {
                    // It was begun, could neither be finished nor removed, and the one before was written on.
                    remove(storage, log, after, purpose)?;
                    continue;
                }
                if found.last().is_some_and(|before| before.summary.last != after) {
                    tracing::error!(segment = name, "history before this segment is damaged, and counts as dropped");
                    for before in found.drain(..) {
                        put_aside(storage, &segment::name(log, before.summary.after), purpose)?;
                    }
                }
                // What isn't the newest needs an index; of many that lack one, not all are to be in memory.
                if let (Some(before), Purpose::Write(_)) = (found.last_mut(), purpose)
                    && let Some(index) = &before.index
                    && before.file.sync().and_then(|()| write_index(storage, log, index)).is_ok()
                {
                    before.index = None;
                }
                found.push(next);
            }
            // Its making was interrupted: nobody was told of anything in it.
            Look::Nothing { empty: true } => {}
            Look::Nothing { empty: false } => {
                tracing::error!(segment = name, "a segment of history is damaged, and counts as dropped");
                put_aside(storage, &name, purpose)?;
            }
        }
    }
    let newest = match (found.pop(), purpose) {
        (Some(newest), _) => newest,
        (None, Purpose::Look) => return Ok(None),
        (None, Purpose::Write(durability)) => {
            let name = segment::name(log, 0);
            let file = create(storage, &name, 0, durability).map_err(|error| OpenError::io(&name, &error))?;
            let index = Index::new(0, START);
            Found { file, summary: index.summary, index: Some(index) }
        }
    };
    let name = segment::name(log, newest.summary.after);
    let index = match newest.index {
        Some(index) => index,
        None => segment::scan(&newest.file, newest.summary.after, |id| hash(keys, id))
            .map_err(|error| OpenError::io(&name, &error))?,
    };
    if let Purpose::Write(_) = purpose {
        cut(&newest.file, &name, index.summary.end).map_err(|error| OpenError::io(&name, &error))?;
        remove_leftovers(storage, log, &names, &found).map_err(|error| OpenError::io("the folder", &error))?;
    }
    let dropped = found.first().map_or(newest.summary.after, |oldest| oldest.summary.after);
    let active = Active { file: Arc::new(newest.file), index };
    let sealed = found.into_iter().map(|Found { file, summary, index }| {
        let unsealed = index.map(|index| (Arc::new(file), Arc::new(index)));
        Arc::new(Sealed { summary, unsealed: unsealed.into() })
    });
    Ok(Some(Segments { sealed: sealed.collect(), active, dropped, dropped_events: 0 }))
}

enum Look<F> {
    Segment(Found<F>),
    Version(u32),
    Nothing { empty: bool },
}

fn look_into<S: Storage>(
    storage: &S,
    log: &str,
    keys: [u64; 2],
    after: u64,
    has_index: bool,
) -> io::Result<Look<S::File>> {
    let file = storage.open(&segment::name(log, after))?;
    let length = file.length()?;
    match segment::read_head(&file, after)? {
        Headed::Version(version) => return Ok(Look::Version(version)),
        Headed::Nothing => return Ok(Look::Nothing { empty: length <= START }),
        Headed::Segment => {}
    }
    if has_index
        && let Ok(summary) = storage.open(&segment::index_name(log, after)).and_then(|file| index::summary(&file))
        && summary.after == after
        && summary.end == length
    {
        return Ok(Look::Segment(Found { file, summary, index: None }));
    }
    let index = segment::scan(&file, after, |id| hash(keys, id))?;
    Ok(Look::Segment(Found { file, summary: index.summary, index: Some(index) }))
}

/// Whether a segment has the newer events of another one, as trimming makes it (`cut.rs`). It was interrupted before it removed
/// the other one.
pub(super) fn is_in_place_of(segment: &Summary, other: &Summary) -> bool {
    (other.after + 1..other.last).contains(&segment.after) && segment.last >= other.last
}

fn remove(storage: &impl Storage, log: &str, after: u64, purpose: Purpose) -> Result<(), OpenError> {
    match purpose {
        Purpose::Look => Ok(()),
        Purpose::Write(_) => {
            let name = segment::name(log, after);
            // What is in its place has to be there for good.
            storage.sync_names().and_then(|()| storage.remove(&name)).map_err(|error| OpenError::io(&name, &error))
        }
    }
}

fn put_aside(storage: &impl Storage, name: &str, purpose: Purpose) -> Result<(), OpenError> {
    match purpose {
        Purpose::Look => Ok(()),
        Purpose::Write(_) => {
            storage.rename(name, &format!("{name}{ASIDE}")).map_err(|error| OpenError::io(name, &error))
        }
    }
}

/// Cuts off what was not finished. Synced before anything is written there, lest old bytes come back behind new ones.
fn cut(file: &impl StorageFile, name: &str, end: u64) -> io::Result<()> {
    let length = file.length()?;
    if length > end {
        tracing::info!(segment = name, bytes = length - end, "cut off what the run before had not finished writing");
        file.cut(end)?;
    }
    // What was read may be in memory only, and from here on it counts as stored.
    file.sync()
}

/// Removes what belongs to no segment, and the index of the one that is written on.
fn remove_leftovers<S: Storage>(storage: &S, log: &str, names: &[String], sealed: &[Found<S::File>]) -> io::Result<()> {
    for name in names.iter().filter(|name| name.starts_with(log)) {
        let index = segment::parse_name(log, name, ".index");
        let unused = index.is_some_and(|after| !sealed.iter().any(|found| found.summary.after == after));
        if unused || name.ends_with(DRAFT) {
            match storage.remove(name) {
                // Made whole meanwhile, under its own name.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
