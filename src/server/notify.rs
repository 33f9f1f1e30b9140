//! What the service manager is told (sd_notify(3)): that the hub serves, reloads, stops, and that all its loops turn.

use std::cell::Cell;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::admin::{LIVE_MS, ShardSnapshot, Stage};
use crate::server::clock::Clock;
use crate::server::shared::Shared;
use crate::server::sys;

/// How long signals are waited for where nobody wants to hear that all is well.
const NEVER: Duration = Duration::from_secs(3_600);

/// Where the service manager listens: nowhere, unless the hub was started by one that wants to know.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// It is told so often that all is well, milliseconds.
    ping_ms: Option<u64>,
}

impl Notifier {
    /// As the environment says. To be called before there are threads.
    pub(crate) fn from_environment() -> Notifier {
        let said = |name: &str| std::env::var(name).ok();
        let manager = said("NOTIFY_SOCKET").and_then(|name| {
            open(&name)
                .inspect_err(|error| tracing::warn!(name, %error, "the service manager can't be told anything"))
                .ok()
        });
        let ping_ms = ping_ms(said("WATCHDOG_USEC").as_deref(), said("WATCHDOG_PID").as_deref(), std::process::id());
        Notifier { ping_ms: ping_ms.filter(|_| manager.is_some()), manager }
    }

    /// The hub serves, or does so again.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// The configuration is being read again; [`Notifier::ready`] ends that.
    pub(crate) fn reloading(&self) {
        let now_us = sys::monotonic_us();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=reading the configuration again\n"));
    }

    /// The hub stops, and has so much more time for it.
    pub(crate) fn stopping(&self, status: &str, at_most_ms: u64) {
        let at_most_us = at_most_ms.saturating_mul(1_000);
        self.send(&format!("STOPPING=1\nSTATUS={status}\nEXTEND_TIMEOUT_USEC={at_most_us}\n"));
    }

    /// What can't be sent is left out: nobody waits for a service manager.
    fn send(&self, message: &str) {
        if let Some((socket, manager)) = &self.manager
            && let Err(error) = socket.send_to_addr(message.as_bytes(), manager)
        {
            tracing::debug!(%error, "the service manager wasn't told");
        }
    }
}

/// Who looks, between signals, whether the manager is to be told that all is well.
pub(crate) struct Watch<'a> {
    pub(crate) notifier: &'a Notifier,
    shared: &'a Shared,
    clock: Clock,
    pinged_ms: Cell<u64>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(notifier: &'a Notifier, shared: &'a Shared, clock: Clock) -> Watch<'a> {
        Watch { notifier, shared, clock, pinged_ms: Cell::new(0) }
    }

    /// Tells the manager if it is time and all loops turn. Those of a hub in its last stage end, which has a time of its own.
    pub(crate) fn look(&self) {
        let now_ms = self.clock.now().mono_ms;
        let Some(_) = self.notifier.ping_ms.filter(|ping_ms| now_ms >= self.pinged_ms.get() + ping_ms) else {
            return;
        };
        self.pinged_ms.set(now_ms);
        if self.shared.stage() == Stage::Stopping || all_turn(&self.shared.observed.all(), now_ms) {
            self.notifier.send("WATCHDOG=1\n");
        } else {
            tracing::error!("a shard's loop is stuck: the service manager isn't told that all is well");
        }
    }

    /// How long nobody has to look.
    pub(crate) fn patience(&self) -> Duration {
        let due = |ping_ms: u64| (self.pinged_ms.get() + ping_ms).saturating_sub(self.clock.now().mono_ms);
        self.notifier.ping_ms.map_or(NEVER, |ping_ms| Duration::from_millis(due(ping_ms)))
    }
}

/// Whether every loop has turned lately: what is stuck isn't said to be well.
fn all_turn(shards: &[ShardSnapshot], now_ms: u64) -> bool {
    shards.iter().all(|shard| now_ms.saturating_sub(shard.at_ms) <= LIVE_MS)
}

/// `/run/systemd/notify`, or `@name` for one without a file.
fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}

/// Half of what the manager waits at most, if it waits for this process.
fn ping_ms(watchdog_us: Option<&str>, watchdog_pid: Option<&str>, own_pid: u32) -> Option<u64> {
    let ours = watchdog_pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let watchdog_us: u64 = watchdog_us?.parse().ok()?;
    (ours && watchdog_us > 0).then(|| (watchdog_us / 2_000).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(at: &UnixDatagram) -> String {
        let mut buffer = [0; 1_000];
        let length = at.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn notifier(name: &str) -> Notifier {
        Notifier { manager: Some(open(name).unwrap()), ping_ms: None }
    }

    #[test]
    fn a_manager_with_a_file_or_without_one_is_told() {
        let name = crate::config::data_folder::to_hex(&crate::config::data_folder::random_key()[..8]);
        let path = std::env::temp_dir().join(format!("cinnabar-notify-{name}"));
        let by_file = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (name, manager) in [(path.to_str().unwrap().to_owned(), by_file), (format!("@{name}"), by_name)] {
            let notifier = notifier(&name);
            notifier.ready("all is well");
            assert_eq!(received(&manager), "READY=1\nSTATUS=all is well\n");
            notifier.stopping("3 streams are left", 2_500);
            assert_eq!(received(&manager), "STOPPING=1\nSTATUS=3 streams are left\nEXTEND_TIMEOUT_USEC=2500000\n");
            notifier.reloading();
            assert!(received(&manager).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_looks_and_only_ours() {
        assert_eq!(ping_ms(Some("30000000"), None, 7), Some(15_000));
        assert_eq!(ping_ms(Some("30000000"), Some("7"), 7), Some(15_000));
        for (watchdog_us, pid) in [(Some("30000000"), Some("8")), (Some("0"), None), (Some("soon"), None), (None, None)]
        {
            assert_eq!(ping_ms(watchdog_us, pid, 7), None, "{watchdog_us:?} {pid:?}");
        }
    }

    #[test]
    fn one_loop_that_is_stuck_is_enough() {
        let shard = |at_ms| ShardSnapshot { at_ms, ..ShardSnapshot::default() };
        assert!(all_turn(&[shard(50_000), shard(49_000)], 50_000));
        assert!(!all_turn(&[shard(50_000), shard(50_000 - LIVE_MS - 1)], 50_000));
    }
}
