//! `cinnabar doctor`: on this machine, and through proxies that do well and proxies that don't.

use crate::admin::metric;
use crate::harness::*;
use serde_json::Value;
use std::process::{Command, Output, Stdio};

fn doctor(args: &[&str]) -> Output {
    Launch::bare().args(&["doctor"]).args(args).output("")
}

/// What `--json` says, and the exit code.
fn judged(args: &[&str]) -> (Value, i32) {
    let output = doctor(&[args, &["--json"]].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {output:?}"));
    (json, output.status.code().expect("it ends by itself"))
}

fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    let findings = report["findings"].as_array().expect("findings");
    findings
        .iter()
        .find(|finding| finding["name"] == name)
        .unwrap_or_else(|| panic!("nothing about {name}: {findings:#?}"))
}

fn level<'a>(report: &'a Value, name: &str) -> &'a str {
    finding(report, name)["level"].as_str().expect("a level")
}

#[test]
fn this_machine_is_read_and_nothing_breaks_where_nothing_is_asked_for() {
    let (report, code) = judged(&[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["broken"], 0);
    let limits = report["capacity"]["limits"].as_array().expect("limits");
    let holds = report["capacity"]["holds"].as_u64().expect("a number");
    assert!(holds > 0 && limits.iter().all(|limit| limit["connections"].as_u64() >= Some(holds)), "{report:#}");
    assert_eq!(report["capacity"]["first"], limits[0]["resource"]);
    assert_eq!(level(&report, "configuration"), "note");
}

#[test]
fn people_get_a_table_and_the_commands() {
    let output = doctor(&["--connections", "1000000000"]);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["1,000,000,000 connections don't fit", "FAIL memory", "--max-connections", "would break"] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    assert!(!said.contains('\x1b'), "no colours for a pipe");
}

#[test]
fn exit_codes_say_whether_something_would_break() {
    assert_eq!(judged(&["--connections", "100"]).1, 0);
    assert_eq!(judged(&["--connections", "1000000000"]).1, 1);
    assert_eq!(judged(&["--max-connections", "50", "--connections", "100"]).1, 1, "the hub itself would refuse them");
    assert_eq!(doctor(&["--connections", "many"]).status.code(), Some(2));
}

#[test]
fn the_real_configuration_is_judged() {
    let launch = Launch::bare();
    let file = launch.file(
        "hub.toml",
        "resource = \"https://hub.example/.well-known/mercure\"\nanonymous = true\nmax_connections = 77\n",
    );
    let output = launch.args(&["doctor", "--config", &file, "--json", "--io", "epoll"]).output("");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &report["capacity"]["first"]), (Some(0), &Value::from("setting")), "{report:#}");
    assert!(
        report["capacity"]["limits"].as_array().expect("limits").iter().any(|limit| limit["resource"] == "descriptors")
    );
    let launch = Launch::bare();
    let file = launch.file("hub.toml", "max_connections = 77\n");
    let output = launch.args(&["doctor", "--config", &file, "--json"]).output("");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (output.status.code(), level(&report, "configuration")),
        (Some(1), "fail"),
        "a hub doesn't start with it"
    );
    assert_eq!(report["hub"]["max_connections"], 77, "the machine is judged with what stands");
}

#[test]
fn a_hub_that_runs_is_judged_by_its_own_limits() {
    let hub = Launch::keyed().descriptors(1000).start();
    let (report, _) = judged(&["--pid", &hub.pid().to_string()]);
    assert_eq!(report["machine"]["descriptors"], serde_json::json!([1000, 1000]));
    let output = doctor(&["--pid", "4194304"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is there such a process"), "{output:?}");
}

#[test]
fn a_ceiling_of_memory_that_refuses_too_early_is_told_with_the_one_that_suffices() {
    let asked = ["--connections", "10000", "--event-bytes", "300", "--history-max-bytes", "16MiB", "--memory-max"];
    let (report, code) = judged(&[&asked[..], &["100MiB"]].concat());
    let ceiling = finding(&report, "--memory-max");
    assert_eq!(
        (code, &ceiling["level"], &report["capacity"]["first"]),
        (1, &"fail".into(), &"ceiling".into()),
        "{report:#}"
    );
    let fix = ceiling["fixes"][0]["text"].as_str().expect("a fix");
    let wanted = fix.strip_prefix("--memory-max ").expect("what to set");
    let (report, _) = judged(&[&asked[..], &[wanted]].concat());
    assert_eq!(level(&report, "--memory-max"), "ok", "{fix} suffices: {report:#}");
}

#[test]
fn a_limit_by_address_behind_a_proxy_nobody_named_breaks() {
    let limited = ["--connections", "100", "--max-connections-per-address", "5"];
    let (report, code) = judged(&limited);
    assert_eq!((level(&report, "--max-connections-per-address"), code), ("fail", 1), "{report:#}");
    let (report, code) = judged(&[&limited[..], &["--trusted-proxy", "127.0.0.0/8", "--proxy-protocol"]].concat());
    assert_eq!((level(&report, "--max-connections-per-address"), code), ("ok", 0), "{report:#}");
    assert_eq!(level(&report, "--proxy-protocol"), "note");
}

/// Looks at the way to a hub through this URL.
fn way(url: &str, more: &[&str]) -> (Value, i32) {
    let (publisher, subscriber) = (publisher(), subscriber());
    let args = ["--url", url, "--token", &publisher, "--subscriber-token", &subscriber, "--idle", "1s"];
    judged(&[&args[..], more].concat())
}

/// Names of what isn't right about the way.
fn troubles(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings").iter();
    let bad = findings.filter(|finding| finding["level"] == "fail" || finding["level"] == "warn");
    bad.filter_map(|finding| finding["name"].as_str()).filter(|name| name.starts_with("url:")).collect()
}

/// The way is good, and what was found. On a busy machine events can be late by themselves, which isn't the proxy's doing:
/// then it looks again.
fn good_way(url: &str, more: &[&str]) -> Value {
    let mut seen = (Value::Null, 1);
    for _ in 0..5 {
        seen = way(url, more);
        if troubles(&seen.0).iter().all(|name| *name != "url: buffering") {
            break;
        }
    }
    assert_eq!((troubles(&seen.0), seen.1), (vec![], 0), "{:#}", seen.0);
    seen.0
}

/// The hub's own compression is none of a proxy's, whatever stands between.
fn compressed_by_the_hub(report: &Value) {
    assert_eq!(finding(report, "url: compression")["found"], "gzip by the hub, events come through");
}

/// A hub that lets anonymous subscribers in and has an idle stream say so often.
fn open_hub() -> Hub {
    Hub::start(&["--anonymous", "--heartbeat", "1s", "--cors-origin", "https://app.example"])
}

#[test]
fn straight_to_the_hub_the_way_is_good() {
    let hub = open_hub();
    let report = good_way(&hub.url(), &["--origin", "https://app.example", "--idle", "3s"]);
    assert!(finding(&report, "url: Last-Event-ID")["found"].as_str().expect("text").starts_with("4 of 4"));
    assert!(!finding(&report, "url: idle")["found"].as_str().expect("text").contains(" 0 heartbeats"), "{report:#}");
    assert_eq!(level(&report, "url: CORS"), "ok");
    compressed_by_the_hub(&report);
    let (report, code) = way(&hub.url(), &["--origin", "https://other.example"]);
    assert_eq!((level(&report, "url: CORS"), code), ("fail", 1), "{report:#}");
}

#[test]
fn a_token_for_publishing_alone_suffices_where_anybody_may_subscribe() {
    let hub = open_hub();
    let (report, _) = judged(&["--url", &hub.url(), "--token", &publisher(), "--idle", "1s"]);
    assert_eq!(level(&report, "url: Last-Event-ID"), "ok", "{report:#}");
}

#[test]
fn who_may_not_publish_is_told_so() {
    let hub = open_hub();
    let (report, code) = judged(&["--url", &hub.url(), "--token", &subscriber()]);
    assert_eq!((troubles(&report), code), (vec!["url: publish"], 1), "{report:#}");
    let hub = Hub::start(&[]);
    let (report, _) = judged(&["--url", &hub.url()]);
    assert_eq!(troubles(&report), ["url: subscribe"], "{report:#}");
}

/// A proxy started with a file of configuration; waits until it listens.
pub(crate) fn proxy(program: &str, args: &[&str], port: u16, folder: &Folder) -> Process {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    // Debian keeps daemons where users don't look.
    command.args(args).env("PATH", format!("{path}:/usr/sbin")).env("HOME", folder.path()).stderr(Stdio::null());
    let process = Process::start(command);
    eventually(&format!("{program} listens"), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    process
}

/// nginx with a whole configuration, without what needs root.
pub(crate) fn nginx(config: &str, port: u16, folder: &Folder) -> Process {
    let place = folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
        .collect();
    let config = config.replacen("http {", &format!("http {{\n{temporary}"), 1);
    let file = folder.write("nginx.conf", &format!("daemon off;\nmaster_process off;\npid {place}/pid;\n{config}"));
    proxy("nginx", &["-c", &file, "-p", &place.to_string(), "-e", &format!("{place}/error.log")], port, folder)
}

/// A file of tuning/ with parts of it exchanged, each of which has to be there.
fn guide(name: &str, exchanges: &[(&str, &str)]) -> String {
    let path = format!("{}/tuning/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the guide's file");
    exchanges.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{path} has {from}");
        text.replace(from, to)
    })
}

#[test]
fn an_nginx_that_buffers_and_cuts_off_is_found_out() {
    let (hub, folder, port) = (Hub::anonymous(), Folder::new(), free_port());
    let config = format!(
        "events {{ worker_connections 64; }}
         http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{
           proxy_pass http://{}; proxy_ignore_headers X-Accel-Buffering; }} }} }}",
        hub.address()
    );
    let _nginx = nginx(&config, port, &folder);
    let (report, code) = way(&format!("http://127.0.0.1:{port}{HUB}"), &[]);
    assert_eq!((troubles(&report), code), (vec!["url: buffering"], 1), "{report:#}");
    let fixes = &finding(&report, "url: buffering")["fixes"];
    assert!(fixes[0]["place"] == "nginx" && fixes[0]["text"].to_string().contains("proxy_buffering off"), "{report:#}");
}

#[test]
fn an_nginx_that_ends_silent_streams_and_forgets_the_last_id_is_found_out() {
    let (hub, folder, port) = (Hub::anonymous(), Folder::new(), free_port());
    let config = format!(
        "events {{ worker_connections 64; }}
         http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{
           proxy_pass http://{}; proxy_read_timeout 5s; proxy_set_header Last-Event-ID \"\"; }} }} }}",
        hub.address()
    );
    let _nginx = nginx(&config, port, &folder);
    let (report, code) = way(&format!("http://127.0.0.1:{port}{HUB}"), &["--idle", "1m"]);
    assert_eq!((troubles(&report), code), (vec!["url: Last-Event-ID", "url: idle"], 1), "{report:#}");
    assert!(finding(&report, "url: idle")["fixes"].to_string().contains("proxy_read_timeout"), "{report:#}");
}

#[test]
fn an_nginx_that_compresses_by_itself_is_found_out() {
    let (hub, folder, port) = (Hub::anonymous(), Folder::new(), free_port());
    let config = format!(
        "events {{ worker_connections 64; }}
         http {{ access_log off; gzip on; gzip_types text/event-stream; server {{ listen 127.0.0.1:{port}; location / {{
           proxy_pass http://{}; proxy_set_header Accept-Encoding \"\"; }} }} }}",
        hub.address()
    );
    let _nginx = nginx(&config, port, &folder);
    let (report, _) = way(&format!("http://127.0.0.1:{port}{HUB}"), &[]);
    let compression = finding(&report, "url: compression");
    assert_eq!(
        (&compression["level"], &compression["found"]),
        (&"warn".into(), &"gzip by something on the way".into()),
        "{report:#}"
    );
    assert!(compression["fixes"].to_string().contains("gzip off"), "{report:#}");
}

/// A certificate nobody trusts, with its key: the paths of both, and of a file with the two.
fn certificate(folder: &Folder) -> (String, String, String) {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (path("crt"), path("key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=hub.example",
        ])
        .args(["-keyout", &key, "-out", &certificate])
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl is installed").success());
    let both = [&certificate, &key].map(|path| std::fs::read_to_string(path).expect("just made")).concat();
    (certificate, key, folder.write("pem", &both))
}

/// An event through a proxy's TLS, over HTTP/2.
fn arrives_by_http2(hub: &Hub, port: u16) {
    let curl = Process::bash(&format!("curl -skN --http2 -D - 'https://127.0.0.1:{port}{HUB}?match=urn:tls'"));
    assert!(curl.line().starts_with("HTTP/2 200"));
    while !curl.line().trim().is_empty() {}
    hub.say("urn:tls", "sealed");
    let mut line = String::new();
    while line != "data: sealed" {
        line = curl.line();
    }
}

/// The guide's proxies in front of a hub, at a plain port and, but for Caddy, at one with TLS.
fn guides_nginx(hub: &Hub, folder: &Folder, port: u16, tls: u16) -> Process {
    let (certificate, key, _) = certificate(folder);
    let config = guide(
        "nginx.conf",
        &[
            ("user www-data;\n", ""),
            ("worker_rlimit_nofile 700000;", ""),
            ("worker_connections 350000;", "worker_connections 256;"),
            ("server 127.0.0.1:3000;", &format!("server {};", hub.address())),
            ("listen 443 ssl http2;\n", &format!("listen 127.0.0.1:{tls} ssl http2;\nlisten 127.0.0.1:{port};\n")),
            ("/etc/ssl/hub.example.crt", &certificate),
            ("/etc/ssl/hub.example.key", &key),
        ],
    );
    nginx(&config, port, folder)
}

fn guides_haproxy(hub: &Hub, folder: &Folder, port: u16, tls: u16) -> Process {
    let (.., both) = certificate(folder);
    let config = guide(
        "haproxy.cfg",
        &[
            ("maxconn 320000", "maxconn 256"),
            ("127.0.0.1:3000", &hub.address().to_string()),
            (
                "bind :443 ssl crt /etc/ssl/hub.example.pem",
                &format!("bind 127.0.0.1:{port}\n    bind 127.0.0.1:{tls} ssl crt {both}"),
            ),
        ],
    );
    let file = folder.write("haproxy.cfg", &config);
    proxy("haproxy", &["-db", "-f", &file], port, folder)
}

fn guides_caddy(hub: &Hub, folder: &Folder, port: u16) -> Process {
    let config = guide(
        "Caddyfile",
        &[
            ("hub.example {", &format!("http://:{port} {{\n\tbind 127.0.0.1")),
            ("127.0.0.1:3000", &hub.address().to_string()),
        ],
    );
    let file = folder.write("Caddyfile", &format!("{{\n\tadmin off\n}}\n{config}"));
    proxy("caddy", &["run", "--adapter", "caddyfile", "--config", &file], port, folder)
}

#[test]
fn the_guide_s_nginx_passes_streams_on_as_they_are() {
    let (hub, folder, port, tls) = (open_hub(), Folder::new(), free_port(), free_port());
    let _nginx = guides_nginx(&hub, &folder, port, tls);
    compressed_by_the_hub(&good_way(&format!("http://127.0.0.1:{port}{HUB}"), &["--idle", "3s"]));
    arrives_by_http2(&hub, tls);
}

#[test]
fn the_guide_s_haproxy_passes_streams_on_as_they_are() {
    let (hub, folder, port, tls) = (open_hub(), Folder::new(), free_port(), free_port());
    let _haproxy = guides_haproxy(&hub, &folder, port, tls);
    compressed_by_the_hub(&good_way(&format!("http://127.0.0.1:{port}{HUB}"), &["--idle", "3s"]));
    arrives_by_http2(&hub, tls);
}

#[test]
fn the_guide_s_caddy_passes_streams_on_as_they_are() {
    let (hub, folder, port) = (open_hub(), Folder::new(), free_port());
    let _caddy = guides_caddy(&hub, &folder, port);
    compressed_by_the_hub(&good_way(&format!("http://127.0.0.1:{port}{HUB}"), &["--idle", "3s"]));
}

/// Over HTTP/2 proxies need a word of configuration for it (docs/http2.md).
#[test]
fn who_leaves_one_of_the_guide_s_proxies_leaves_the_hub_although_nothing_is_sent() {
    for start in [guides_nginx, guides_haproxy, |hub: &Hub, folder: &Folder, port, _| guides_caddy(hub, folder, port)] {
        let (hub, folder, port) = (Hub::start(&["--anonymous", "--heartbeat", "0"]), Folder::new(), free_port());
        let _proxy = start(&hub, &folder, port, free_port());
        let mut client = Client::connect(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        client.request("GET", &query(&[("match", "urn:a")]), &[], None);
        let mut stream = client.stream().expect("a stream");
        hub.say("urn:a", "to somebody");
        assert_eq!(stream.data(), "to somebody");
        drop(stream);
        eventually("nobody is left", || metric(&hub, "cinnabar_subscribers{state=\"current\"}") == 0.0);
    }
}
