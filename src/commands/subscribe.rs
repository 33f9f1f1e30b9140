//! `cinnabar sub`: print events as they come, and come back with the last id when the stream ends.

use super::credentials::{Credentials, Shown};
use super::hub_client::{agent, parse_url, refusal, unreachable};
use super::outside::{Paint, chance, printable, say};
use anyhow::{Context, Result, bail};
use cinnabar::config::{format_duration, parse_duration};
use cinnabar::protocol::event_stream::{Decoder, Event};
use cinnabar::protocol::matcher::MatchType;
use clap::Args;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;
use ureq::http::{HeaderValue, Response, header};
use ureq::{Agent, Body};
use url::Url;

/// The largest event that is taken: twice what a hub accepts unless told otherwise, as line starts add to it.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// The wait before coming back, until the hub names another.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

/// However often it failed, the wait grows no further.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// While it fails, the wait grows from here at least, whatever the hub named.
const RETRY_FAILING_MIN: Duration = Duration::from_millis(100);

const READ_BYTES: usize = 64 << 10;

const EXAMPLES: &str = "\
Prints the id, type and data of each event and an empty line after it. When the stream ends it reconnects with the id of \
the last event, so that nothing is missed while the hub's history has it, and says so on standard error. It ends when the hub \
answers 204, refuses the request, or --count events have come.

Examples:
  cinnabar sub                                        # every topic
  cinnabar sub https://example.com/books/1
  cinnabar sub --pattern 'https://example.com/books/:id' --json | jq .data
  cinnabar sub --last-event-id earliest --count 10    # the ten oldest that are kept";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Subscribe {
    /// A topic to receive, written exactly as it is published; `*` is every topic [default: *]
    #[arg(value_name = "MATCH")]
    matches: Vec<String>,
    /// A URL pattern of topics to receive, such as `https://example.com/books/:id`
    #[arg(long, value_name = "PATTERN")]
    pattern: Vec<String>,
    /// Begin after the event with this id; `earliest` begins with the oldest that is kept
    #[arg(long, value_name = "ID")]
    last_event_id: Option<String>,
    /// Print one JSON object a line: id, type, data
    #[arg(long)]
    json: bool,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Reconnect when nothing came for this long, not even a heartbeat; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration)]
    silence: Duration,
    /// The hub
    #[arg(long, env = "CINNABAR_URL", hide_env_values = true, default_value = "http://localhost:3000/.well-known/mercure", value_parser = parse_url)]
    url: Url,
    #[command(flatten)]
    credentials: Credentials,
}

impl Subscribe {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut matchers: Vec<_> = self.matches.into_iter().map(|text| (MatchType::Exact, text)).collect();
        matchers.extend(self.pattern.into_iter().map(|text| (MatchType::UrlPattern, text)));
        if matchers.is_empty() {
            matchers.push((MatchType::Exact, "*".to_owned()));
        }
        let mut url = self.url;
        let shown = self.credentials.shown(&url, Vec::new(), matchers.clone())?;
        url.query_pairs_mut().extend_pairs(matchers.iter().map(|(kind, text)| match kind {
            MatchType::Exact => ("match", text),
            MatchType::UrlPattern => ("match_urlpattern", text),
            MatchType::Topic => ("topic", text),
        }));
        let silence = Some(self.silence).filter(|silence| !silence.is_zero());
        let mut follower = Follower {
            agent: agent(&url, silence),
            url,
            shown,
            last_event_id: self.last_event_id.unwrap_or_default(),
            retry: RETRY_DEFAULT,
            left: self.count,
            print: if self.json { print_json } else { print_text },
            paint: Paint::stdout(),
            out: &mut std::io::stdout(),
        };
        follower.follow()?;
        Ok(ExitCode::SUCCESS)
    }
}

struct Follower<'a> {
    agent: Agent,
    url: Url,
    shown: Shown,
    last_event_id: String,
    retry: Duration,
    left: Option<u64>,
    print: fn(&mut dyn Write, &Event, Paint) -> std::io::Result<()>,
    paint: Paint,
    out: &'a mut dyn Write,
}

/// Why a connection is over.
enum End {
    /// Nothing more is wanted or to be had.
    Done,
    /// It may be tried again; the words say what happened.
    Again { why: String, opened: bool, wait: Option<Duration> },
}

impl Follower<'_> {
    fn follow(&mut self) -> Result<()> {
        let mut failures = 0;
        loop {
            let (why, opened, wait) = match self.connect()? {
                End::Done => return Ok(()),
                End::Again { why, opened, wait } => (why, opened, wait),
            };
            failures = if opened { 0 } else { failures + 1 };
            let wait = wait.unwrap_or_else(|| backoff(self.retry, failures, chance()));
            let after = match self.last_event_id.as_str() {
                "" => String::new(),
                id => format!(" after {}", printable(id)),
            };
            say(&format!("{why}; reconnecting{after} in {}", format_duration(wait)));
            std::thread::sleep(wait);
        }
    }

    fn connect(&mut self) -> Result<End> {
        let token = self.shown.token()?;
        let mut request = self.agent.get(self.url.as_str()).header(header::ACCEPT, "text/event-stream");
        if let Some(token) = &token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !self.last_event_id.is_empty() {
            // Not every id is ASCII; header values may hold its UTF-8 bytes.
            let id = HeaderValue::from_bytes(self.last_event_id.as_bytes()).context("the last event id")?;
            request = request.header("last-event-id", id);
        }
        let again = |why: String, wait| Ok(End::Again { why, opened: false, wait });
        let response = match request.call() {
            Ok(response) => response,
            Err(why) => return again(unreachable(&self.url, &why).to_string(), None),
        };
        match response.status().as_u16() {
            200 => self.read(response),
            204 => {
                say("the hub has nothing more for this subscription (204)");
                Ok(End::Done)
            }
            401 if self.shown.forget_found() => again("trying again".to_owned(), Some(Duration::ZERO)),
            429 | 500..=599 => {
                let wait =
                    response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                again(
                    refusal(&self.url, response, token.is_some()).to_string(),
                    wait.map(|seconds| Duration::from_secs(seconds).max(RETRY_FAILING_MIN)),
                )
            }
            _ => Err(refusal(&self.url, response, token.is_some())),
        }
    }

    fn read(&mut self, response: Response<Body>) -> Result<End> {
        let headers = response.headers();
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            bail!(
                "{} answered {}, not an event stream: is this a hub?",
                self.url,
                if kind.is_empty() { "no type" } else { kind }
            );
        }
        let start = headers.get("mercure-last-event-id").map(|id| id.as_bytes());
        if start == Some(b"earliest") && !matches!(self.last_event_id.as_str(), "" | "earliest") {
            say("the hub no longer has the last event: some may have been missed");
        }
        let mut reader = response.into_body().into_reader();
        let mut decoder = Decoder::new(EVENT_BYTES_MAX);
        let mut buffer = vec![0; READ_BYTES];
        // One that ends before anything came has failed as well.
        let mut opened = false;
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => {
                    return Ok(End::Again { why: "the stream ended".to_owned(), opened, wait: None });
                }
                Ok(read) => read,
                Err(why) => {
                    return Ok(End::Again { why: format!("the stream broke off: {why}"), opened, wait: None });
                }
            };
            opened = true;
            let mut events = Vec::new();
            decoder.push(&buffer[..read], &mut |event| events.push(event))?;
            self.print(events, &decoder)?;
            if self.left == Some(0) {
                return Ok(End::Done);
            }
        }
    }

    fn print(&mut self, events: Vec<Event>, decoder: &Decoder) -> Result<()> {
        for event in events {
            if self.left == Some(0) {
                break;
            }
            (self.print)(self.out, &event, self.paint)?;
            self.left = self.left.map(|left| left - 1);
        }
        self.out.flush()?;
        if !decoder.last_event_id().is_empty() {
            self.last_event_id = decoder.last_event_id().to_owned();
        }
        if let Some(retry) = decoder.retry_ms() {
            self.retry = Duration::from_millis(retry);
        }
        Ok(())
    }
}

/// The wait before the next try: doubled with each failure up to a limit, and spread over its upper half, so that
/// clients that were cut off together don't come back together.
fn backoff(retry: Duration, failures: u32, chance: f64) -> Duration {
    let first = if failures > 0 { retry.max(RETRY_FAILING_MIN) } else { retry };
    let grown = first.saturating_mul(1 << failures.min(16)).min(RETRY_MAX.max(first));
    Duration::from_millis(grown.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0).as_millis().try_into().unwrap_or(u64::MAX))
}

fn print_text(out: &mut dyn Write, event: &Event, paint: Paint) -> std::io::Result<()> {
    writeln!(out, "{} {}", paint.dim("id:"), paint.dim(&printable(&event.id)))?;
    if let Some(event_type) = &event.event_type {
        writeln!(out, "{} {}", paint.dim("type:"), paint.bold(&printable(event_type)))?;
    }
    for line in event.data.split('\n') {
        writeln!(out, "{}", printable(line))?;
    }
    writeln!(out)
}

fn print_json(out: &mut dyn Write, event: &Event, _: Paint) -> std::io::Result<()> {
    let event_type = event.event_type.as_deref().unwrap_or("message");
    writeln!(out, "{}", serde_json::json!({"id": event.id, "type": event_type, "data": event.data}))
}

#[cfg(test)]
mod tests {
    use super::super::fake_hub::{FakeHub, answer, stream};
    use super::*;

    #[test]
    fn the_wait_grows_with_failures_and_stays_in_bounds() {
        let second = Duration::from_secs(1);
        assert_eq!(backoff(second, 0, 1.0), second);
        assert_eq!(backoff(second, 0, 0.0), second / 2);
        assert_eq!(backoff(second, 3, 1.0), second * 8);
        assert_eq!(backoff(second, 40, 1.0), RETRY_MAX);
        assert_eq!(backoff(Duration::ZERO, 0, 1.0), Duration::ZERO);
        assert_eq!(backoff(second * 60, 1, 1.0), second * 60, "a hub that asks for more gets more");
        assert!(backoff(Duration::from_millis(u64::MAX), 40, 1.0) > RETRY_MAX);
    }

    /// Seen: after an event with `retry: 0` and the end of the hub, thousands of attempts a second.
    #[test]
    fn a_hub_that_is_away_is_not_asked_without_a_pause() {
        assert_eq!(backoff(Duration::ZERO, 1, 0.0), RETRY_FAILING_MIN);
        assert_eq!(backoff(Duration::ZERO, 5, 1.0), RETRY_FAILING_MIN * 32);
        assert_eq!(backoff(Duration::ZERO, 40, 1.0), RETRY_MAX);
    }

    fn printed(print: fn(&mut dyn Write, &Event, Paint) -> std::io::Result<()>, event_type: Option<&str>) -> String {
        let event = Event {
            event_type: event_type.map(str::to_owned),
            data: "a\n\"b\"\x1b[2J".to_owned(),
            id: "urn:1".to_owned(),
        };
        let mut out = Vec::new();
        print(&mut out, &event, Paint::plain()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_are_printed_for_people_and_for_programs() {
        assert_eq!(printed(print_text, Some("t")), "id: urn:1\ntype: t\na\n\"b\"\\u{1b}[2J\n\n");
        assert_eq!(printed(print_text, None), "id: urn:1\na\n\"b\"\\u{1b}[2J\n\n");
        assert_eq!(
            printed(print_json, None),
            "{\"data\":\"a\\n\\\"b\\\"\\u001b[2J\",\"id\":\"urn:1\",\"type\":\"message\"}\n"
        );
    }

    fn follow(hub: &FakeHub, last_event_id: &str, left: Option<u64>) -> (Result<()>, String) {
        let mut out = Vec::new();
        let mut follower = Follower {
            agent: agent(&hub.url, Some(Duration::from_secs(5))),
            url: hub.url.clone(),
            shown: Shown::Nothing,
            last_event_id: last_event_id.to_owned(),
            retry: Duration::ZERO,
            left,
            print: print_json,
            paint: Paint::plain(),
            out: &mut out,
        };
        let done = follower.follow();
        (done, String::from_utf8(out).unwrap())
    }

    fn ids(printed: &str) -> Vec<String> {
        let json = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        printed.lines().map(|line| json(line)["id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn it_comes_back_with_the_last_id_until_told_to_stop() {
        let hub = FakeHub::new(vec![
            stream("", "retry: 1\nid: é1\ndata: a\n\nid: é2\ndata: b\n\nid: é3\ndata: cut"),
            "HTTP/1.1 503 Unavailable\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
            stream("Mercure-Last-Event-ID: é2\r\n", "id: é3\ndata: c\n\n"),
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned(),
        ]);
        let (done, printed) = follow(&hub, "", None);
        done.unwrap();
        assert_eq!(ids(&printed), ["é1", "é2", "é3"]);
        let asked: Vec<_> = hub.asked();
        let presented: Vec<_> = asked.iter().map(|asked| asked.header("last-event-id")).collect();
        assert_eq!(presented, [None, Some("é2"), Some("é2"), Some("é3")]);
        assert_eq!(asked[0].header("accept"), Some("text/event-stream"));
    }

    #[test]
    fn it_stops_after_so_many_events() {
        let hub = FakeHub::new(vec![stream("", "id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: c\n\n")]);
        let (done, printed) = follow(&hub, "0", Some(2));
        done.unwrap();
        assert_eq!(ids(&printed), ["1", "2"]);
        assert_eq!(hub.asked()[0].header("last-event-id"), Some("0"));
    }

    #[test]
    fn a_refusal_ends_it_with_the_reason() {
        let problem = r#"{"title":"Bad Request","detail":"`match_foo` is reserved"}"#;
        let hub = FakeHub::new(vec![answer("400 Bad Request", "application/problem+json", problem)]);
        let why = follow(&hub, "", None).0.unwrap_err().to_string();
        assert!(why.ends_with("answered 400 Bad Request: Bad Request: `match_foo` is reserved"), "{why}");
        let hub = FakeHub::new(vec![answer("200 OK", "text/html", "<html>")]);
        let why = follow(&hub, "", None).0.unwrap_err().to_string();
        assert!(why.ends_with("answered text/html, not an event stream: is this a hub?"), "{why}");
    }
}
