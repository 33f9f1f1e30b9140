//! The document: a table of rules for each section of the protocol.

use std::collections::HashSet;
use std::fmt::Write;

use crate::outcomes::Outcomes;
use crate::rules::{Level, Rule, SECTIONS};

const INTRODUCTION: &str = "\
# Conformance

<!-- Written from tests/conformance/rules.toml and what the tests said by `UPDATE_DOCS=1 tests/run`, which also checks it. -->

Every rule of the Mercure protocol, in our own words, and the tests that prove it. `tests/run` starts the real binary, with both
I/O drivers, and speaks to it over real sockets; names with `.test.mjs` are those of clients in Chromium, Node and Python, the
others are `cargo test`'s. What is *pending* isn't built yet.

*must* is an absolute requirement, *should* a recommendation, *may* something the protocol leaves open and the hub has in this way,
*legacy* a rule of the protocol before 1.0.
";

/// The document of these rules. Without outcomes every test is taken to have passed, as they had when it was written.
pub(crate) struct Document<'a> {
    rules: &'a [Rule],
    outcomes: Option<&'a Outcomes>,
}

impl Document<'_> {
    pub(crate) fn new<'a>(rules: &'a [Rule], outcomes: Option<&'a Outcomes>) -> Document<'a> {
        Document { rules, outcomes }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = INTRODUCTION.to_owned();
        text.push_str("\n| level | rules | passed | failed | pending |\n|---|---|---|---|---|\n");
        for level in Level::ALL {
            let of_level = |result: &str| {
                self.rules.iter().filter(|rule| rule.level == level && self.result(rule) == result).count()
            };
            let rules = self.rules.iter().filter(|rule| rule.level == level).count();
            let (passed, failed, pending) = (of_level("passed"), of_level("failed"), of_level("pending"));
            writeln!(text, "| {level} | {rules} | {passed} | {failed} | {pending} |").expect("text takes text");
        }
        for (number, title) in SECTIONS {
            let rules: Vec<&Rule> = self.rules.iter().filter(|rule| rule.section == *number).collect();
            if rules.is_empty() {
                continue;
            }
            write!(text, "\n## {number}. {title}\n\n| rule | level | result | tests |\n|---|---|---|---|\n")
                .expect("text takes text");
            text.extend(rules.into_iter().map(|rule| self.row(rule)));
        }
        text
    }

    /// One line for a person who watches the run.
    pub(crate) fn summary(&self) -> String {
        let count = |result: &str| self.rules.iter().filter(|rule| self.result(rule) == result).count();
        let tests: HashSet<&String> = self.rules.iter().flat_map(|rule| &rule.tests).collect();
        format!(
            "conformance: {} rules, {} passed by {} tests, {} failed, {} pending",
            self.rules.len(),
            count("passed"),
            tests.len(),
            count("failed"),
            count("pending"),
        )
    }

    fn result(&self, rule: &Rule) -> &'static str {
        let passed = |test: &String| self.outcomes.is_none_or(|outcomes| outcomes.passed(test));
        match rule {
            Rule { pending: true, .. } => "pending",
            Rule { tests, .. } if tests.iter().all(passed) => "passed",
            _ => "failed",
        }
    }

    fn row(&self, rule: &Rule) -> String {
        let tests: Vec<String> = rule.tests.iter().map(|test| format!("`{test}`")).collect();
        let cell = |text: &str| text.replace('|', "\\|");
        format!("| {} | {} | {} | {} |\n", cell(&rule.rule), rule.level, self.result(rule), cell(&tests.join("<br>")))
    }
}
