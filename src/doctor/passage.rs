//! The way from a publish to a subscriber through the public URL: what a client saw, and what that says about the
//! proxies in between. Times are milliseconds since the look began; nothing here measures them.

use super::finding::{Finding, Level};
use super::passage_fix::{Trouble, fix};
use serde::Serialize;

/// Events that arrive later than this are worth a word.
const SLOW_MS: u64 = 1_000;
/// A cut-off that a heartbeat is to prevent; shorter silences say nothing about heartbeats.
const HEARTBEAT_MS: u64 = 30_000;

/// One event: when its publish was answered, and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Arrival {
    /// When the publish was answered.
    pub published_ms: u64,
    /// When the event came; `None`: not while somebody waited.
    pub arrived_ms: Option<u64>,
}

/// How many events were replayed after an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// How many should have been.
    pub wanted: usize,
    /// How many were by the field `Last-Event-ID`.
    pub by_field: usize,
    /// How many were by the parameter of the query, which is tried when the field fails.
    pub by_query: Option<usize>,
}

/// What became of a stream on which nobody published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// How long it was watched.
    pub watched_ms: u64,
    /// Comments that came meanwhile.
    pub heartbeats: u64,
    /// When it was ended, if it was, counted from the beginning of the silence.
    pub ended_ms: Option<u64>,
}

/// What a stream that may be compressed is compressed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamCoding {
    /// Its name.
    pub name: String,
    /// Whether an event came through it.
    pub came: bool,
    /// Whether the event's text stood in it as it was published. The hub sends short events so; a proxy, which doesn't know
    /// where they begin and end, compresses them.
    pub stored: bool,
}

/// Everything a client saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Passage {
    /// What programs on the way call themselves.
    pub seen: Vec<String>,
    /// The version the stream was answered in, e.g. `HTTP/1.1`.
    pub version: String,
    /// What TLS agreed on: `h2`, `http/1.1`, or nothing; `None` without TLS, or where it couldn't be asked.
    pub agreed: Option<String>,
    /// Whether the URL is `https:`.
    pub tls: bool,
    /// Whether the response head came before anything was published.
    pub head_at_once: bool,
    /// Fields of the response head, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The events, in order.
    pub arrivals: Vec<Arrival>,
    /// What came back after a known id; `None` where events didn't come at all.
    pub replay: Option<Replay>,
    /// The coding of a stream that may be compressed.
    pub coding: Option<StreamCoding>,
    /// The origin asked for, and the `Access-Control-Allow-Origin` values that came back.
    pub cors: Option<(String, Vec<String>)>,
    /// The silence.
    pub silence: Option<Silence>,
}

impl Passage {
    /// What to say about it.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.on_the_way(), self.arrival()];
        // Without a head nothing is known of its fields.
        if !self.fields.is_empty() {
            findings.extend([self.accel(), self.header_fields(), self.http_version()]);
        }
        if let Some(replay) = &self.replay {
            findings.extend([self.last_event_id(replay), self.compression()]);
        }
        findings.extend(self.cors());
        findings.extend(self.silence.as_ref().map(|silence| self.idle(silence)));
        findings
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn on_the_way(&self) -> Finding {
        let seen = if self.seen.is_empty() { "nobody says its name".to_owned() } else { self.seen.join(", ") };
        Finding::ok("url: proxies", seen)
    }

    /// Whether events come when they are published.
    fn arrival(&self) -> Finding {
        const NAME: &str = "url: buffering";
        let held = self.arrivals.iter().filter(|arrival| arrival.arrived_ms.is_none()).count();
        let delay = |arrival: &Arrival| arrival.arrived_ms.map(|arrived| arrived.saturating_sub(arrival.published_ms));
        let slowest = self.arrivals.iter().filter_map(delay).max().unwrap_or_default();
        let trouble = |found: String, why: &str| {
            fix(Finding::new(NAME, Level::Fail, found, why).wanted("each event at once"), Trouble::Buffers, &self.seen)
        };
        if held > 0 {
            let found = format!("{held} of {} events didn't come", self.arrivals.len());
            return trouble(
                found,
                "something on the way collects the stream before it passes it on: subscribers get events late or never",
            );
        }
        if self.lumps() * 2 >= self.arrivals.len() && self.lumps() > 0 {
            let found = format!("events came in lumps, up to {slowest} ms late");
            return trouble(found, "something on the way collects a part of the stream before it passes it on");
        }
        if !self.head_at_once {
            let why = "the response head came with the first event only: browsers don't know that they are connected until then";
            return fix(Finding::new(NAME, Level::Warn, "the head is held back", why), Trouble::Buffers, &self.seen)
                .fix("hub", "--padding 2KiB");
        }
        if slowest > SLOW_MS {
            let why = "no lumps, so nothing collects them: the way is slow, or the hub is busy";
            return Finding::new(NAME, Level::Warn, format!("up to {slowest} ms late"), why);
        }
        Finding::ok(NAME, format!("none: events came within {slowest} ms"))
    }

    /// Pairs of events published apart that came together, the earlier of them late. One can be an accident, half of them
    /// aren't.
    fn lumps(&self) -> usize {
        let is_lump = |pair: &[Arrival]| {
            let [
                Arrival { published_ms: p1, arrived_ms: Some(a1) },
                Arrival { published_ms: p2, arrived_ms: Some(a2) },
            ] = *pair
            else {
                return false;
            };
            let (apart, together) = (p2.saturating_sub(p1), a2.saturating_sub(a1));
            apart > 0 && together < apart / 4 && a1.saturating_sub(p1) > apart / 2
        };
        self.arrivals.windows(2).filter(|pair| is_lump(pair)).count()
    }

    /// nginx takes the field out when it obeys it, and passes it on when it is told to ignore it and to pass it.
    fn accel(&self) -> Finding {
        const NAME: &str = "url: X-Accel-Buffering";
        match self.field("x-accel-buffering") {
            Some(value) => Finding::ok(NAME, format!("`{value}` arrives")),
            None => {
                let why = "an nginx on the way took it out, as it does when it obeys it; the events say whether it did";
                Finding::new(NAME, Level::Note, "taken out", why)
            }
        }
    }

    /// Fields of every stream that should be there.
    fn header_fields(&self) -> Finding {
        const NAME: &str = "url: header fields";
        let kind = self.field("content-type").unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            let found = format!("Content-Type `{kind}`");
            let why = "EventSource takes nothing but text/event-stream";
            return fix(Finding::new(NAME, Level::Fail, found, why), Trouble::Strips, &self.seen);
        }
        let control = self.field("cache-control").unwrap_or_default().to_ascii_lowercase();
        if !(control.contains("no-store") && control.contains("no-transform")) {
            let found = if control.is_empty() {
                "Cache-Control is gone".to_owned()
            } else {
                format!("Cache-Control `{control}`")
            };
            let why = "without `no-store, no-transform` caches and proxies further on may keep or change the stream";
            return fix(Finding::new(NAME, Level::Warn, found, why), Trouble::Strips, &self.seen);
        }
        if self.field("link").is_none() {
            let why = "clients that look for the hub's name and metadata don't find them";
            return fix(Finding::new(NAME, Level::Note, "Link is gone", why), Trouble::Strips, &self.seen);
        }
        Finding::ok(NAME, "Content-Type, Cache-Control and Link arrive")
    }

    fn last_event_id(&self, replay: &Replay) -> Finding {
        const NAME: &str = "url: Last-Event-ID";
        let Replay { wanted, by_field, by_query } = *replay;
        let found = format!("{by_field} of {wanted} events replayed");
        if by_field >= wanted {
            return Finding::ok(NAME, found);
        }
        if by_query.is_some_and(|replayed| replayed >= wanted) {
            let why = "the parameter of the query works and the header field doesn't: something on the way takes it out, and browsers \
                       that reconnect miss events";
            return fix(Finding::new(NAME, Level::Fail, found, why), Trouble::ForgetsLastId, &self.seen);
        }
        let why = "neither the header field nor the parameter brings back what was published a moment ago: several hubs without a \
                   common history behind one name?";
        Finding::new(NAME, Level::Fail, found, why)
            .fix("proxy", "send all clients to one hub, or join the hubs by a cluster")
    }

    fn http_version(&self) -> Finding {
        const NAME: &str = "url: HTTP version";
        match (self.tls, self.agreed.as_deref()) {
            (true, Some("h2")) => Finding::ok(NAME, "HTTP/2"),
            (true, None) => {
                let why = "whether browsers get HTTP/2 couldn't be asked from here";
                Finding::new(NAME, Level::Note, self.version.clone(), why)
            }
            (true, Some(_)) => {
                let why = "browsers open six HTTP/1.1 connections to a host, and the seventh tab with a stream waits for ever";
                fix(
                    Finding::new(NAME, Level::Warn, self.version.clone(), why).wanted("HTTP/2"),
                    Trouble::OldVersion,
                    &self.seen,
                )
            }
            (false, _) => {
                let why = "browsers speak HTTP/2 over TLS only, and open six HTTP/1.1 connections to a host";
                Finding::new(NAME, Level::Note, format!("{} without TLS", self.version), why)
            }
        }
    }

    fn compression(&self) -> Finding {
        const NAME: &str = "url: compression";
        match &self.coding {
            None => Finding::ok(NAME, "none"),
            Some(StreamCoding { name, stored: true, .. }) => {
                Finding::ok(NAME, format!("{name} by the hub, events come through"))
            }
            Some(StreamCoding { name, came: true, .. }) => {
                let why = "events come through, and it costs the proxy memory for each stream and time for each event of each: the hub \
                           compresses an event once for all. What is compressed on the way may also wait there";
                let found = format!("{name} by something on the way");
                fix(Finding::new(NAME, Level::Warn, found, why), Trouble::Compresses, &self.seen)
            }
            Some(StreamCoding { name, .. }) => {
                let why = "an event didn't come out of the compressed stream: something on the way compresses it and waits for more, or \
                           keeps what the hub compressed";
                fix(Finding::new(NAME, Level::Fail, name.clone(), why), Trouble::Compresses, &self.seen)
            }
        }
    }

    fn cors(&self) -> Option<Finding> {
        const NAME: &str = "url: CORS";
        let (origin, allowed) = self.cors.as_ref()?;
        Some(match &allowed[..] {
            [one] if one == origin || one == "*" => Finding::ok(NAME, format!("{origin} may read")),
            [] => {
                let why = format!(
                    "pages of {origin} can't read the stream: the hub doesn't allow them, or the field is taken out on the way"
                );
                fix(Finding::new(NAME, Level::Fail, "no Access-Control-Allow-Origin", why), Trouble::Strips, &self.seen)
                    .fix("hub", format!("--cors-origin {origin}"))
            }
            [other] => Finding::new(
                NAME,
                Level::Fail,
                other.clone(),
                format!("that isn't {origin}: its pages can't read the stream"),
            )
            .fix("hub", format!("--cors-origin {origin}")),
            several => {
                let why = "browsers refuse an answer with more than one: leave CORS to the hub";
                fix(Finding::new(NAME, Level::Fail, several.join(", "), why), Trouble::Strips, &self.seen)
            }
        })
    }

    fn idle(&self, silence: &Silence) -> Finding {
        const NAME: &str = "url: idle";
        let seconds = |ms: u64| format!("{:.0} s", ms as f64 / 1000.0);
        if let Some(ended) = silence.ended_ms {
            let why = "a stream without events was ended: every client comes back at that pace, and each return costs a connection";
            let finding = Finding::new(NAME, Level::Fail, format!("ended after {}", seconds(ended)), why)
                .wanted(format!("open after {}", seconds(silence.watched_ms)));
            let half = (ended / 2000).max(1);
            return fix(finding, Trouble::CutsOff, &self.seen).fix("hub", format!("--heartbeat {half}s"));
        }
        let found = format!("open after {}, {} heartbeats", seconds(silence.watched_ms), silence.heartbeats);
        if silence.heartbeats == 0 && silence.watched_ms > HEARTBEAT_MS {
            let why = "no heartbeat came: the hub sends none, or something on the way keeps them";
            return Finding::new(NAME, Level::Warn, found, why).wanted("one every 25 s").fix("hub", "--heartbeat 25s");
        }
        Finding::ok(NAME, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Passage {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let arrival = |published_ms, arrived_ms| Arrival { published_ms, arrived_ms: Some(arrived_ms) };
        Passage {
            version: "HTTP/1.1".into(),
            agreed: Some("h2".into()),
            tls: true,
            head_at_once: true,
            fields: vec![
                field("content-type", "text/event-stream"),
                field("cache-control", "no-store, no-transform"),
                field("x-accel-buffering", "no"),
                field("link", "<https://hub.example/>; rel=\"mercure\""),
            ],
            arrivals: vec![arrival(100, 101), arrival(400, 403), arrival(700, 701)],
            replay: Some(Replay { wanted: 2, by_field: 2, by_query: None }),
            silence: Some(Silence { watched_ms: 60_000, heartbeats: 2, ended_ms: None }),
            ..Passage::default()
        }
    }

    fn level(passage: &Passage, name: &str) -> Level {
        passage.findings().iter().find(|finding| finding.name == name).unwrap_or_else(|| panic!("{name}")).level
    }

    /// The texts of the fixes of what isn't right.
    fn places(passage: &Passage) -> Vec<String> {
        let findings = passage.findings();
        findings
            .iter()
            .filter(|finding| finding.level > Level::Note)
            .flat_map(|finding| &finding.fixes)
            .map(|fix| fix.place.clone())
            .collect()
    }

    #[test]
    fn on_a_good_way_all_is_well() {
        for finding in good().findings() {
            assert_eq!(finding.level, Level::Ok, "{finding:?}");
        }
    }

    #[test]
    fn events_that_never_come_are_held_back() {
        let mut passage = good();
        passage.arrivals[2].arrived_ms = None;
        assert_eq!(level(&passage, "url: buffering"), Level::Fail);
        assert_eq!(places(&passage), ["nginx", "Caddy", "HAProxy"]);
        passage.seen = vec!["nginx/1.22.1".into()];
        assert_eq!(places(&passage), ["nginx"], "only what is there needs a change");
    }

    #[test]
    fn events_that_come_together_were_collected() {
        let mut passage = good();
        for arrival in &mut passage.arrivals {
            arrival.arrived_ms = Some(1_000);
        }
        assert_eq!(level(&passage, "url: buffering"), Level::Fail);
        // A slow way isn't a lumpy one.
        let late = [1_300, 1_600, 1_900];
        for (arrival, late) in passage.arrivals.iter_mut().zip(late) {
            arrival.arrived_ms = Some(late);
        }
        assert_eq!(level(&passage, "url: buffering"), Level::Warn);
        assert_eq!(passage.lumps(), 0);
    }

    #[test]
    fn nothing_is_said_about_fields_nobody_saw() {
        let mut passage = Passage { fields: Vec::new(), head_at_once: false, replay: None, silence: None, ..good() };
        passage.arrivals.iter_mut().for_each(|arrival| arrival.arrived_ms = None);
        let names: Vec<_> = passage.findings().iter().map(|finding| finding.name).collect();
        assert_eq!(names, ["url: proxies", "url: buffering"]);
    }

    #[test]
    fn a_head_that_waits_for_the_first_event_is_told() {
        assert_eq!(level(&Passage { head_at_once: false, ..good() }, "url: buffering"), Level::Warn);
    }

    #[test]
    fn fields_that_are_gone_are_named() {
        let without = |name: &str| {
            let fields = good().fields.into_iter().filter(|(found, _)| found != name).collect();
            Passage { fields, ..good() }
        };
        assert_eq!(level(&without("content-type"), "url: header fields"), Level::Fail);
        assert_eq!(level(&without("cache-control"), "url: header fields"), Level::Warn);
        assert_eq!(level(&without("link"), "url: header fields"), Level::Note);
        assert_eq!(level(&without("x-accel-buffering"), "url: X-Accel-Buffering"), Level::Note);
    }

    #[test]
    fn a_lost_header_is_told_from_a_lost_history() {
        let finding = good().last_event_id(&Replay { wanted: 2, by_field: 0, by_query: Some(2) });
        assert!(finding.level == Level::Fail && finding.why.contains("takes it out"), "{finding:?}");
        let finding = good().last_event_id(&Replay { wanted: 2, by_field: 0, by_query: Some(0) });
        assert!(finding.level == Level::Fail && finding.why.contains("several hubs"), "{finding:?}");
    }

    #[test]
    fn versions_are_judged_by_what_browsers_make_of_them() {
        assert_eq!(level(&Passage { agreed: Some(String::new()), ..good() }, "url: HTTP version"), Level::Warn);
        assert_eq!(level(&Passage { agreed: None, ..good() }, "url: HTTP version"), Level::Note);
        assert_eq!(level(&Passage { agreed: None, tls: false, ..good() }, "url: HTTP version"), Level::Note);
    }

    #[test]
    fn compression_that_keeps_events_is_told() {
        assert_eq!(compression(false, false).level, Level::Fail);
    }

    #[test]
    fn the_hub_s_own_compression_is_told_from_a_proxy_s() {
        let (hub, proxy) = (compression(true, true), compression(true, false));
        assert!(hub.level == Level::Ok && hub.found == "gzip by the hub, events come through", "{hub:?}");
        assert!(proxy.level == Level::Warn && proxy.fixes.len() == 3, "{proxy:?}");
    }

    fn compression(came: bool, stored: bool) -> Finding {
        Passage { coding: Some(StreamCoding { name: "gzip".into(), came, stored }), ..good() }.compression()
    }

    #[test]
    fn one_origin_may_read_and_it_is_the_one_that_asked() {
        let level_of = |allowed: &[&str]| {
            let allowed = allowed.iter().map(|&text| text.to_owned()).collect();
            level(&Passage { cors: Some(("https://app.example".into(), allowed)), ..good() }, "url: CORS")
        };
        assert_eq!(level_of(&["https://app.example"]), Level::Ok);
        assert_eq!(level_of(&["*"]), Level::Ok);
        for wrong in [&[][..], &["https://other.example"], &["*", "https://app.example"]] {
            assert_eq!(level_of(wrong), Level::Fail, "{wrong:?}");
        }
    }

    #[test]
    fn a_cut_off_names_the_heartbeat_that_would_prevent_it() {
        let silence = |watched_ms, heartbeats, ended_ms| Passage {
            silence: Some(Silence { watched_ms, heartbeats, ended_ms }),
            ..good()
        };
        let passage = silence(70_000, 0, Some(60_000));
        let finding = passage.idle(&passage.silence.unwrap());
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.fixes.iter().any(|fix| fix.text == "--heartbeat 30s"), "{finding:?}");
        assert_eq!(level(&silence(60_000, 0, None), "url: idle"), Level::Warn);
        assert_eq!(level(&silence(3_000, 0, None), "url: idle"), Level::Ok, "too short for a heartbeat");
    }
}
