//! Checking a folder: every batch, every event, every index, and whether they fit together. Nothing is changed.

use std::io;

use super::batch::{self, Head};
use super::blocks::Topics;
use super::index::{Index, Summary};
use super::log::hash;
use super::meta::{self, Meta};
use super::open::{ASIDE, is_in_place_of};
use super::segment::{self, Headed, START};
use super::storage::{Storage, StorageFile};
use super::walk::{Step, Walk};
use super::writer::DRAFT;
use super::{ANNOUNCEMENTS, OpenError, UPDATES};
use crate::protocol::coding::Codings;
use crate::protocol::event_id::IdCipher;

/// What is wrong with a file, what that means and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The description can't be used.
    #[error(transparent)]
    Description(OpenError),
    /// There are events without a description.
    #[error(
        "the description of the folder is missing: a hub would make a new one, with which no id of these events is found; \
         restore it from a backup"
    )]
    NoDescription,
    /// The system said no.
    #[error("can't be read: {why}")]
    Io {
        /// What the system said.
        why: String,
    },
    /// The head of a segment is damaged.
    #[error(
        "its head is damaged: the next start of a hub puts this file aside, and everything before it counts as dropped; \
         restore it from a backup if you need it"
    )]
    Head,
    /// A segment of another version.
    #[error("it has format {found}, which this version doesn't read")]
    Version {
        /// The format.
        found: u32,
    },
    /// Damaged batches in the middle of a segment that is complete.
    #[error(
        "byte {at}: events after offset {after} up to {through} are damaged: once somebody reads there, everything up to \
         there counts as dropped. What can be read comes with `cinnabar history export`; restore the folder from a backup if \
         you need the rest"
    )]
    Batch {
        /// Where they stand.
        at: u64,
        /// The offset before them.
        after: u64,
        /// The last of them.
        through: u64,
    },
    /// Damaged batches in the newest segment, with whole ones behind them.
    #[error(
        "byte {at}: events after offset {after} up to {through} are damaged, in the newest segment: the next start of a hub \
         cuts off everything from there on, to its end. Copy the folder before, and restore it from a backup if you need those"
    )]
    NewestBatch {
        /// Where they stand.
        at: u64,
        /// The offset before them.
        after: u64,
        /// The last of them.
        through: u64,
    },
    /// The end of a segment that is not the newest can't be read.
    #[error(
        "byte {at}: the last {bytes} bytes are damaged, with the events after offset {after}: once somebody reads there, \
         everything up to the end of this file counts as dropped. Restore it from a backup if you need it"
    )]
    End {
        /// Where they begin.
        at: u64,
        /// How many.
        bytes: u64,
        /// The offset before them.
        after: u64,
    },
    /// A segment doesn't follow the one before it.
    #[error(
        "it follows offset {after}, and the file before it ends with {last}: what is between is missing, and everything before \
         counts as dropped. Restore the missing file from a backup if you need it"
    )]
    Gap {
        /// The newest offset before.
        last: u64,
        /// The offset this one follows.
        after: u64,
    },
    /// A batch whose checksum holds, and what is in it makes no sense.
    #[error("byte {at}: the batch after offset {after} is whole, but what is in it isn't what a hub writes")]
    Event {
        /// Where the batch stands.
        at: u64,
        /// The offset before it.
        after: u64,
    },
    /// An index that isn't that of its segment.
    #[error("the index doesn't fit its segment ({why}): remove it, and the next start of a hub makes it anew")]
    Index {
        /// What differs.
        why: String,
    },
    /// Ids that were made with another key.
    #[error(
        "{events} events have ids that aren't those of their places, the first at offset {first}: the file id.key isn't the \
         one they were made with. Clients that come back with those ids get nothing replayed; restore id.key from a backup"
    )]
    Ids {
        /// How many.
        events: u64,
        /// The first of them.
        first: u64,
    },
}

/// What is worth knowing and no problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// Bytes at the end that are no whole batch.
    #[error(
        "the last {bytes} bytes, from byte {at}, are no whole batch: one that is being written, or was when a hub was \
         killed. Nobody was told of what is in it, and the next start of a hub cuts it off"
    )]
    Unfinished {
        /// Where they begin.
        at: u64,
        /// How many.
        bytes: u64,
    },
    /// A file that was put aside.
    #[error("was damaged and put aside by a hub; nothing reads it, and you may remove it")]
    Aside,
    /// A file that was being made.
    #[error("its making was interrupted; the next start of a hub removes it")]
    Draft,
    /// The newer events of this segment are in the next one.
    #[error("was being trimmed when that was interrupted; the next start of a hub removes it")]
    Replaced,
}

/// What a check comes upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something is wrong with a file.
    Problem(String, Problem),
    /// Something to know about a file.
    Remark(String, Remark),
    /// So many bytes of so many are checked.
    Progress(u64, u64),
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files of events.
    pub segments: u64,
    /// Commits.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes.
    pub bytes: u64,
    /// Problems found.
    pub problems: u64,
}

/// Reads everything in a folder and tells what it comes upon. `cipher`: what ids are made with, if it is known. `None`: there is no history.
///
/// Somebody may be writing: what isn't finished at the end is a remark, and what was dropped meanwhile isn't missing.
pub fn check<S: Storage>(
    storage: &S,
    cipher: Option<&IdCipher>,
    tell: &mut dyn FnMut(Notice),
) -> io::Result<Option<Checked>> {
    let names = storage.names()?;
    let mut check = Check { storage, cipher, tell, meta: None, checked: Checked::default(), done: 0, all: 0 };
    let segments = |log: &str| {
        let mut places: Vec<u64> = names.iter().filter_map(|name| segment::parse_name(log, name, ".log")).collect();
        places.sort_unstable();
        places
    };
    let logs = [UPDATES, ANNOUNCEMENTS].map(|log| (log, segments(log)));
    let is_empty = logs.iter().all(|(_, places)| places.is_empty());
    match Meta::read(storage) {
        Ok(None) if is_empty => return Ok(None),
        Ok(None) => check.problem(meta::NAME, Problem::NoDescription),
        Ok(meta) => check.meta = meta,
        Err(error) => check.problem(meta::NAME, Problem::Description(error)),
    }
    for name in &names {
        let remark = |remark| Notice::Remark(name.clone(), remark);
        match () {
            () if name.ends_with(ASIDE) => (check.tell)(remark(Remark::Aside)),
            () if name.ends_with(DRAFT) => (check.tell)(remark(Remark::Draft)),
            () => {}
        }
    }
    for (log, places) in &logs {
        for &after in places {
            check.all += match storage.open(&segment::name(log, after)).and_then(|file| file.length()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                length => length?,
            };
        }
    }
    for (log, places) in &logs {
        check.log(log, places);
    }
    Ok(Some(check.checked))
}

struct Check<'a, S> {
    storage: &'a S,
    cipher: Option<&'a IdCipher>,
    tell: &'a mut dyn FnMut(Notice),
    meta: Option<Meta>,
    checked: Checked,
    /// Bytes of segments that are checked, and all of them.
    done: u64,
    all: u64,
}

/// What was found in a segment.
struct Walked {
    index: Index,
    /// All of it are whole batches.
    whole: bool,
    ids: Ids,
}

/// Ids that aren't those of their places.
#[derive(Default)]
struct Ids {
    wrong: u64,
    first: u64,
}

impl<S: Storage> Check<'_, S> {
    fn problem(&mut self, file: &str, problem: Problem) {
        self.checked.problems += 1;
        (self.tell)(Notice::Problem(file.to_owned(), problem));
    }

    fn log(&mut self, log: &str, places: &[u64]) {
        // `None` where it isn't known what the next one has to follow.
        let mut before: Option<(String, Summary)> = None;
        let mut ids = Ids::default();
        for (number, &after) in places.iter().enumerate() {
            let name = segment::name(log, after);
            let newest = number + 1 == places.len();
            let walked = match self.segment(&name, after, newest) {
                Ok(walked) => walked,
                // Whoever has the folder dropped it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => {
                    self.problem(&name, Problem::Io { why: error.to_string() });
                    None
                }
            };
            let Some(walked) = walked else {
                before = None;
                continue;
            };
            let summary = walked.index.summary;
            match before {
                Some((name, before)) if is_in_place_of(&summary, &before) => {
                    (self.tell)(Notice::Remark(name, Remark::Replaced));
                }
                Some((_, before)) if before.last != after => {
                    self.problem(&name, Problem::Gap { last: before.last, after });
                }
                _ => {}
            }
            if !newest && let Err(error) = self.index(log, &walked) {
                self.problem(&segment::index_name(log, after), Problem::Io { why: error.to_string() });
            }
            if ids.wrong == 0 {
                ids.first = walked.ids.first;
            }
            ids.wrong += walked.ids.wrong;
            before = (walked.whole || newest).then_some((name, summary));
        }
        if ids.wrong > 0 {
            self.problem(log, Problem::Ids { events: ids.wrong, first: ids.first });
        }
    }

    /// Goes through a segment; `None`: it is none.
    fn segment(&mut self, name: &str, after: u64, newest: bool) -> io::Result<Option<Walked>> {
        let file = self.storage.open(name)?;
        match segment::read_head(&file, after)? {
            Headed::Segment => {}
            Headed::Nothing if file.length()? <= START => {
                (self.tell)(Notice::Remark(name.to_owned(), Remark::Draft));
                return Ok(None);
            }
            Headed::Nothing => {
                self.problem(name, Problem::Head);
                return Ok(None);
            }
            Headed::Version(found) => {
                self.problem(name, Problem::Version { found });
                return Ok(None);
            }
        }
        let mut walk = Walk::new(&file, after)?;
        let keys = self.meta.as_ref().map_or([0, 0], |meta| meta.hash_keys);
        let mut walked = Walked { index: Index::new(after, START), whole: true, ids: Ids::default() };
        let start = self.done;
        loop {
            let last = walk.last;
            let problem = match walk.step()? {
                None => break,
                Some(Step::Batch { at, head, bytes }) => {
                    self.checked.batches += 1;
                    self.checked.events += u64::from(head.events);
                    let given = events(&head, bytes, keys, self.cipher, &mut walked.ids);
                    self.done = start + at + head.bytes();
                    (self.tell)(Notice::Progress(self.done, self.all));
                    if walked.whole {
                        walked.index.add(&head, given.as_deref().unwrap_or_default().iter().copied());
                    }
                    match given {
                        Some(_) => continue,
                        None => Problem::Event { at, after: head.after },
                    }
                }
                Some(Step::Damaged { at, through }) if newest => Problem::NewestBatch { at, after: last, through },
                Some(Step::Damaged { at, through }) => Problem::Batch { at, after: last, through },
                Some(Step::End { at, bytes }) if newest => {
                    (self.tell)(Notice::Remark(name.to_owned(), Remark::Unfinished { at, bytes }));
                    continue;
                }
                Some(Step::End { at, bytes }) => Problem::End { at, bytes, after: last },
            };
            walked.whole = false;
            self.problem(name, problem);
        }
        self.checked.segments += 1;
        self.checked.bytes += walk.length;
        self.done = start + walk.length;
        (self.tell)(Notice::Progress(self.done, self.all.max(self.done)));
        Ok(Some(walked))
    }

    /// Holds an index file against what is in its segment.
    fn index(&mut self, log: &str, walked: &Walked) -> io::Result<()> {
        let name = segment::index_name(log, walked.index.summary.after);
        if !walked.whole || self.meta.is_none() {
            return Ok(());
        }
        let file = match self.storage.open(&name) {
            // It is made when there is time for it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let expected = walked.index.to_bytes();
        let length = file.length()?;
        let mut bytes = vec![0; expected.len()];
        let read = file.read_at(&mut bytes, 0)?;
        let why = if length != expected.len() as u64 || read < bytes.len() {
            format!("it has {length} bytes, not {}", expected.len())
        } else if let Some(at) = bytes.iter().zip(&expected).position(|(one, other)| one != other) {
            format!("byte {at} differs")
        } else {
            return Ok(());
        };
        self.problem(&name, Problem::Index { why });
        Ok(())
    }
}

/// Looks at the events of a batch: publishers' ids, hashed, with their offsets. `None`: they make no sense.
fn events(
    head: &Head,
    bytes: &[u8],
    keys: [u64; 2],
    cipher: Option<&IdCipher>,
    ids: &mut Ids,
) -> Option<Vec<(u64, u64)>> {
    let (mut given, mut count, mut topics) = (Vec::new(), 0, Topics::default());
    for stored in batch::events(head, bytes) {
        let event = stored?.event(head, Codings::default(), &mut |text| topics.share(text))?;
        count += 1;
        if event.id_given {
            given.push((hash(keys, event.id()), event.offset));
        } else if cipher.is_some_and(|cipher| cipher.decode(event.id()) != Some((head.epoch, event.offset))) {
            if ids.wrong == 0 {
                ids.first = event.offset;
            }
            ids.wrong += 1;
        }
    }
    (count == head.events).then_some(given)
}
