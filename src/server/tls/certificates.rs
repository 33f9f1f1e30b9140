//! The certificates of the hub: what new connections are shown, and what is read again when files change.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};

use super::ALPN;
use super::certificate::{Certificate, CertificateError, ocsp_file};
use super::names::Names;
use crate::config::CertificateFiles;
use crate::server::clock;
use crate::server::inbox::{Inbox, Message};

/// How often files are looked at. They are read once they have been the same in two looks: a certificate and its key are
/// seldom replaced in one moment.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A certificate that ends sooner is worth a warning.
const ENDS_SOON_S: u64 = 14 * 86_400;
/// Session tickets given with a handshake: a client uses one to come back.
const TICKETS: usize = 1;

/// See the module.
pub(crate) struct Certificates {
    provider: Arc<CryptoProvider>,
    /// One for all shards and all reloads, so that a ticket holds everywhere; its keys change by themselves.
    ticketer: Arc<dyn ProducesTickets>,
    held: Mutex<Held>,
}

/// What holds.
#[derive(Default)]
struct Held {
    files: Vec<CertificateFiles>,
    /// What the files looked like when they were read, and at the last look.
    read: Vec<Stamp>,
    seen: Vec<Stamp>,
    config: Option<Arc<ServerConfig>>,
    /// By their first names, when each ends.
    ends_s: BTreeMap<String, u64>,
}

/// Certificates that were read and found right, and don't hold yet.
pub(crate) struct Read {
    files: Vec<CertificateFiles>,
    stamps: Vec<Stamp>,
    config: Option<Arc<ServerConfig>>,
    ends_s: BTreeMap<String, u64>,
}

/// What tells a file from the one that was there before: its times, its length, which it is; `None`: there is none.
type Stamp = Option<(i64, i64, u64, u64)>;

impl Certificates {
    /// Reads those of the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn open(files: &[CertificateFiles]) -> Result<Certificates, Vec<CertificateError>> {
        let all = Certificates {
            provider: Arc::new(ring::default_provider()),
            ticketer: ring::Ticketer::new().expect("the system has random numbers"),
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
        self.held().ends_s.iter().map(|(name, &ends_s)| (name.clone(), ends_s as f64 - now_s as f64)).collect()
    }

    /// Reads certificates, without showing them to anybody yet.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn read(&self, files: &[CertificateFiles]) -> Result<Read, Vec<CertificateError>> {
        // Before: what changes while it is read is read again.
        let stamps = stamps(files);
        let mut ends_s: BTreeMap<String, u64> = BTreeMap::new();
        let (mut certificates, mut errors) = (Vec::new(), Vec::new());
        for pair in files {
            match Certificate::read(pair, &self.provider) {
                Ok(Certificate { key, names, not_after_s }) => {
                    let file = || pair.certificate.display().to_string();
                    let ends = ends_s.entry(names.first().cloned().unwrap_or_else(file)).or_insert(u64::MAX);
                    *ends = not_after_s.min(*ends);
                    certificates.push((Arc::new(key), names));
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let config = (!files.is_empty()).then(|| Arc::new(self.server_config(Names::new(certificates))));
        Ok(Read { files: files.to_vec(), stamps, config, ends_s })
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
            if self.held().files.is_empty() {
                continue;
            }
            let (all, inboxes) = (self.clone(), inboxes.clone());
            // An error would be a panic, which is in the log.
            let _ = tokio::task::spawn_blocking(move || all.look(&inboxes)).await;
        }
    }

    /// Reads the files again if they have changed and are done changing. True if they were.
    pub(super) fn look(&self, inboxes: &[Inbox]) -> bool {
        let files = {
            let mut held = self.held();
            let stamps = stamps(&held.files);
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
        let now_s = clock::wall_ms() / 1000;
        for (name, &ends_s) in &read.ends_s {
            let days = ends_s.saturating_sub(now_s) / 86_400;
            if ends_s <= now_s {
                tracing::error!(name, "the certificate has expired: clients will refuse it; renew it");
            } else if ends_s - now_s < ENDS_SOON_S {
                tracing::warn!(name, days, "the certificate ends soon: renew it");
            }
        }
        let Read { files, stamps, config, ends_s } = read;
        *self.held() = Held { files, read: stamps.clone(), seen: stamps, config, ends_s };
    }

    fn server_config(&self, names: Names) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring can do both versions of TLS");
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(names));
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        // Tickets hold all there is to know, so nothing is stored. Early data could be replayed.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.ticketer.clone();
        config.send_tls13_tickets = TICKETS;
        config.max_early_data_size = 0;
        // What event streams are parked as.
        config.enable_secret_extraction = true;
        config
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nobody panics while holding certificates")
    }
}

fn stamps(files: &[CertificateFiles]) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
    };
    files
        .iter()
        .flat_map(|pair| [stamp(&pair.certificate), stamp(&pair.key), stamp(&ocsp_file(&pair.certificate))])
        .collect()
}
