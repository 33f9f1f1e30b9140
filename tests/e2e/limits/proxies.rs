//! Clients behind proxies: whose word about an address counts.

use super::{assert_refused, configuration, counted, reload, stream_from};
use crate::admin::{metric, see};
use crate::harness::*;
use std::process::Command;

/// The addresses of the streams there are.
fn addresses(hub: &Hub) -> Vec<String> {
    let seen = see(hub, "/connections");
    let rows = seen["connections"].as_array().unwrap_or_else(|| panic!("rows: {seen}"));
    let mut addresses: Vec<String> =
        rows.iter().map(|row| row["address"].as_str().expect("an address").to_owned()).collect();
    addresses.sort();
    addresses
}

const GET: &str = "GET /.well-known/mercure?match=urn:a HTTP/1.1\r\nHost: h\r\n";

/// A stream over a connection that begins with these bytes.
fn introduced(hub: &Hub, from: &str, header: &[u8]) -> Result<Stream, Response> {
    let mut client = Client::connect_from(from, hub.address());
    let _ = client.try_send(&[header, GET.as_bytes(), b"\r\n"].concat());
    client.stream()
}

fn version_2(command: u8, client: [u8; 4]) -> Vec<u8> {
    let fixed = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    [fixed, vec![0x20 | command, 0x11, 0, 12], client.to_vec(), vec![127, 0, 0, 1, 0x30, 0x39, 0x1F, 0x90]].concat()
}

#[test]
fn a_forged_field_of_an_untrusted_peer_counts_for_nothing() {
    let hub = Hub::start(&["--anonymous", "--trusted-proxy", "127.0.0.9", "--max-connections-per-address", "2"]);
    let forged = |n: u32| stream_from(&hub, "127.0.0.2", &[("X-Forwarded-For", &format!("192.0.2.{n}"))]);
    let _held = [forged(1).expect("within"), forged(2).expect("within")];
    assert_refused(&forged(3).expect_err("it is one and the same client"), 429, "address");
    assert_eq!(addresses(&hub), ["127.0.0.2", "127.0.0.2"]);
}

#[test]
fn a_trusted_proxy_speaks_for_its_clients_and_has_no_limit_itself() {
    let limits =
        ["--trusted-proxy", "127.0.0.9", "--trusted-proxy", "10.0.0.0/8", "--max-connections-per-address", "2"];
    let hub = Hub::start(&[&["--anonymous"], &limits[..]].concat());
    let of = |field: &str| stream_from(&hub, "127.0.0.9", &[("X-Forwarded-For", field)]);
    let ann = [of("192.0.2.1").expect("within"), of("6.6.6.6, 192.0.2.1, 10.0.0.1").expect("within")];
    assert_refused(&of("7.7.7.7, 192.0.2.1").expect_err("whatever she says herself"), 429, "address");
    let bob = of("192.0.2.2").expect("another client");
    let network = [of("2001:db8::1").expect("within"), of("[2001:db8::2]:80").expect("within")];
    assert_eq!(of("2001:db8::3").expect_err("the same 64 bits").status, 429);
    let own: Vec<Stream> = (0..5).map(|_| stream_from(&hub, "127.0.0.9", &[]).expect("the proxy itself")).collect();
    assert_eq!(addresses(&hub)[..2], ["127.0.0.9", "127.0.0.9"]);
    assert_eq!(addresses(&hub)[5..], ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]);
    assert_eq!(counted(&hub)[0], 3.0);
    drop((ann, bob, network, own));
    eventually("all of them are given back", || counted(&hub)[0] == 0.0);
}

#[test]
fn requests_of_several_clients_over_one_connection_of_a_proxy_are_counted_one_by_one() {
    let hub = Hub::start(&["--anonymous", "--trusted-proxy", "127.0.0.0/8", "--max-connections-per-address", "1"]);
    let _held = stream_from(&hub, "127.0.0.9", &[("X-Forwarded-For", "192.0.2.1")]).expect("within");
    let mut proxy = Client::connect_from("127.0.0.9", hub.address());
    for (client, status) in [("192.0.2.2", 204), ("192.0.2.1", 429), ("192.0.2.3", 204), ("192.0.2.2", 204)] {
        proxy.request("OPTIONS", HUB, &[("X-Forwarded-For", client)], None);
        assert_eq!(proxy.response("OPTIONS").status, status, "{client}");
    }
    eventually("what is answered counts no more", || counted(&hub)[0] == 1.0);
}

/// Seen: who was a proxy when it connected stayed one, and who became one was none, for as long as the connection lasted.
#[test]
fn a_reload_says_who_is_a_proxy_on_connections_that_are_open_too() {
    const LIMIT: &str = "max_connections_per_address = 1";
    const TRUSTING: &str = "max_connections_per_address = 1\ntrusted_proxy = [\"127.0.0.9\"]";
    let launch = Launch::serve();
    let path = launch.file("hub.toml", &configuration(LIMIT));
    // What is known to one connection is known to all.
    let hub = launch.args(&["--config", &path, "--shards", "1"]).start();
    let connect = || Client::connect_from("127.0.0.9", hub.address());
    let ask = |client: &mut Client, field: &str| {
        client.request("OPTIONS", HUB, &[("X-Forwarded-For", field)], None);
        client.response("OPTIONS").status
    };
    let become_a_stream = |mut client: Client, field: &str| {
        client.send(format!("{GET}X-Forwarded-For: {field}\r\n\r\n").as_bytes());
        client.stream()
    };
    let mut early = connect();
    assert_eq!((ask(&mut early, "192.0.2.1"), counted(&hub)[0]), (204, 1.0), "itself");

    reload(&hub, TRUSTING);
    eventually("it has no limit any more, and counts for nothing", || {
        assert_eq!(ask(&mut early, "192.0.2.1"), 204);
        counted(&hub)[0] == 0.0
    });
    let ann = become_a_stream(early, "192.0.2.1").expect("within");
    assert_eq!(addresses(&hub), ["192.0.2.1"]);
    let (mut first, mut second) = (connect(), connect());
    for client in [&mut first, &mut second] {
        assert_eq!([ask(client, "192.0.2.1"), ask(client, "192.0.2.2")], [429, 204]);
    }

    reload(&hub, LIMIT);
    eventually("what it says of others counts no more", || ask(&mut first, "192.0.2.1") == 204);
    assert_eq!(ask(&mut second, "192.0.2.2"), 429, "it is a client like others, and has one connection already");
    second.expect_closed();
    assert_eq!(counted(&hub)[0], 2.0);
    let itself = become_a_stream(first, "192.0.2.2").expect("within");
    assert_eq!(addresses(&hub), ["127.0.0.9", "192.0.2.1"]);
    drop((ann, itself));
    eventually("all is given back", || counted(&hub)[0] == 0.0);
}

/// Seen: when proxies were told to begin with a PROXY protocol header, the fields of requests counted on connections from before,
/// which had none, though a client writes those itself where its proxy passes bytes on.
#[test]
fn connections_from_before_proxies_had_to_introduce_their_clients_are_believed_nothing() {
    const INTRODUCING: &str = "trusted_proxy = [\"127.0.0.9\"]\nproxy_protocol = true";
    let launch = Launch::serve();
    let path = launch.file("hub.toml", &configuration(""));
    // What is known to one connection is known to all.
    let hub = launch.args(&["--config", &path, "--shards", "1"]).start();
    let mut early = Client::connect_from("127.0.0.9", hub.address());
    early.request("OPTIONS", HUB, &[], None);
    assert_eq!(early.response("OPTIONS").status, 204);
    reload(&hub, INTRODUCING);
    eventually("new connections need a header", || introduced(&hub, "127.0.0.9", b"").is_err());
    early.send(format!("{GET}X-Forwarded-For: 6.6.6.6\r\n\r\n").as_bytes());
    let _stream = early.stream().expect("a stream");
    eventually("the proxy's own address is what counts", || addresses(&hub) == ["127.0.0.9"]);
}

#[test]
fn the_standard_s_own_field_counts_where_it_is_chosen() {
    let chosen = ["--trusted-proxy", "127.0.0.9", "--forwarded", "forwarded", "--max-connections-per-address", "1"];
    let hub = Hub::start(&[&["--anonymous"], &chosen[..]].concat());
    let of = |field: &str| stream_from(&hub, "127.0.0.9", &[("Forwarded", field), ("X-Forwarded-For", "6.6.6.6")]);
    let _held = of("for=\"[2001:db8::7]:4711\";proto=https").expect("within");
    assert_eq!(of("for=6.6.6.6, for=\"[2001:db8::8]\"").expect_err("the same 64 bits").status, 429);
    assert_eq!(addresses(&hub), ["2001:db8::7"]);
}

#[test]
fn the_proxy_protocol_is_required_of_trusted_proxies_and_refused_from_others() {
    let limits = ["--proxy-protocol", "--trusted-proxy", "127.0.0.9", "--max-connections-per-address", "1"];
    let hub = Hub::start(&[&["--anonymous"], &limits[..]].concat());
    let v1 = b"PROXY TCP4 192.0.2.1 127.0.0.1 5000 80\r\n";
    let _ann = introduced(&hub, "127.0.0.9", v1).expect("version 1");
    let _bob = introduced(&hub, "127.0.0.9", &version_2(1, [192, 0, 2, 2])).expect("version 2");
    assert_refused(&introduced(&hub, "127.0.0.9", v1).expect_err("one too many"), 429, "address");
    assert_refused(
        &introduced(&hub, "127.0.0.9", &version_2(1, [192, 0, 2, 1])).expect_err("her again"),
        429,
        "address",
    );
    let forged = format!("PROXY TCP4 192.0.2.3 127.0.0.1 5000 80\r\n{}X-Forwarded-For: 6.6.6.6\r\n\r\n", GET);
    let mut client = Client::connect_from("127.0.0.9", hub.address());
    client.send(forged.as_bytes());
    let _carl = client.stream().expect("another client");
    assert_eq!(addresses(&hub), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    // Seen: a client whose address the proxy did not give could name one itself.
    let hidden = format!("PROXY UNKNOWN\r\n{}X-Forwarded-For: 6.6.6.6\r\n\r\n", GET);
    let mut client = Client::connect_from("127.0.0.9", hub.address());
    client.send(hidden.as_bytes());
    let _hidden = client.stream().expect("nobody in particular");
    assert!(!addresses(&hub).contains(&"6.6.6.6".to_owned()), "{:?}", addresses(&hub));
    for own in [&b"PROXY UNKNOWN\r\n"[..], &version_2(0, [0; 4])] {
        assert!(introduced(&hub, "127.0.0.9", own).is_ok(), "the proxy itself");
    }

    let refused = introduced(&hub, "127.0.0.9", b"").expect_err("no header");
    assert_eq!(refused.status, 400);
    assert!(refused.problem()["detail"].as_str().is_some_and(|detail| detail.contains("PROXY protocol")));
    for wrong in [&b"PROXY TCP4 192.0.2.1 127.0.0.1 5000\r\n"[..], b"PROXY TCP9 a b 1 2\r\n", &version_2(7, [0; 4])] {
        assert_eq!(introduced(&hub, "127.0.0.9", wrong).expect_err("malformed").status, 400);
    }
    assert!(introduced(&hub, "127.0.0.2", b"").is_ok(), "others speak for themselves");
    for (from, header) in [("127.0.0.3", &v1[..]), ("127.0.0.4", &version_2(1, [192, 0, 2, 4]))] {
        assert_eq!(introduced(&hub, from, header).expect_err("an untrusted peer's").status, 400);
    }
    eventually("the refusals are counted", || {
        metric(&hub, "cinnabar_limit_refusals_total{limit=\"proxy_header\"}") == 4.0
    });
}

#[test]
fn a_proxy_header_has_the_time_of_a_head_and_both_together_have_no_more() {
    let limits = ["--proxy-protocol", "--trusted-proxy", "127.0.0.1", "--head-timeout", "1s"];
    let hub = Hub::start(&[&["--anonymous"], &limits[..]].concat());
    for (bytes, answered) in [
        (&b""[..], false),
        (b"PROXY TCP4 192.0.2.1", false),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x01", false),
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 5000 80\r\n", false),
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 5000 80\r\nGET / HT", true),
    ] {
        let mut client = hub.connect();
        client.send(bytes);
        let answer = client.try_response("GET").map(|response| response.status);
        assert_eq!(answer, answered.then_some(408), "{bytes:?}");
    }
    eventually("no connection is left", || metric(&hub, "cinnabar_connections") == 0.0);
}

#[test]
fn curl_sends_a_header_and_is_served() {
    let hub = Hub::start(&["--anonymous", "--proxy-protocol", "--trusted-proxy", "127.0.0.1"]);
    let status = |more: &[&str]| {
        let url = format!("http://{}/", hub.address());
        let output =
            Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]).args(more).arg(url).output();
        String::from_utf8(output.expect("curl is installed").stdout).expect("digits")
    };
    assert_eq!(status(&["--haproxy-protocol"]), "200");
    assert_eq!(status(&[]), "400");
}

#[test]
fn nginx_in_front_passes_on_who_asks() {
    let hub = Hub::start(&["--anonymous", "--trusted-proxy", "127.0.0.1", "--max-connections-per-address", "2"]);
    let port = free_port();
    let folder = hub.folder();
    let at = folder.path().display().to_string();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {at}/nginx-{name};"))
        .concat();
    let configuration = folder.write(
        "nginx.conf",
        &format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
             events {{}}\nhttp {{ access_log off; {temporary}\n server {{ listen 127.0.0.1:{port};\n\
             location / {{ proxy_pass http://{}; proxy_buffering off;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}\n",
            hub.address()
        ),
    );
    let _nginx = Process::bash(&format!("nginx -p '{at}' -c '{configuration}'"));
    eventually("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let through = |from: &str, forged: &str| {
        let mut client = Client::connect_from(from, ([127, 0, 0, 1], port).into());
        client.send(format!("{GET}X-Forwarded-For: {forged}\r\n\r\n").as_bytes());
        client.stream()
    };
    let mut held =
        [through("127.0.0.2", "6.6.6.6").expect("within"), through("127.0.0.2", "127.0.0.1").expect("within")];
    assert_refused(&through("127.0.0.2", "7.7.7.7").expect_err("beyond, through nginx too"), 429, "address");
    let mut other = through("127.0.0.3", "127.0.0.2").expect("another client");
    assert_eq!(addresses(&hub), ["127.0.0.2", "127.0.0.2", "127.0.0.3"]);
    hub.say("urn:a", "x");
    assert!(held.iter_mut().chain([&mut other]).all(|stream| stream.data() == "x"));
}
