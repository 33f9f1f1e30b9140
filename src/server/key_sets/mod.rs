//! Key sets: fetched on the backbone, kept fresh, and handed to the shards as [`LiveKeys`].
//!
//! No shard ever waits for a fetch. What is fetched takes the place of what was there only when it is a key set; a fetch
//! that fails leaves the last good one. A token that no key fits makes a wish, which is granted once in a while.

mod fetch;
mod live;
mod refresh;

use std::collections::HashMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use crate::config::{Config, KeySetSource, KeySetUrl};
use crate::protocol::keys::{JwkError, KEY_SET_ALGORITHMS, KeySet};
use crate::protocol::token::{Role, TokenRules, TokenVerifier};
use crate::server::backbone::Backbone;
use crate::server::clock::Clock;
use crate::server::inbox::{Inbox, Message};
use fetch::{FetchError, Fetched, fetch};
pub(crate) use live::LiveKeys;
use live::Wish;
use refresh::Refresh;

/// Fetches under way in the course of things: the backbone's other work that blocks must find threads too.
const FETCHES_MAX: usize = 2;
/// How long a start or a reload waits for key sets, milliseconds.
const FIRST_FETCH_MS: u64 = 6_000;

/// See the module.
pub(crate) struct KeySets {
    state: Mutex<State>,
    wake: Arc<Notify>,
    fetches: Semaphore,
    inboxes: Vec<Inbox>,
    runtime: Handle,
    clock: Clock,
}

struct State {
    /// With the keys that the configuration holds itself.
    rules: TokenRules,
    sets: Vec<KeySetSource>,
    sources: HashMap<KeySetUrl, Source>,
    live: Arc<LiveKeys>,
}

/// One URL, for however many issuers and roles.
struct Source {
    refresh: Refresh,
    fetching: bool,
    wish: Arc<Wish>,
    /// The last good set.
    text: Option<Vec<u8>>,
}

/// Sets that were fetched for a start or a reload: what each came to.
pub(crate) struct FirstFetch(HashMap<KeySetUrl, Result<Fetched, String>>);

impl KeySets {
    /// Fetches the sets of a configuration, waiting a bounded time, and keeps them fresh from then on.
    pub(crate) fn start(config: &Config, inboxes: Vec<Inbox>, backbone: &Backbone, clock: Clock) -> Arc<KeySets> {
        let runtime = backbone.runtime().clone();
        let state = State {
            rules: config.token_rules(),
            sets: Vec::new(),
            sources: HashMap::new(),
            live: Arc::new(LiveKeys::new(0, TokenVerifier::new(config.token_rules()), Vec::new())),
        };
        let (wake, fetches) = (Arc::new(Notify::new()), Semaphore::new(FETCHES_MAX));
        let keeper = KeySets { state: Mutex::new(state), wake, fetches, inboxes, runtime, clock };
        let keeper = Arc::new(keeper);
        let fetched = keeper.fetch_all(config);
        keeper.renew(config, fetched);
        backbone.spawn(keeper.clone().keep());
        keeper
    }

    /// The keys that hold now.
    pub(crate) fn live(&self) -> Arc<LiveKeys> {
        self.state().live.clone()
    }

    /// Fetches the sets of a configuration that is about to hold.
    ///
    /// # Errors
    /// A sentence for each set that wasn't there before and can't be had: its issuer's clients would all be refused.
    pub(crate) fn prepare(&self, config: &Config) -> Result<FirstFetch, Vec<String>> {
        let fetched = self.fetch_all(config);
        let state = self.state();
        // One that couldn't be had so far either is no reason to keep a configuration without it.
        let new = fetched.0.iter().filter(|(url, _)| !state.sources.contains_key(*url));
        let sentences: Vec<_> = new
            .filter_map(|(url, outcome)| Some(format!("the key set {url} can't be used: {}", outcome.as_ref().err()?)))
            .collect();
        if sentences.is_empty() { Ok(fetched) } else { Err(sentences) }
    }

    /// Applies the issuers, keys and sets of a configuration, with what was fetched for it.
    pub(crate) fn renew(&self, config: &Config, fetched: FirstFetch) {
        let now_ms = self.clock.now().mono_ms;
        let mut state = self.state();
        state.rules = config.token_rules();
        state.sets.clone_from(&config.key_sets);
        let mut before = std::mem::take(&mut state.sources);
        for (url, outcome) in fetched.0 {
            let source = before.remove(&url).unwrap_or_else(|| Source {
                refresh: Refresh::new(matches!(url, KeySetUrl::File(_)), now_ms),
                fetching: false,
                wish: Arc::new(Wish::new(self.wake.clone())),
                text: None,
            });
            let source = state.sources.entry(url.clone()).or_insert(source);
            source.take(&url, outcome, now_ms);
        }
        let live = state.build();
        state.live = live.clone();
        drop(state);
        self.hand_out(&live);
        self.wake.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the key sets")
    }

    /// Tells every shard. Shards know newer ones from older ones, should two overtake each other.
    fn hand_out(&self, live: &Arc<LiveKeys>) {
        for inbox in &self.inboxes {
            inbox.send(Message::Keys(live.clone()));
        }
    }

    /// Fetches every set of a configuration at once, on the backbone, and waits for them.
    fn fetch_all(&self, config: &Config) -> FirstFetch {
        let (sender, outcomes) = channel();
        let mut fetched = HashMap::new();
        for set in &config.key_sets {
            let late = Err("no answer in time".to_owned());
            if fetched.insert(set.url.clone(), late).is_none() {
                let (sender, url) = (sender.clone(), set.url.clone());
                self.runtime.spawn_blocking(move || {
                    let outcome = read(fetch(&url));
                    // Nobody waits for those that come too late.
                    let _ = sender.send((url, outcome));
                });
            }
        }
        drop(sender);
        let deadline_ms = self.clock.now().mono_ms + FIRST_FETCH_MS;
        loop {
            let left_ms = deadline_ms.saturating_sub(self.clock.now().mono_ms);
            match outcomes.recv_timeout(Duration::from_millis(left_ms)) {
                Ok((url, outcome)) => _ = fetched.insert(url, outcome),
                Err(_) => return FirstFetch(fetched),
            }
        }
    }

    /// Fetches what is due, for ever.
    async fn keep(self: Arc<KeySets>) {
        loop {
            let idle = Duration::from_millis(self.begin_due());
            // Woken, or something is due: both are seen by looking.
            let _ = tokio::time::timeout(idle, self.wake.notified()).await;
        }
    }

    /// Begins the fetches that are due; milliseconds until the next one is.
    fn begin_due(self: &Arc<KeySets>) -> u64 {
        let now_ms = self.clock.now().mono_ms;
        let mut next_ms = now_ms + 60_000;
        let mut state = self.state();
        for (url, source) in state.sources.iter_mut().filter(|(_, source)| !source.fetching) {
            let wished = source.wish.is_made();
            if wished {
                source.refresh.wished(now_ms);
            }
            if source.refresh.due_ms() > now_ms {
                next_ms = next_ms.min(source.refresh.due_ms());
                continue;
            }
            source.fetching = true;
            source.refresh.begun(wished, now_ms);
            source.wish.clear();
            self.runtime.spawn(self.clone().fetch_one(url.clone()));
        }
        next_ms - now_ms
    }

    async fn fetch_one(self: Arc<KeySets>, url: KeySetUrl) {
        let permit = self.fetches.acquire().await;
        let keeper = self.clone();
        // It fails only when the hub stops.
        let _ = self.runtime.spawn_blocking(move || keeper.fetched(&url, read(fetch(&url)))).await;
        drop(permit);
        self.wake.notify_one();
    }

    /// A fetch has ended; the shards are told if it makes a difference.
    fn fetched(&self, url: &KeySetUrl, outcome: Result<Fetched, String>) {
        let mut state = self.state();
        let Some(source) = state.sources.get_mut(url) else {
            return;
        };
        source.fetching = false;
        if !source.take(url, outcome, self.clock.now().mono_ms) {
            return;
        }
        let live = state.build();
        // The same keys in other words: the streams and the verdicts stay as they are.
        if live.uses() == state.live.uses() {
            return;
        }
        state.live = live.clone();
        drop(state);
        self.hand_out(&live);
    }
}

impl Source {
    /// Takes in what a fetch came to. Whether there is another set now.
    fn take(&mut self, url: &KeySetUrl, outcome: Result<Fetched, String>, now_ms: u64) -> bool {
        let fetched = match outcome {
            Ok(fetched) => fetched,
            Err(why) => {
                if self.refresh.failed(now_ms) {
                    let failures = self.refresh.failures();
                    let meanwhile = match self.text {
                        Some(_) => "the last good one holds",
                        None => "tokens that need it are answered 503",
                    };
                    tracing::warn!(%url, why, failures, "a key set can't be fetched: {meanwhile}");
                }
                return false;
            }
        };
        if self.refresh.failures() > 0 {
            tracing::info!(%url, failures = self.refresh.failures(), "a key set can be fetched again");
        }
        self.refresh.succeeded(fetched.max_age, now_ms);
        if self.text.as_ref() == Some(&fetched.text) {
            return false;
        }
        self.text = Some(fetched.text);
        true
    }
}

impl State {
    /// The rules with the keys of all sets, as the next generation.
    fn build(&self) -> Arc<LiveKeys> {
        let mut rules = self.rules.clone();
        let mut wishes = Vec::new();
        for set in &self.sets {
            let Some(source) = self.sources.get(&set.url) else {
                continue;
            };
            wishes.push((set.issuer.clone(), set.role, source.wish.clone()));
            let Some(text) = &source.text else {
                continue;
            };
            for (key, why) in add_keys(&mut rules, set, text) {
                tracing::info!(url = %set.url, issuer = set.issuer, role = %set.role, key, "a key of a set is not used: {why}");
            }
        }
        Arc::new(LiveKeys::new(self.live.generation() + 1, TokenVerifier::new(rules), wishes))
    }
}

/// A fetched text counts only if it is a key set.
fn read(fetched: Result<Fetched, FetchError>) -> Result<Fetched, String> {
    let fetched = fetched.map_err(|why| why.to_string())?;
    KeySet::parse(&fetched.text, &KEY_SET_ALGORITHMS).map_err(|why| why.to_string())?;
    Ok(fetched)
}

/// Adds the keys of a set to those of its issuer and role; what was left out, and why.
fn add_keys(rules: &mut TokenRules, set: &KeySetSource, text: &[u8]) -> Vec<(String, JwkError)> {
    let found = KeySet::parse(text, &set.algorithms).unwrap_or_default();
    let issuer = rules.issuers.iter_mut().find(|issuer| issuer.id == set.issuer).expect("a set belongs to an issuer");
    let keys = match set.role {
        Role::Publisher => &mut issuer.publisher,
        Role::Subscriber => &mut issuer.subscriber,
    };
    keys.get_or_insert_default().extend(found.keys);
    found.left_out
}

/// The rules for tokens with the keys of all sets, fetched now, for commands that look at a token. Sentences on what could
/// not be fetched or isn't used come with them.
pub fn rules_with_key_sets(config: &Config) -> (TokenRules, Vec<String>) {
    let (mut rules, mut sentences) = (config.token_rules(), Vec::new());
    let mut fetched = HashMap::new();
    for set in &config.key_sets {
        match fetched.entry(&set.url).or_insert_with(|| read(fetch(&set.url))) {
            Ok(Fetched { text, .. }) => {
                let left_out = add_keys(&mut rules, set, text).into_iter();
                sentences.extend(left_out.map(|(key, why)| format!("the key {key} of {} is not used: {why}", set.url)));
            }
            Err(why) => sentences.push(format!("the key set {} can't be used: {why}", set.url)),
        }
    }
    (rules, sentences)
}
