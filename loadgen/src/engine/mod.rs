//! Runs a scenario: every target gets its subscribers and publishers, rounds go over the targets in turn, and while one is
//! measured the others rest.

use anyhow::bail;

use crate::options::{Options, TargetKind};
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::{Scenario, TargetPlan};
use crate::sys;

mod bars;
mod connecting;
mod findings;
mod floor;
mod stage;
mod steps;
mod window;

use findings::Findings;
pub(crate) use floor::{FLOOR, FLOOR_TITLE, run_floor};
use stage::Stage;

/// Runs a scenario against the targets the options name.
pub(crate) fn run(scenario: &Scenario, options: &Options) -> anyhow::Result<Report> {
    run_all(&scenario.name, &scenario.title, std::slice::from_ref(scenario), options)
}

/// Runs scenarios one after another into one report.
fn run_all(name: &str, title: &str, scenarios: &[Scenario], options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new(name, title);
    let mut progress = Progress::new();
    for scenario in scenarios {
        play(scenario, options, &mut report, &mut progress)?;
    }
    report.timeline(&mut progress);
    Ok(report)
}

fn play(scenario: &Scenario, options: &Options, report: &mut Report, progress: &mut Progress) -> anyhow::Result<()> {
    let mut findings = Findings::default();
    if !sys::may_go_first() {
        report.note("no thread may go before others here (CAP_SYS_NICE): prompt groups and schedules may be late");
    }
    if scenario.hubs > 1 && (options.targets != [TargetKind::Hub] || options.hub.is_none() || options.agents.are_used())
    {
        bail!(
            "the {} hubs of this scenario are started here, and nothing else can be measured with them: give --hub and arguments \
             that make one of them (`-- --cluster redis://127.0.0.1`), no other --targets, and no --agents",
            scenario.hubs
        );
    }
    let mut stages: Vec<Stage> = Vec::new();
    for kind in &options.targets {
        let options = &options.meant_for(*kind);
        match kind {
            TargetKind::Url => stages.push(Stage::hub("url", scenario, options, &[], scenario.tls)?),
            TargetKind::Hub if scenario.targets.is_empty() => {
                stages.push(Stage::hub("hub", scenario, options, &[], scenario.tls)?);
            }
            TargetKind::Hub => {
                for TargetPlan { name, arguments, tls } in &scenario.targets {
                    stages.push(Stage::hub(name, scenario, options, arguments, *tls)?);
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
                // With nobody in it the swarm would only disturb.
                stage.swarm.rest(stage.groups.is_empty());
                stage.memory.rest(false);
                stage.run(part, &mut findings, progress)?;
                stage.swarm.rest(true);
                stage.memory.rest(true);
            }
        }
    }
    let names: Vec<String> = stages.iter().map(|stage| stage.name.clone()).collect();
    findings.report(&names, report);
    bars::judge(&scenario.bars, &names, &findings, report);
    for stage in stages {
        stage.finish(report)?;
    }
    Ok(())
}
