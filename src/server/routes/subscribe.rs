//! Subscribing: from a query, and the form of a QUERY, to an event stream.

use std::rc::Rc;
use std::sync::Arc;

use super::Answer;
use super::access::access;
use super::fields::hub_fields;
use super::refusal::{refusal, token_needed, try_later};
use crate::http::accept::accepts;
use crate::http::accept_encoding::{self, NotAcceptable};
use crate::http::head::{BodyFraming, Head, Method, Version};
use crate::http::response::ResponseHead;
use crate::hub::{Found, Registration, Sink, Start, may_read_announcements};
use crate::protocol::coding::{Coding, Form};
use crate::protocol::matcher::Matcher;
use crate::protocol::subscribe::Subscribe;
use crate::protocol::token::{Access, Role};
use crate::server::compile::{self, Compiled};
use crate::server::connection::BodyBytes;
use crate::server::limits::Hold;
use crate::server::settings::Settings;
use crate::server::shard::Context;
use crate::server::tracer::Trace;

/// An event stream about to begin.
pub(crate) struct Stream {
    response: ResponseHead,
    settings: Rc<Settings>,
    form: Form,
    start: Start,
    /// How many logs had been lost when its start was looked up.
    logs_lost: u32,
    matchers: Vec<Matcher>,
    access: Option<Arc<Access>>,
    /// Counts it towards its subject.
    held: Option<Hold>,
}

impl Stream {
    /// What counts it, for whoever parks it.
    pub(crate) fn take_hold(&mut self) -> Option<Hold> {
        self.held.take()
    }

    /// What is answered before the body.
    pub(crate) fn response(&self) -> &ResponseHead {
        &self.response
    }

    /// What every stream begins with.
    pub(crate) fn prelude(&self) -> &[u8] {
        self.settings.prelude.bytes(self.form)
    }

    /// The response head as text, and what every stream begins with.
    pub(crate) fn text(&self, date: &str) -> Box<[u8]> {
        let version = if self.form.chunked { Version::Http11 } else { Version::Http10 };
        let mut bytes = Vec::new();
        self.response.encode_stream(version, date, &mut bytes);
        bytes.extend_from_slice(self.prelude());
        bytes.into()
    }

    /// `head`: what is written first. `logs_lost`: how many logs have been lost by now. A place in one of them is none.
    pub(crate) fn registration(
        self,
        head: Box<[u8]>,
        sink: Sink,
        address: u32,
        spread: u16,
        logs_lost: u32,
    ) -> Registration {
        let Stream { form: Form { chunked, coding }, matchers, access, .. } = self;
        let start = match self.start {
            Start::After(_) if logs_lost != self.logs_lost => Start::Earliest,
            start => start,
        };
        Registration { sink, head, chunked, coding, start, matchers, access, address, spread }
    }
}

/// GET, HEAD, and QUERY with its form (protocol §4): token, then matchers, then the cursor.
pub(super) async fn subscribe(
    context: &Rc<Context>,
    head: &Head<'_>,
    form: Option<BodyBytes>,
    trace: &mut Trace,
) -> Result<Answer<'static>, ResponseHead> {
    let settings = context.settings();
    if form.is_none() && !matches!(head.body, BodyFraming::None | BodyFraming::Length(0)) {
        return Err(refusal(400, "a request for an event stream has no body; the matchers go into the query"));
    }
    // Before anything that costs some.
    context.memory_for_more()?;
    let (access, _) = access(context, head, Role::Subscriber).await?;
    if access.is_none() && !settings.anonymous {
        return Err(token_needed("an access token is needed to subscribe: this hub has no anonymous subscribers"));
    }
    if !accepts(head, "text", "event-stream") {
        let detail = "the answer is an event stream, and the Accept field excludes it: add text/event-stream, or leave the field out";
        return Err(refusal(406, detail));
    }
    let coding = coding(&settings, head)?;
    let query = head.query.unwrap_or_default();
    // While the form is parsed elsewhere its bytes still count here.
    let (form, counted) = form.map(|BodyBytes { bytes, counted, .. }| (bytes, counted)).unzip();
    let parsed = read(context, query, form.unwrap_or_default()).await?;
    drop(counted);
    let request = parsed.map_err(|error| match error.may_pass() {
        true => try_later(context, &error.to_string(), 5),
        false => refusal(400, &error.to_string()),
    })?;
    trace.texts("mercure.topics", || request.matchers.iter().map(|matcher| matcher.text().to_owned()).collect());
    if context.denies_matchers(&request.matchers) {
        return Err(ResponseHead::new(204));
    }
    if context.draining() {
        return Err(try_later(context, "the hub is stopping", 1));
    }
    let mut response = ResponseHead::new(200)
        .field("Content-Type", "text/event-stream")
        .field("Cache-Control", "no-store, no-transform")
        .field("X-Accel-Buffering", "no");
    if let Some(coding) = coding {
        response.add_field("Content-Encoding", coding.name());
    }
    let (mut start, logs_lost) = (Start::Live, context.logs_lost.get());
    if let Some(cursor) = cursor(head, request.last_event_id) {
        if let Cursor::Id(id) = &cursor {
            trace.text("mercure.last_event_id.requested", || id.clone());
        }
        let (found, id) = match cursor {
            Cursor::Id(id) => {
                let announcements = settings.shard.announces
                    && may_read_announcements(&request.matchers, access.as_deref(), &settings.hub);
                (context.find(&id, announcements).await, id)
            }
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
            Found::Unavailable => {
                let detail =
                    "the engine of the hub's cluster can't be asked for the past; come back with the same id later";
                return Err(try_later(context, detail, 1));
            }
        };
        response.add_field("Mercure-Last-Event-ID", before);
    }
    let matchers = match &access {
        Some(access) => request.matchers.into_iter().map(|matcher| access.grants.shared(matcher)).collect(),
        None => request.matchers,
    };
    // Asked last: those whose cursors are being looked up all would find the same room.
    if !context.has_room(&matchers) {
        return Err(try_later(context, "the hub holds as many different matchers as it may", 5));
    }
    hub_fields(&settings, head, &mut response);
    if head.method == Method::Head {
        return Ok(Answer::StreamHead(response));
    }
    let held = context.hold_subject(access.as_deref())?;
    let form = Form { chunked: head.version == Version::Http11, coding };
    Ok(Answer::Stream(Box::new(Stream { response, settings, form, start, logs_lost, matchers, access, held })))
}

/// The content coding of a stream for this client.
fn coding(settings: &Settings, head: &Head<'_>) -> Result<Option<Coding>, ResponseHead> {
    let chosen = accept_encoding::choose(head, settings.codings.iter().map(|coding| (coding, coding.name())));
    chosen.map_err(|NotAcceptable| {
        let detail = "the Accept-Encoding field excludes every form the stream is to be had in: leave identity;q=0 and *;q=0 out";
        refusal(406, detail)
    })
}

/// Reads a query and the form that joins it; what may take long, elsewhere than on the loop.
pub(super) async fn read(context: &Rc<Context>, query: &str, form: Vec<u8>) -> Result<Compiled, ResponseHead> {
    if compile::may_be_slow(&[query.as_bytes(), &form]) {
        let compiled = context.compile(query, form).await;
        return compiled.ok_or_else(|| try_later(context, "too many patterns are waiting to be compiled", 1));
    }
    let settings = context.settings();
    Ok(Subscribe::from_forms(&[query.as_bytes(), &form], &settings.hub, &settings.subscribe))
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
