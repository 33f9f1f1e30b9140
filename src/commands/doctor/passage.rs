//! The way through the public URL, gone: streams on threads of their own, publishes in between, and what came when.

use super::super::credentials::Shown;
use super::super::hub_client::{agent, publish, refusal, unreachable};
use super::super::outside::{Stopwatch, printable};
use anyhow::Result;
use cinnabar::config::data_folder::random_key;
use cinnabar::doctor::{Arrival, Finding, Level, Passage, Replay, Silence, StreamCoding};
use cinnabar::protocol::event_stream::{Decoder, Event};
use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use ureq::Agent;
use ureq::http::header;
use url::Url;

/// Events that are published.
const EVENTS: usize = 5;
/// Time between them.
const APART_MS: u64 = 300;
/// How long a head or an event is waited for.
const PATIENCE_MS: u64 = 4_000;
/// Longer events aren't ours.
const EVENT_BYTES_MAX: usize = 64 << 10;
/// Messages of a stream that wait to be looked at; then it isn't read for a while.
const TOLD_MAX: usize = 64;
/// Events remembered of a stream: others may publish to the same topic.
const EVENTS_KEPT_MAX: usize = 1_000;
const READ_BYTES: usize = 16 << 10;
/// What browsers offer.
const CODINGS: &str = "gzip, deflate, br, zstd";
/// Fields in which programs on the way name themselves.
const NAMES: &[&str] = &["server", "via", "x-served-by"];

/// A topic nobody else has.
pub(super) fn topic() -> String {
    let random: String = random_key()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("urn:cinnabar:doctor:{random}")
}

/// What is published.
fn data(number: usize) -> String {
    format!("cinnabar doctor {number}")
}

/// Goes the way and says what there is to say.
pub(super) fn look(
    url: &Url,
    topic: &str,
    tokens: Tokens,
    idle: Duration,
    origin: Option<&str>,
) -> Result<Vec<Finding>> {
    let mut traveller =
        Traveller { url, topic, tokens, anonymous: false, agent: agent(url, None), watch: Stopwatch::start() };
    Ok(match traveller.travel(idle, origin)? {
        Ok(passage) => passage.findings(),
        Err(finding) => vec![*finding],
    })
}

/// What is shown to the hub.
pub(super) struct Tokens {
    /// For publishing, and for subscribing where there is no other.
    pub(super) publisher: Shown,
    /// For subscribing.
    pub(super) subscriber: Option<String>,
}

/// What a stream's thread tells.
enum Told {
    /// The head.
    Opened { version: String, fields: Vec<(String, String)> },
    /// The request was refused or got no answer.
    Refused { why: String, status: u16 },
    /// Bytes came, with these events and so many comments in them.
    Came { events: Vec<Event>, comments: u64, at_ms: u64 },
    /// The stream ended.
    Ended { at_ms: u64 },
}

struct Traveller<'a> {
    url: &'a Url,
    topic: &'a str,
    tokens: Tokens,
    /// The token for publishing is none for subscribing, so nothing is shown.
    anonymous: bool,
    agent: Agent,
    watch: Stopwatch,
}

/// A stream, and what is known of it.
struct Stream {
    told: Receiver<Told>,
    head: Option<(String, Vec<(String, String)>)>,
    refused: Option<(String, u16)>,
    events: Vec<(Event, u64)>,
    comments: u64,
    reads: usize,
    ended_ms: Option<u64>,
}

impl Stream {
    /// Takes what is told until this holds, or the patience is at its end.
    fn until(&mut self, watch: Stopwatch, patience_ms: u64, holds: impl Fn(&Stream) -> bool) -> bool {
        let deadline = watch.ms() + patience_ms;
        while !holds(self) {
            let left = deadline.saturating_sub(watch.ms());
            match self.told.recv_timeout(Duration::from_millis(left)) {
                Ok(Told::Opened { version, fields }) => self.head = Some((version, fields)),
                Ok(Told::Refused { why, status }) => self.refused = Some((why, status)),
                Ok(Told::Came { events, comments, at_ms }) => {
                    let room = EVENTS_KEPT_MAX.saturating_sub(self.events.len());
                    self.events.extend(events.into_iter().take(room).map(|event| (event, at_ms)));
                    self.comments += comments;
                    self.reads += 1;
                }
                Ok(Told::Ended { at_ms }) => self.ended_ms = Some(at_ms),
                Err(_) => return holds(self),
            }
        }
        true
    }

    fn answered(&self) -> bool {
        self.head.is_some() || self.refused.is_some()
    }

    fn field(&self, name: &str) -> Vec<String> {
        let fields = self.head.iter().flat_map(|(_, fields)| fields);
        fields.filter(|(found, _)| found == name).map(|(_, value)| value.clone()).collect()
    }
}

impl Traveller<'_> {
    fn travel(&mut self, idle: Duration, origin: Option<&str>) -> Result<Result<Passage, Box<Finding>>> {
        let mut main = self.subscribe(&[], None)?;
        let mut head_at_once = main.until(self.watch, PATIENCE_MS, Stream::answered);
        if main.refused.as_ref().is_some_and(|(_, status)| *status == 401) && self.tokens.subscriber.is_none() {
            // Often either role has a key of its own, and anybody may read public updates.
            self.anonymous = true;
            main = self.subscribe(&[], None)?;
            head_at_once = main.until(self.watch, PATIENCE_MS, Stream::answered);
        }
        if let Some((why, _)) = main.refused {
            let why_not = "without a stream nothing else can be said about the way";
            return Ok(Err(Box::new(Finding::new("url: subscribe", Level::Fail, why, why_not))));
        }
        let mut published: Vec<(String, u64)> = Vec::new();
        for number in 0..EVENTS {
            match self.publish(number) {
                Ok(id) => published.push((id, self.watch.ms())),
                Err(why) => {
                    let why_not = "without an event nothing else can be said about the way";
                    return Ok(Err(Box::new(Finding::new("url: publish", Level::Fail, format!("{why:#}"), why_not))));
                }
            }
            main.until(self.watch, APART_MS, |_| false);
        }
        let all =
            |stream: &Stream| published.iter().all(|(id, _)| stream.events.iter().any(|(event, _)| event.id == *id));
        let all_came = main.until(self.watch, PATIENCE_MS, all);
        let arrivals = published.iter().map(|(id, published_ms)| {
            let came = main.events.iter().find(|(event, _)| event.id == *id);
            Arrival { published_ms: *published_ms, arrived_ms: came.map(|(_, at_ms)| *at_ms) }
        });
        let arrivals = arrivals.collect();
        let mut began_ms = published.last().map_or(0, |(_, at_ms)| *at_ms);
        let replay = if all_came { Some(self.replay(&published)?) } else { None };
        let coding = if all_came { self.coding()? } else { None };
        if coding.is_some() {
            began_ms = self.watch.ms();
        }
        let cors = match origin {
            Some(origin) => {
                let mut stream = self.subscribe(&[("origin", origin)], None)?;
                stream.until(self.watch, PATIENCE_MS, Stream::answered);
                Some((origin.to_owned(), stream.field("access-control-allow-origin")))
            }
            None => None,
        };
        let silence = if main.head.is_some() { Some(self.silence(&mut main, began_ms, idle)) } else { None };
        let seen = NAMES.iter().flat_map(|name| main.field(name)).collect();
        let (version, fields) = main.head.unwrap_or_default();
        Ok(Ok(Passage {
            seen,
            version,
            agreed: super::agreed::protocol(self.url),
            tls: self.url.scheme() == "https",
            head_at_once,
            fields,
            arrivals,
            replay,
            coding,
            cors,
            silence,
        }))
    }

    /// Publishes one event and gives its id.
    fn publish(&mut self, number: usize) -> Result<String> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("topic", self.topic).append_pair("data", &data(number));
        publish(&self.agent, self.url, self.tokens.publisher.token()?.as_deref(), &form.finish())
    }

    /// Whether events come back after the id of the first.
    fn replay(&mut self, published: &[(String, u64)]) -> Result<Replay> {
        let wanted = published.len() - 1;
        let id = published[0].0.as_str();
        let is_ours = |event: &Event| published.iter().any(|(id, _)| *id == event.id);
        let count = |stream: &Stream| stream.events.iter().filter(|(event, _)| is_ours(event)).count();
        let mut stream = self.subscribe(&[("last-event-id", id)], None)?;
        stream.until(self.watch, PATIENCE_MS, |stream| count(stream) >= wanted || stream.ended_ms.is_some());
        let by_field = count(&stream);
        let mut by_query = None;
        if by_field < wanted {
            let mut stream = self.subscribe(&[], Some(id))?;
            stream.until(self.watch, PATIENCE_MS, |stream| count(stream) >= wanted || stream.ended_ms.is_some());
            by_query = Some(count(&stream));
        }
        Ok(Replay { wanted, by_field, by_query })
    }

    /// What a browser's stream is compressed with, and whether an event comes through that.
    fn coding(&mut self) -> Result<Option<StreamCoding>> {
        let mut stream = self.subscribe(&[("accept-encoding", CODINGS)], None)?;
        stream.until(self.watch, PATIENCE_MS, Stream::answered);
        let Some(name) = stream.field("content-encoding").into_iter().find(|coding| coding != "identity") else {
            return Ok(None);
        };
        // What a stream begins with, such as the head of its coding, isn't the event.
        stream.until(self.watch, APART_MS, |_| false);
        let before = stream.reads;
        self.publish(EVENTS)?;
        // Nothing is decompressed here, and the id's line is spoilt by what stands before it; that of the data isn't.
        let stored = |stream: &Stream| stream.events.iter().any(|(event, _)| event.data == data(EVENTS));
        let stored = stream.until(self.watch, PATIENCE_MS, stored);
        Ok(Some(StreamCoding { name, came: stored || stream.reads > before, stored }))
    }

    /// Leaves a stream alone, which it has been since `began_ms`, and watches it.
    fn silence(&self, stream: &mut Stream, began_ms: u64, idle: Duration) -> Silence {
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        stream.until(self.watch, idle_ms, |stream| stream.ended_ms.is_some());
        Silence {
            watched_ms: self.watch.ms() - began_ms,
            heartbeats: stream.comments,
            ended_ms: stream.ended_ms.map(|ended_ms| ended_ms.saturating_sub(began_ms)),
        }
    }

    /// Opens a stream; what comes of it is told by a thread that goes on until the process ends.
    fn subscribe(&mut self, fields: &[(&str, &str)], last_event_id: Option<&str>) -> Result<Stream> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("match", self.topic);
        if let Some(id) = last_event_id {
            url.query_pairs_mut().append_pair("last_event_id", id);
        }
        let mut request = self.agent.get(url.as_str()).header(header::ACCEPT, "text/event-stream");
        if !fields.iter().any(|(name, _)| *name == "accept-encoding") {
            request = request.header(header::ACCEPT_ENCODING, "identity");
        }
        let token = match &self.tokens.subscriber {
            Some(token) => Some(token.clone()),
            None if self.anonymous => None,
            None => self.tokens.publisher.token()?,
        };
        if let Some(token) = &token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (tell, told) = sync_channel(TOLD_MAX);
        let watch = self.watch;
        std::thread::spawn(move || match request.call() {
            Ok(response) if response.status() == 200 => follow(response, &tell, watch),
            Ok(response) => {
                let status = response.status().as_u16();
                let why = refusal(&url, response, token.is_some()).to_string();
                _ = tell.send(Told::Refused { why, status });
            }
            Err(why) => _ = tell.send(Told::Refused { why: unreachable(&url, &why).to_string(), status: 0 }),
        });
        Ok(Stream { told, head: None, refused: None, events: Vec::new(), comments: 0, reads: 0, ended_ms: None })
    }
}

/// Tells what a stream brings until it ends, or nobody listens any more.
fn follow(response: ureq::http::Response<ureq::Body>, tell: &SyncSender<Told>, watch: Stopwatch) {
    let text = |value: &[u8]| printable(&String::from_utf8_lossy(value));
    let fields =
        response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect();
    let version = format!("{:?}", response.version());
    if tell.send(Told::Opened { version, fields }).is_err() {
        return;
    }
    let mut reader = response.into_body().into_reader();
    let mut decoder = Decoder::new(EVENT_BYTES_MAX);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = reader.read(&mut buffer).unwrap_or(0);
        let at_ms = watch.ms();
        let (mut events, before) = (Vec::new(), decoder.comments());
        let too_long = decoder.push(&buffer[..read], &mut |event| events.push(event)).is_err();
        if read == 0 || too_long {
            _ = tell.send(Told::Ended { at_ms });
            return;
        }
        if tell.send(Told::Came { events, comments: decoder.comments() - before, at_ms }).is_err() {
            return;
        }
    }
}
