//! docs/conformance.md: every rule of the protocol, with the tests that prove it.
//!
//! The rules stand in `rules.toml`, written by hand. `tests/run` keeps what the tests of each run have said and names the folder
//! in `CINNABAR_TEST_RUNS`: then every test that a rule names must have run and passed, with both drivers where both were there,
//! and the document must say so. `UPDATE_DOCS=1 tests/run` writes it. Without that folder, as in a plain `cargo test`, the
//! document is only held against the rules.

mod document;
mod outcomes;
mod rules;

use std::path::Path;

use document::Document;
use outcomes::Outcomes;
use rules::Rule;

const DOCUMENT: &str = "docs/conformance.md";

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_rule_names_its_tests_or_is_pending() {
    let offences = rules::offences(&Rule::all());
    assert!(offences.is_empty(), "in tests/conformance/rules.toml:\n{}", offences.join("\n"));
}

#[test]
fn the_document_is_what_the_tests_have_shown() {
    let rules = Rule::all();
    let update = std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1");
    let outcomes = std::env::var_os("CINNABAR_TEST_RUNS").map(|folder| Outcomes::read(Path::new(&folder)));
    let document = Document::new(&rules, outcomes.as_ref());
    if let Some(outcomes) = &outcomes {
        println!("{}", document.summary());
        for rule in rules.iter().filter(|rule| rule.pending) {
            println!("pending: §{} {}", rule.section, rule.rule);
        }
        let unproven = outcomes.unproven(&rules);
        if update {
            std::fs::write(path(DOCUMENT), document.text()).expect("the document can be written");
        }
        assert!(unproven.is_empty(), "named in tests/conformance/rules.toml:\n{}", unproven.join("\n"));
    }
    if !update {
        let written = std::fs::read_to_string(path(DOCUMENT)).unwrap_or_default();
        assert!(written == document.text(), "{DOCUMENT} is out of date: run `UPDATE_DOCS=1 tests/run`");
    }
}
