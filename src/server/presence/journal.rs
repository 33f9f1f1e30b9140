//! Who was announced and hasn't ended, on disk, so that a run that is killed leaves nobody behind.
//!
//! `subscriptions.journal` in the data folder has a line for each subscription that began – `+SUBSCRIBER TAB TOPIC TAB
//! DOCUMENT`, the document being the one that will announce its end – and `-SUBSCRIBER` for each subscriber that ended. It
//! survives the end of the process, not that of the machine: lines are written, not synced. When most of it is over, it is
//! rewritten. What a run finds there is moved to `subscriptions.left`, which goes once all of it has been ended.
//!
//! A journal that can't be written is said in the log and does without; announcements go on.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::protocol::subscription::Subscription;
use crate::protocol::topic::HubUrl;

const JOURNAL: &str = "subscriptions.journal";
const LEFT: &str = "subscriptions.left";
const DRAFT: &str = "subscriptions.draft";
const LOCK: &str = "subscriptions.lock";
/// Subscribers that have ended, beyond which a journal is rewritten when they are more than those that haven't.
const ENDED_MAX: usize = if cfg!(test) { 8 } else { 4096 };

/// See the module.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    file: File,
    begun: usize,
    ended: usize,
    /// Held as long as the journal: no second hub writes to it.
    _lock: File,
}

/// A subscription that the previous run announced and didn't end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) subscriber: String,
    pub(crate) address: String,
    pub(crate) document: String,
}

impl Journal {
    /// Opens the journal of a data folder; what is in it becomes what the previous run left.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when another hub has it.
    pub(crate) fn open(folder: &Path) -> io::Result<Journal> {
        let lock = private().append(true).open(folder.join(LOCK))?;
        lock.try_lock()?;
        let (journal, left) = (folder.join(JOURNAL), folder.join(LEFT));
        if journal.try_exists()? {
            if left.try_exists()? {
                // The previous run didn't get to the end of what it was left either.
                io::copy(&mut File::open(&journal)?, &mut private().append(true).open(&left)?)?;
                fs::remove_file(&journal)?;
            } else {
                fs::rename(&journal, &left)?;
            }
        }
        let file = private().append(true).open(&journal)?;
        Ok(Journal { folder: folder.to_owned(), file, begun: 0, ended: 0, _lock: lock })
    }

    /// Appends the lines of a subscription that begins to what will be written; `ending` is what will announce its end.
    pub(crate) fn note_begun(&self, subscriber: &str, ending: &Subscription<'_>, hub: &HubUrl, lines: &mut Vec<u8>) {
        lines.push(b'+');
        for part in [subscriber, &ending.address(hub)] {
            lines.extend_from_slice(part.as_bytes());
            lines.push(b'\t');
        }
        // Neither tabs nor line ends stand in JSON as they are.
        ending.write(hub, lines);
        lines.push(b'\n');
    }

    /// Writes the lines of what begins.
    pub(crate) fn begun(&mut self, lines: &[u8]) {
        self.begun += lines.iter().filter(|&&byte| byte == b'\n').count();
        say(self.file.write_all(lines));
    }

    /// Writes that subscribers have ended.
    pub(crate) fn ended(&mut self, subscribers: &[String]) {
        self.ended += subscribers.len();
        say(self.file.write_all(&ended_lines(subscribers)));
        if self.ended > ENDED_MAX && self.ended > self.begun / 2 {
            match self.rewrite() {
                Ok(left) => (self.begun, self.ended) = (left, 0),
                Err(error) => {
                    say(Err(error));
                    // Not again at once.
                    (self.begun, self.ended) = (self.begun.saturating_sub(self.ended), 0);
                }
            }
        }
    }

    /// Leaves out what has begun and ended. Answers how much is left.
    fn rewrite(&mut self) -> io::Result<usize> {
        let (journal, draft) = (self.folder.join(JOURNAL), self.folder.join(DRAFT));
        let mut kept = 0;
        let mut file = BufWriter::new(private().write(true).truncate(true).open(&draft)?);
        for line in open_lines(&journal)? {
            file.write_all(line.as_bytes())?;
            file.write_all(b"\n")?;
            kept += 1;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(&draft, &journal)?;
        self.file = private().append(true).open(&journal)?;
        Ok(kept)
    }

    /// What the previous run left open, in the order it began.
    pub(crate) fn left(&self) -> impl Iterator<Item = Left> + use<> {
        let lines = open_lines(&self.folder.join(LEFT));
        let lines = lines.inspect_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, "what the previous run left open can't be read and is not ended");
            }
        });
        lines.into_iter().flatten().filter_map(|line| {
            let mut parts = line.strip_prefix('+')?.splitn(3, '\t');
            let mut part = || parts.next().map(str::to_owned);
            Some(Left { subscriber: part()?, address: part()?, document: part()? })
        })
    }

    /// Some of those the previous run left have been ended.
    pub(crate) fn ended_of_left(&self, subscribers: &[String]) {
        let left = private().append(true).open(self.folder.join(LEFT));
        say(left.and_then(|mut file| file.write_all(&ended_lines(subscribers))));
    }

    /// All of them have.
    pub(crate) fn forget_left(&self) {
        match fs::remove_file(self.folder.join(LEFT)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => say(removed),
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

fn ended_lines(subscribers: &[String]) -> Vec<u8> {
    subscribers.iter().flat_map(|subscriber| [b"-", subscriber.as_bytes(), b"\n"].concat()).collect()
}

/// The lines of what began and didn't end. A line that a crash cut is none.
fn open_lines(path: &Path) -> io::Result<impl Iterator<Item = String> + use<>> {
    let lines = || Ok::<_, io::Error>(whole_lines(BufReader::new(File::open(path)?)));
    let ended: HashSet<String> = lines()?.filter_map(|line| line.strip_prefix('-').map(str::to_owned)).collect();
    Ok(lines()?.filter(move |line| {
        let subscriber = line.strip_prefix('+').and_then(|line| line.split('\t').next());
        subscriber.is_some_and(|subscriber| !ended.contains(subscriber))
    }))
}

fn whole_lines(mut file: impl BufRead) -> impl Iterator<Item = String> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        file.read_until(b'\n', &mut line).ok()?;
        line.pop_if(|end| *end == b'\n')?;
        Some(String::from_utf8_lossy(&line).into_owned())
    })
}

fn say(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "the journal of subscriptions can't be written: after a crash some may seem to go on");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::data_folder::scratch;
    use crate::protocol::matcher::Matcher;

    fn folder() -> PathBuf {
        let folder = scratch("journal");
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn begin(journal: &mut Journal, subscriber: &str) {
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
        let matcher = Matcher::Exact("a\"b".into());
        let ending = Subscription { matcher: &matcher, subscriber, active: false, payload: None };
        let mut lines = Vec::new();
        journal.note_begun(subscriber, &ending, &hub, &mut lines);
        journal.begun(&lines);
    }

    fn end(journal: &mut Journal, subscriber: &str) {
        journal.ended(&[subscriber.to_owned()]);
    }

    fn left(journal: &Journal) -> Vec<String> {
        journal.left().map(|left| left.subscriber).collect()
    }

    #[test]
    fn what_one_run_left_open_the_next_one_finds() {
        let folder = folder();
        let mut journal = Journal::open(&folder).unwrap();
        assert_eq!(journal.left().count(), 0);
        ["a", "b", "c"].into_iter().for_each(|subscriber| begin(&mut journal, subscriber));
        end(&mut journal, "b");
        drop(journal);
        let mut journal = Journal::open(&folder).unwrap();
        let first = journal.left().next().unwrap();
        assert_eq!(first.address, "/.well-known/mercure/subscriptions/exact/a%22b/a");
        assert!(first.document.contains("\"active\":false") && first.document.contains(r#""match":"a\"b""#));
        assert_eq!(left(&journal), ["a", "c"]);
        // It is killed half-way, and had subscribers of its own.
        journal.ended_of_left(&["a".to_owned()]);
        begin(&mut journal, "d");
        drop(journal);
        let journal = Journal::open(&folder).unwrap();
        assert_eq!(left(&journal), ["c", "d"]);
        journal.forget_left();
        drop(journal);
        assert_eq!(left(&Journal::open(&folder).unwrap()), [""; 0]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_that_was_cut_is_none() {
        let folder = folder();
        let mut journal = Journal::open(&folder).unwrap();
        ["a", "b"].into_iter().for_each(|subscriber| begin(&mut journal, subscriber));
        drop(journal);
        let path = folder.join(JOURNAL);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 1]).unwrap();
        assert_eq!(left(&Journal::open(&folder).unwrap()), ["a"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_journal_of_the_past_is_rewritten() {
        let folder = folder();
        let mut journal = Journal::open(&folder).unwrap();
        begin(&mut journal, "stays");
        for n in 0..1_000 {
            begin(&mut journal, &n.to_string());
            end(&mut journal, &n.to_string());
        }
        let lines = fs::read_to_string(folder.join(JOURNAL)).unwrap().lines().count();
        assert!(lines < 50, "{lines}");
        drop(journal);
        assert_eq!(left(&Journal::open(&folder).unwrap()), ["stays"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_second_hub_on_one_folder_gets_no_journal() {
        let folder = folder();
        let journal = Journal::open(&folder).unwrap();
        assert_eq!(Journal::open(&folder).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(journal);
        assert!(Journal::open(&folder).is_ok());
        fs::remove_dir_all(folder).unwrap();
    }
}
