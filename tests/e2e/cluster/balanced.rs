//! The example of docs/cluster.md: three hubs behind nginx.

use super::{RedisServer, Server, member};
use crate::doctor::nginx;
use crate::harness::*;

/// The nginx configuration of the guide, for hubs and a port of this machine.
fn guide(hubs: &[Hub], port: u16) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cluster.md");
    let text = std::fs::read_to_string(path).expect("the guide");
    let block = text.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let mut block = block.to_owned();
    let exchanges = (1..=3).map(|n| (format!("10.0.0.1{n}:3000"), hubs[n - 1].address().to_string()));
    let fixed = [
        ("listen 443 ssl;\n".to_owned(), format!("listen 127.0.0.1:{port};\n")),
        ("http2 on;\n".to_owned(), "\n".to_owned()),
    ];
    for (from, to) in exchanges.chain(fixed) {
        assert!(block.contains(&from), "the example has {from}");
        block = block.replace(&from, &to);
    }
    format!("events {{ worker_connections 256; }}\nhttp {{\n{block}}}\n")
}

#[test]
fn the_guide_s_nginx_serves_clients_from_any_hub_and_goes_on_when_one_dies() {
    let server = RedisServer::start();
    let mut hubs: Vec<Hub> = (0..3).map(|_| member(&server).start()).collect();
    let (folder, port) = (Folder::new(), free_port());
    let _nginx = nginx(&guide(&hubs, port), port, &folder);
    let connect = || Client::connect(([127, 0, 0, 1], port).into());
    let headers = [("Authorization", &*format!("Bearer {}", publisher()))];
    let publish = |data: &str| {
        let mut client = connect();
        client.post(&headers, form(&[("topic", "urn:a"), ("data", data)]).as_bytes());
        client.response("POST").status
    };
    let subscribe = |last: &str| {
        let mut client = connect();
        client.request("GET", &query(&[("match", "urn:a"), ("last_event_id", last)]), &[], None);
        client.stream().expect("a stream")
    };
    let mut streams: Vec<Stream> = (0..6).map(|_| subscribe("earliest")).collect();
    for n in 0..6 {
        assert_eq!(publish(&n.to_string()), 200);
    }
    let mut last = Vec::new();
    for stream in &mut streams {
        let events: Vec<_> = (0..6).map(|_| stream.next()).collect();
        assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5"]);
        last.push(events[5].id.clone());
    }
    // Each hub has some of them.
    for hub in &hubs {
        eventually("it has delivered", || crate::admin::metric(hub, "cinnabar_deliveries_total") >= 6.0);
    }
    hubs[1].kill();
    // Whoever was there has lost its stream, and comes back to another.
    let mut streams: Vec<Stream> = last.iter().map(|last| subscribe(last)).collect();
    for n in 6..9 {
        assert_eq!(publish(&n.to_string()), 200);
    }
    for stream in &mut streams {
        assert_eq!(stream.datas(3), ["6", "7", "8"]);
    }
}
