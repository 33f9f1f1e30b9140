//! What the tests of a run have said: lines such as `test publish::a_topic_is_required ... ok`.
//!
//! cargo's tests print them; those in Node do by `tests/node/support/lines.mjs`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::rules::Rule;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    Ignored,
}

/// Of each test what it came to in each run it was part of.
#[derive(Debug, Default)]
pub(crate) struct Outcomes(HashMap<String, Vec<Outcome>>);

impl Outcomes {
    /// Reads the files of a folder, one for each run.
    pub(crate) fn read(folder: &Path) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let files = fs::read_dir(folder).expect("CINNABAR_TEST_RUNS is a folder");
        for file in files {
            let path = file.expect("a file of the folder").path();
            outcomes.add(&String::from_utf8_lossy(&fs::read(path).expect("a readable file")));
        }
        outcomes
    }

    fn add(&mut self, log: &str) {
        for (name, outcome) in log.lines().filter_map(outcome) {
            self.0.entry(name.to_owned()).or_default().push(outcome);
        }
    }

    /// Whether it ran, and passed every time.
    pub(crate) fn passed(&self, test: &str) -> bool {
        self.0.get(test).is_some_and(|runs| runs.iter().all(|&outcome| outcome == Outcome::Passed))
    }

    /// What is missing of the tests that the rules name, in words.
    pub(crate) fn unproven(&self, rules: &[Rule]) -> Vec<String> {
        let names = rules.iter().flat_map(|rule| &rule.tests);
        let mut unproven: Vec<String> = names
            .filter(|name| !self.passed(name))
            .map(|name| match self.0.get(name) {
                None => format!("no run had a test `{name}`"),
                Some(runs) => format!("`{name}`: {runs:?}"),
            })
            .collect();
        unproven.sort();
        unproven.dedup();
        unproven
    }
}

fn outcome(line: &str) -> Option<(&str, Outcome)> {
    let (name, outcome) = line.trim_end().strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match outcome {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        _ if outcome.starts_with("ignored") => Outcome::Ignored,
        _ => return None,
    };
    Some((name.trim_end_matches(" - should panic"), outcome))
}

#[test]
fn lines_of_both_kinds_of_runs_are_read() {
    let mut outcomes = Outcomes::default();
    outcomes.add(
        "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest d ... ignored, slow\ntest result: ok. 1 passed",
    );
    outcomes.add("test a::b ... ok\ntest x.test.mjs: it says ... something ... ok\n");
    assert!(outcomes.passed("a::b") && outcomes.passed("x.test.mjs: it says ... something"));
    assert!(!outcomes.passed("a::c") && !outcomes.passed("d") && !outcomes.passed("nowhere"));
    outcomes.add("test a::b ... FAILED");
    assert!(!outcomes.passed("a::b"), "it failed with the other driver");
}
