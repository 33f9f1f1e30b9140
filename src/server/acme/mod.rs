//! Certificates by ACME (RFC 8555): asked for when they are missing, renewed in time, and shown without a restart.
//!
//! All of it happens on the backbone; shards only answer challenges ([`Challenges`]). What was got lies in the data folder
//! (`store`), where [`Certificates`](crate::server::tls::Certificates) reads it as it reads any other certificate.

mod challenges;
mod client;
mod failure;
mod order;
mod plan;
mod store;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::admin::AcmeStanding;
use crate::config::data_folder::random_key;
use crate::config::{Acme as Wanted, AcmeChallenge};
use crate::server::clock;
use crate::server::inbox::Inbox;
use crate::server::tls::{self, Certificates, Lifetime, Managed};
pub(crate) use challenges::{ACME_TLS, Challenges};
use client::Client;
use failure::Failure;
use store::{Attempts, Store};

/// Time for all that one certificate takes.
const ISSUE_TIMEOUT: Duration = Duration::from_secs(600);
/// How often the clock is looked at while nothing is due: it may be set.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How often another hub that has the folder is asked whether it still does.
const LOCK_INTERVAL: Duration = Duration::from_secs(2);
/// After a restart a failed try isn't repeated sooner, seconds: a hub that is restarted again and again uses up no limits.
const AFTER_RESTART_S: u64 = 60;

/// See the module.
pub(crate) struct Acme {
    wanted: Wanted,
    store: Store,
    client: Client,
    challenges: Arc<Challenges>,
    names: Mutex<Vec<Name>>,
    wake: Notify,
}

/// Where a name stands.
#[derive(Clone, Debug)]
struct Name {
    name: String,
    /// When it is asked for next, seconds of Unix time.
    due_s: u64,
    attempts: Attempts,
    /// Which of the ways to prove it is next.
    turn: usize,
    /// 0 to 1, so that not all come at once.
    chance: f64,
    /// When the last certificate came, and of all tries how many came to something and to nothing.
    got_s: Option<u64>,
    outcomes: [u64; 2],
}

/// Why there is nothing to begin with.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] crate::config::data_folder::DataFolderError),
    /// The authority's own certificates.
    #[error("{} can't be used to judge the authority's server: {why}; name the right file with --acme-ca", file.display())]
    Authority {
        /// Which file.
        file: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Acme {
    /// Looks what is there already. Nobody is asked for anything yet.
    ///
    /// # Errors
    /// When the data folder or the authority's certificates can't be used.
    pub(crate) fn open(wanted: &Wanted, data: &Path, challenges: Arc<Challenges>) -> Result<Acme, AcmeError> {
        let store = Store::open(data, &wanted.directory)?;
        let client = Client::new(wanted.authority.as_deref()).map_err(|why| AcmeError::Authority {
            file: wanted.authority.clone().unwrap_or_default(),
            why: why.to_string(),
        })?;
        let mut attempts = store.attempts()?;
        let names = wanted.names.iter().map(|name| {
            let attempts = attempts.remove(name).unwrap_or_default();
            let lifetime = tls::lifetime(&store.certificate_file(name), name);
            Name::new(name, lifetime, attempts.as_of(now_s()), chance())
        });
        let names = Mutex::new(names.collect());
        Ok(Acme { wanted: wanted.clone(), store, client, challenges, names, wake: Notify::new() })
    }

    /// The files of its certificates, whether they are there or not.
    pub(crate) fn managed(&self) -> Vec<Managed> {
        let managed = |name: &String| Managed { name: name.clone(), file: self.store.certificate_file(name) };
        self.wanted.names.iter().map(managed).collect()
    }

    /// Where each name stands.
    pub(crate) fn standings(&self) -> Vec<AcmeStanding> {
        let standing = |name: &Name| AcmeStanding {
            name: name.name.clone(),
            outcomes: name.outcomes,
            got_s: name.got_s,
            failed_s: Some(name.attempts.failed_s).filter(|&at_s| at_s > 0),
            next_s: name.due_s,
        };
        self.names().iter().map(standing).collect()
    }

    /// What has failed is tried again at once: somebody may have mended it. What the authority doesn't want to be asked waits.
    pub(crate) fn hurry(&self) {
        let now_s = now_s();
        for name in self.names().iter_mut().filter(|name| name.attempts.failures > 0) {
            name.due_s = name.due_s.min(now_s.max(name.attempts.wanted_s));
        }
        self.wake.notify_one();
    }

    /// Gets what is missing and renews what ends, for as long as the hub runs.
    pub(crate) async fn keep(self: Arc<Self>, certificates: Arc<Certificates>, inboxes: Vec<Inbox>) {
        let _lock = self.lock().await;
        loop {
            let now_s = now_s();
            let next = self.names().iter().min_by_key(|name| name.due_s).cloned();
            let Some(next) = next else { return };
            if next.due_s > now_s {
                let idle = Duration::from_secs(next.due_s - now_s).min(LOOK_INTERVAL);
                // Woken, or something may be due: both are seen by looking.
                let _ = tokio::time::timeout(idle, self.wake.notified()).await;
                continue;
            }
            let outcome = self.try_one(&next).await;
            if outcome.is_ok() {
                let (certificates, inboxes) = (certificates.clone(), inboxes.clone());
                // An error would be a panic, which is in the log.
                let _ = tokio::task::spawn_blocking(move || certificates.take_up(&inboxes)).await;
            }
            self.settle(&next.name, outcome);
        }
    }

    /// Waits until no other hub asks for certificates in this folder.
    async fn lock(&self) -> Option<File> {
        let mut said = false;
        loop {
            match self.store.lock() {
                Ok(Some(lock)) => return Some(lock),
                Ok(None) if !said => {
                    tracing::warn!(
                        "another hub renews the certificates in the data folder: this one shows them, and takes over when it ends"
                    );
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "the folder of certificates can't be locked: another hub might renew them too");
                    return None;
                }
            }
            said = true;
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
    }

    async fn try_one(&self, next: &Name) -> Result<Lifetime, Failure> {
        let (name, way) = (&next.name, self.way(next.turn));
        // Another hub may have got it while this one waited for the folder.
        let file = self.store.certificate_file(name);
        if let Some(lifetime) = tls::lifetime(&file, name).filter(|it| due_s(*it, next.chance) > now_s()) {
            return Ok(lifetime);
        }
        tracing::info!(name, challenge = way.name(), directory = %self.wanted.directory, "a certificate is asked for");
        let asked = async {
            let account = order::account(&self.wanted, &self.store, &self.client).await?;
            order::certificate(&account, name, way, &self.store, &self.challenges).await
        };
        let pem = match tokio::time::timeout(ISSUE_TIMEOUT, asked).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(Failure::Late("it has taken too long")),
        };
        let lifetime = tls::lifetime_of(pem.as_bytes(), name).inspect_err(|_| self.store.forget_order(name));
        let lifetime = lifetime.map_err(Failure::Unusable)?;
        if lifetime.not_after_s <= now_s() {
            return Err(Failure::Unusable("the certificate has ended already: is the clock right?".to_owned()));
        }
        self.store.keep_certificate(name, &pem)?;
        Ok(lifetime)
    }

    /// Plans the next try.
    fn settle(&self, which: &str, outcome: Result<Lifetime, Failure>) {
        let (now_s, wanted_s) = (now_s(), self.client.take_wanted_s());
        let mut names = self.names();
        let Some(name) = names.iter_mut().find(|name| name.name == which) else { return };
        match outcome {
            Ok(lifetime) => {
                name.attempts = Attempts::default();
                name.due_s = plan::next_renewal_s(lifetime.not_before_s, lifetime.not_after_s, now_s, name.chance);
                name.got_s = Some(now_s);
                name.outcomes[0] += 1;
                let (days, renewal_days) =
                    (lifetime.not_after_s.saturating_sub(now_s) / 86_400, name.due_s.saturating_sub(now_s) / 86_400);
                tracing::info!(name = which, days, renewal_days, "a certificate was got and is shown from now on");
            }
            Err(failure) => {
                if failure.account_is_gone() {
                    self.store.forget_account();
                }
                if matches!(failure, Failure::Unproved { .. } | Failure::NotOffered(_)) {
                    name.turn += 1;
                }
                let failures = name.attempts.failures.saturating_add(1);
                let asked_s = wanted_s.map(|at_s| at_s.saturating_sub(now_s));
                let wait_s = plan::wait_s(failures, failure.authority_answers(), asked_s, chance());
                name.attempts =
                    Attempts { failures, failed_s: now_s, wanted_s: wanted_s.map_or(0, |_| now_s + wait_s) };
                name.due_s = now_s + wait_s;
                name.outcomes[1] += 1;
                // Often at first, then ever more rarely.
                if failure.authority_answers() || failures.is_power_of_two() {
                    tracing::warn!(name = which, failures, next_try_s = wait_s, "no certificate was got: {failure}");
                }
            }
        }
        let attempts: BTreeMap<_, _> = names.iter().map(|name| (name.name.clone(), name.attempts)).collect();
        drop(names);
        if let Err(error) = self.store.keep_attempts(&attempts) {
            tracing::warn!(%error, "when certificates were asked for can't be kept: a restart asks again at once");
        }
    }

    fn way(&self, turn: usize) -> AcmeChallenge {
        self.wanted.challenges[turn % self.wanted.challenges.len()]
    }

    fn names(&self) -> MutexGuard<'_, Vec<Name>> {
        self.names.lock().expect("nobody panics while holding names")
    }
}

impl Name {
    fn new(name: &str, lifetime: Option<Lifetime>, attempts: Attempts, chance: f64) -> Name {
        let due_s = lifetime.map_or(0, |lifetime| due_s(lifetime, chance));
        let rested_s = if attempts.failures > 0 { attempts.failed_s.saturating_add(AFTER_RESTART_S) } else { 0 };
        let due_s = due_s.max(rested_s).max(attempts.wanted_s);
        Name { name: name.to_owned(), due_s, attempts, turn: 0, chance, got_s: None, outcomes: [0; 2] }
    }
}

fn due_s(lifetime: Lifetime, chance: f64) -> u64 {
    plan::renewal_s(lifetime.not_before_s, lifetime.not_after_s, chance)
}

fn now_s() -> u64 {
    clock::wall_ms() / 1000
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let [a, b, c, d, ..] = random_key();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_due_at_once_and_what_failed_rests_after_a_restart() {
        let lifetime = Some(Lifetime { not_before_s: 0, not_after_s: 90_000 });
        let none = Attempts::default();
        assert_eq!(Name::new("a", None, none, 0.0).due_s, 0);
        assert_eq!(Name::new("a", lifetime, none, 0.0).due_s, 60_000);
        let failed = Attempts { failures: 9, failed_s: 1_000, wanted_s: 0 };
        assert_eq!(Name::new("a", None, failed, 0.0).due_s, 1_060);
        assert_eq!(Name::new("a", None, Attempts { wanted_s: 5_000, ..failed }, 0.0).due_s, 5_000);
    }
}
