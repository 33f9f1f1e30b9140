//! Streams under a content coding: who gets which, and that every event arrives whole when it is published.

use crate::harness::*;
use flate2::{Decompress, FlushDecompress};

const BOTH: &[&str] = &["--anonymous", "--compression", "gzip", "--compression", "zstd"];
const PATH: &str = "/.well-known/mercure?match=urn:a";

/// The reading side of a coding.
pub(crate) enum Decoder {
    Identity,
    /// Bytes of the header that are still to come.
    Gzip(usize, Decompress),
    Zstd(zstd_safe::DCtx<'static>),
}

impl Decoder {
    pub(crate) fn new(coding: &str) -> Decoder {
        match coding {
            "gzip" => Decoder::Gzip(10, Decompress::new(false)),
            "zstd" => Decoder::Zstd(zstd_safe::DCtx::create()),
            _ => Decoder::Identity,
        }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 400_000];
        let length = match self {
            Decoder::Identity => return bytes.to_vec(),
            Decoder::Gzip(header, inflate) => {
                let skipped = bytes.len().min(*header);
                bytes = &bytes[skipped..];
                *header -= skipped;
                let (taken, given) = (inflate.total_in(), inflate.total_out());
                inflate.decompress(bytes, &mut out, FlushDecompress::Sync).expect("deflate");
                assert_eq!(inflate.total_in() - taken, bytes.len() as u64, "all is taken");
                (inflate.total_out() - given) as usize
            }
            Decoder::Zstd(context) => {
                let mut input = zstd_safe::InBuffer::around(bytes);
                let mut output = zstd_safe::OutBuffer::around(&mut out[..]);
                while input.pos < bytes.len() {
                    context.decompress_stream(&mut output, &mut input).expect("zstd");
                }
                output.as_slice().len()
            }
        };
        out.truncate(length);
        out
    }
}

/// A stream read as a client with this coding reads it.
struct Follower {
    client: Client,
    chunked: bool,
    decoder: Decoder,
    text: String,
    wire_bytes: usize,
}

impl Follower {
    fn new(hub: &Hub, path: &str, version: &str, coding: &str) -> Follower {
        let mut client = hub.connect();
        client.send(format!("GET {path} {version}\r\nHost: h\r\nAccept-Encoding: {coding}\r\n\r\n").as_bytes());
        let head = client.head().expect("an answer");
        assert_eq!(head.status, 200);
        let given = head.header("content-encoding").unwrap_or("identity");
        assert_eq!(given, coding);
        assert!(head.list("vary").contains(&"accept-encoding".to_owned()));
        let chunked = head.is_chunked();
        assert_eq!(chunked, version == "HTTP/1.1");
        Follower { client, chunked, decoder: Decoder::new(coding), text: String::new(), wire_bytes: 0 }
    }

    /// Reads on; false at the end of the stream.
    fn more(&mut self) -> bool {
        let bytes = match self.chunked {
            true => read_chunk(&mut self.client).expect("the last chunk before the end").unwrap_or_default(),
            false => self.client.some(),
        };
        self.wire_bytes += bytes.len();
        let decoded = self.decoder.push(&bytes);
        self.text.push_str(std::str::from_utf8(&decoded).expect("UTF-8"));
        !bytes.is_empty()
    }

    /// The next event, or comment, and no byte more.
    fn event(&mut self, id: &str, data: &str) {
        let wanted = format!("id: {id}\ndata: {data}\n\n");
        while self.text.len() < wanted.len() {
            assert!(self.more(), "the stream ended instead of an event");
        }
        assert!(self.text == wanted, "{:?}", &self.text[..self.text.len().min(100)]);
        self.text.clear();
    }
}

/// Small, large, larger than a block, and data that gets no smaller.
fn datas() -> Vec<String> {
    let mut state = 1_u64;
    let noise = (0..60_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 58) as u8)
    });
    let noise: String = noise.collect();
    vec![
        "tiny".to_owned(),
        "a row of words ".repeat(100),
        noise[..2_000].to_owned(),
        "0123456789".repeat(10_000),
        format!("{noise}{}", "x".repeat(300_000)),
        "the end".to_owned(),
    ]
}

#[test]
fn every_event_arrives_whole_when_it_is_published() {
    let hub = Hub::start(BOTH);
    let versions = ["HTTP/1.1", "HTTP/1.0"];
    let codings = ["identity", "gzip", "zstd"];
    let forms = versions.iter().flat_map(|version| codings.map(|coding| (*version, coding)));
    let mut followers: Vec<Follower> =
        forms.map(|(version, coding)| Follower::new(&hub, PATH, version, coding)).collect();
    for data in datas() {
        let id = hub.say("urn:a", &data);
        for follower in &mut followers {
            follower.event(&id, &data);
        }
    }
    let [plain, gzip, zstd, ..] = &followers[..] else { panic!("six followers") };
    assert!(gzip.wire_bytes < plain.wire_bytes - 100_000 && zstd.wire_bytes < plain.wire_bytes - 100_000);
}

#[test]
fn a_replay_is_complete_whether_or_not_somebody_had_its_events_compressed() {
    let hub = Hub::start(BOTH);
    let before: Vec<_> = datas().into_iter().map(|data| (hub.say("urn:a", &data), data)).collect();
    let mut gzip = Follower::new(&hub, PATH, "HTTP/1.1", "gzip");
    let meanwhile: Vec<_> = datas().into_iter().map(|data| (hub.say("urn:a", &data), data)).collect();
    for (id, data) in &meanwhile {
        gzip.event(id, data);
    }
    for coding in ["identity", "gzip", "zstd"] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let path = format!("{PATH}&last_event_id=earliest");
            let mut follower = Follower::new(&hub, &path, version, coding);
            let events = before.iter().chain(&meanwhile).map(|(id, data)| format!("id: {id}\ndata: {data}\n\n"));
            let wanted: String = events.collect();
            while follower.text.len() < wanted.len() {
                assert!(follower.more());
            }
            assert!(follower.text == wanted, "{coding} {version}");
        }
    }
}

#[test]
fn heartbeats_and_what_a_stream_begins_with_are_coded_like_the_rest() {
    let args = ["--heartbeat", "100ms", "--padding", "2KiB", "--retry", "5s"];
    let hub = Hub::start(&[BOTH, &args].concat());
    let beginning = format!(":{}\nretry: 5000\n", " ".repeat(2046));
    for coding in ["gzip", "zstd"] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut follower = Follower::new(&hub, PATH, version, coding);
            while follower.text.len() < beginning.len() + 4 {
                assert!(follower.more());
            }
            assert!(follower.text.starts_with(&beginning), "{coding} {version}");
            assert!(follower.text[beginning.len()..].starts_with(":\n:\n"), "{coding} {version}");
        }
    }
}

#[test]
fn a_coded_stream_ends_with_the_last_chunk() {
    let mut hub = Hub::start(BOTH);
    let mut followers = ["gzip", "zstd"].map(|coding| Follower::new(&hub, PATH, "HTTP/1.1", coding));
    let data = "a row of words ".repeat(100);
    let id = hub.say("urn:a", &data);
    followers.iter_mut().for_each(|follower| follower.event(&id, &data));
    hub.stop();
    for follower in &mut followers {
        assert!(!follower.more(), "nothing after the event but the last chunk");
        follower.client.expect_closed();
    }
}

#[test]
fn the_coding_follows_the_client_and_the_hubs_preference_and_head_says_the_same() {
    let target = query(&[("match", "urn:a")]);
    for (compression, accept, coding) in [
        (["gzip", "zstd"].as_slice(), Some("gzip, deflate, br, zstd"), Some("gzip")),
        (&["zstd", "gzip"], Some("gzip, deflate, br, zstd"), Some("zstd")),
        (&["zstd", "gzip"], Some("gzip, deflate"), Some("gzip")),
        (&["zstd", "gzip"], Some("zstd;q=0.2, gzip;q=0.3"), Some("gzip")),
        (&["gzip"], Some("zstd, br"), None),
        (&["gzip"], Some("*"), Some("gzip")),
        (&["gzip"], None, None),
        (&["off"], Some("gzip, zstd"), None),
    ] {
        let words = compression.join(" ");
        let hub = Launch::keyed().args(&["--anonymous"]).env("CINNABAR_COMPRESSION", &words).start();
        let headers: Vec<_> = accept.map(|accept| ("Accept-Encoding", accept)).into_iter().collect();
        for method in ["GET", "HEAD"] {
            let mut client = hub.connect();
            client.request(method, &target, &headers, None);
            let head = client.head().expect("an answer");
            assert_eq!((head.status, head.header("content-encoding")), (200, coding), "{method} {words} {accept:?}");
            let varies = head.list("vary").contains(&"accept-encoding".to_owned());
            assert_eq!(varies, words != "off", "{method} {words}");
            assert_eq!(head.header("cache-control"), Some("no-store, no-transform"));
        }
    }
}

#[test]
fn gzip_is_offered_and_zstd_is_not_unless_asked_for() {
    let hub = Hub::anonymous();
    Follower::new(&hub, PATH, "HTTP/1.1", "gzip");
    let answer = hub.try_subscribe(&[("match", "urn:a")], &[("Accept-Encoding", "zstd")]).expect("a stream");
    assert_eq!(answer.head.header("content-encoding"), None);
}

#[test]
fn who_excludes_every_form_is_told_so() {
    let hub = Hub::anonymous();
    for accept in ["identity;q=0", "br, *;q=0", "gzip;q=0, identity;q=0"] {
        let refused = hub.try_subscribe(&[("match", "urn:a")], &[("Accept-Encoding", accept)]).expect_err("none fits");
        assert_eq!(refused.status, 406, "{accept}");
        assert!(refused.problem()["detail"].as_str().unwrap().contains("Accept-Encoding"));
    }
    assert!(hub.try_subscribe(&[("match", "urn:a")], &[("Accept-Encoding", "gzip, identity;q=0")]).is_ok());
}

#[test]
fn what_is_said_of_codings_must_be_one_of_them() {
    for (words, why) in [("brotli", "isn't a coding the hub has"), ("gzip off", "write off alone")] {
        let said = Launch::keyed().env("CINNABAR_COMPRESSION", words).refused();
        assert!(said.contains(why), "{words}: {said}");
    }
}

#[test]
fn streams_and_compressed_events_are_counted_by_coding() {
    let port = free_port().to_string();
    let address = format!("127.0.0.1:{port}");
    let hub = Hub::start(&[BOTH, &["--health-listen", &address]].concat());
    let metric = |name: &str| {
        let mut client = Client::connect(address.parse().expect("an address"));
        client.request("GET", "/metrics", &[("Host", &address), ("Connection", "close")], None);
        let text = client.response("GET").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().parse::<f64>().expect("a number")
    };
    let mut gzip = Follower::new(&hub, PATH, "HTTP/1.1", "gzip");
    let _plain = Follower::new(&hub, PATH, "HTTP/1.1", "identity");
    let data = "a row of words ".repeat(100);
    let id = hub.say("urn:a", &data);
    gzip.event(&id, &data);
    hub.say("urn:a", "tiny");
    // Each shard says so in its own time.
    for coding in ["gzip", "identity"] {
        let counted = format!("cinnabar_streams{{encoding=\"{coding}\"}}");
        eventually("the streams are counted", || metric(&counted) == 1.0);
    }
    assert_eq!(metric("cinnabar_streams{encoding=\"zstd\"}"), 0.0);
    assert_eq!(metric("cinnabar_compressed_events_total{encoding=\"gzip\"}"), 1.0);
    assert_eq!(metric("cinnabar_compressed_events_total{encoding=\"zstd\"}"), 0.0, "nobody would read it");
    assert!(metric("cinnabar_compression_saved_bytes_total{encoding=\"gzip\"}") > 1_000.0);
    drop(gzip);
    eventually("the stream is gone", || metric("cinnabar_streams{encoding=\"gzip\"}") == 0.0);
    hub.say("urn:a", &data);
    assert_eq!(metric("cinnabar_compressed_events_total{encoding=\"gzip\"}"), 1.0, "nobody would read it");
}

#[test]
fn curl_decodes_event_by_event() {
    let hub = Hub::start(BOTH);
    let datas = ["tiny".to_owned(), "a row of words ".repeat(100).trim().to_owned(), "0".repeat(100_000)];
    for (coding, version) in [("gzip", "1.1"), ("gzip", "1.0"), ("zstd", "1.1"), ("zstd", "1.0")] {
        let zstd = std::process::Command::new("curl").arg("--version").output().expect("curl is installed").stdout;
        if coding == "zstd" && !String::from_utf8_lossy(&zstd).contains("zstd") {
            eprintln!("skipped: this curl has no zstd");
            continue;
        }
        let options = format!("-sN -D - --http{version} --compressed -H 'Accept-Encoding: {coding}'");
        let curl = Process::bash(&format!("curl {options} '{}?match=urn:{coding}:{version}'", hub.url()));
        let head: Vec<String> =
            std::iter::from_fn(|| Some(curl.line()).filter(|line| !line.trim().is_empty())).collect();
        assert!(
            head.iter().any(|line| line.trim().eq_ignore_ascii_case(&format!("content-encoding: {coding}"))),
            "{head:?}"
        );
        for data in &datas {
            let id = hub.say(&format!("urn:{coding}:{version}"), data);
            assert_eq!(curl.line(), format!("id: {id}"));
            assert!(curl.line() == format!("data: {data}"));
            assert_eq!(curl.line(), "");
        }
    }
}
