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

import ("bufio"; "crypto/tls"; "crypto/x509"; "fmt"; "net/http"; "os")

func main() {
	roots := x509.NewCertPool()
	pem, _ := os.ReadFile(os.Args[1])
	roots.AppendCertsFromPEM(pem)
	transport := http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableCompression: true}
	client := http.Client{Transport: &transport}
	answer, err := client.Get(os.Args[2])
	if err != nil { fmt.Println(err); return }
	fmt.Println("status", answer.StatusCode, answer.TLS.Version == tls.VersionTLS13)
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() { fmt.Println(lines.Text()) }
	fmt.Println("end", lines.Err())
}
"#;

#[test]
fn go_receives_a_stream_and_sees_its_end() {
    let Ok(go) = Command::new("bash").args(["-c", "command -v go || ls /usr/local/go/bin/go"]).output() else { return };
    let go = String::from_utf8_lossy(&go.stdout).trim().to_owned();
    if go.is_empty() {
        return;
    }
    let sealed = Sealed::start(&["--anonymous", "--max-lifetime", "20s"]);
    let (program, ca) = (sealed.authority.path("peer.go"), sealed.authority.text("ca.pem"));
    std::fs::write(&program, GO).expect("written");
    let peer = Process::bash(&format!("{go} run {} {ca} '{}?match=urn:a'", program.display(), sealed.url()));
    assert_eq!(peer.line(), "status 200 true");
    for n in 0..3 {
        sealed.hub.say("urn:a", &n.to_string());
        while peer.line() != format!("data: {n}") {}
    }
    signal(sealed.hub.pid(), "TERM");
    while !peer.line().starts_with("end ") {}
}
