//! Places to listen at beside addresses: Unix sockets behind a proxy, sockets that systemd has opened, and places that send on to TLS.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::admin::see;
use crate::harness::*;
use crate::tls::{Authority, subscribe_on};

/// A hub with a Unix socket beside its address.
fn with_socket(more: &[&str]) -> (Hub, PathBuf) {
    let launch = Launch::keyed().args(&["--anonymous"]).args(more);
    let path = PathBuf::from(launch.file("hub.sock", "")).with_file_name("public.sock");
    let address = format!("127.0.0.1:{}", launch.port());
    let hub = launch.args(&["--listen", &address, "--listen", &format!("unix:{}", path.display())]).start();
    (hub, path)
}

/// What curl says, over a Unix socket.
fn curl(socket: &Path, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-s", "-m", "60", "--unix-socket", socket.to_str().expect("UTF-8")])
        .args(arguments)
        .output()
        .expect("curl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn streams_and_publishes_go_over_a_unix_socket_whose_file_goes_with_the_hub() {
    let (mut hub, socket) = with_socket(&[]);
    assert!(hub.log().contains(&format!("listening on unix:{}", socket.display())), "{}", hub.log());
    let mode = std::fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let follow = format!("curl -sN --unix-socket {} 'http://h{HUB}?match=urn:a'", socket.display());
    let streams: Vec<Process> = (0..20).map(|_| Process::bash(&follow)).collect();
    eventually("all are there", || crate::admin::metric(&hub, "cinnabar_subscriptions_total") == 20.0);
    let bearer = format!("Authorization: Bearer {}", publisher());
    let id = curl(&socket, &["-H", &bearer, "-d", "topic=urn:a", "-d", "data=1", &format!("http://h{HUB}")]);
    assert!(id.starts_with("urn:uuid:"), "{id}");
    let large = "x".repeat(300_000);
    hub.say("urn:a", &large);
    for stream in &streams {
        while stream.line() != "data: 1" {}
        while stream.line() != format!("data: {large}") {}
    }
    let rows = see(&hub, "/connections");
    assert!(rows["connections"].as_array().expect("rows").iter().all(|row| row["address"].is_null()), "{rows}");
    assert_eq!(hub.stop().code(), Some(0));
    assert!(!socket.exists(), "its file goes with it");
}

#[test]
fn a_socket_that_a_dead_hub_left_is_replaced_and_one_of_a_living_hub_is_not() {
    let (mut hub, socket) = with_socket(&[]);
    let listen = format!("unix:{}?mode=666", socket.display());
    let other = Launch::keyed().args(&["--anonymous", "--listen", &listen]);
    let said = other.refused();
    assert!(
        said.contains(&format!("can't listen on unix:{}", socket.display())) && said.contains("another program"),
        "{said}"
    );
    assert!(UnixStream::connect(&socket).is_ok(), "the living hub's socket is left alone");
    hub.kill();
    assert!(socket.exists());
    let launch = Launch::keyed();
    let address = format!("127.0.0.1:{}", launch.port());
    let _next = launch.args(&["--anonymous", "--listen", &address, "--listen", &listen]).start();
    assert!(UnixStream::connect(&socket).is_ok());
    assert_eq!(std::fs::metadata(&socket).expect("it is there").permissions().mode() & 0o777, 0o666);
}

#[test]
fn whoever_comes_by_a_unix_socket_speaks_for_its_clients() {
    let (hub, socket) = with_socket(&["--max-connections-per-address", "1"]);
    let from = |address: &str, status: &str| {
        let field = format!("X-Forwarded-For: {address}");
        let said = curl(
            &socket,
            &["-o", "/dev/null", "-w", "%{http_code}", "-H", &field, "-X", "OPTIONS", &format!("http://h{HUB}")],
        );
        assert_eq!(said, status, "{address}");
    };
    let follow = format!(
        "curl -sN --unix-socket {} -H 'X-Forwarded-For: 192.0.2.1' 'http://h{HUB}?match=urn:a'",
        socket.display()
    );
    let _held = Process::bash(&follow);
    eventually("its client is seen", || {
        see(&hub, "/connections")["connections"]
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["address"] == "192.0.2.1"))
    });
    from("192.0.2.1", "429");
    from("192.0.2.2", "204");
    // A proxy that says nothing has no limit itself.
    from("unknown", "204");
}

#[test]
fn a_proxy_on_a_unix_socket_can_introduce_its_clients() {
    use std::io::{Read, Write};
    let (hub, socket) = with_socket(&["--proxy-protocol"]);
    let request = "GET /.well-known/mercure?match=urn:a HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut introduced = UnixStream::connect(&socket).expect("the hub listens");
    let header = "PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n";
    introduced.write_all(format!("{header}{request}").as_bytes()).expect("sent");
    eventually("its client is seen", || {
        let rows = see(&hub, "/connections");
        rows["connections"].as_array().is_some_and(|rows| rows.iter().any(|row| row["address"] == "192.0.2.7"))
    });
    let mut unannounced = UnixStream::connect(&socket).expect("the hub listens");
    unannounced.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    unannounced.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // Whoever comes by the address is no proxy.
    hub.say("urn:a", "1");
}

#[test]
fn nginx_in_front_by_a_unix_socket() {
    let (hub, socket) = with_socket(&["--max-connections-per-address", "5"]);
    let folder = Folder::new();
    let port = free_port();
    let config = format!(
        "user root; daemon off; worker_processes 1; pid {0}/pid; error_log stderr; events {{}}\n\
         http {{ access_log off; client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c; \
         uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;\n\
         upstream hub {{ server unix:{1}; keepalive 8; }}\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://hub; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; \
         proxy_buffering off; proxy_read_timeout 1h; }} }} }}\n",
        folder.path().display(),
        socket.display()
    );
    let file = folder.write("nginx.conf", &config);
    let _nginx = Process::bash(&format!("nginx -e stderr -c {file}"));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    eventually("nginx listens", || std::net::TcpStream::connect(address).is_ok());
    let subscribe = || {
        let mut client = Client::connect_from("127.0.0.5", address);
        client.request("GET", &query(&[("match", "urn:a")]), &[], None);
        client.stream()
    };
    let mut streams: Vec<Stream> = (0..3).map(|_| subscribe().expect("a stream")).collect();
    for n in 0..50 {
        let mut client = Client::connect(address);
        let body = form(&[("topic", "urn:a"), ("data", &n.to_string())]);
        client.post(&[("Authorization", &format!("Bearer {}", publisher()))], body.as_bytes());
        assert_eq!(client.response("POST").status, 200);
    }
    for stream in &mut streams {
        let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(stream.datas(50), expected);
    }
    let rows = see(&hub, "/connections");
    let addresses: Vec<&str> =
        rows["connections"].as_array().expect("rows").iter().filter_map(|row| row["address"].as_str()).collect();
    assert_eq!(addresses, ["127.0.0.5"; 3], "nginx says who they are");
    let _more: Vec<_> = (0..2).map(|_| subscribe().expect("within the limit")).collect();
    assert_eq!(subscribe().expect_err("the sixth of one address").status, 429);
}

/// Plays systemd: opens sockets, names them, and becomes the hub.
const SYSTEMD: &str = r#"import os, socket, sys
names, places, program = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
sockets = []
for place in places:
    if place.startswith("/"):
        one = socket.socket(socket.AF_UNIX)
        one.bind(place)
    elif place.startswith("udp:"):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("127.0.0.1", int(place[4:])))
    else:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", int(place)))
    if not place.startswith("udp:"):
        one.listen(100)
    sockets.append(one.detach())
# Out of the way of each other, then where they belong.
high = [os.dup2(fd, 100 + at) for at, fd in enumerate(sockets)]
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at, inheritable=True)
os.closerange(3 + len(places), 200)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(places))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(program[0], program)
"#;

/// Started so, with these sockets.
fn activated(names: &str, places: &str, launch: Launch) -> Launch {
    launch.through(&["python3", "-c", SYSTEMD, names, places])
}

#[test]
fn sockets_that_systemd_has_opened_are_shared_by_all_shards() {
    let launch = Launch::keyed();
    let (port, second) = (launch.port(), free_port());
    let socket = PathBuf::from(launch.file("x", "")).with_file_name("passed.sock");
    let places = format!("{port},{second},{}", socket.display());
    let launch = launch.args(&["--anonymous", "--listen", "systemd"]);
    let mut hub = activated("", &places, launch).start();
    assert!(hub.log().contains(&format!("listening on http://127.0.0.1:{second}")), "{}", hub.log());
    let mut streams: Vec<Stream> = (0..40).map(|_| hub.subscribe(&[("match", "urn:a")])).collect();
    let bearer = format!("Authorization: Bearer {}", publisher());
    let id = curl(&socket, &["-H", &bearer, "-d", "topic=urn:a", "-d", "data=1", &format!("http://h{HUB}")]);
    assert!(id.starts_with("urn:uuid:"), "{id}");
    for stream in &mut streams {
        assert_eq!(stream.data(), "1");
    }
    assert_eq!(hub.stop().code(), Some(0));
    assert!(socket.exists(), "it is systemd's");
}

/// Plays systemd that restarts a hub: the socket stays open, and the second hub is started when the first has ended.
const RESTART: &str = r#"import os, socket, sys
port, program = int(sys.argv[1]), sys.argv[2:]
one = socket.socket()
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
one.bind(("127.0.0.1", port))
one.listen(1000)
os.dup2(os.dup2(one.detach(), 100), 3, inheritable=True)
os.close(100)
def become_the_hub():
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = "1"
    os.execv(program[0], program)
first = os.fork()
if first == 0:
    become_the_hub()
print("the first hub is", first, flush=True)
print("the first hub ended with", os.waitpid(first, 0)[1], flush=True)
become_the_hub()
"#;

#[test]
fn a_restart_under_systemd_refuses_and_resets_nobody() {
    let launch = Launch::keyed().args(&["--anonymous", "--listen", "systemd"]);
    let port = launch.port().to_string();
    let mut hub = launch.through(&["python3", "-c", RESTART, &port]).start();
    let log = hub.log();
    let first = log.lines().find_map(|line| line.strip_prefix("the first hub is ")).expect("it says so");
    let (first, authorization) = (first.parse().expect("a number"), format!("Bearer {}", publisher()));
    let mut published = 0;
    let mut publish = || {
        let mut client = hub.connect();
        client.post(&[("Authorization", &authorization)], form(&[("topic", "urn:a"), ("data", "x")]).as_bytes());
        assert_eq!(client.response("POST").status, 200, "publish {published}");
        published += 1;
    };
    for _ in 0..20 {
        publish();
    }
    signal(first, "TERM");
    let second_serves = |log: &str| log.lines().filter(|line| line.starts_with("listening on http")).count() == 2;
    eventually("the second hub has taken over", || {
        publish();
        second_serves(&hub.log())
    });
    for _ in 0..20 {
        publish();
    }
    assert!(hub.log().contains("the first hub ended with 0"), "{}", hub.log());
    assert_eq!(hub.stop().code(), Some(0));
}

#[test]
fn sockets_are_taken_by_their_names() {
    let launch = Launch::keyed();
    let (port, second) = (launch.port(), free_port());
    let places = format!("{second},{port}");
    let launch = launch.args(&["--anonymous", "--listen", "systemd:hub", "--listen", "redirect:systemd:plain"]);
    let launch = launch.args(&["--redirect-to-port", "443"]);
    let hub = activated("plain:hub", &places, launch).start();
    hub.say("urn:a", "the hub is there");
    let mut plain = Client::connect(std::net::SocketAddr::from(([127, 0, 0, 1], second)));
    plain.request("GET", "/a", &[], None);
    assert_eq!(plain.response("GET").status, 308);
}

#[test]
fn sockets_of_systemd_speak_tls() {
    let authority = Authority::new();
    authority.issue("server", &["localhost"], 30);
    let launch = Launch::keyed();
    let (port, second) = (launch.port(), free_port());
    let (certificate, key) = (authority.text("server.pem"), authority.text("server.key"));
    let launch = launch.args(&["--anonymous", "--listen", "systemd:plain", "--listen", "tls:systemd:sealed"]);
    let launch = launch.args(&["--tls-certificate", &certificate, "--tls-key", &key]);
    let mut hub = activated("plain:sealed", &format!("{port},{second}"), launch).start();
    assert!(hub.log().contains(&format!("listening on https://127.0.0.1:{second}")), "{}", hub.log());
    let sealed = std::net::SocketAddr::from(([127, 0, 0, 1], second));
    let mut streams: Vec<Stream> = (0..20)
        .map(|_| {
            subscribe_on(Client::connect_tls(sealed, authority.client().into(), "localhost"), &[("match", "urn:a")])
        })
        .collect();
    hub.say("urn:a", "1");
    for stream in &mut streams {
        assert_eq!(stream.data(), "1");
    }
    assert_eq!(hub.stop().code(), Some(0));
}

#[test]
fn what_systemd_has_not_passed_is_said() {
    let systemd = || Launch::keyed().args(&["--anonymous", "--listen", "systemd"]);
    let said = systemd().refused();
    assert!(said.contains("systemd has passed no socket"), "{said}");
    let said = activated("odd", &format!("udp:{}", free_port()), systemd()).refused();
    assert!(said.contains("odd") && said.contains("isn't a socket that accepts streams"), "{said}");
    let named = Launch::keyed().args(&["--anonymous", "--listen", "systemd:a"]);
    let said = activated("b", &free_port().to_string(), named).refused();
    assert!(said.contains("no socket with the name a; it has passed b"), "{said}");
    // Meant for somebody else.
    let said = systemd().env("LISTEN_PID", "1").env("LISTEN_FDS", "1").refused();
    assert!(said.contains("systemd has passed no socket"), "{said}");
}

/// The service manager's end.
fn manager(folder: &Folder) -> (UnixDatagram, String) {
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (manager, path.to_str().expect("UTF-8").to_owned())
}

/// Waits for a message with this line, and gives all of it.
fn told(manager: &UnixDatagram, line: &str) -> String {
    let mut buffer = [0; 4096];
    loop {
        let length = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("waited in vain for {line}: {error}"));
        let message = String::from_utf8(buffer[..length].to_vec()).expect("UTF-8");
        if message.lines().any(|other| other == line) {
            return message;
        }
    }
}

#[test]
fn the_service_manager_is_told_of_everything() {
    let folder = Folder::new();
    let (manager, path) = manager(&folder);
    let launch = Launch::keyed().args(&["--anonymous", "--drain-window", "3s"]);
    let mut hub = launch.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").start();
    told(&manager, "READY=1");
    for _ in 0..3 {
        told(&manager, "WATCHDOG=1");
    }
    signal(hub.pid(), "HUP");
    let reloading = told(&manager, "RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    told(&manager, "READY=1");
    let streams: Vec<Stream> = (0..30).map(|_| hub.subscribe(&[("match", "urn:a")])).collect();
    signal(hub.pid(), "TERM");
    let stopping = told(&manager, "STOPPING=1");
    assert!(stopping.contains("\nSTATUS=draining") && stopping.contains("\nEXTEND_TIMEOUT_USEC="), "{stopping}");
    told(&manager, "WATCHDOG=1");
    for mut stream in streams {
        assert_eq!(stream.end(), End::LastChunk);
    }
    assert_eq!(hub.exit_status().code(), Some(0));
}

#[test]
fn a_manager_without_a_file_is_told_too_and_one_that_is_gone_stops_nobody() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("cinnabar-test-{}", free_port());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut hub = Launch::keyed().args(&["--anonymous"]).env("NOTIFY_SOCKET", &format!("@{name}")).start();
    told(&manager, "READY=1");
    drop(manager);
    assert_eq!(hub.stop().code(), Some(0));
}

#[test]
fn whoever_comes_without_tls_is_sent_on_and_arrives() {
    let launch = Launch::keyed().args(&["--anonymous"]);
    let plain = free_port();
    let sealed = crate::tls::Sealed::launch(launch.args(&["--listen", &format!("redirect:127.0.0.1:{plain}")]));
    let ca = sealed.authority.text("ca.pem");
    let run = |arguments: &[&str]| {
        let output = Command::new("curl").args(["-s", "-m", "60", "--cacert", &ca]).args(arguments).output();
        String::from_utf8_lossy(&output.expect("curl is installed").stdout).into_owned()
    };
    let url = format!("http://localhost:{plain}{HUB}");
    let said = run(&["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", &format!("{url}?match=urn:a&x=%20")]);
    assert_eq!(said, format!("308 {}?match=urn:a&x=%20", sealed.url()));
    // The method and the body stay what they are.
    let mut stream = sealed.subscribe(&[("match", "urn:a")]);
    let bearer = format!("Authorization: Bearer {}", publisher());
    let id = run(&["-L", "--location-trusted", "-H", &bearer, "-d", "topic=urn:a", "-d", "data=sent on", &url]);
    assert!(id.starts_with("urn:uuid:"), "{id}");
    assert_eq!(stream.data(), "sent on");
    // Several requests of one connection, and a token that isn't looked at.
    let mut client = Client::connect(std::net::SocketAddr::from(([127, 0, 0, 1], plain)));
    for _ in 0..3 {
        client.request("GET", HUB, &[("Authorization", "Bearer nonsense")], None);
        let answer = client.response("GET");
        assert_eq!((answer.status, answer.body.len()), (308, 0), "{answer:?}");
    }
}
