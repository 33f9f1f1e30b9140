//! Reads a server's memory again and again, on a thread of its own: of a large process that takes milliseconds, in which nothing
//! that is to be published may be late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process;
use crate::server::pids_of;
use crate::{sys, usage};

/// How often memory is read.
const INTERVAL_NS: u64 = 250_000_000;
/// Reading it walks the server's page tables. It is read again after so many times what that took, so that it costs the server
/// one percent of a core at most.
const REST: u64 = 100;
/// How long it takes at most to end.
const NAP: Duration = Duration::from_millis(10);

/// What is known.
#[derive(Debug, Default)]
struct Seen {
    /// Private bytes of the server; 0: not known.
    private: AtomicU64,
    private_peak: AtomicU64,
    /// TCP buffers of the machine.
    tcp_peak: AtomicU64,
    stop: AtomicBool,
}

/// Watches the memory of a server and those it has started.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    pid: Option<u32>,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Of the server that is this process, if it is known.
    pub(crate) fn start(pid: Option<u32>) -> anyhow::Result<Self> {
        let seen = Arc::new(Seen::default());
        let watching = Arc::clone(&seen);
        let thread = std::thread::Builder::new().name("memory".to_owned()).spawn(move || {
            while !watching.stop.load(Ordering::Acquire) {
                let took_ns = watching.look(pid);
                let rest_until_ns = sys::now_ns() + INTERVAL_NS.max(took_ns * REST);
                while sys::now_ns() < rest_until_ns && !watching.stop.load(Ordering::Acquire) {
                    std::thread::sleep(NAP);
                }
            }
        })?;
        Ok(Self { pid, seen, thread: Some(thread) })
    }

    /// Private memory as it was read last.
    pub(crate) fn private_bytes(&self) -> Option<u64> {
        Some(self.seen.private.load(Ordering::Acquire)).filter(|bytes| *bytes > 0)
    }

    /// Looks at once, and forgets the most it was before.
    pub(crate) fn begin(&self) -> Option<u64> {
        self.seen.private_peak.store(0, Ordering::Release);
        self.seen.tcp_peak.store(0, Ordering::Release);
        self.seen.look(self.pid);
        self.private_bytes()
    }

    /// The most since [`Self::begin`]: private bytes of the server, TCP buffers of the machine.
    pub(crate) fn peaks(&self) -> (Option<u64>, u64) {
        self.seen.look(self.pid);
        let private = self.seen.private_peak.load(Ordering::Acquire);
        (Some(private).filter(|bytes| *bytes > 0), self.seen.tcp_peak.load(Ordering::Acquire))
    }
}

impl Seen {
    /// Reads everything once. Answers how many nanoseconds that took.
    fn look(&self, pid: Option<u32>) -> u64 {
        let began_ns = sys::now_ns();
        let private = usage::private_bytes(&pids_of(pid)).unwrap_or(0);
        self.private.store(private, Ordering::Release);
        self.private_peak.fetch_max(private, Ordering::AcqRel);
        self.tcp_peak.fetch_max(process::tcp_buffer_bytes(), Ordering::AcqRel);
        sys::now_ns() - began_ns
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
    use super::*;

    #[test]
    fn the_most_counts_from_the_last_beginning_on() {
        let watch = MemoryWatch::start(Some(std::process::id())).expect("starts");
        let before = watch.begin().expect("this program has memory");
        let block = vec![1_u8; 64 << 20];
        let (peak, _) = watch.peaks();
        assert!(peak.expect("known") >= before + (32 << 20), "with {} bytes more", block.len());
        drop(block);
        watch.begin();
        assert!(watch.peaks().0.expect("known") < before + (32 << 20));
    }

    #[test]
    fn of_a_server_elsewhere_nothing_is_known() {
        let watch = MemoryWatch::start(None).expect("starts");
        assert_eq!((watch.begin(), watch.peaks().0), (None, None));
    }
}
