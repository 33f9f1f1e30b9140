//! The system calls the standard library doesn't offer: the clock shared between processes, descriptor tables,
//! epoll, pinning, signals to a given process. The only module of this program with `unsafe` in it.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

/// How a thread stands beside others that want its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precedence {
    /// It runs as soon as it wakes, whoever has the core (`SCHED_FIFO`): for those who sleep nearly always.
    First,
    /// As every program.
    Fair,
    /// Beside another it has a tenth of a core.
    Last,
}

/// Threads of this program have gone before others, or after them.
static WENT_FIRST: AtomicBool = AtomicBool::new(false);
static WENT_LAST: AtomicBool = AtomicBool::new(false);

/// Nanoseconds of the monotonic clock. Unlike `Instant` they mean the same in every process of the machine, so an
/// event can carry the time it was sent at.
pub(crate) fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Seconds since 1970, for tokens and results.
pub(crate) fn unix_seconds() -> u64 {
    clock_ns(libc::CLOCK_REALTIME) / 1_000_000_000
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is to a timespec of ours; both clocks exist on every Linux, so the call can't fail.
    let time = unsafe {
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Gives the calling thread a descriptor table of its own, empty but for the three standard streams, so that its
/// sockets have the whole descriptor limit to themselves. Descriptors the thread owned before are gone for it:
/// call it first, before the thread opens anything.
pub(crate) fn own_descriptor_table() -> anyhow::Result<()> {
    // SAFETY: no memory is passed; with CLOSE_RANGE_UNSHARE the table is copied before anything is closed, so other
    // threads keep theirs.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_UNSHARE) };
    checked(result as libc::c_int).map(drop).context("close_range with CLOSE_RANGE_UNSHARE (Linux 5.9 or later)")
}

/// Pins the calling thread to these cores; an empty list leaves it where it is.
pub(crate) fn pin_to(cpus: &[usize]) -> anyhow::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    // SAFETY: an all-zero cpu_set_t is the empty set, CPU_SET checks nothing but the array bound below, and the
    // kernel reads exactly the size passed.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &cpu in cpus {
            anyhow::ensure!(cpu < libc::CPU_SETSIZE as usize, "no core has the number {cpu}");
            libc::CPU_SET(cpu, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    checked(result).map(drop).with_context(|| format!("pin to cores {cpus:?}"))
}

/// Says whether the calling thread goes before others that want its core, or after. Answers whether that is allowed.
pub(crate) fn go(precedence: Precedence) -> bool {
    let allowed = set(precedence);
    match precedence {
        Precedence::First if allowed => WENT_FIRST.store(true, Ordering::Release),
        Precedence::Last if allowed => WENT_LAST.store(true, Ordering::Release),
        _ => {}
    }
    allowed
}

/// Whether any thread has gone before others so far, and whether any has gone after them.
pub(crate) fn precedences_used() -> (bool, bool) {
    (WENT_FIRST.load(Ordering::Acquire), WENT_LAST.load(Ordering::Acquire))
}

fn set(precedence: Precedence) -> bool {
    let (policy, priority, nice) = match precedence {
        Precedence::First => (libc::SCHED_FIFO, 1, 0),
        Precedence::Fair => (libc::SCHED_OTHER, 0, 0),
        Precedence::Last => (libc::SCHED_OTHER, 0, 10),
    };
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameter` lives through the call. For Linux 0 is the calling thread in both calls; what it starts meanwhile is
    // an ordinary program again.
    unsafe {
        libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &raw const parameter) == 0
            && libc::setpriority(libc::PRIO_PROCESS, 0, nice) == 0
    }
}

/// Whether threads may go first, or last, and be ordinary again. Tried on a thread of its own, which may be left as it is.
pub(crate) fn may_go_first() -> bool {
    let all = || [Precedence::First, Precedence::Fair, Precedence::Last, Precedence::Fair].into_iter().all(set);
    std::thread::spawn(all).join().unwrap_or(false)
}

/// Raises the soft descriptor limit to the hard one. Answers (soft before, hard).
pub(crate) fn raise_descriptor_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to an rlimit of ours.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above; the call only reads it.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok((before, limit.rlim_max))
}

/// Prepares a child process: it gets SIGTERM when this process dies, and the soft descriptor limit it would have had
/// without our raising it.
pub(crate) fn prepare_child(command: &mut Command, soft_limit: u64) {
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl, getrlimit, setrlimit.
    unsafe {
        command.pre_exec(move || {
            checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM))?;
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            checked(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
            limit.rlim_cur = soft_limit.min(limit.rlim_max);
            checked(libc::setrlimit(libc::RLIMIT_NOFILE, &limit)).map(drop)
        });
    }
}

/// Asks one process to end.
pub(crate) fn terminate(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    if pid <= 0 {
        return Err(io::Error::other("zero and negative numbers name process groups"));
    }
    // SAFETY: no memory is passed.
    checked(unsafe { libc::kill(pid, libc::SIGTERM) }).map(drop)
}

/// Can this program make an io_uring? Containers often forbid it.
pub(crate) fn io_uring_is_allowed() -> bool {
    // What the kernel takes as `struct io_uring_params`: 120 bytes, zeroes for the defaults.
    let mut parameters = [0_u64; 15];
    // SAFETY: the pointer is to as many bytes as the kernel reads and writes.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_u32, parameters.as_mut_ptr()) };
    if ring < 0 {
        return false;
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(ring as libc::c_int) });
    true
}

/// Clock ticks per second, the unit of CPU time in `/proc`.
pub(crate) fn ticks_per_second() -> f64 {
    // SAFETY: no memory is passed.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// Lets `bind` choose only the address and leaves the port to `connect`, which may then reuse a port towards
/// another destination and doesn't search the whole range under a lock: more than ten times the rate.
pub(crate) fn bind_address_no_port(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is a c_int of ours and its size is passed.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// One readiness report: the token given at registration and the bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Ready(libc::epoll_event);

impl Ready {
    /// An entry to be overwritten by [`Epoll::wait`].
    pub(crate) const EMPTY: Self = Self(libc::epoll_event { events: 0, u64: 0 });

    /// The token of the registration.
    pub(crate) fn token(self) -> usize {
        self.0.u64 as usize
    }

    /// The peer sent its last byte, or the connection broke.
    pub(crate) fn hung_up(self) -> bool {
        self.0.events & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }
}

/// An epoll descriptor. Mostly polled: a reader that sleeps there makes every send pay for its wake-up.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    /// A new one in the calling thread's descriptor table.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed; a non-negative answer is a descriptor nobody else owns.
        unsafe { checked(libc::epoll_create1(libc::EPOLL_CLOEXEC)).map(|fd| Self(OwnedFd::from_raw_fd(fd))) }
    }

    /// Registers a socket once for everything, edge-triggered.
    pub(crate) fn add(&self, socket: &impl AsRawFd, token: usize) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        let mut event = libc::epoll_event { events, u64: token as u64 };
        // SAFETY: the event is ours and only read during the call.
        checked(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event) })
            .map(drop)
    }

    /// What is ready, after so many milliseconds at most.
    pub(crate) fn wait<'a>(&self, room: &'a mut [Ready], timeout_ms: libc::c_int) -> io::Result<&'a [Ready]> {
        let length = libc::c_int::try_from(room.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: `Ready` is a transparent newtype over epoll_event, and no more than `length` entries
        // are written.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), room.as_mut_ptr().cast(), length, timeout_ms) };
        match checked(count) {
            Ok(count) => Ok(&room[..count as usize]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_its_own_leaves_the_other_threads_descriptors_alone() {
        let file = std::fs::File::open("/proc/self/stat").expect("opens");
        let number = file.as_raw_fd();
        std::thread::spawn(move || {
            own_descriptor_table().expect("unshared");
            assert!(std::fs::read_link(format!("/proc/thread-self/fd/{number}")).is_err());
        })
        .join()
        .expect("thread");
        assert!(file.metadata().is_ok());
    }

    #[test]
    fn signals_go_to_one_process_only() {
        assert!(terminate(0).is_err());
        assert!(terminate(u32::MAX).is_err());
    }

    #[test]
    fn the_clock_moves_forward() {
        let before = now_ns();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(now_ns() > before);
    }
}
