//! Administrators heard: listeners on the backbone, who may ask, and what is done for them.
//!
//! What a request means and what its answer looks like belongs in `crate::admin`. Here the shards are asked, the deny
//! list is kept, and sockets are served. Nothing here may wait for a shard that is stuck.

mod bridge;
mod deny_list;
mod guard;
mod http;
mod listen;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Semaphore, oneshot};

use crate::admin::{self, Action, CONSOLE_DATA, Console, METRICS_TYPE, Reply, Seen, Snapshot};
use crate::history::History;
use crate::hub::{Denials, Denied, Revocation, SURVEY_ROWS_MAX, Survey};
use crate::protocol::token::Role;
use crate::protocol::topic::HubUrl;
use crate::server::acme::Acme;
use crate::server::clock::Clock;
use crate::server::compressor::CompressionCounters;
use crate::server::inbox::{Inbox, Message, Ticket};
use crate::server::key_sets::KeySets;
use crate::server::reload::Reloader;
use crate::server::sequencer::{SequencerCounters, SequencerHandle};
use crate::server::shared::Shared;
use crate::server::tls::Certificates;
pub(crate) use bridge::{AdminBridge, Asked, answer_shards, channel};
pub(crate) use deny_list::DenyList;
pub use deny_list::DenyListFileError;
pub(crate) use guard::{Caller, TokenGuard};
pub(crate) use http::serve;
pub(crate) use listen::{Door, bind_tcp, bind_unix};

/// How long an answer may take: of shards that are busy, and of one that sweeps many streams.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Different times after which they who are refused may come back, from a second on.
const RETRY_SPREAD_S: u32 = 5;
/// Kicks and surveys at once: each shard keeps as many under way.
const ERRANDS_MAX: usize = 8;

/// What an administrator wants of a shard.
#[derive(Debug)]
pub(crate) enum Order {
    /// End streams, and say how many.
    Revoke(Arc<Revocation>, oneshot::Sender<u64>),
    /// Keep these out from now on.
    Deny(Arc<Denials>),
    /// Say what there is.
    Survey(Arc<Survey>, oneshot::Sender<Seen>),
    /// The answer to a request that came to the shard. Boxed: a shard's inbox has room for thousands of messages.
    Reply(Ticket, Box<Reply>),
}

/// A request, from whichever listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// The `Authorization` field.
    pub(crate) authorization: Option<String>,
    /// The `X-Token` field: a token to be explained.
    pub(crate) token: Option<String>,
}

/// Everything administrators can be answered from.
pub(crate) struct Admin {
    pub(crate) clock: Clock,
    pub(crate) started_ms: u64,
    pub(crate) driver: &'static str,
    pub(crate) hub: HubUrl,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inboxes: Vec<Inbox>,
    pub(crate) sequencer: SequencerHandle,
    pub(crate) sequencer_counters: Arc<SequencerCounters>,
    pub(crate) compression_counters: Arc<CompressionCounters>,
    pub(crate) history: Arc<History>,
    pub(crate) deny_list: DenyList,
    pub(crate) token: Option<TokenGuard>,
    pub(crate) key_sets: Arc<KeySets>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) acme: Option<Arc<Acme>>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) errands: Semaphore,
}

impl Admin {
    /// How many errands there may be at once.
    pub(crate) fn errands() -> Semaphore {
        Semaphore::new(ERRANDS_MAX)
    }

    /// Answers a request, whoever asks and wherever from.
    pub(crate) async fn handle(&self, caller: Caller, request: Request) -> Reply {
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, self.answer(caller, request)).await;
        answered.unwrap_or_else(|_| unavailable("the hub is too busy to answer, or a shard is stuck"))
    }

    async fn answer(&self, caller: Caller, request: Request) -> Reply {
        if matches!(caller, Caller::Owner | Caller::Bearer)
            && matches!(request.method.as_str(), "GET" | "HEAD")
            && let Some(file) = self.console(&request.path)
        {
            return file;
        }
        if caller == Caller::Bearer
            && let Err(refusal) = guard::check_token(self.token.as_ref(), request.authorization.as_deref())
        {
            return refusal;
        }
        let action = match Action::parse(&request.method, &request.path, &request.query) {
            Ok(action) => action,
            Err(refusal) => return refusal,
        };
        if caller == Caller::Anybody && !action.is_open() {
            return Reply::problem(403, "Forbidden", "health and metrics alone are answered at this address");
        }
        if caller == Caller::Developer && !(request.method == "GET" && CONSOLE_DATA.contains(&request.path.as_str())) {
            return Reply::problem(403, "Forbidden", "the console of a hub in development mode only looks");
        }
        match action {
            Action::Health(health) => health.reply(&self.snapshot()),
            Action::Metrics => Reply::new(METRICS_TYPE, admin::metrics(self.snapshot())),
            Action::Stats => Reply::json(&admin::stats(&self.snapshot())),
            Action::Connections { whom, limit } => {
                self.survey(Survey::Streams(whom, limit), |seen| admin::streams(&seen, limit)).await
            }
            Action::Slow { limit } => self.survey(Survey::Slow(limit), |seen| admin::slow(&seen, limit)).await,
            Action::Topics { limit } => {
                // More than are shown: what is in the middle on every shard may be on top of all.
                self.survey(Survey::Audiences(SURVEY_ROWS_MAX), |seen| admin::audiences(&seen, limit)).await
            }
            Action::Kick { whom, deny } => self.kick(whom, deny).await,
            Action::Denials => Reply::json(&admin::denied(&self.deny_list.current(), self.clock.now().wall_ms)),
            Action::Allow { whom } => self.allow(whom).await,
            Action::Explain { role, topics } => self.explain(request.token.as_deref(), role, &topics),
            Action::Reload => self.reload().await,
        }
    }

    /// The console's files, which hold no secret: their page asks for the token.
    fn console(&self, path: &str) -> Option<Reply> {
        let hub = &self.hub;
        let origin = hub.url().origin().ascii_serialization();
        Console { hub: hub.as_str(), hub_origin: Some(&origin), data: "" }.file(path.strip_prefix('/')?)
    }

    /// The hub at this moment.
    fn snapshot(&self) -> Snapshot {
        let history = self.history.size();
        // The numbers before the time: nothing is from the future.
        let shards = self.shared.observed.all();
        let sequencer = self.sequencer_counters.sequencing(self.sequencer.queued_bytes());
        Snapshot {
            now_ms: self.clock.now().mono_ms,
            started_ms: self.started_ms,
            version: env!("CARGO_PKG_VERSION"),
            driver: self.driver,
            stage: self.shared.stage(),
            connections: self.shared.connections.load(Ordering::Relaxed) as u64,
            history,
            denials: self.deny_list.current().len() as u64,
            counted: (self.shared.limits.addresses.len() as u64, self.shared.limits.subjects.len() as u64),
            memory: self.shared.limits.ceiling.seen(),
            sequencer,
            compression: self.compression_counters.compression(),
            cluster: self.sequencer.clustering(),
            certificates: self.certificates.remaining_s(),
            acme: self.acme.as_ref().map(|acme| acme.standings()).unwrap_or_default(),
            shards,
        }
    }

    async fn survey(&self, survey: Survey, show: impl FnOnce(Vec<Seen>) -> serde_json::Value) -> Reply {
        let _errand = self.errands.acquire().await;
        let survey = Arc::new(survey);
        let mut answers = Vec::new();
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            let (done, answer) = oneshot::channel();
            if !inbox.offer(Message::Admin(Order::Survey(survey.clone(), done))) {
                return unavailable(&format!("shard {shard} is stuck"));
            }
            answers.push(answer);
        }
        let mut seen = Vec::new();
        for answer in answers {
            // A shard that has ended has nothing to show.
            seen.extend(answer.await.ok());
        }
        Reply::json(&show(seen))
    }

    /// Ends streams on every shard. Who is to be kept out is so before the first one ends.
    async fn kick(&self, whom: Denied, deny: Option<Duration>) -> Reply {
        let _errand = self.errands.acquire().await;
        let now_ms = self.clock.now().wall_ms;
        let until_ms = deny.map(|deny| now_ms + deny.as_millis() as u64);
        let mut stored = Ok(());
        if let Some(until_ms) = until_ms {
            let changed = self.deny_list.change(now_ms, &self.inboxes, |denials| denials.deny(&whom, until_ms)).await;
            match changed {
                Ok(outcome) => stored = outcome,
                Err(refusal) => return refusal,
            }
        }
        tracing::info!(kind = whom.kind(), whom = whom.text(), denied = deny.is_some(), "streams are being kicked");
        let revocation = Arc::new(Revocation::Kicked(whom));
        let mut answers = Vec::new();
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            let (done, answer) = oneshot::channel();
            if !inbox.offer(Message::Admin(Order::Revoke(revocation.clone(), done))) {
                return unavailable(&format!("shard {shard} is stuck; the others do it"));
            }
            answers.push(answer);
        }
        let mut closed = 0;
        for answer in answers {
            closed += answer.await.unwrap_or(0);
        }
        match stored {
            Ok(()) => Reply::json(&json!({"closed": closed, "denied_until_ms": until_ms})),
            Err(why) => not_stored(&why),
        }
    }

    async fn allow(&self, whom: Denied) -> Reply {
        let now_ms = self.clock.now().wall_ms;
        let changed = self.deny_list.change(now_ms, &self.inboxes, |denials| Ok(denials.allow(&whom))).await;
        match changed {
            Ok(Err(why)) => not_stored(&why),
            Ok(Ok(())) => Reply::json(&admin::denied(&self.deny_list.current(), now_ms)),
            Err(refusal) => refusal,
        }
    }

    fn explain(&self, token: Option<&str>, role: Role, topics: &[String]) -> Reply {
        let Some(token) = token else {
            let detail = "send the token to be explained in a field X-Token";
            return Reply::problem(400, "Bad Request", detail);
        };
        let now_ms = self.clock.now().wall_ms;
        let denials = self.deny_list.current();
        let keys = self.key_sets.live();
        let hub = &self.hub;
        Reply::json(&admin::explain(keys.verifier(), hub, &denials, token, role, topics, now_ms))
    }

    async fn reload(&self) -> Reply {
        let reloader = self.reloader.clone();
        match tokio::task::spawn_blocking(move || reloader.reload()).await {
            Ok(Ok(waiting)) => Reply::json(&json!({"status": "ok", "waiting_for_restart": waiting})),
            Ok(Err(sentences)) => Reply::problem(422, "Unprocessable Content", &sentences.join("; ")),
            Err(_) => Reply::problem(500, "Internal Server Error", "reading the configuration failed; see the log"),
        }
    }
}

fn unavailable(detail: &str) -> Reply {
    /// Those who are refused one after another don't come back together.
    static REFUSED: AtomicU32 = AtomicU32::new(0);
    let seconds = 1 + REFUSED.fetch_add(1, Ordering::Relaxed) % RETRY_SPREAD_S;
    Reply::problem(503, "Service Unavailable", detail).with_field("Retry-After", seconds.to_string())
}

fn not_stored(why: &str) -> Reply {
    let detail = format!("done, but it is forgotten when the hub stops: the deny list can't be written: {why}");
    Reply::problem(500, "Internal Server Error", &detail)
}
