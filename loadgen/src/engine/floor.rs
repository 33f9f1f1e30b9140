//! `floor`: the floor's own figures, from the scenarios in which it takes a hub's place.

use anyhow::{Context, bail};

use super::run_all;
use crate::options::{Options, TargetKind};
use crate::report::Report;
use crate::scenario::{Scenario, ScenarioError, built_in};

/// What stands in the place of a scenario's name.
pub(crate) const FLOOR: &str = "floor";
/// What it says of itself.
pub(crate) const FLOOR_TITLE: &str =
    "what a program reaches that does nothing but send, accept, answer, or write what is stored";

/// In this order it sends, accepts, answers, and writes what is stored.
const SCENARIOS: [&str; 4] = ["broadcast", "connect", "publish", "replay"];

/// Runs them against the floor alone. `--set` is for those that have the variable.
pub(crate) fn run_floor(options: &Options) -> anyhow::Result<Report> {
    let options = Options { targets: vec![TargetKind::Floor], ..options.clone() };
    run_all(FLOOR, FLOOR_TITLE, &scenarios(&options.set)?, &options)
}

fn scenarios(set: &[String]) -> anyhow::Result<Vec<Scenario>> {
    let mut used = vec![false; set.len()];
    let mut all = Vec::new();
    for name in SCENARIOS {
        let text = built_in(name).with_context(|| format!("{name} is built in"))?;
        let parse = |set: &[String]| Scenario::parse(name, text, set);
        let mut own = Vec::new();
        for (set, used) in set.iter().zip(&mut used) {
            match parse(std::slice::from_ref(set)) {
                Err(ScenarioError::UnknownSet { .. }) => {}
                Err(error) => return Err(error).with_context(|| format!("the scenario {name}")),
                Ok(_) => {
                    *used = true;
                    own.push(set.clone());
                }
            }
        }
        all.push(parse(&own).with_context(|| format!("the scenario {name}"))?);
    }
    if let Some((unused, _)) = set.iter().zip(used).find(|(_, used)| !used) {
        bail!("--set {unused}: none of the scenarios {} has such a variable", SCENARIOS.join(", "));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_go_to_those_who_have_them() {
        let set = |text: &str| scenarios(&[text.to_owned()]);
        let all = set("connections=7").expect("two of them have it");
        let counts: Vec<_> = all.iter().map(|scenario| scenario.groups.first().map(|group| group.count)).collect();
        assert_eq!(counts, [Some(7), Some(7), None, Some(50)]);
        assert!(set("publishers=x").expect_err("no number").to_string().contains("publish"));
        assert!(set("nobody=1").expect_err("unknown").to_string().contains("nobody"));
    }
}
