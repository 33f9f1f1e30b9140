//! Changing the configuration while the hub runs, without dropping a connection.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::config::Config;
use crate::server::acme::Acme;
use crate::server::ending::{Ending, RETRY_LEAST_MS};
use crate::server::inbox::{Inbox, Message};
use crate::server::key_sets::KeySets;
use crate::server::settings::{Settings, milliseconds};
use crate::server::shared::Shared;
use crate::server::start::Capacity;
use crate::server::tls::{self, CertificateError, Certificates};

/// Reads the configuration again when asked to. May be asked from any thread that may block.
pub(crate) struct Reloader {
    /// What holds. Held while it is read again, so that two reloads don't mix.
    config: Mutex<Config>,
    capacity: Capacity,
    key_sets: Arc<KeySets>,
    certificates: Arc<Certificates>,
    acme: Option<Arc<Acme>>,
    shared: Arc<Shared>,
    inboxes: Vec<Inbox>,
}

impl Reloader {
    pub(crate) fn new(
        config: Config,
        capacity: Capacity,
        key_sets: Arc<KeySets>,
        certificates: Arc<Certificates>,
        acme: Option<Arc<Acme>>,
        shared: Arc<Shared>,
        inboxes: Vec<Inbox>,
    ) -> Reloader {
        Reloader { config: Mutex::new(config), capacity, key_sets, certificates, acme, shared, inboxes }
    }

    /// Applies what the environment, the file, the key files, the certificates and the key sets say now, and logs what came of it. The names
    /// of settings that differ and wait for the next start.
    ///
    /// # Errors
    /// A sentence for everything that is wrong: then nothing has changed.
    pub(crate) fn reload(&self) -> Result<Vec<&'static str>, Vec<String>> {
        let reloaded = self.try_reload();
        match &reloaded {
            Ok(waiting) if waiting.is_empty() => tracing::info!("the configuration was reloaded"),
            Ok(waiting) => tracing::warn!(
                settings = waiting.join(", "),
                "the configuration was reloaded, except for what can be changed by a restart only"
            ),
            Err(sentences) => {
                for sentence in sentences {
                    tracing::error!("reload refused: {sentence}");
                }
                tracing::error!("the configuration was not reloaded, the old one holds");
            }
        }
        reloaded
    }

    fn try_reload(&self) -> Result<Vec<&'static str>, Vec<String>> {
        let mut config = self.config();
        let read = config
            .read_again(std::env::vars_os())
            .map_err(|refusals| refusals.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let (renewed, waiting) = config.renewed(read);
        let certificates = self.read_certificates(&renewed)?;
        let fetched = self.key_sets.prepare(&renewed)?;
        for warning in &renewed.warnings {
            tracing::warn!("{warning}");
        }
        let settings = Arc::new(Settings::new(&renewed));
        let connections_max = self.capacity.connections_max(&settings);
        self.key_sets.renew(&renewed, fetched);
        self.certificates.renew(certificates, &self.inboxes);
        if let Some(acme) = &self.acme {
            acme.hurry();
        }
        self.shared.limits.ceiling.set_max(settings.memory_max);
        for inbox in &self.inboxes {
            inbox.send(Message::Settings { settings: settings.clone(), connections_max });
        }
        *config = renewed;
        Ok(waiting)
    }

    fn read_certificates(&self, config: &Config) -> Result<tls::Read, Vec<String>> {
        if config.certificates.is_empty() && self.acme.is_none() && config.listen.iter().any(|listen| listen.tls) {
            let why = "the hub listens with TLS until it is restarted: --tls-certificate can't be left out before";
            return Err(vec![why.to_owned()]);
        }
        let said = |errors: Vec<CertificateError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        self.certificates.read(&config.certificates).map_err(said)
    }

    /// How the hub is to come to its end, as was said last.
    pub(crate) fn ending(&self) -> Ending {
        let config = self.config();
        Ending {
            delay_ms: milliseconds(config.drain_delay),
            window_ms: milliseconds(config.drain_window),
            stop_ms: milliseconds(config.shutdown_timeout),
            retry_least_ms: config.retry.map_or(RETRY_LEAST_MS, milliseconds),
        }
    }

    fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().expect("nobody panics while reading the configuration")
    }
}
