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
/// Bytes of what has ended, beyond which a journal is rewritten when they are most of it.
const ENDED_BYTES_MAX: usize = if cfg!(test) { 2048 } else { 8 << 20 };
/// Stands at the end of a line that was cut: nothing that is written has such a byte.
const CUT: u8 = 0x18;

/// See the module.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    file: File,
    /// Bytes of the lines in it, and of those that are over.
    begun_bytes: usize,
    ended_bytes: usize,
    /// The last write failed, and the log knows.
    failing: bool,
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
                end_cut_line(&left)?;
                let known: HashSet<String> = open_lines(&left)?.collect();
                let mut file = BufWriter::new(private().append(true).open(&left)?);
                // It may have got as far as copying and not to removing.
                for line in open_lines(&journal)?.filter(|line| !known.contains(line)) {
                    file.write_all(line.as_bytes())?;
                    file.write_all(b"\n")?;
                }
                file.into_inner().map_err(io::IntoInnerError::into_error)?;
                fs::remove_file(&journal)?;
            } else {
                fs::rename(&journal, &left)?;
                // A full disk is no reason not to end them.
                let _ = end_cut_line(&left);
            }
        }
        let file = private().append(true).open(&journal)?;
        Ok(Journal { folder: folder.to_owned(), file, begun_bytes: 0, ended_bytes: 0, failing: false, _lock: lock })
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
        self.begun_bytes += lines.len();
        let written = append(&mut self.file, lines);
        self.say(written);
    }

    /// Writes that subscribers have ended, whose beginnings were `begun_bytes` of lines.
    pub(crate) fn ended(&mut self, subscribers: &[String], begun_bytes: usize) {
        let lines = ended_lines(subscribers);
        self.begun_bytes += lines.len();
        self.ended_bytes += lines.len() + begun_bytes;
        let written = append(&mut self.file, &lines);
        self.say(written);
        if self.ended_bytes > ENDED_BYTES_MAX && self.ended_bytes > self.begun_bytes / 2 {
            match self.rewrite() {
                Ok(left) => (self.begun_bytes, self.ended_bytes) = (left, 0),
                Err(error) => {
                    self.say(Err(error));
                    // Not again at once.
                    (self.begun_bytes, self.ended_bytes) = (self.begun_bytes.saturating_sub(self.ended_bytes), 0);
                }
            }
        }
    }

    /// Leaves out what has begun and ended. Answers how many bytes are left.
    fn rewrite(&mut self) -> io::Result<usize> {
        let (journal, draft) = (self.folder.join(JOURNAL), self.folder.join(DRAFT));
        let mut kept = 0;
        let mut file = BufWriter::new(private().write(true).truncate(true).open(&draft)?);
        for line in open_lines(&journal)? {
            file.write_all(line.as_bytes())?;
            file.write_all(b"\n")?;
            kept += line.len() + 1;
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(&draft, &journal)?;
        // It stands at its end, and is the journal now: nothing that could fail lies between.
        self.file = file;
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
    pub(crate) fn ended_of_left(&mut self, subscribers: &[String]) {
        let left = private().append(true).open(self.folder.join(LEFT));
        self.say(left.and_then(|mut file| append(&mut file, &ended_lines(subscribers))));
    }

    /// All of them have.
    pub(crate) fn forget_left(&mut self) {
        match fs::remove_file(self.folder.join(LEFT)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => self.say(removed),
        }
    }

    /// Tells the log when writing begins to fail, and not again and again: a full disk stays full for a while.
    fn say(&mut self, outcome: io::Result<()>) {
        if let Err(error) = &outcome
            && !self.failing
        {
            tracing::warn!(%error, "the journal of subscriptions can't be written: after a crash some may seem to go on");
        }
        self.failing = outcome.is_err();
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

/// Appends lines. One that a full disk cuts is ended there, so that it takes no other with it.
fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let written = file.write_all(lines);
    if written.is_err() {
        let _ = file.write_all(&[CUT, b'\n']);
    }
    written
}

/// Ends the last line of a file that a crash may have cut.
fn end_cut_line(path: &Path) -> io::Result<()> {
    private().append(true).open(path)?.write_all(&[CUT, b'\n'])
}

fn ended_lines(subscribers: &[String]) -> Vec<u8> {
    subscribers.iter().flat_map(|subscriber| [b"-", subscriber.as_bytes(), b"\n"].concat()).collect()
}

/// The lines of what began and didn't end. A line that was cut is none.
fn open_lines(path: &Path) -> io::Result<impl Iterator<Item = String> + use<>> {
    let lines = || Ok::<_, io::Error>(whole_lines(BufReader::new(File::open(path)?)));
    let ended: HashSet<String> = lines()?.filter_map(|line| line.strip_prefix('-').map(str::to_owned)).collect();
    Ok(lines()?.filter(move |line| {
        let subscriber = line.strip_prefix('+').and_then(|line| line.split('\t').next());
        subscriber.is_some_and(|subscriber| !ended.contains(subscriber))
    }))
}

fn whole_lines(mut file: impl BufRead) -> impl Iterator<Item = String> {
    let lines = std::iter::from_fn(move || {
        let mut line = Vec::new();
        file.read_until(b'\n', &mut line).ok()?;
        line.pop_if(|end| *end == b'\n')?;
        Some(line)
    });
    lines.filter(|line| line.last() != Some(&CUT)).map(|line| String::from_utf8_lossy(&line).into_owned())
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

    fn begin(journal: &mut Journal, subscriber: &str) -> usize {
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
        let matcher = Matcher::Exact("a\"b".into());
        let ending = Subscription { matcher: &matcher, subscriber, active: false, payload: None };
        let mut lines = Vec::new();
        journal.note_begun(subscriber, &ending, &hub, &mut lines);
        journal.begun(&lines);
        lines.len()
    }

    fn end(journal: &mut Journal, subscriber: &str, begun_bytes: usize) {
        journal.ended(&[subscriber.to_owned()], begun_bytes);
    }

    fn left(journal: &Journal) -> Vec<String> {
        journal.left().map(|left| left.subscriber).collect()
    }

    #[test]
    fn what_one_run_left_open_the_next_one_finds() {
        let folder = folder();
        let mut journal = Journal::open(&folder).unwrap();
        assert_eq!(journal.left().count(), 0);
        let [_, bytes, _] = ["a", "b", "c"].map(|subscriber| begin(&mut journal, subscriber));
        end(&mut journal, "b", bytes);
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
        let mut journal = Journal::open(&folder).unwrap();
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
        let _ = ["a", "b"].map(|subscriber| begin(&mut journal, subscriber));
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
            let bytes = begin(&mut journal, &n.to_string());
            end(&mut journal, &n.to_string(), bytes);
        }
        let lines = fs::read_to_string(folder.join(JOURNAL)).unwrap().lines().count();
        assert!(lines < 50, "{lines}");
        drop(journal);
        assert_eq!(left(&Journal::open(&folder).unwrap()), ["stays"]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// Seen: who came and went with several matchers counted once as gone and several times as come, and the journal grew
    /// for ever.
    #[test]
    fn a_journal_of_many_matchers_is_rewritten_too() {
        let folder = folder();
        let mut journal = Journal::open(&folder).unwrap();
        begin(&mut journal, "stays");
        for n in 0..200 {
            let bytes = (0..10).map(|_| begin(&mut journal, &n.to_string())).sum();
            end(&mut journal, &n.to_string(), bytes);
        }
        let lines = fs::read_to_string(folder.join(JOURNAL)).unwrap().lines().count();
        assert!(lines < 200, "{lines}");
        drop(journal);
        assert_eq!(left(&Journal::open(&folder).unwrap()), ["stays"]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// Seen: a run killed between copying its journal to what was left and removing it made the next one end all of it twice.
    #[test]
    fn what_was_copied_twice_is_left_once() {
        let folder = folder();
        let mut journal = Journal::open(&folder).unwrap();
        begin(&mut journal, "a");
        drop(journal);
        fs::copy(folder.join(JOURNAL), folder.join(LEFT)).unwrap();
        assert_eq!(left(&Journal::open(&folder).unwrap()), ["a"]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// Seen: the rest of a line that a full disk had cut swallowed the line after it.
    #[test]
    fn a_cut_line_takes_no_other_with_it() {
        let folder = folder();
        let mut journal = Journal::open(&folder).unwrap();
        begin(&mut journal, "a");
        drop(journal);
        let mut text = fs::read(folder.join(JOURNAL)).unwrap();
        text.extend_from_slice(b"+cut");
        fs::write(folder.join(LEFT), text).unwrap();
        fs::write(folder.join(JOURNAL), "").unwrap();
        let mut journal = Journal::open(&folder).unwrap();
        journal.ended_of_left(&["a".to_owned()]);
        assert_eq!(left(&journal), [""; 0]);
        begin(&mut journal, "b");
        drop(journal);
        assert_eq!(left(&Journal::open(&folder).unwrap()), ["b"]);
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
