//! What each request gets: which resource, which rules, which answer.

mod access;
mod acknowledgement;
mod console;
mod fields;
mod form_body;
mod publish;
mod redirect;
mod refusal;
mod subscribe;
mod subscriptions;

use std::rc::Rc;

use crate::http::authority;
use crate::http::cors::cors_fields;
use crate::http::head::{self, Head, HeadStatus, Method};
use crate::http::problem::point_to_metadata;
use crate::http::response::ResponseHead;
use crate::server::connection::Body;
use crate::server::discovery::Metadata;
use crate::server::settings::Settings;
use crate::server::shard::Context;
use crate::server::tracer::Trace;
use fields::{HUB_METHODS, READ_METHODS, complete, hub_fields, options};
pub(crate) use publish::{Judged, Publishing};
use publish::{publish, publish_again};
use refusal::{not_allowed, refusal};
pub(crate) use subscribe::Stream;
use subscribe::subscribe;
pub(crate) use subscriptions::Listing;
use subscriptions::subscriptions;

/// How long the metadata may be kept by whoever asked for it.
const METADATA_CACHE_CONTROL: &str = "public, max-age=3600";
/// The page at `/`.
const PAGE: &str = include_str!("../page.html");
/// What it says in development mode.
const CONSOLE_LINK: &str = "<p>See it at work in its <a href=\"/console/\">console</a>.</p>\n";

/// What a request is answered with.
pub(crate) enum Answer<'c> {
    /// A whole response.
    Response(ResponseHead),
    /// An update is on its way to the log; the response comes when it is there.
    Published(Publishing<'c>),
    /// The connection, or its stream of HTTP/2, becomes an event stream.
    Stream(Box<Stream>),
    /// The head of an event stream and no more: the answer to HEAD, after which the connection closes.
    StreamHead(ResponseHead),
    /// A head, and a body made piece by piece, after which the connection closes.
    Listing(ResponseHead, Box<Listing>),
}

/// Where whoever comes without TLS is sent to, but for authorities that look for the answer to a challenge (RFC 8555 §8.3).
pub(crate) fn redirect(context: &Context, head: &Head<'_>) -> ResponseHead {
    proof(context, head).unwrap_or_else(|| redirect::redirect(&context.settings(), head))
}

/// What an ACME authority finds that has asked for it.
fn proof(context: &Context, head: &Head<'_>) -> Option<ResponseHead> {
    if !matches!(head.method, Method::Get | Method::Head) {
        return None;
    }
    let answer = context.shared.challenges.answer(head.path)?;
    Some(ResponseHead::new(200).field("Content-Type", "application/octet-stream").body(answer))
}

/// Answers one request; `None`: the client is gone.
pub(crate) async fn answer<'c>(
    context: &'c Rc<Context>,
    head: &Head<'_>,
    body: &mut Body<'_, '_>,
) -> Option<Answer<'c>> {
    let settings = context.settings();
    // Before the host is looked at: who asks wants to know whether that one is this hub.
    if let Some(proof) = proof(context, head) {
        return Some(Answer::Response(proof));
    }
    if let Err(response) = check_host(&settings, head) {
        return Some(Answer::Response(response));
    }
    match head.path.strip_prefix(settings.hub.path()) {
        Some("") => {}
        Some(below) if below.starts_with('/') => {
            let trace = Trace::begin(context, "mercure.subscriptions", head);
            let answered = subscriptions(context, head, below).await;
            trace.end(context, status(&answered));
            return Some(subscriptions_fields(&settings, head, answered));
        }
        _ => {
            // No other page reads what the console does: no CORS.
            if let Some(response) = console::console(context, head).await {
                return Some(Answer::Response(response));
            }
            let mut response = elsewhere(&settings, head);
            if head.method != Method::Options {
                cors_fields(&settings.cors, head.get_str("origin"), &mut response);
            }
            return Some(Answer::Response(response));
        }
    }
    let answered = match head.method {
        Method::Get | Method::Head | Method::Query => {
            let mut trace = Trace::begin(context, "mercure.subscribe", head);
            let form = match head.method {
                Method::Query => form_body::of_query(context, head, body).await?.map(Some),
                _ => Ok(None),
            };
            let answered = match form {
                Ok(form) => subscribe(context, head, form, &mut trace).await,
                Err(response) => Err(response),
            };
            trace.end(context, status(&answered));
            answered
        }
        Method::Post => publish(context, head, body).await?.map(Answer::Published),
        Method::Options => Ok(Answer::Response(options(&settings, head, HUB_METHODS))),
        Method::Other => Err(not_allowed(HUB_METHODS)),
    };
    count(context, head.method, &answered);
    Some(match answered {
        Ok(Answer::Response(mut response)) | Err(mut response) => {
            complete(&settings, head, &mut response);
            Answer::Response(response)
        }
        Ok(other) => other,
    })
}

/// Answers a publish whose head says the same as `raw`, which came to this before. `None`: the client is gone.
pub(crate) async fn answer_again<'c>(
    context: &'c Rc<Context>,
    judged: Rc<Judged>,
    raw: &[u8],
    body: &mut Body<'_, '_>,
) -> Option<Answer<'c>> {
    Some(match publish_again(context, judged, body).await? {
        Ok(publishing) => Answer::Published(publishing),
        Err(mut response) => {
            context.tally.borrow_mut().publish(response.status());
            let settings = context.settings();
            if let Ok(HeadStatus::Complete(head)) = head::parse(raw, &settings.head) {
                complete(&settings, &head, &mut response);
            }
            Answer::Response(response)
        }
    })
}

/// The answer to a request that is one too many for its client's address, with the fields that let pages read it.
pub(crate) fn turned_away(context: &Context, head: &Head<'_>, mut response: ResponseHead) -> Answer<'static> {
    let settings = context.settings();
    if head.path == settings.hub.path() {
        hub_fields(&settings, head, &mut response);
        let mut tally = context.tally.borrow_mut();
        match head.method {
            Method::Post => tally.publish(response.status()),
            Method::Get | Method::Query => tally.subscription_refused(response.status()),
            Method::Head | Method::Options | Method::Other => {}
        }
    } else if head.method != Method::Options {
        cors_fields(&settings.cors, head.get_str("origin"), &mut response);
    }
    Answer::Response(response)
}

fn status(answered: &Result<Answer<'_>, ResponseHead>) -> u16 {
    match answered {
        Ok(Answer::Response(response)) | Err(response) => response.status(),
        Ok(Answer::Stream(_) | Answer::StreamHead(_) | Answer::Published(_)) => 200,
        Ok(Answer::Listing(response, _)) => response.status(),
    }
}

/// Counts publishes and subscriptions that are refused; the others are counted when they are in the log, and as streams.
fn count(context: &Context, method: Method, answered: &Result<Answer<'_>, ResponseHead>) {
    match (method, answered) {
        (Method::Post, Err(response)) => {
            context.tally.borrow_mut().publish(response.status());
        }
        (Method::Get | Method::Query, Err(response)) => {
            context.tally.borrow_mut().subscription_refused(response.status());
        }
        _ => {}
    }
}

/// Adds what the answers of the subscription API have in common.
fn subscriptions_fields<'c>(
    settings: &Settings,
    head: &Head<'_>,
    answered: Result<Answer<'c>, ResponseHead>,
) -> Answer<'c> {
    let with_fields = |mut response: ResponseHead| {
        if head.method != Method::Options {
            cors_fields(&settings.cors, head.get_str("origin"), &mut response);
        }
        if let Some(metadata) = &settings.discovery.metadata {
            point_to_metadata(&mut response, &metadata.url);
        }
        response
    };
    match answered {
        Ok(Answer::Response(response)) => Answer::Response(with_fields(response)),
        Ok(Answer::Listing(response, listing)) => Answer::Listing(with_fields(response), listing),
        Ok(other) => other,
        Err(response) => Answer::Response(with_fields(response).field("Link", &settings.discovery.link)),
    }
}

/// Whether the request is for one of the names the hub has. Without `--public-url` whoever is in front decides that, but
/// in development mode: a page of any origin could reach the hub by a name that leads to this machine.
fn check_host(settings: &Settings, head: &Head<'_>) -> Result<(), ResponseHead> {
    let listed = head.host.is_some_and(|host| settings.public_hosts.allows(host));
    if settings.dev && !listed && head.host.is_some_and(|host| !authority::is_loopback(host)) {
        let detail = "in development mode the hub answers on localhost only; name other hosts with --public-url, or leave --dev out";
        return Err(refusal(421, detail));
    }
    if !settings.dev && !listed && !settings.public_hosts.is_empty() {
        let detail = "the hub doesn't answer under this host name; the operator lists its names with --public-url";
        return Err(refusal(421, detail));
    }
    Ok(())
}

/// Everything that isn't the hub's own resource.
fn elsewhere(settings: &Settings, head: &Head<'_>) -> ResponseHead {
    if let Some(metadata) = settings.discovery.metadata.as_ref().filter(|metadata| metadata.path == head.path) {
        return describe(settings, head, metadata);
    }
    match (head.path, head.method) {
        ("/", Method::Get | Method::Head) => {
            let console = if settings.dev && settings.console { CONSOLE_LINK } else { "" };
            let page = PAGE.replace("{{hub}}", settings.hub.path()).replace("{{console}}", console);
            ResponseHead::new(200)
                .field("Content-Type", "text/html; charset=utf-8")
                .field("Cache-Control", "no-store")
                .field("Link", &settings.discovery.link)
                .body(page)
        }
        ("/", Method::Options) => options(settings, head, READ_METHODS),
        ("/", _) => not_allowed(READ_METHODS),
        ("*", Method::Options) => ResponseHead::new(204).field("Allow", HUB_METHODS),
        _ => refusal(404, &format!("there is nothing here; the hub is at {}", settings.hub.path())),
    }
}

/// The protected-resource metadata, which needs no token.
fn describe(settings: &Settings, head: &Head<'_>, metadata: &Metadata) -> ResponseHead {
    match head.method {
        Method::Get | Method::Head => ResponseHead::new(200)
            .field("Content-Type", "application/json")
            .field("Cache-Control", METADATA_CACHE_CONTROL)
            .field("Link", &settings.discovery.link)
            .body(metadata.document.as_str()),
        Method::Options => options(settings, head, READ_METHODS),
        _ => not_allowed(READ_METHODS),
    }
}
