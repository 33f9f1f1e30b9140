//! The certificates of the hub: what new connections are shown, and what is read again when files change.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};

use super::ALPN;
use super::certificate::{Certificate, CertificateError, Lifetime, ocsp_file};
use super::names::Names;
use crate::config::CertificateFiles;
use crate::server::acme::{ACME_TLS, Challenges};
use crate::server::clock;
use crate::server::inbox::{Inbox, Message};

/// How often files are looked at. They are read once they have been the same in two looks: a certificate and its key are
/// seldom replaced in one moment.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A certificate that ends sooner is worth a warning.
const ENDS_SOON_S: u64 = 14 * 86_400;
/// A certificate that the hub renews itself should have been, by then: this part of its lifetime is left.
const OVERDUE_PART: u64 = 6;
/// How often it is said again.
const REMINDER_S: u64 = 86_400;
/// Session tickets given with a handshake: a client uses one to come back.
const TICKETS: usize = 1;

/// See the module.
pub(crate) struct Certificates {
    provider: Arc<CryptoProvider>,
    /// One for all shards and all reloads, so that a ticket holds everywhere; its keys change by themselves.
    ticketer: Arc<dyn ProducesTickets>,
    /// Those that the hub gets itself.
    managed: Vec<Managed>,
    challenges: Arc<Challenges>,
    held: Mutex<Held>,
}

/// A certificate the hub gets itself, in one file with its key, which may not be there yet.
#[derive(Clone, Debug)]
pub(crate) struct Managed {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

/// What holds.
#[derive(Default)]
struct Held {
    files: Vec<CertificateFiles>,
    /// What the files looked like when they were read, and at the last look.
    read: Vec<Stamp>,
    seen: Vec<Stamp>,
    config: Option<Arc<ServerConfig>>,
    /// By their first names.
    ends: BTreeMap<String, End>,
    /// When people were last told which end soon.
    reminded_s: u64,
}

/// When a certificate ends, seconds of Unix time, and how many seconds before that is soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    at_s: u64,
    soon_s: u64,
}

/// Certificates that were read and found right, and don't hold yet.
pub(crate) struct Read {
    files: Vec<CertificateFiles>,
    stamps: Vec<Stamp>,
    config: Option<Arc<ServerConfig>>,
    ends: BTreeMap<String, End>,
}

/// What tells a file from the one that was there before: its times, its length, which it is; `None`: there is none.
type Stamp = Option<(i64, i64, u64, u64)>;

impl Certificates {
    /// Reads those of the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn open(
        files: &[CertificateFiles],
        managed: Vec<Managed>,
        challenges: Arc<Challenges>,
    ) -> Result<Certificates, Vec<CertificateError>> {
        let all = Certificates {
            provider: Arc::new(ring::default_provider()),
            ticketer: ring::Ticketer::new().expect("the system has random numbers"),
            managed,
            challenges,
            held: Mutex::default(),
        };
        let read = all.read(files)?;
        all.hold(read);
        Ok(all)
    }

    /// What new connections begin with; `None`: there are no certificates.
    pub(crate) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.held().config.clone()
    }

    /// Seconds until each certificate ends, by its first name: negative where it has ended.
    pub(crate) fn remaining_s(&self) -> Vec<(String, f64)> {
        let now_s = clock::wall_ms() / 1000;
        self.held().ends.iter().map(|(name, end)| (name.clone(), end.at_s as f64 - now_s as f64)).collect()
    }

    /// Reads certificates, without showing them to anybody yet.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn read(&self, files: &[CertificateFiles]) -> Result<Read, Vec<CertificateError>> {
        // Before: what changes while it is read is read again.
        let stamps = self.stamps(files);
        let mut ends: BTreeMap<String, End> = BTreeMap::new();
        let (mut certificates, mut errors, mut awaited) = (Vec::new(), Vec::new(), Vec::new());
        let mut take = |read: Certificate, file: &Path, soon_s| {
            let name = read.names.first().cloned().unwrap_or_else(|| file.display().to_string());
            let end = End { at_s: read.lifetime.not_after_s, soon_s };
            let first = ends.entry(name).or_insert(end);
            if end.at_s < first.at_s {
                *first = end;
            }
            certificates.push((Arc::new(read.key), read.names));
        };
        for pair in files {
            match Certificate::read(pair, &self.provider) {
                Ok(read) => take(read, &pair.certificate, ENDS_SOON_S),
                Err(error) => errors.push(error),
            }
        }
        for Managed { name, file } in &self.managed {
            match Certificate::read(&CertificateFiles::of_one(file.clone()), &self.provider) {
                Ok(read) if read.is_for(name) => {
                    let Lifetime { not_before_s, not_after_s } = read.lifetime;
                    let overdue_s = not_after_s.saturating_sub(not_before_s) / OVERDUE_PART;
                    take(read, file, ENDS_SOON_S.min(overdue_s));
                }
                found => {
                    let missing = matches!(file.try_exists(), Ok(false));
                    if let (Err(error), false) = (found, missing) {
                        tracing::warn!(name, "a stored certificate is left out, and got anew: {error}");
                    }
                    awaited.push(name.clone());
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let any = !files.is_empty() || !self.managed.is_empty();
        let names = Names::new(certificates, awaited, self.challenges.clone());
        let config = any.then(|| Arc::new(self.server_config(names)));
        Ok(Read { files: files.to_vec(), stamps, config, ends })
    }

    /// Shows what has been got meanwhile.
    pub(crate) fn take_up(&self, inboxes: &[Inbox]) {
        let files = self.held().files.clone();
        match self.read(&files) {
            Ok(read) => self.renew(read, inboxes),
            Err(errors) => {
                for error in errors {
                    tracing::error!("{error}");
                }
                tracing::error!("the certificates from before are shown until all of them can be read");
            }
        }
    }

    /// From now on new connections are shown these; those that are open go on with what they have.
    pub(crate) fn renew(&self, read: Read, inboxes: &[Inbox]) {
        let config = read.config.clone();
        self.hold(read);
        if let Some(config) = config {
            for inbox in inboxes {
                inbox.send(Message::Certificates(config.clone()));
            }
        }
    }

    /// Looks after the files for as long as the hub runs.
    pub(crate) async fn watch(self: Arc<Self>, inboxes: Vec<Inbox>) {
        let inboxes = Arc::new(inboxes);
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            looks.tick().await;
            if self.held().files.is_empty() && self.managed.is_empty() {
                continue;
            }
            let (all, inboxes) = (self.clone(), inboxes.clone());
            // An error would be a panic, which is in the log.
            let _ = tokio::task::spawn_blocking(move || all.look(&inboxes)).await;
        }
    }

    /// Reads the files again if they have changed and are done changing. True if they were.
    pub(super) fn look(&self, inboxes: &[Inbox]) -> bool {
        self.remind(clock::wall_ms() / 1000);
        let files = {
            let mut held = self.held();
            let stamps = self.stamps(&held.files);
            let settled = stamps == held.seen;
            held.seen.clone_from(&stamps);
            if stamps == held.read || !settled {
                return false;
            }
            // Tried once, whatever comes of it.
            held.read = stamps;
            held.files.clone()
        };
        match self.read(&files) {
            Ok(read) => {
                self.renew(read, inboxes);
                tracing::info!("certificates have changed and are shown from now on");
                true
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!("a certificate has changed: {error}");
                }
                tracing::error!("the certificates from before are shown on");
                false
            }
        }
    }

    fn hold(&self, read: Read) {
        let Read { files, stamps, config, ends } = read;
        *self.held() = Held { files, read: stamps.clone(), seen: stamps, config, ends, reminded_s: 0 };
        self.remind(clock::wall_ms() / 1000);
    }

    /// Says which have ended or end soon, once a day. How many that are, if it was said.
    pub(super) fn remind(&self, now_s: u64) -> Option<usize> {
        let ends = {
            let mut held = self.held();
            // Also when the clock was set back.
            if now_s.abs_diff(held.reminded_s) < REMINDER_S {
                return None;
            }
            held.reminded_s = now_s;
            held.ends.clone()
        };
        let mut said = 0;
        for (name, End { at_s, soon_s }) in &ends {
            let left_s = at_s.saturating_sub(now_s);
            if left_s == 0 {
                tracing::error!(name, "the certificate has expired: clients will refuse it; renew it");
            } else if left_s < *soon_s {
                tracing::warn!(name, days = left_s / 86_400, "the certificate ends soon: renew it");
            } else {
                continue;
            }
            said += 1;
        }
        Some(said)
    }

    fn server_config(&self, names: Names) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring can do both versions of TLS");
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(names));
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        if !self.managed.is_empty() {
            // Last: who speaks anything else gets that. Without an open challenge there is no certificate for it.
            config.alpn_protocols.push(ACME_TLS.to_vec());
        }
        // Tickets hold all there is to know, so nothing is stored. Early data could be replayed.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.ticketer.clone();
        config.send_tls13_tickets = TICKETS;
        config.max_early_data_size = 0;
        // What event streams are parked as.
        config.enable_secret_extraction = true;
        config
    }

    fn stamps(&self, files: &[CertificateFiles]) -> Vec<Stamp> {
        let stamp = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
        };
        let of_pair =
            |pair: &CertificateFiles| [&pair.certificate, &pair.key, &ocsp_file(&pair.certificate)].map(|it| stamp(it));
        files.iter().flat_map(of_pair).chain(self.managed.iter().map(|it| stamp(&it.file))).collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nobody panics while holding certificates")
    }
}
