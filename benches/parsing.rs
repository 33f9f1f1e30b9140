//! What it costs to read a request: heads as publishers and browsers send them, publishes, subscriptions, bodies in chunks.
//!
//!     cargo bench --bench parsing
//!
//! Allocations are counted first; criterion times after that.

use std::hint::black_box;

use cinnabar::http::body::BodyDecoder;
use cinnabar::http::head::{self, BodyFraming, HeadLimits, HeadStatus};
use cinnabar::protocol::known_topics::KnownTopics;
use cinnabar::protocol::subscribe::{Subscribe, SubscribeLimits};
use cinnabar::protocol::topic::HubUrl;
use cinnabar::protocol::update::{Update, UpdateLimits};
use criterion::{Criterion, Throughput};

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const BODY_BYTES_MAX: usize = 1 << 20;

fn main() {
    println!("\n| what | bytes | allocations |\n|---|---|---|");
    for mut work in works() {
        (work.run)();
        let ((), tally) = allocator::counted(&mut work.run);
        println!("| {} | {} | {} |", work.name, work.bytes, tally.allocations);
    }
    println!();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("parse");
    for mut work in works() {
        group.throughput(Throughput::Bytes(work.bytes as u64));
        group.bench_function(work.name, |bencher| bencher.iter(&mut work.run));
    }
    group.finish();
    criterion.final_summary();
}

/// Something to be read, again and again.
struct Work {
    name: &'static str,
    bytes: usize,
    run: Box<dyn FnMut()>,
}

fn work(name: &'static str, input: Vec<u8>, mut read: impl FnMut(&[u8]) + 'static) -> Work {
    Work { name, bytes: input.len(), run: Box::new(move || read(black_box(&input))) }
}

fn works() -> Vec<Work> {
    vec![
        work("head of a publish", publish_head().into_bytes(), read_head),
        work("head of a browser's subscription", browser_head().into_bytes(), read_head),
        publish("publish of 200 bytes", 200),
        publish("publish of 64 KiB", 64 << 10),
        subscription(),
        work("body of 64 KiB in chunks of 4 KiB", chunks(), {
            let mut out = Vec::new();
            move |input| {
                out.clear();
                let mut decoder = BodyDecoder::new(BodyFraming::Chunked, BODY_BYTES_MAX);
                let (used, whole) = decoder.decode(input, &mut out).expect("well-formed chunks");
                assert!(whole && used == input.len());
            }
        }),
    ]
}

fn hub() -> HubUrl {
    HubUrl::parse("https://hub.example/.well-known/mercure").expect("a hub's URL")
}

fn read_head(input: &[u8]) {
    let head = head::parse(input, &HeadLimits::default()).expect("a good head");
    assert!(matches!(head, HeadStatus::Complete(_)));
    black_box(head);
}

/// The size of a token with two topics.
fn token() -> String {
    "e".repeat(694)
}

fn publish_head() -> String {
    format!(
        "POST /.well-known/mercure HTTP/1.1\r\nHost: hub.example\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 260\r\n\r\n",
        token()
    )
}

fn browser_head() -> String {
    format!(
        "GET /.well-known/mercure?match=https%3A%2F%2Fapp.example%2Fusers%2F7&match_urlpattern=%2Frooms%2F%3Aroom HTTP/1.1\r\n\
         Host: hub.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
         Accept: text/event-stream\r\nAccept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
         Referer: https://app.example/\r\nOrigin: https://app.example\r\nConnection: keep-alive\r\n\
         Cookie: theme=dark; mercureAuthorization={}\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\n\
         Sec-Fetch-Site: same-site\r\nPriority: u=4\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\r\n",
        token()
    )
}

/// The body of a publish to a topic that was published to before.
fn publish(name: &'static str, data_bytes: usize) -> Work {
    let data = r#"{"room":7,"text":"hello there"} "#.repeat(data_bytes / 32 + 1);
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("topic", "https://app.example/rooms/7/messages")
        .append_pair("type", "message")
        .append_pair("data", &data[..data_bytes])
        .finish();
    let mut known = KnownTopics::new(hub());
    let limits = UpdateLimits::default();
    work(name, body.into_bytes(), move |body| {
        black_box(Update::from_form(body, &mut known, &limits).expect("a good update"));
    })
}

fn subscription() -> Work {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("match", "https://app.example/users/7")
        .append_pair("match_urlpattern", "https://app.example/rooms/:room/messages/:message")
        .finish();
    let (hub, limits) = (hub(), SubscribeLimits::default());
    work("query of a subscription, a topic and a pattern", query.into_bytes(), move |query| {
        let query = std::str::from_utf8(query).expect("a query is ASCII");
        black_box(Subscribe::from_query(query, &hub, &limits).expect("a good subscription"));
    })
}

fn chunks() -> Vec<u8> {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4 << 10));
    format!("{}0\r\n\r\n", chunk.repeat(16)).into_bytes()
}
