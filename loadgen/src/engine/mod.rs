//! Runs a scenario: every target gets its subscribers and publishers, rounds go over the targets in turn, and while one is
//! measured the others rest.

use crate::options::{Options, TargetKind};
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::Scenario;

mod bars;
mod findings;
mod stage;
mod steps;
mod window;

use findings::Findings;
use stage::Stage;

/// Runs a scenario against the targets the options name.
pub(crate) fn run(scenario: &Scenario, options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new(scenario.name.clone(), scenario.title.clone());
    let mut progress = Progress::new();
    let mut findings = Findings::default();
    let mut stages: Vec<Stage> = Vec::new();
    for kind in &options.targets {
        let options = &options.meant_for(*kind);
        match kind {
            TargetKind::Url => stages.push(Stage::hub("url", scenario, options, &[])?),
            TargetKind::Hub if scenario.targets.is_empty() => {
                stages.push(Stage::hub("hub", scenario, options, &[])?);
            }
            TargetKind::Hub => {
                for (name, arguments) in &scenario.targets {
                    stages.push(Stage::hub(name, scenario, options, arguments)?);
                }
            }
            TargetKind::Floor => stages.push(Stage::floor(scenario, options)?),
            TargetKind::Nchan => stages.push(Stage::nchan(scenario, options)?),
        }
    }
    for (part, rounds) in [(&scenario.setup, 1), (&scenario.round, scenario.rounds), (&scenario.finish, 1)] {
        for round in 1..=rounds {
            for stage in &mut stages {
                let name = if rounds > 1 { format!("{}, round {round}", stage.name) } else { stage.name.clone() };
                progress.part(name);
                progress.watch(&stage.name, &stage.pids());
                stage.swarm.rest(false);
                stage.run(part, &mut findings, &mut progress)?;
                stage.swarm.rest(true);
            }
        }
    }
    let names: Vec<String> = stages.iter().map(|stage| stage.name.clone()).collect();
    findings.report(&names, &mut report);
    bars::judge(&scenario.bars, &names, &findings, &mut report);
    for stage in stages {
        stage.finish(&mut report);
    }
    report.timeline(&mut progress);
    Ok(report)
}
