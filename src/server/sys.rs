//! The system calls that the standard library has no safe name for. The only room of the server, with the ring back
//! end of the sender, where `unsafe` is allowed: each function is a thin, total wrapper.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::SockRef;

/// Turns the -1 of libc into an error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A readiness event: which flags, and the word given at registration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) word: u64,
    flags: u32,
}

impl Ready {
    /// The peer closed, half-closed or broke the connection.
    pub(crate) fn gone(self) -> bool {
        self.flags & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    pub(crate) fn readable(self) -> bool {
        self.flags & libc::EPOLLIN as u32 != 0
    }

    pub(crate) fn writable(self) -> bool {
        self.flags & libc::EPOLLOUT as u32 != 0
    }
}

/// One epoll descriptor, with the buffer its events arrive in.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// How a descriptor is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Level-triggered, readable: listeners, wake-ups, ticks.
    Level,
    /// Edge-triggered in both directions and for half-closes: parked sockets, registered once for life.
    Edge,
}

impl Epoll {
    pub(crate) fn new(events_max: usize) -> io::Result<Epoll> {
        // SAFETY: no pointers; the descriptor returned is new and ours.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Epoll { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; events_max] })
    }

    pub(crate) fn add(&self, fd: RawFd, watch: Watch, word: u64) -> io::Result<()> {
        let flags = match watch {
            Watch::Level => libc::EPOLLIN,
            Watch::Edge => libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLOUT | libc::EPOLLET,
        };
        let mut event = libc::epoll_event { events: flags as u32, u64: word };
        // SAFETY: `event` lives through the call; the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        // SAFETY: DEL ignores the event pointer on every kernel since 2.6.9.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) })?;
        Ok(())
    }

    /// What is ready now, without waiting.
    pub(crate) fn poll(&mut self, out: &mut Vec<Ready>) -> io::Result<()> {
        out.clear();
        let max = self.events.len() as libc::c_int;
        // SAFETY: the buffer holds `max` events and lives through the call.
        let count = check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), max, 0) });
        let count = match count {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other? as usize,
        };
        out.extend(self.events[..count].iter().map(|event| Ready { word: event.u64, flags: event.events }));
        Ok(())
    }

    /// A second descriptor of the same epoll instance, for the event loop to wait on.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

/// A counter that makes a descriptor readable: one thread's wake-up for another.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new(initial: u32) -> io::Result<EventFd> {
        // SAFETY: no pointers; the descriptor returned is new and ours.
        let fd = check(unsafe { libc::eventfd(initial, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: as above.
        Ok(EventFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn signal(&self) {
        let one: u64 = 1;
        // SAFETY: eight bytes of a live local. The only failure, a full counter, means it is readable already.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    pub(crate) fn clear(&self) {
        let mut count: u64 = 0;
        // SAFETY: eight bytes of a live local. Failure means it was not set.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl From<EventFd> for OwnedFd {
    fn from(event: EventFd) -> OwnedFd {
        event.0
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A timer that fires at an interval.
pub(crate) struct Ticker(OwnedFd);

impl Ticker {
    pub(crate) fn new(interval_ms: u64) -> io::Result<Ticker> {
        // SAFETY: no pointers; the descriptor returned is new and ours.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })?;
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let interval = libc::timespec {
            tv_sec: (interval_ms / 1000) as libc::time_t,
            tv_nsec: (interval_ms % 1000) as libc::c_long * 1_000_000,
        };
        let spec = libc::itimerspec { it_interval: interval, it_value: interval };
        // SAFETY: `spec` lives through the call; no old value is asked for.
        check(unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut()) })?;
        Ok(Ticker(fd))
    }

    /// How often it fired since the last call.
    pub(crate) fn fired(&self) -> u64 {
        let mut count: u64 = 0;
        // SAFETY: eight bytes of a live local. Failure means that it has not fired; `count` stays 0.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
        count
    }
}

impl AsRawFd for Ticker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Bytes of a client's input taken at once, or thrown away.
const SCRATCH_BYTES: usize = 64 * 1024;

/// What a look into a socket's input found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// So many bytes were thrown away; there are no more for now.
    Bytes(u32),
    /// The peer has closed, or the connection is broken.
    End,
}

/// Where input is read to that goes elsewhere at once, or nowhere: one per shard.
pub(crate) struct Scratch(Box<[u8; SCRATCH_BYTES]>);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch(Box::new([0; SCRATCH_BYTES]))
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0[..]
    }
}

/// Reads once without waiting.
pub(crate) fn receive(fd: RawFd, scratch: &mut Scratch) -> io::Result<usize> {
    // SAFETY: the scratch buffer is as long as said and lives through the call.
    check_size(unsafe { libc::recv(fd, scratch.0.as_mut_ptr().cast(), SCRATCH_BYTES, libc::MSG_DONTWAIT) })
}

/// One vectored send that neither waits nor raises SIGPIPE.
pub(crate) fn send(fd: RawFd, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if let [one] = parts {
        // SAFETY: the slice lives through the call.
        return check_size(unsafe { libc::send(fd, one.as_ptr().cast(), one.len(), flags) });
    }
    // SAFETY: an all-zero msghdr is the documented empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // `IoSlice` is guaranteed to have the layout of `iovec`.
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len();
    // SAFETY: the slices live through the call; the kernel only reads them.
    check_size(unsafe { libc::sendmsg(fd, &raw const message, flags) })
}

/// Ends one or both directions of a connection.
pub(crate) fn shutdown(fd: RawFd, how: std::net::Shutdown) {
    let how = match how {
        std::net::Shutdown::Read => libc::SHUT_RD,
        std::net::Shutdown::Write => libc::SHUT_WR,
        std::net::Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: no pointers. Failure means that the peer was faster.
    let _ = unsafe { libc::shutdown(fd, how) };
}

/// Acknowledges at once what has come, where the kernel would wait for something to send it with.
pub(crate) fn acknowledge(fd: RawFd) {
    // SAFETY: the descriptor is open for as long as this takes.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    // Unix sockets have nothing to acknowledge.
    let _ = SockRef::from(&socket).set_tcp_quickack(true);
}

/// CPU time the calling thread has used, microseconds.
pub(crate) fn thread_cpu_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call. Failure is impossible for this clock and would leave 0.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// Microseconds of the system's monotonic time, as service managers count it.
pub(crate) fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call. Every Linux has this clock; failure would leave 0.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// Milliseconds of monotonic and of Unix time as of the kernel's last timer tick, up to 4 ms ago: a tenth of the price.
pub(crate) fn coarse_ms(clock: CoarseClock) -> u64 {
    let clock = match clock {
        CoarseClock::Monotonic => libc::CLOCK_MONOTONIC_COARSE,
        CoarseClock::Wall => libc::CLOCK_REALTIME_COARSE,
    };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call. Every Linux has these clocks; failure would leave 0.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// Which time [`coarse_ms`] tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CoarseClock {
    Monotonic,
    Wall,
}

/// Bytes of a page of memory, which the kernel counts in.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: takes a plain number and gives one; this one is always known.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// Has the allocator give back to the system what this thread has freed. It would keep most of that for as long as the
/// thread allocates little. The time goes into unmapping: when 50,000 or 100,000 streams with a topic each had left one shard, 30 MB
/// at most, it was between 0.4 and 1.1 ms of CPU in six calls of seven and 4 ms in one; hence once per crowd, not at every tick.
pub(crate) fn give_back_memory() {
    // SAFETY: takes a plain flag. Where another allocator serves the process, as in tests, mimalloc has nothing to give back.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Lets every other thread of the process go first where they compete for a core. For work that can wait.
pub(crate) fn yield_to_others() {
    const NICE: libc::c_int = 10;
    // SAFETY: takes plain numbers; 0 is the calling thread. Being nicer is always allowed, and nothing hangs on it.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// Pins the calling thread to a core.
pub(crate) fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero set is empty; CPU_SET checks its bounds; the set lives through the call.
    check(unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    })?;
    Ok(())
}

/// The cores this process may run on.
pub(crate) fn cores() -> Vec<usize> {
    // SAFETY: as above; the kernel fills the set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return vec![0];
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&core| libc::CPU_ISSET(core, &set)).collect()
    }
}

/// Raises the soft descriptor limit to the hard one and returns it.
pub(crate) fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through both calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
    }
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// Grows the descriptor table once, before threads exist: each doubling later would stall a shard for milliseconds.
pub(crate) fn grow_descriptor_table(file: &impl AsRawFd, size: usize) {
    // SAFETY: no pointers; the duplicate is closed at once. Failure only costs those stalls.
    unsafe {
        let top = libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, size as libc::c_int - 1);
        if top >= 0 {
            libc::close(top);
        }
    }
}

/// The signals the hub takes, blocked in every thread and waited for by one.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks SIGTERM, SIGINT and SIGHUP in the calling thread and those it will spawn.
    pub(crate) fn block() -> io::Result<Signals> {
        // SAFETY: the set lives through the calls; sigemptyset initialises it.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&raw mut set, signal);
            }
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            if error == 0 { Ok(Signals(set)) } else { Err(io::Error::from_raw_os_error(error)) }
        }
    }

    /// Waits for the next one, so long at most. `None`: none has come.
    pub(crate) fn wait_for(&self, patience: std::time::Duration) -> Option<libc::c_int> {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(patience.subsec_nanos()),
        };
        // SAFETY: set and timeout live through the call; no more is asked for than the number.
        let signal = unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const timeout) };
        Some(signal).filter(|&signal| signal > 0)
    }
}

/// Takes ownership of a descriptor that a monoio stream has let go of.
pub(crate) fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: called with the result of `into_raw_fd`, which gives ownership up.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes over a descriptor that this process was started with, and keeps it from those it starts.
pub(crate) fn adopt_passed(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a number that is no descriptor is an error.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, as was just seen, and whoever started the process meant it for who asks here, which is done once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes a parked socket by number, as the system-call back end keeps them.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: the sender owns the descriptor and forgets the number.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}
