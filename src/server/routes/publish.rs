//! Publishing: from a form to its place in the log.

use std::rc::Rc;
use std::sync::Arc;

use super::access::{access, check_origin, still_good};
use super::acknowledgement::Acknowledgement;
use super::fields::complete;
use super::form_body;
use super::refusal::{insufficient, refusal, token_needed, try_later};
use crate::http::form;
use crate::http::head::{Head, Version};
use crate::http::response::ResponseHead;
use crate::hub::Draft;
use crate::protocol::compat::Compat;
use crate::protocol::token::{Access, Role};
use crate::protocol::update::Update;
use crate::server::commit::{Committed, Stored};
use crate::server::connection::{Account, Body, Counted};
use crate::server::replies::Reply;
use crate::server::sequencer::{QueueFull, Way};
use crate::server::settings::Settings;
use crate::server::shard::Context;
use crate::server::tracer::Trace;

/// How long a publish waits for an overloaded hub.
const PUBLISH_WAIT_MAX_MS: u64 = 2_000;
/// Publishes of one shard that may wait.
const WAITING_PUBLISHES_MAX: usize = 1024;

/// When a publisher whose update couldn't be stored may come again: seconds at least, and how many more at most.
const NOT_STORED_RETRY_S: (u32, u32) = (1, 4);

/// What the head of a publish comes to: who publishes, and how that is answered. It holds for every head that says the same,
/// until the rules change that it was come to by.
pub(crate) struct Judged {
    access: Arc<Access>,
    answer: Acknowledgement,
    settings: Rc<Settings>,
    /// Of the keys.
    generation: u64,
}

impl Judged {
    /// Whether another request with such a head would come to the same now.
    pub(crate) fn holds(&self, context: &Context) -> bool {
        Rc::ptr_eq(&self.settings, &context.settings())
            && self.generation == context.keys.borrow().generation()
            && self.access.valid_at(context.clock.wall_ms())
            && !context.is_denied(&self.access)
            // Each request has its own place in a trace, which its head names.
            && !context.tracer.is_on()
    }

    /// The answer to a publish, but for the id, which is its body.
    pub(crate) fn response(&self) -> &ResponseHead {
        self.answer.response()
    }

    /// Adds the answer to a publish, whose id is its body.
    pub(crate) fn answer(&self, id: &str, version: Version, keep_alive: bool, date: &Rc<str>, out: &mut Vec<u8>) {
        self.answer.encode(id, version, keep_alive, date, out);
    }
}

/// An update on its way to the log.
pub(crate) struct Publishing<'c> {
    reply: Reply<'c, Committed>,
    way: Way,
    pub(crate) judged: Rc<Judged>,
    record: Record<'c>,
}

impl<'c> Publishing<'c> {
    fn queued(context: &'c Context, judged: Rc<Judged>, reply: Reply<'c, Committed>, way: Way, trace: Trace) -> Self {
        let record = Record { context, status: judged.answer.status(), trace: Some(trace) };
        Publishing { reply, way, judged, record }
    }

    /// Whether what its publisher sends next has to wait for it, so as not to come before it in the log.
    pub(crate) fn may_be_overtaken(&self) -> bool {
        self.way == Way::Round
    }

    /// Waits until it is in the log: its id is the body of the answer. Else how it is refused.
    pub(crate) async fn finish(self) -> Result<(Rc<Judged>, Stored), ResponseHead> {
        let Publishing { reply, judged, mut record, .. } = self;
        match reply.await {
            Ok(stored) => {
                if let Some(trace) = &mut record.trace {
                    trace.text("mercure.update.id", || stored.id().to_owned());
                }
                Ok((judged, stored))
            }
            Err(why) => {
                let (status, detail) = why.answer();
                record.status = status;
                let retry_s = record.context.retry_after(NOT_STORED_RETRY_S);
                Err(refusal(status, detail).field("Retry-After", retry_s.to_string()))
            }
        }
    }
}

/// Counts and traces a publish that was queued, when it is dropped: once, whether or not somebody still waits for its answer.
struct Record<'c> {
    context: &'c Context,
    status: u16,
    trace: Option<Trace>,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if let Some(trace) = self.trace.take() {
            trace.end(self.context, self.status);
        }
        self.context.tally.borrow_mut().publish(self.status);
    }
}

/// POST (protocol §5). `None`: the client is gone.
pub(super) async fn publish<'c>(
    context: &'c Rc<Context>,
    head: &Head<'_>,
    body: &mut Body<'_, '_>,
) -> Option<Result<Publishing<'c>, ResponseHead>> {
    let mut trace = Trace::begin(context, "mercure.publish", head);
    let queued = match judge(context, head).await {
        Ok(judged) => {
            // Before the body: what isn't taken costs as little as it can.
            let checked = context
                .take_publish(&judged.access)
                .and_then(|()| form::check(head).map_err(|error| refusal(error.status(), &error.to_string())));
            match checked {
                Ok(()) => queue(context, &judged, body, &mut trace).await?.map(|(reply, way)| (judged, reply, way)),
                Err(response) => Err(response),
            }
        }
        Err(response) => Err(response),
    };
    Some(match queued {
        Ok((judged, reply, way)) => Ok(Publishing::queued(context, judged, reply, way, trace)),
        Err(response) => {
            trace.end(context, response.status());
            Err(response)
        }
    })
}

/// POST with a head that was judged before, and taken for a form. `None`: the client is gone.
pub(super) async fn publish_again<'c>(
    context: &'c Rc<Context>,
    judged: Rc<Judged>,
    body: &mut Body<'_, '_>,
) -> Option<Result<Publishing<'c>, ResponseHead>> {
    {
        let mut tally = context.tally.borrow_mut();
        tally.verdict_hits += 1;
        tally.recognised += 1;
    }
    judged.answer.repeat();
    let mut trace = Trace::none();
    if let Err(response) = context.take_publish(&judged.access) {
        return Some(Err(response));
    }
    let queued = queue(context, &judged, body, &mut trace).await?;
    Some(queued.map(|(reply, way)| Publishing::queued(context, judged, reply, way, trace)))
}

/// Who publishes, and how that is answered.
async fn judge(context: &Context, head: &Head<'_>) -> Result<Rc<Judged>, ResponseHead> {
    let (settings, generation) = (context.settings(), context.keys.borrow().generation());
    let (access, by_cookie) = access(context, head, Role::Publisher).await?;
    let access = access.ok_or_else(|| token_needed("an access token is needed to publish"))?;
    if by_cookie {
        check_origin(context, head)?;
    }
    let mut response =
        ResponseHead::new(200).field("Content-Type", "text/plain; charset=utf-8").field("Cache-Control", "no-store");
    complete(&settings, head, &mut response);
    Ok(Rc::new(Judged { access, answer: Acknowledgement::new(response), settings, generation }))
}

/// From the body to the sequencer's queue.
async fn queue<'c>(
    context: &'c Rc<Context>,
    judged: &Judged,
    body: &mut Body<'_, '_>,
    trace: &mut Trace,
) -> Option<Result<(Reply<'c, Committed>, Way), ResponseHead>> {
    let Judged { access, settings, .. } = judged;
    let form = match form_body::read(context, body, Account::Publishes).await? {
        Ok(form) => form,
        Err(response) => return Some(Err(response)),
    };
    if form.waited
        && let Err(response) = still_good(context, access)
    {
        return Some(Err(response));
    }
    let update = match Update::from_form(&form.bytes, &mut context.topics.borrow_mut(), &settings.update) {
        Ok(update) => update,
        Err(error) => {
            return Some(Err(refusal(if error.is_too_large() { 413 } else { 400 }, &error.to_string())));
        }
    };
    trace.texts("mercure.topics", || update.topics.iter().map(|topic| topic.as_str().to_owned()).collect());
    trace.flag("mercure.private", update.private);
    let mut counted = form.finish(context);
    let ungranted = settings.compat.is_some_and(Compat::publishes_public_updates_ungranted) && !update.private;
    let denied = update.topics.iter().find(|topic| !access.grants.may_publish_to(topic, &settings.hub));
    if let Some(topic) = denied.filter(|_| !ungranted) {
        let detail = format!("the access token does not grant publishing to the topic {:?}", topic.as_str());
        return Some(Err(insufficient(&detail)));
    }
    if let Some(topic) = update.topics.iter().find(|topic| context.denies_topic(topic.as_str())) {
        let detail = format!("an administrator of this hub has denied the topic {:?}", topic.as_str());
        return Some(Err(refusal(403, &detail)));
    }
    let draft = Draft::new(update).received(body.read_us());
    counted.set(draft.cost_bytes());
    commit(context, draft, counted, body).await
}

/// Queues an update for the log; the reply comes when it is there. Its bytes are counted here until the sequencer counts
/// them. `None`: the client is gone.
async fn commit<'c>(
    context: &'c Rc<Context>,
    mut draft: Draft,
    counted: Counted,
    body: &mut Body<'_, '_>,
) -> Option<Result<(Reply<'c, Committed>, Way), ResponseHead>> {
    let reply = context.published.expect();
    let waiting = Waiting::begin(context);
    let begun_ms = context.clock.mono_ms();
    let (mut now_ms, deadline_ms) = (begun_ms, begun_ms + PUBLISH_WAIT_MAX_MS);
    let way = loop {
        if context.shared.commits_ended(now_ms) {
            // The streams end, and with them history in memory: nobody would get it.
            return Some(Err(try_later(context, "the hub is stopping", 1)));
        }
        if context.sequencer.is_unreachable() {
            let detail = "the engine of the hub's cluster can't be reached, and nothing was stored: publish the update again later";
            return Some(Err(try_later(context, detail, 1)));
        }
        if context.shared.overloaded() {
            let may_wait = context.waiting.get() <= WAITING_PUBLISHES_MAX;
            if may_wait && !body.answer_earlier().await {
                return None;
            }
            let room = may_wait && context.room(deadline_ms).await;
            now_ms = context.clock.mono_ms();
            if !room {
                let detail = "the hub can't keep up with what is published; it slows its publishers down";
                return Some(Err(try_later(context, detail, 1)));
            }
            continue;
        }
        match context.sequencer.append(draft, context.index, reply.ticket()) {
            Ok(way) => break way,
            Err(QueueFull(back)) => draft = back,
        }
        if context.waiting.get() > WAITING_PUBLISHES_MAX || now_ms >= deadline_ms {
            return Some(Err(try_later(context, "too many updates are waiting to be stored", 1)));
        }
        if !body.answer_earlier().await {
            return None;
        }
        context.next_tick().await;
        now_ms = context.clock.mono_ms();
    };
    drop((waiting, counted));
    Some(Ok((reply, way)))
}

/// A publish that may have to wait, counted.
struct Waiting<'a>(&'a Context);

impl Waiting<'_> {
    fn begin(context: &Context) -> Waiting<'_> {
        context.waiting.set(context.waiting.get() + 1);
        Waiting(context)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}
