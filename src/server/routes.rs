//! What each request gets: which resource, which rules, which answer.

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use crate::http::authority;
use crate::http::cors::{cors_fields, preflight_fields};
use crate::http::credentials::{Credentials, CredentialsError, origin_for_cookie_publish};
use crate::http::form;
use crate::http::head::{BodyFraming, Head, Method, Version};
use crate::http::problem::{challenge, problem};
use crate::http::response::{ResponseHead, reason};
use crate::hub::{Draft, Found, Registration, Sink, Start};
use crate::protocol::grants::GrantsError;
use crate::protocol::matcher::{Matcher, MatcherError};
use crate::protocol::pattern::PatternError;
use crate::protocol::subscribe::Subscribe;
use crate::protocol::token::{Access, Role, TokenError};
use crate::protocol::topic::ParsedTopic;
use crate::protocol::update::Update;
use crate::server::compile;
use crate::server::connection::{Body, BodyBytes, BodyFailure, Counted};
use crate::server::sequencer::QueueFull;
use crate::server::shard::Context;

/// How long a publish waits for an overloaded hub.
const PUBLISH_WAIT_MAX_MS: u64 = 2_000;
/// Publishes of one shard that may wait.
const WAITING_PUBLISHES_MAX: usize = 1024;
/// Methods of the hub's own resource.
const HUB_METHODS: &str = "GET, HEAD, POST, OPTIONS";
/// The page at `/`.
const PAGE: &str = include_str!("page.html");

/// What a request is answered with.
pub(crate) enum Answer {
    /// A whole response.
    Response(ResponseHead),
    /// The connection becomes an event stream.
    Stream(Box<Stream>),
    /// Ready bytes, after which the connection closes.
    Raw(Vec<u8>),
}

/// An event stream about to begin.
pub(crate) struct Stream {
    head: Box<[u8]>,
    chunked: bool,
    start: Start,
    matchers: Vec<Matcher>,
    access: Option<Arc<Access>>,
}

impl Stream {
    pub(crate) fn registration(self, sink: Sink, address: u32, spread: u16) -> Registration {
        let Stream { head, chunked, start, matchers, access } = self;
        Registration { sink, head, chunked, start, matchers, access, address, spread }
    }
}

/// Answers one request; `None`: the client is gone.
pub(crate) async fn answer(context: &Rc<Context>, head: &Head<'_>, body: &mut Body<'_>) -> Option<Answer> {
    let settings = &context.settings;
    if settings.dev && head.host.is_some_and(|host| !authority::is_loopback(host)) {
        let detail = "in development mode the hub answers on localhost only; run `cinnabar serve` with --resource to serve other names";
        return Some(Answer::Response(refusal(421, detail)));
    }
    if head.path != settings.hub.path() {
        return Some(Answer::Response(elsewhere(context, head)));
    }
    let answered = match head.method {
        Method::Get | Method::Head => subscribe(context, head).await,
        Method::Post => publish(context, head, body).await?.map(Answer::Response),
        Method::Options => Ok(Answer::Response(options(context, head))),
        Method::Query | Method::Other => Err(not_allowed(HUB_METHODS)),
    };
    let origin = head.get_str("origin");
    Some(match answered {
        Ok(Answer::Response(mut response)) | Err(mut response) => {
            if head.method != Method::Options {
                cors_fields(&settings.cors, origin, &mut response);
            }
            Answer::Response(response)
        }
        Ok(other) => other,
    })
}

/// Everything that isn't the hub's own resource.
fn elsewhere(context: &Context, head: &Head<'_>) -> ResponseHead {
    match (head.path, head.method) {
        ("/", Method::Get | Method::Head) => {
            let page = PAGE.replace("{{hub}}", context.settings.hub.path());
            ResponseHead::new(200)
                .field("Content-Type", "text/html; charset=utf-8")
                .field("Cache-Control", "no-store")
                .body(page)
        }
        ("/", _) => not_allowed("GET, HEAD"),
        ("*", Method::Options) => ResponseHead::new(204).field("Allow", HUB_METHODS),
        _ => refusal(404, &format!("there is nothing here; the hub is at {}", context.settings.hub.path())),
    }
}

fn options(context: &Context, head: &Head<'_>) -> ResponseHead {
    let mut response = ResponseHead::new(204).field("Allow", HUB_METHODS);
    preflight_fields(&context.settings.cors, head.get_str("origin"), &mut response);
    response
}

/// GET and HEAD (protocol §4): token, then matchers, then the cursor.
async fn subscribe(context: &Rc<Context>, head: &Head<'_>) -> Result<Answer, ResponseHead> {
    let settings = &context.settings;
    if !matches!(head.body, BodyFraming::None | BodyFraming::Length(0)) {
        return Err(refusal(400, "a request for an event stream has no body; the matchers go into the query"));
    }
    let (access, _) = access(context, head, Role::Subscriber).await?;
    if access.is_none() && !settings.anonymous {
        return Err(token_needed("an access token is needed to subscribe: this hub has no anonymous subscribers"));
    }
    let query = head.query.unwrap_or_default();
    let parsed = if compile::may_be_slow(query) {
        context.compile(query).await.ok_or_else(|| try_later(503, "too many patterns are waiting to be compiled", 1))?
    } else {
        Subscribe::from_query(query, &settings.hub, &settings.subscribe)
    };
    let request = parsed.map_err(|error| match error.may_pass() {
        true => try_later(503, &error.to_string(), 5),
        false => refusal(400, &error.to_string()),
    })?;
    if context.stopping() {
        return Err(try_later(503, "the hub is stopping", 1));
    }
    let mut response = ResponseHead::new(200)
        .field("Content-Type", "text/event-stream")
        .field("Cache-Control", "no-store, no-transform")
        .field("X-Accel-Buffering", "no");
    let mut start = Start::Live;
    if let Some(cursor) = cursor(head, request.last_event_id) {
        let (found, id) = match cursor {
            Cursor::Id(id) => (context.find(&id).await, id),
            Cursor::Unusable => (Found::Unknown, String::new()),
        };
        let before = match found {
            Found::At(offset) => {
                start = Start::After(offset);
                id.as_str()
            }
            Found::Earliest => {
                start = Start::Earliest;
                "earliest"
            }
            Found::Unknown => "earliest",
        };
        response.add_field("Mercure-Last-Event-ID", before);
    }
    // Asked last: those whose cursors are being looked up all would find the same room.
    if !context.has_room(&request.matchers) {
        return Err(try_later(503, "the hub holds as many different matchers as it may", 5));
    }
    cors_fields(&settings.cors, head.get_str("origin"), &mut response);
    let mut bytes = Vec::new();
    response.encode_stream(head.version, &context.date(), &mut bytes);
    if head.method == Method::Head {
        return Ok(Answer::Raw(bytes));
    }
    let chunked = head.version == Version::Http11;
    Ok(Answer::Stream(Box::new(Stream { head: bytes.into(), chunked, start, matchers: request.matchers, access })))
}

/// The cursor a request presents.
#[derive(Debug, PartialEq, Eq)]
enum Cursor {
    Id(String),
    /// A field that isn't UTF-8, or is there several times: an id nobody has seen.
    Unusable,
}

/// The field, unless it is empty, else the parameter (protocol §8).
fn cursor(head: &Head<'_>, parameter: Option<String>) -> Option<Cursor> {
    let field = match (head.get("last-event-id"), head.get_str("last-event-id")) {
        (Some(_), None) => return Some(Cursor::Unusable),
        (_, field) => field,
    };
    match field {
        Some("") | None => parameter.or(field.map(str::to_owned)).map(Cursor::Id),
        Some(id) => Some(Cursor::Id(id.to_owned())),
    }
}

/// POST (protocol §5). `None`: the client is gone.
async fn publish(
    context: &Rc<Context>,
    head: &Head<'_>,
    body: &mut Body<'_>,
) -> Option<Result<ResponseHead, ResponseHead>> {
    let settings = &context.settings;
    let access = match access(context, head, Role::Publisher).await {
        Ok((Some(access), by_cookie)) => {
            if by_cookie && let Err(response) = check_origin(context, head) {
                return Some(Err(response));
            }
            access
        }
        Ok((None, _)) => return Some(Err(token_needed("an access token is needed to publish"))),
        Err(response) => return Some(Err(response)),
    };
    if let Err(error) = form::check(head) {
        return Some(Err(refusal(error.status(), &error.to_string())));
    }
    let body = match body.read().await {
        Ok(body) => body,
        Err(BodyFailure::Gone) => return None,
        Err(BodyFailure::Refused(error)) => {
            return Some(Err(refusal(error.status(), &error.to_string())));
        }
        Err(BodyFailure::TooSlow) => {
            return Some(Err(refusal(408, "the body of the request took too long to arrive")));
        }
        Err(BodyFailure::Busy) => {
            return Some(Err(try_later(503, "too many request bodies are being received", 1)));
        }
    };
    let update = match Update::from_form(&body.bytes, &settings.hub, &settings.update) {
        Ok(update) => update,
        Err(error) => {
            return Some(Err(refusal(if error.is_too_large() { 413 } else { 400 }, &error.to_string())));
        }
    };
    let BodyBytes { bytes, mut counted } = body;
    drop(bytes);
    let denied =
        update.topics.iter().find(|topic| !access.grants.may_publish(&ParsedTopic::new(topic.as_str(), &settings.hub)));
    if let Some(topic) = denied {
        let detail = format!("the access token does not grant publishing to the topic {:?}", topic.as_str());
        return Some(Err(insufficient(&detail)));
    }
    let draft = Draft::new(update);
    counted.set(draft.cost_bytes());
    Some(commit(context, draft, counted).await)
}

/// Puts an update into the log and waits until it is there. Its bytes are counted here until the sequencer counts them.
async fn commit(context: &Rc<Context>, mut draft: Draft, counted: Counted) -> Result<ResponseHead, ResponseHead> {
    let reply = context.published.expect();
    let waiting = Waiting::begin(context);
    let deadline_ms = context.now().mono_ms + PUBLISH_WAIT_MAX_MS;
    loop {
        if context.shared.commits_ended(context.now().mono_ms) {
            // The streams end, and with them history in memory: nobody would get it.
            return Err(try_later(503, "the hub is stopping", 1));
        }
        if context.shared.overloaded() {
            if context.waiting.get() > WAITING_PUBLISHES_MAX || !context.room(deadline_ms).await {
                return Err(try_later(
                    503,
                    "the hub can't keep up with what is published; it slows its publishers down",
                    1,
                ));
            }
            continue;
        }
        match context.sequencer.append(draft, context.index, reply.ticket()) {
            Ok(()) => break,
            Err(QueueFull(back)) => draft = back,
        }
        if context.waiting.get() > WAITING_PUBLISHES_MAX || context.now().mono_ms >= deadline_ms {
            return Err(try_later(503, "too many updates are waiting to be stored", 1));
        }
        context.next_tick().await;
    }
    drop((waiting, counted));
    let event = reply.await;
    let id = event.id().to_owned();
    Ok(ResponseHead::new(200)
        .field("Content-Type", "text/plain; charset=utf-8")
        .field("Cache-Control", "no-store")
        .body(id))
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

/// Judges the token a request presents, if any, and says whether it came in the cookie.
async fn access(context: &Context, head: &Head<'_>, role: Role) -> Result<(Option<Arc<Access>>, bool), ResponseHead> {
    let credentials = Credentials::from_head(head, &context.settings.cookie_name).map_err(|error| {
        let challenge = challenge(Some(CredentialsError::CODE), None, None);
        refusal(error.status(), &error.to_string()).field("WWW-Authenticate", challenge)
    })?;
    let (token, by_cookie) = match credentials {
        Credentials::None => return Ok((None, false)),
        Credentials::Header(token) => (token, false),
        Credentials::Cookie(token) => (token, true),
    };
    let known = || context.verdicts.borrow_mut().get(token, role, context.now().wall_ms);
    if let Some(access) = known() {
        return Ok((Some(access), by_cookie));
    }
    context.signature_checks.pass(|| context.ring()).await;
    // Others with the same token may have been first.
    if let Some(access) = known() {
        return Ok((Some(access), by_cookie));
    }
    let now_ms = context.now().wall_ms;
    let verdict = context.settings.verifier.verify(token, role, now_ms);
    match verdict {
        Ok(access) => Ok((Some(context.verdicts.borrow_mut().insert(token, role, access)), by_cookie)),
        Err(error) if may_pass(&error) => Err(try_later(503, "the hub holds as many regular expressions as it may", 5)),
        Err(error) => Err(invalid_token(context, role, &error.to_string())),
    }
}

/// Whether the same token may be fine later: the hub is full, the token isn't wrong.
fn may_pass(error: &TokenError) -> bool {
    let full = MatcherError::Pattern(PatternError::TooManyRegexes);
    matches!(error, TokenError::Grants(GrantsError::Matcher { reason, .. }) if *reason == full)
}

/// The answer to an invalid token says nothing but a reference; the rule is in the log under it (design §9).
fn invalid_token(context: &Context, role: Role, rule: &str) -> ResponseHead {
    let reference = format!("{:016x}", context.random());
    if let Some(left_out) = context.refused_tokens.take(context.now().mono_ms) {
        tracing::info!(%reference, ?role, rule, left_out, "an access token was refused");
    }
    let mut extra = vec![("reference", Value::from(reference))];
    if context.settings.dev {
        extra.push(("rule", Value::from(rule)));
    }
    let detail = "the access token is not valid; the hub's log says why, under this reference";
    problem(401, "Unauthorized", detail, &extra).field("WWW-Authenticate", challenge(Some("invalid_token"), None, None))
}

/// A publish by cookie must come from a listed origin: any page can make a browser send the cookie along (protocol §6).
fn check_origin(context: &Context, head: &Head<'_>) -> Result<(), ResponseHead> {
    let detail = match origin_for_cookie_publish(head) {
        Some(origin) if context.settings.publish_origins.allows(&origin) => return Ok(()),
        // It can't be listed: every sandboxed page and local file has it, whoever wrote it.
        Some(origin) if origin == "null" => {
            "a page without an origin of its own (`Origin: null`), such as a sandboxed \
            frame or a local file, can't publish with a cookie; send the token in an Authorization field"
                .to_owned()
        }
        Some(origin) => format!("the origin {origin:?} may not publish with a cookie; list it with --publish-origin"),
        None => "a publish with a cookie needs an Origin or Referer field".to_owned(),
    };
    Err(refusal(400, &detail).field("WWW-Authenticate", challenge(Some(CredentialsError::CODE), None, None)))
}

fn token_needed(detail: &str) -> ResponseHead {
    refusal(401, detail).field("WWW-Authenticate", challenge(None, None, None))
}

fn insufficient(detail: &str) -> ResponseHead {
    refusal(403, detail).field("WWW-Authenticate", challenge(Some("insufficient_scope"), None, None))
}

fn not_allowed(methods: &'static str) -> ResponseHead {
    refusal(405, &format!("this resource has the methods {methods}")).field("Allow", methods)
}

fn try_later(status: u16, detail: &str, seconds: u32) -> ResponseHead {
    refusal(status, detail).field("Retry-After", seconds.to_string())
}

fn refusal(status: u16, detail: &str) -> ResponseHead {
    problem(status, reason(status), detail, &[])
}
