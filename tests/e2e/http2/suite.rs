//! h2spec, a suite about the whole standard (RFC 7540, which 9113 replaced, and 7541), against a real hub. `tests/h2spec` pins its version.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::*;
use crate::tls::Sealed;

/// How many tests it has, so that none of them gets lost.
const TESTS: usize = 146;

/// What fails in the clear, and why it has to: where HTTP/1.1 and HTTP/2 share a port, what doesn't begin with the preface isn't
/// HTTP/2 with a mistake (RFC 9113, section 3.4) but a request of HTTP/1.1 with one, which is answered 400 (RFC 9112, section 2.2) before the
/// connection is closed. The suite takes the answer for a frame.
const FAIL_IN_THE_CLEAR: &[&str] = &["http2/3.5: Sends invalid connection preface"];

/// What fails over TLS.
const FAIL_OVER_TLS: &[&str] = &[];

/// The suite's program, built once; `None` where there is no Go to build it with.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let go = go()?;
        let target = Path::new(env!("CARGO_BIN_EXE_cinnabar")).ancestors().nth(2).expect("a folder of targets");
        let program = target.join("h2spec");
        let output = Command::new(go)
            .args(["build", "-o"])
            .arg(&program)
            .arg("github.com/summerwind/h2spec/cmd/h2spec")
            .env("GOFLAGS", "-mod=readonly")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/h2spec"))
            .output()
            .expect("Go was there a moment ago");
        assert!(output.status.success(), "go build: {}", String::from_utf8_lossy(&output.stderr));
        Some(program)
    };
    PROGRAM.get_or_init(build).as_deref()
}

/// Runs all tests and compares what fails with what has to.
fn run(port: u16, options: &[&str], fail: &[&str]) {
    let Some(program) = program() else { return };
    let folder = Folder::new();
    let report = folder.path().join("report.xml");
    let output = Command::new(program)
        .args(["-S", "-h", "localhost", "-p", &port.to_string(), "-o", "10", "-P", "/", "-j"])
        .arg(&report)
        .args(options)
        .output()
        .expect("just built");
    let said = String::from_utf8_lossy(&output.stdout);
    let report = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    let cases: Vec<&str> = report.split("<testcase ").skip(1).collect();
    let failed: Vec<String> = cases.iter().filter(|case| !is_passed(case)).map(|case| name(case)).collect();
    assert_eq!(cases.len(), TESTS, "{said}");
    assert_eq!(failed, fail, "{said}");
}

fn is_passed(case: &str) -> bool {
    !["<failure>", "<error>", "<skipped>"].iter().any(|outcome| case.contains(outcome))
}

/// Section and title.
fn name(case: &str) -> String {
    let value = |attribute: &str| {
        let rest = case.split_once(&format!("{attribute}=\"")).expect("a name").1;
        rest.split_once('"').expect("a closed quote").0
    };
    format!("{}: {}", value("package"), value("classname"))
}

#[test]
fn the_suite_passes_over_tls() {
    let sealed = Sealed::anonymous();
    run(sealed.address.port(), &["-t", "-k"], FAIL_OVER_TLS);
}

#[test]
fn the_suite_passes_in_the_clear() {
    let hub = Hub::anonymous();
    run(hub.address().port(), &[], FAIL_IN_THE_CLEAR);
}
