//! Development mode with TLS: one command, and a browser that trusts its authority.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::peers::stdout;
use crate::harness::*;

/// Hubs share a port among their shards, so it is said here and not chosen by the kernel.
fn launch(port: u16) -> Launch {
    let launch = Launch::serve();
    let plain = format!("127.0.0.1:{}", launch.port());
    launch.args(&["--dev", "--tls", "--listen", &plain, "--listen", &format!("tls:127.0.0.1:{port}")])
}

fn authority(hub: &Hub) -> PathBuf {
    hub.folder().path().join("data/dev-tls/authority.pem")
}

#[test]
fn the_printed_curl_lines_work_over_tls_when_pasted() {
    let port = free_port();
    let hub = launch(port).start();
    let url = format!("https://localhost:{port}{HUB}");
    let mut lines = Vec::new();
    eventually("two curl lines are printed", || {
        lines = hub.log().lines().map(str::trim).filter(|line| line.starts_with("curl ")).map(str::to_owned).collect();
        lines.len() == 2
    });
    assert!(lines.iter().all(|line| line.contains(&url) && line.contains("--cacert '/")), "{lines:?}");
    assert!(hub.log().contains(&format!("hub               {url}")), "{}", hub.log());
    let subscriber = Process::bash(&lines[0]);
    let mut seen = Vec::new();
    eventually("an event arrives", || {
        let id = Process::bash(&lines[1]).line();
        assert!(id.starts_with("urn:uuid:"), "{} answered {id}", lines[1]);
        seen.extend(subscriber.lines_so_far());
        seen.iter().any(|line| line == "data: hello")
    });
    for name in ["127.0.0.1", "localhost"] {
        let ca = authority(&hub);
        let args = ["-sS", "--cacert", ca.to_str().expect("UTF-8"), &format!("https://{name}:{port}/")];
        let page = Command::new("curl").args(args).output().expect("curl is installed");
        assert!(page.status.success(), "{name}: {page:?}");
    }
    let key = hub.folder().path().join("data/dev-tls/localhost.pem");
    for (path, mode) in [(key.parent().expect("a folder"), 0o700), (&key, 0o600), (&authority(&hub), 0o600)] {
        assert_eq!(std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777, mode, "{path:?}");
    }
}

#[test]
fn a_second_start_keeps_the_authority_that_was_trusted_and_a_reload_the_certificate() {
    let mut hub = launch(free_port()).start();
    let made = std::fs::read(authority(&hub)).expect("an authority");
    let folder = hub.folder();
    hub.stop();
    let port = free_port();
    let hub = launch(port).in_place_of(free_port(), folder).start();
    assert_eq!(std::fs::read(authority(&hub)).expect("an authority"), made);
    assert!(!hub.log().contains("a local certificate and an authority for it were made"), "{}", hub.log());
    signal(hub.pid(), "HUP");
    eventually("it is reloaded", || hub.log().contains("the configuration was reloaded"));
    let line = format!("curl -sS --cacert '{}' https://localhost:{port}/", authority(&hub).display());
    assert!(stdout(&line).contains("<html"), "{}", hub.log());
}

#[test]
fn openssl_sees_an_authority_held_to_this_machine() {
    let port = free_port();
    let hub = launch(port).start();
    let line = format!("openssl x509 -noout -text -in '{}'", authority(&hub).display());
    let said = stdout(&line);
    for part in ["CA:TRUE, pathlen:0", "X509v3 Name Constraints: critical", "DNS:localhost", "IP:127.0.0.0/255.0.0.0"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let line = format!(
        "openssl s_client -connect 127.0.0.1:{port} -servername localhost -verify_hostname localhost -CAfile '{}' 2>&1 </dev/null",
        authority(&hub).display()
    );
    let said = stdout(&line);
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
}

#[test]
fn outside_development_mode_it_says_what_to_do() {
    let said = Launch::keyed().args(&["--tls"]).refused();
    assert!(said.contains("which is for `--dev` only: elsewhere write --listen tls:0.0.0.0:443"), "{said}");
}
