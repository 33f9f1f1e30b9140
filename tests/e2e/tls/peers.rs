//! Clients nobody here wrote: curl, openssl, Go.

use std::process::Command;

use super::Sealed;
use crate::admin::metric;
use crate::harness::*;

/// What `openssl s_client` says with these arguments, when it has sent a line and the hub has closed.
pub(super) fn openssl(sealed: &Sealed, arguments: &str, input: &str) -> String {
    let ca = sealed.authority.text("ca.pem");
    let line = format!(
        "printf '{input}' | timeout 60 openssl s_client -connect {} -servername localhost -CAfile {ca} {arguments} 2>&1",
        sealed.address
    );
    stdout(&line)
}

/// What a line of the shell prints.
pub(super) fn stdout(line: &str) -> String {
    let output = Command::new("bash").args(["-c", line]).output().expect("bash is there");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_publishes_and_receives() {
    let sealed = Sealed::anonymous();
    let ca = sealed.authority.text("ca.pem");
    let curl = Process::bash(&format!("curl -sN --http1.1 --cacert {ca} -D - '{}?match=urn:a'", sealed.url()));
    let status = curl.line();
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    while !curl.line().trim().is_empty() {}
    for n in 0..5 {
        let output = Command::new("curl")
            .args(["-s", "--cacert", &ca, "-H", &format!("Authorization: Bearer {}", publisher())])
            .args(["-d", "topic=urn:a", "-d", &format!("data={n}"), &sealed.url()])
            .output()
            .expect("curl is installed");
        assert!(output.status.success() && output.stdout.starts_with(b"urn:uuid:"), "{output:?}");
        while curl.line() != format!("data: {n}") {}
    }
}

#[test]
fn openssl_receives_with_every_suite_and_is_told_of_the_end() {
    let sealed = Sealed::start(&["--anonymous", "--max-lifetime", "2s"]);
    let request = format!("GET {HUB}?match=urn:a HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n");
    let suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
    let arguments = suites.map(|suite| format!("-tls1_3 -ciphersuites {suite}"));
    std::thread::scope(|scope| {
        let (sealed, request) = (&sealed, &request);
        let with =
            |arguments: String| scope.spawn(move || openssl(sealed, &format!("-quiet {arguments} -msg"), request));
        let said: Vec<_> = arguments.into_iter().chain(["-tls1_2".to_owned()]).map(with).collect();
        eventually("all are there", || metric(&sealed.hub, "cinnabar_subscriptions_total") == 4.0);
        sealed.hub.say("urn:a", "for all");
        for said in said {
            let said = said.join().expect("it ran");
            assert!(said.contains("data: for all"), "{said}");
            assert!(said.contains("close_notify"), "{said}");
        }
    });
}

#[test]
fn old_versions_and_weak_suites_are_refused() {
    let sealed = Sealed::anonymous();
    let refused = [
        "-tls1 -cipher ALL:@SECLEVEL=0",
        "-tls1_1 -cipher ALL:@SECLEVEL=0",
        "-tls1_2 -cipher AES128-SHA:AES256-SHA:AES128-GCM-SHA256:@SECLEVEL=0",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0",
        "-tls1_2 -cipher NULL:aNULL:@SECLEVEL=0",
    ];
    for arguments in refused {
        let said = openssl(&sealed, arguments, "");
        assert!(said.contains("Cipher is (NONE)"), "{arguments}: {said}");
    }
    let accepted = ["-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "-tls1_3", "-alpn h2,http/1.1"];
    for arguments in accepted {
        let said = openssl(&sealed, arguments, "");
        assert!(
            said.contains("Verify return code: 0 (ok)") && !said.contains("Cipher is (NONE)"),
            "{arguments}: {said}"
        );
    }
    eventually("they are counted", || {
        metric(&sealed.hub, "cinnabar_tls_handshake_failures_total{reason=\"incompatible\"}") >= 4.0
    });
}

#[test]
fn openssl_resumes_with_its_ticket() {
    let sealed = Sealed::anonymous();
    let session = sealed.authority.text("session");
    let request = format!("OPTIONS {HUB} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n");
    for version in ["-tls1_3", "-tls1_2"] {
        let first = openssl(&sealed, &format!("{version} -ign_eof -sess_out {session}"), &request);
        assert!(first.contains("New, TLSv1"), "{first}");
        // Until each of the two shards has had some.
        for _ in 0..6 {
            let again = openssl(&sealed, &format!("{version} -ign_eof -sess_in {session}"), &request);
            assert!(again.contains("Reused, TLSv1"), "{version}: {again}");
        }
    }
}

const GO: &str = r#"package main

import ("bufio"; "crypto/tls"; "crypto/x509"; "fmt"; "net/http"; "os"; "slices")

func main() {
	roots := x509.NewCertPool()
	pem, _ := os.ReadFile(os.Args[1])
	roots.AppendCertsFromPEM(pem)
	transport := http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: slices.Contains(os.Args, "http2"),
		DisableCompression: slices.Contains(os.Args, "plain"),
	}
	client := http.Client{Transport: &transport}
	answer, err := client.Get(os.Args[2])
	if err != nil { fmt.Println(err); return }
	fmt.Println("status", answer.Status, answer.Proto, answer.TLS.Version == tls.VersionTLS13, answer.Uncompressed)
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1 << 20)
	for lines.Scan() { fmt.Println(lines.Text()) }
	fmt.Println("end", lines.Err())
}
"#;

/// Seen: what wasn't compressed, in a stream of gzip, came with the next event only. Go asks for gzip unless it is told not to.
#[test]
fn go_receives_each_event_when_it_is_published_and_sees_the_end() {
    let Some(go) = go() else { return };
    let sealed = Sealed::start(&["--anonymous", "--heartbeat", "0"]);
    let (source, program) = (sealed.authority.path("peer.go"), sealed.authority.path("peer"));
    let ca = sealed.authority.text("ca.pem");
    std::fs::write(&source, GO).expect("written");
    let built =
        Command::new(go).args(["build", "-o"]).args([&program, &source]).output().expect("Go was there a moment ago");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let long = "a row of words ".repeat(100);
    // The last but one is too long to be compressed, and too long for one block.
    let datas = ["tiny", "another", long.trim(), "and tiny again", &"0".repeat(100_000), &"0".repeat(300_000), "last"];
    let ways = ["http1 plain", "http1 gzip", "http2 plain", "http2 gzip"];
    let peers = ways.map(|way| {
        let peer = Process::bash(&format!("{} {ca} '{}?match=urn:a' {way}", program.display(), sealed.url()));
        let protocol = if way.contains("http2") { "HTTP/2.0" } else { "HTTP/1.1" };
        assert_eq!(peer.line(), format!("status 200 OK {protocol} true {}", way.contains("gzip")));
        peer
    });
    for data in datas {
        let id = sealed.hub.say("urn:a", data);
        for (peer, way) in peers.iter().zip(ways) {
            assert_eq!(peer.line(), format!("id: {id}"), "{way}");
            assert!(peer.line() == format!("data: {data}"), "{way}");
            assert_eq!(peer.line(), "", "{way}");
        }
    }
    signal(sealed.hub.pid(), "TERM");
    peers.iter().for_each(|peer| while !peer.line().starts_with("end ") {});
}
