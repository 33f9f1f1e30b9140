//! Proxies that speak HTTP/2 to the hub, as docs/http2.md has them configured.

use super::*;
use crate::admin::metric;
use crate::doctor::proxy;

const SUBSCRIBERS: usize = 30;

/// The configuration of docs/http2.md in this language, with parts of it exchanged, each of which has to be there.
fn documented(language: &str, exchanges: &[(&str, &str)]) -> String {
    let path = format!("{}/docs/http2.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the document");
    let block = text.split_once(&format!("```{language}\n")).expect("a block").1.split_once("```").expect("its end").0;
    exchanges.iter().fold(block.to_owned(), |block, (from, to)| {
        assert!(block.contains(from), "{path} has {from}");
        block.replace(from, to)
    })
}

/// Streams and publishes of many clients, who speak HTTP/1.1 to the proxy.
fn assert_passes_on(hub: &Hub, port: u16) {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let subscribe = |n: usize| {
        let mut client = Client::connect(address);
        client.request("GET", &query(&[("match", &format!("urn:{n}")), ("match", "urn:all")]), &[], None);
        client.stream().expect("a stream")
    };
    let mut streams: Vec<Stream> = (0..SUBSCRIBERS).map(subscribe).collect();
    let token = bearer(&publisher());
    let mut client = Client::connect(address);
    let topics = (0..SUBSCRIBERS).map(|n| format!("urn:{n}")).chain(["urn:all".to_owned()]);
    for topic in topics {
        client.post(&[("Authorization", &token)], form(&[("topic", &topic), ("data", &topic)]).as_bytes());
        let answer = client.response("POST");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        assert_eq!(stream.datas(2), [format!("urn:{n}"), "urn:all".to_owned()]);
    }
    let requests = (2 * SUBSCRIBERS + 1) as f64;
    eventually("they came over HTTP/2", || metric(hub, "cinnabar_http2_requests_total") >= requests);
    drop(streams);
    eventually("who left the proxy has left the hub", || metric(hub, "cinnabar_subscribers{state=\"current\"}") == 0.0);
}

#[test]
fn haproxy_passes_streams_and_publishes_on() {
    let (hub, folder, port) = (Hub::start(&["--anonymous", "--heartbeat", "1s"]), Folder::new(), free_port());
    let config = documented(
        "haproxy",
        &[
            ("bind :443 ssl crt /etc/ssl/hub.example.pem alpn h2,http/1.1", &format!("bind 127.0.0.1:{port}")),
            ("127.0.0.1:3000", &hub.address().to_string()),
        ],
    );
    let file = folder.write("haproxy.cfg", &config);
    let _haproxy = proxy("haproxy", &["-db", "-f", &file], port, &folder);
    assert_passes_on(&hub, port);
}

#[test]
fn caddy_passes_streams_and_publishes_on() {
    let (hub, folder, port) = (Hub::start(&["--anonymous", "--heartbeat", "1s"]), Folder::new(), free_port());
    let config = documented(
        "caddyfile",
        &[
            ("hub.example {", &format!("http://:{port} {{\n\tbind 127.0.0.1")),
            ("127.0.0.1:3000", &hub.address().to_string()),
        ],
    );
    let file = folder.write("Caddyfile", &format!("{{\n\tadmin off\n}}\n{config}"));
    let _caddy = proxy("caddy", &["run", "--adapter", "caddyfile", "--config", &file], port, &folder);
    assert_passes_on(&hub, port);
}
