//! The API of active subscriptions (protocol §9): documents of who is subscribed to what.
//!
//! A list is read from the shards in pieces and written as they come, so that it is never whole in memory. The event its
//! `Link` names is taken before the first shard is asked: whoever follows the announcements from there on ends up with
//! what is true, however the list changed while it was written.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Answer;
use super::access::access;
use super::fields::{READ_METHODS, options};
use super::refusal::{insufficient, not_allowed, refusal, token_needed, try_later};
use super::subscribe::read;
use crate::http::head::{Head, Method};
use crate::http::response::ResponseHead;
use crate::hub::{SlotId, Subscriptions};
use crate::protocol::matcher::{MatchType, Matcher};
use crate::protocol::subscription::{self, Resource, ResourceError, Subscription};
use crate::protocol::token::Role;
use crate::protocol::topic::{HubUrl, ParsedTopic};
use crate::server::census::{self, Question};
use crate::server::cluster::elsewhere;
use crate::server::shard::Context;

/// What a cursor into other hubs' subscribers begins with; the engine's own follows, in hexadecimal digits.
const ELSEWHERE: &str = "elsewhere.";
/// Subscribers asked of a shard at a time.
const PIECE_SUBSCRIBERS: usize = 64;
/// Bytes beyond which a piece of a list is sent: what a client that reads slowly keeps in memory.
const PIECE_BYTES: usize = 32 * 1024;
/// Subscriptions of one page at most, where a client asks for pages.
const PAGE_MAX: usize = 1000;
/// Bytes beyond which a page ends before that.
const PAGE_BYTES: usize = 512 * 1024;

/// What is below the hub's own path.
pub(super) async fn subscriptions(
    context: &Rc<Context>,
    head: &Head<'_>,
    below: &str,
) -> Result<Answer<'static>, ResponseHead> {
    let settings = context.settings();
    if !settings.shard.announces {
        let detail = match Resource::parse(below, settings.compat) {
            Err(ResourceError::Unknown) => format!("there is nothing here; the hub is at {}", settings.hub.path()),
            _ => "this hub doesn't tell who is subscribed; it would if started with --subscriptions".to_owned(),
        };
        return Err(refusal(404, &detail));
    }
    let resource = Resource::parse(below, settings.compat).map_err(|error| match error {
        ResourceError::Unknown => refusal(404, &error.to_string()),
        ResourceError::Type(_) | ResourceError::Encoding(_) => refusal(400, &error.to_string()),
    })?;
    match head.method {
        Method::Get | Method::Head => {}
        Method::Options => return Ok(Answer::Response(options(&settings, head, READ_METHODS))),
        _ => return Err(not_allowed(READ_METHODS)),
    }
    let (access, _) = access(context, head, Role::Subscriber).await?;
    let access = access.ok_or_else(|| token_needed("an access token is needed to see who is subscribed"))?;
    if !access.grants.may_subscribe(&ParsedTopic::new(head.path, &settings.hub)) {
        let detail = format!("the access token does not grant subscribing to {:?}", head.path);
        return Err(insufficient(&detail));
    }
    let last_event_id = context.last_event_id();
    let last_event_id = last_event_id.as_deref().unwrap_or("earliest");
    let tag = subscription::entity_tag(last_event_id);
    let response = |status| {
        ResponseHead::new(status)
            .field("Link", subscription::link(&settings.hub, last_event_id))
            .field("ETag", &tag)
            .field("Cache-Control", "private, must-revalidate")
            .field("Vary", "Authorization, Cookie")
    };
    let unchanged = head.get_str("if-none-match").is_some_and(|tags| names(tags, &tag));
    let ok = || response(200).field("Content-Type", "application/json");
    let matcher = match &resource {
        // A list is always there; of one subscription it has to be seen first.
        Resource::All | Resource::Of { .. } if unchanged => return Ok(Answer::Response(response(304))),
        Resource::All => return collection(context, head, None, ok()).await,
        Resource::Of { kind, text } | Resource::One { kind, text, .. } => wanted(context, *kind, text).await?,
    };
    let Resource::One { kind, text, subscriber } = resource else {
        return match matcher {
            Some(matcher) => collection(context, head, Some(matcher), ok()).await,
            // Nobody can have subscribed to what is no matcher.
            None => Ok(Answer::Response(ok().body([&opening(head.path), CLOSING].concat()))),
        };
    };
    let found = match (matcher, context.subscriber_ids.find(&subscriber)) {
        (Some(matcher), Some((shard, id))) if shard < context.shards() => {
            one(context, shard, id, &matcher, &settings.hub).await?
        }
        (Some(matcher), None) if context.has_others() => one_elsewhere(context, subscriber, &matcher).await?,
        _ => None,
    };
    match found {
        Some(_) if unchanged => Ok(Answer::Response(response(304))),
        Some(document) => Ok(Answer::Response(ok().body(document))),
        None => {
            let kind = kind.name();
            let detail = format!("there is no such subscription to {kind} {text:?} any more, or there never was");
            Err(refusal(404, &detail))
        }
    }
}

/// Whether an `If-None-Match` field names an entity tag (RFC 9110 §13.1.2, weak comparison).
fn names(tags: &str, tag: &str) -> bool {
    tags.trim() == "*" || tags.split(',').any(|other| other.trim().trim_start_matches("W/") == tag)
}

/// The matcher a path names; `None` if it is none. Patterns that may be slow to read are read elsewhere.
async fn wanted(context: &Rc<Context>, kind: MatchType, text: &str) -> Result<Option<Matcher>, ResponseHead> {
    let settings = context.settings();
    if kind == MatchType::Exact {
        return Ok(Matcher::parse(kind, text, &settings.hub).ok());
    }
    let name = match kind {
        MatchType::Topic => "topic".to_owned(),
        kind => format!("match_{}", kind.name()),
    };
    let query = form_urlencoded::Serializer::new(String::new()).append_pair(&name, text).finish();
    match read(context, &query, Vec::new()).await? {
        Ok(subscribe) => Ok(subscribe.matchers.into_iter().next()),
        Err(error) if error.may_pass() => Err(try_later(context, &error.to_string(), 5)),
        Err(_) => Ok(None),
    }
}

/// The document of one subscription.
async fn one(
    context: &Rc<Context>,
    shard: usize,
    id: SlotId,
    matcher: &Matcher,
    hub: &HubUrl,
) -> Result<Option<Vec<u8>>, ResponseHead> {
    let answer = ask(context, shard, Question::One(id)).await?;
    let mut pages = Pages::new(Some(matcher.clone()));
    let mut out = Vec::new();
    if let census::Answer::Listed(found) = answer
        && let Some(subscriber) = found.subscribers.first()
    {
        pages.write(context, hub, shard, subscriber, &mut out);
    }
    Ok((pages.written > 0).then_some(out))
}

/// The document of one subscription at another hub.
async fn one_elsewhere(
    context: &Rc<Context>,
    subscriber: String,
    matcher: &Matcher,
) -> Result<Option<Vec<u8>>, ResponseHead> {
    let of = subscription::collection_address(&context.settings().hub, matcher);
    let listed = ask_elsewhere(context, elsewhere::Question::One { id: subscriber, of }).await?;
    Ok(listed.documents.into_iter().next().map(String::into_bytes))
}

/// Asks who is subscribed at other hubs.
async fn ask_elsewhere(
    context: &Rc<Context>,
    question: elsewhere::Question,
) -> Result<elsewhere::Listed, ResponseHead> {
    let detail = "the engine of the hub's cluster can't be asked who is subscribed at other hubs; try again later";
    context.ask_elsewhere(question).await.ok_or_else(|| try_later(context, detail, 1))
}

/// Asks a shard, no more often in a turn than the streams can spare.
async fn ask(context: &Rc<Context>, shard: usize, question: Question) -> Result<census::Answer, ResponseHead> {
    context.censuses.pass(|| context.rouse()).await;
    context.ask(shard, question).await.ok_or_else(|| try_later(context, "the hub is stopping", 1))
}

/// All subscriptions, or those of one matcher: a number, a page, or all of them as one stream.
async fn collection(
    context: &Rc<Context>,
    head: &Head<'_>,
    matcher: Option<Matcher>,
    response: ResponseHead,
) -> Result<Answer<'static>, ResponseHead> {
    let wish = Wish::from_query(head.query.unwrap_or_default(), context)?;
    let opening = opening(head.path);
    if wish.count {
        let mut total = 0;
        for shard in 0..context.shards() {
            if let census::Answer::Count(count) = ask(context, shard, Question::Count(matcher.clone())).await? {
                total += count;
            }
        }
        let wanted = matcher.as_ref().map(|matcher| subscription::collection_address(&context.settings().hub, matcher));
        let mut from = context.has_others().then(String::new);
        while let Some(place) = from.take() {
            let question = elsewhere::Question::Count { from: place, of: wanted.clone() };
            let listed = ask_elsewhere(context, question).await?;
            total += listed.count;
            from = listed.next;
        }
        let before = opening.strip_suffix(LIST).unwrap_or(&opening);
        let body = [before, format!("\"count\":{total}}}").as_bytes()].concat();
        return Ok(Answer::Response(response.body(body)));
    }
    let mut pages = Pages { from: wish.after, limit: wish.limit, reach: wish.limit, ..Pages::new(matcher) };
    let mut body = opening;
    if wish.limit.is_some() {
        let mut response = response;
        while let Some(piece) = pages.next(context).await? {
            body.extend_from_slice(&piece);
        }
        if let Some(next) = pages.cursor(context) {
            let limit = wish.limit.unwrap_or_default();
            response.add_field("Link", format!("<{}?limit={limit}&after={next}>; rel=\"next\"", head.path));
        }
        body.extend_from_slice(CLOSING);
        return Ok(Answer::Response(response.body(body)));
    }
    if let Some(first) = pages.next(context).await? {
        body.extend_from_slice(&first);
    }
    if pages.done {
        body.extend_from_slice(CLOSING);
        return Ok(Answer::Response(response.body(body)));
    }
    Ok(Answer::Listing(response, Box::new(Listing { first: Some(body), pages, closed: false })))
}

/// What ends the members that come before the list.
const LIST: &[u8] = b"\"subscriptions\":[";
/// What ends a collection.
const CLOSING: &[u8] = b"]}";

/// A collection up to its first document; its id is the path it was asked for under.
fn opening(path: &str) -> Vec<u8> {
    let mut out = b"{\"id\":".to_vec();
    serde_json::to_writer(&mut out, path).expect("writing to memory succeeds");
    out.extend_from_slice(b",\"type\":\"subscriptions\",");
    out.extend_from_slice(LIST);
    out
}

/// How a collection is asked for.
struct Wish {
    count: bool,
    limit: Option<usize>,
    after: Place,
}

/// Where a list goes on: behind so many matchers of the subscriber in a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    shard: usize,
    id: Option<SlotId>,
    matchers: usize,
    /// Behind all shards: where the list of those of other hubs goes on.
    elsewhere: Option<String>,
}

impl Wish {
    fn from_query(query: &str, context: &Context) -> Result<Wish, ResponseHead> {
        let mut wish = Wish { count: false, limit: None, after: Place::default() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "count" => wish.count = true,
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    let detail = format!("limit is a number from 1 to {PAGE_MAX}; without it everything is listed");
                    wish.limit = Some(limit.ok_or_else(|| refusal(400, &detail))?);
                }
                "after" => {
                    let place = Place::parse(&value, context);
                    let detail =
                        "after is none of this hub's cursors; begin without it and follow the Link of rel=\"next\"";
                    wish.after = place.ok_or_else(|| refusal(400, detail))?;
                }
                _ => {}
            }
        }
        Ok(wish)
    }
}

impl Place {
    fn parse(text: &str, context: &Context) -> Option<Place> {
        if let Some(place) = text.strip_prefix(ELSEWHERE) {
            let place = String::from_utf8(from_hex(place)?).ok()?;
            return Some(Place { shard: context.shards(), elsewhere: Some(place), ..Place::default() });
        }
        let (name, matchers) = text.split_once('.')?;
        let (shard, id) = context.subscriber_ids.find(name)?;
        let place = Place { shard, id: Some(id), matchers: matchers.parse().ok()?, elsewhere: None };
        (shard < context.shards()).then_some(place)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// A walk through the subscriptions of all shards.
struct Pages {
    matcher: Option<Matcher>,
    from: Place,
    /// What the shard has answered and wasn't written yet, and the slot to go on from; `None`: the shard has no more.
    ahead: VecDeque<Subscriptions>,
    next_slot: Option<u32>,
    /// So many subscriptions at most.
    limit: Option<usize>,
    written: usize,
    written_bytes: usize,
    /// Subscribers of other hubs that are asked for next, if there is a limit.
    reach: Option<usize>,
    done: bool,
}

impl Pages {
    fn new(matcher: Option<Matcher>) -> Pages {
        Pages {
            matcher,
            from: Place::default(),
            ahead: VecDeque::new(),
            next_slot: None,
            limit: None,
            written: 0,
            written_bytes: 0,
            reach: None,
            done: false,
        }
    }

    /// The next piece, not empty; `None` at the end or at the limit. The error: the hub is stopping.
    async fn next(&mut self, context: &Rc<Context>) -> Result<Option<Vec<u8>>, ResponseHead> {
        let settings = context.settings();
        let mut out = Vec::new();
        while out.is_empty() && !self.done && !self.is_full() {
            if self.from.shard == context.shards() {
                self.list_others(context, &mut out).await?;
                continue;
            }
            // Making documents is work too: the streams have their turn.
            context.censuses.pass(|| context.rouse()).await;
            let shard = self.from.shard;
            if self.ahead.is_empty() {
                let question = Question::List {
                    matcher: self.matcher.clone(),
                    from: self.from.id.map_or(0, |id| id.slot),
                    count: PIECE_SUBSCRIBERS,
                };
                if let census::Answer::Listed(listed) = ask(context, shard, question).await? {
                    self.ahead = listed.subscribers.into();
                    self.next_slot = listed.next;
                }
            }
            while let Some(subscriber) = self.ahead.front()
                && !self.is_full()
                && out.len() < PIECE_BYTES
            {
                let subscriber = subscriber.clone();
                if self.from.id != Some(subscriber.id) {
                    self.from = Place { shard, id: Some(subscriber.id), ..Place::default() };
                }
                if self.write(context, &settings.hub, shard, &subscriber, &mut out) {
                    self.ahead.pop_front();
                }
            }
            if self.ahead.is_empty() && !self.is_full() {
                self.from = match self.next_slot {
                    // Nothing of whoever is there has been written, whatever its generation.
                    Some(slot) => Place { shard, id: Some(SlotId { slot, generation: 0 }), ..Place::default() },
                    None => Place { shard: shard + 1, ..Place::default() },
                };
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }

    /// Writes a piece of the list of other hubs' subscribers, who are never cut: a page may be a little longer for them.
    async fn list_others(&mut self, context: &Rc<Context>, out: &mut Vec<u8>) -> Result<(), ResponseHead> {
        if !context.has_others() {
            self.done = true;
            return Ok(());
        }
        let from = self.from.elsewhere.take().unwrap_or_default();
        let of =
            self.matcher.as_ref().map(|matcher| subscription::collection_address(&context.settings().hub, matcher));
        let subscribers = self.reach.unwrap_or(elsewhere::SUBSCRIBERS_MAX);
        let listed = ask_elsewhere(context, elsewhere::Question::List { from, of, subscribers }).await?;
        // Where few of them are wanted, a page isn't worth a question for each.
        self.reach = self.reach.map(|reach| reach.saturating_mul(4).min(elsewhere::SUBSCRIBERS_MAX));
        for document in listed.documents {
            if self.written > 0 {
                out.push(b',');
            }
            out.extend_from_slice(document.as_bytes());
            self.written += 1;
            self.written_bytes += document.len() + 1;
        }
        self.done = listed.next.is_none();
        self.from.elsewhere = listed.next;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.written >= limit || self.written_bytes >= PAGE_BYTES)
    }

    /// Writes what a subscriber has that wasn't written yet, as far as there is room. Whether that was all of it.
    fn write(
        &mut self,
        context: &Context,
        hub: &HubUrl,
        shard: usize,
        subscriber: &Subscriptions,
        out: &mut Vec<u8>,
    ) -> bool {
        let name = context.subscriber_ids.name(shard, subscriber.id);
        let access = subscriber.access.as_deref();
        let wanted =
            subscriber.matchers.iter().filter(|matcher| self.matcher.as_ref().is_none_or(|one| one == *matcher));
        for matcher in wanted.skip(self.from.matchers) {
            if self.is_full() || out.len() >= PIECE_BYTES {
                return false;
            }
            let before = out.len();
            if self.written > 0 {
                out.push(b',');
            }
            let payload = subscription::payload(access, matcher, hub);
            Subscription { matcher, subscriber: &name, active: true, payload }.write(hub, out);
            self.written += 1;
            self.written_bytes += out.len() - before;
            self.from.matchers += 1;
        }
        true
    }

    /// What leads to the next page, if there may be one.
    fn cursor(&self, context: &Context) -> Option<String> {
        if self.done {
            return None;
        }
        if self.from.shard == context.shards() {
            // Also where the list has come to the end of this hub's own and of no other's yet.
            let place = self.from.elsewhere.as_deref().unwrap_or_default();
            return context.has_others().then(|| format!("{ELSEWHERE}{}", to_hex(place.as_bytes())));
        }
        let id = self.from.id?;
        Some(format!("{}.{}", context.subscriber_ids.name(self.from.shard, id), self.from.matchers))
    }
}

/// A collection on its way to a client.
pub(crate) struct Listing {
    first: Option<Vec<u8>>,
    pages: Pages,
    closed: bool,
}

impl Listing {
    /// The next piece of the body. The error: the hub is stopping, and the list is cut.
    pub(crate) async fn next(&mut self, context: &Rc<Context>) -> Result<Option<Vec<u8>>, ResponseHead> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        if let Some(piece) = self.pages.next(context).await? {
            return Ok(Some(piece));
        }
        Ok((!std::mem::replace(&mut self.closed, true)).then(|| CLOSING.to_vec()))
    }
}
