//! Reads a server's memory again and again, on a thread of its own: of a large process that takes milliseconds, in which nothing
//! that is to be published may be late.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process;
use crate::server::pids_of;
use crate::swarm::lock;
use crate::{sys, usage};

/// How often memory is read.
const INTERVAL_NS: u64 = 250_000_000;
/// Reading it walks the server's page tables. It is read again after so many times what that took, so that it costs the server
/// one percent of a core at most.
const REST: u64 = 100;
/// How long it takes at most to end.
const NAP: Duration = Duration::from_millis(10);

/// What is read: private bytes of the server, if they are known, and TCP buffers of the machine.
type Reading = (Option<u64>, u64);

/// The most that was read since the beginning of a window.
#[derive(Clone, Copy, Debug, Default)]
struct Peaks {
    private: u64,
    tcp: u64,
}

/// What is known.
struct Seen {
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    /// Private bytes of the server; 0: not known. Whoever samples it waits for nobody.
    private: AtomicU64,
    /// Held while it is read: what was read before a beginning must not count after it.
    peaks: Mutex<Peaks>,
    resting: AtomicBool,
    stop: AtomicBool,
}

/// Watches the memory of a server and those it has started.
pub(crate) struct MemoryWatch {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Of the servers that are these processes. It rests until it is told otherwise.
    pub(crate) fn start(pids: Vec<u32>) -> anyhow::Result<Self> {
        let all = move || pids.iter().flat_map(|pid| pids_of(Some(*pid))).collect::<Vec<_>>();
        Self::of(move || (usage::private_bytes(&all()), process::tcp_buffer_bytes()))
    }

    fn of(read: impl Fn() -> Reading + Send + Sync + 'static) -> anyhow::Result<Self> {
        let seen = Arc::new(Seen {
            read: Box::new(read),
            private: AtomicU64::new(0),
            peaks: Mutex::default(),
            resting: AtomicBool::new(true),
            stop: AtomicBool::new(false),
        });
        let watching = Arc::clone(&seen);
        let thread = std::thread::Builder::new().name("memory".to_owned()).spawn(move || watching.watch())?;
        Ok(Self { seen, thread: Some(thread) })
    }

    /// While another target is measured nothing of this one is read: that would cost both. Returns when nothing is being read
    /// any more, or when it was read again.
    pub(crate) fn rest(&self, resting: bool) {
        self.seen.resting.store(resting, Ordering::Release);
        let mut peaks = lock(&self.seen.peaks);
        if !resting {
            self.seen.look(&mut peaks);
        }
    }

    /// Private memory as it was read last.
    pub(crate) fn private_bytes(&self) -> Option<u64> {
        Some(self.seen.private.load(Ordering::Acquire)).filter(|bytes| *bytes > 0)
    }

    /// Looks at once, and forgets the most it was before. It rests no longer.
    pub(crate) fn begin(&self) -> Option<u64> {
        self.seen.resting.store(false, Ordering::Release);
        let mut peaks = lock(&self.seen.peaks);
        *peaks = Peaks::default();
        self.seen.look(&mut peaks)
    }

    /// The most since [`Self::begin`]: private bytes of the server, TCP buffers of the machine.
    pub(crate) fn peaks(&self) -> (Option<u64>, u64) {
        let mut peaks = lock(&self.seen.peaks);
        self.seen.look(&mut peaks);
        (Some(peaks.private).filter(|bytes| *bytes > 0), peaks.tcp)
    }
}

impl Seen {
    /// Reads again and again until it is to stop.
    fn watch(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let began_ns = sys::now_ns();
            {
                let mut peaks = lock(&self.peaks);
                // Whoever has it rest waits for the lock, and then nothing is read.
                if !self.resting.load(Ordering::Acquire) {
                    self.look(&mut peaks);
                }
            }
            let now_ns = sys::now_ns();
            let rest_until_ns = now_ns + INTERVAL_NS.max((now_ns - began_ns) * REST);
            while sys::now_ns() < rest_until_ns && !self.stop.load(Ordering::Acquire) {
                std::thread::sleep(NAP);
            }
        }
    }

    /// Reads everything once.
    fn look(&self, peaks: &mut Peaks) -> Option<u64> {
        let (private, tcp) = (self.read)();
        self.private.store(private.unwrap_or(0), Ordering::Release);
        peaks.private = peaks.private.max(private.unwrap_or(0));
        peaks.tcp = peaks.tcp.max(tcp);
        private
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// What a test says that memory is, and how often it was read.
    fn watched() -> (Arc<AtomicU64>, Arc<AtomicU64>, MemoryWatch) {
        let (bytes, reads) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (is, read) = (Arc::clone(&bytes), Arc::clone(&reads));
        let watch = MemoryWatch::of(move || {
            read.fetch_add(1, Ordering::AcqRel);
            let bytes = is.load(Ordering::Acquire);
            (Some(bytes), bytes * 2)
        });
        (bytes, reads, watch.expect("starts"))
    }

    #[test]
    fn the_most_counts_from_the_last_beginning_on() {
        let (bytes, _, watch) = watched();
        bytes.store(10, Ordering::Release);
        assert_eq!(watch.begin(), Some(10));
        bytes.store(70, Ordering::Release);
        assert_eq!(watch.peaks(), (Some(70), 140));
        bytes.store(20, Ordering::Release);
        assert_eq!((watch.peaks(), watch.begin(), watch.peaks()), ((Some(70), 140), Some(20), (Some(20), 40)));
    }

    #[test]
    fn what_was_being_read_when_a_window_began_does_not_count_in_it() {
        let (began, beginning) = channel();
        let before = AtomicBool::new(true);
        let watch = MemoryWatch::of(move || {
            if before.swap(false, Ordering::AcqRel) {
                // Was read before, and is known only a while later.
                began.send(()).expect("the test waits for it");
                std::thread::sleep(Duration::from_millis(100));
                return (Some(1_000), 1_000);
            }
            (Some(10), 10)
        })
        .expect("starts");
        watch.seen.resting.store(false, Ordering::Release);
        beginning.recv().expect("it is being read");
        assert_eq!(watch.begin(), Some(10));
        // The one of before is through by now.
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!((watch.peaks(), watch.private_bytes()), ((Some(10), 10), Some(10)));
    }

    #[test]
    fn of_a_target_that_rests_nothing_is_read() {
        let (bytes, reads, watch) = watched();
        bytes.store(10, Ordering::Release);
        watch.rest(false);
        assert_eq!(watch.private_bytes(), Some(10));
        watch.rest(true);
        let before = reads.load(Ordering::Acquire);
        bytes.store(20, Ordering::Release);
        std::thread::sleep(Duration::from_nanos(2 * INTERVAL_NS));
        assert_eq!((reads.load(Ordering::Acquire), watch.private_bytes()), (before, Some(10)));
        watch.rest(false);
        assert_eq!(watch.private_bytes(), Some(20));
    }

    #[test]
    fn this_program_has_memory_and_of_a_server_elsewhere_nothing_is_known() {
        let own = MemoryWatch::start(vec![std::process::id()]).expect("starts");
        assert!(own.begin().is_some_and(|bytes| bytes > 0));
        let other = MemoryWatch::start(Vec::new()).expect("starts");
        assert_eq!((other.begin(), other.peaks().0), (None, None));
    }
}
