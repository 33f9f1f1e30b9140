//! Goals and checks on figures: absolute, or as a ratio to another target or another figure of the same run.

use super::findings::Findings;
use crate::quantity::spoken;
use crate::record;
use crate::report::{Report, number};
use crate::scenario::Bar;

/// Targets the goals aren't the project's for: of them only what was measured is held against a goal.
const OTHERS: [&str; 3] = ["floor", "nchan", "url"];

/// Enters how each bar was met. A goal in relation to a target that isn't part of the run is left out; a check is not. A goal
/// for a hub whose figure is missing is missed: nobody knows that it was met.
pub(super) fn judge(bars: &[Bar], targets: &[String], findings: &Findings, report: &mut Report) {
    for bar in bars {
        let on = bar.on.as_ref().unwrap_or(&targets[0]);
        let skipped = [Some(on), bar.of.as_ref()].into_iter().flatten().any(|target| !targets.contains(target))
            || bar.of.as_ref() == Some(on);
        if skipped && !bar.is_check {
            continue;
        }
        let under = under(bar, on);
        let value = match under {
            Some(under) => findings.ratio((on, &bar.figure), under),
            None => findings.median(on, &bar.figure),
        };
        let limit = match (bar.at_least, bar.at_most) {
            (Some(least), _) => record::Bar::AtLeast(least),
            (_, most) => record::Bar::AtMost(widened(most.unwrap_or_default(), bar, under, findings)),
        };
        let met = value.is_some_and(|value| limit.is_met_by(value));
        if bar.is_check {
            let found = value.map_or_else(|| "not measured".to_owned(), number);
            report.check(sentence(bar, on, findings), met, found);
        } else if value.is_some() || !OTHERS.contains(&on.as_str()) {
            let unit = match (&bar.of, &bar.than) {
                (None, None) => findings.unit(on, &bar.figure),
                _ => "x",
            };
            let reason = if value.is_some() { "" } else { " (not measured in this run)" };
            let what = format!("{on}: {}{}{reason}", bar.figure, relation(bar, on, findings));
            report.goal_of(what, value.unwrap_or(f64::NAN), limit, unit);
        }
    }
}

/// The target and figure that the bar's figure is divided by, if it is.
fn under<'a>(bar: &'a Bar, on: &'a str) -> Option<(&'a str, &'a str)> {
    match (&bar.of, &bar.than) {
        (Some(of), _) => Some((of, &bar.figure)),
        // Another target's figure is named in full.
        (_, Some(than)) => Some(than.split_once(':').unwrap_or((on, than))),
        _ => None,
    }
}

/// The highest share that is met. So much more than a small figure is a larger share of it.
fn widened(at_most: f64, bar: &Bar, under: Option<(&str, &str)>, findings: &Findings) -> f64 {
    let under = under.and_then(|(target, figure)| findings.median(target, figure));
    let wider = bar.or_more_by.zip(under).map(|(more, under)| 1.0 + more / under);
    wider.filter(|wider| wider.is_finite()).map_or(at_most, |wider| at_most.max(wider))
}

/// What the figure is divided by.
fn relation(bar: &Bar, on: &str, findings: &Findings) -> String {
    match (&bar.of, &bar.than, bar.or_more_by) {
        (Some(of), ..) => format!(" / {of}'s"),
        (_, Some(than), Some(more)) => {
            format!(" / {than} (or {} more)", spoken(more, findings.unit(on, &bar.figure)))
        }
        (_, Some(than), None) => format!(" / {than}"),
        _ => String::new(),
    }
}

fn sentence(bar: &Bar, on: &str, findings: &Findings) -> String {
    let relation = relation(bar, on, findings);
    match (bar.at_least, bar.at_most) {
        (Some(least), _) => format!("{on}: {}{relation} at least {least}", bar.figure),
        (_, most) => format!("{on}: {}{relation} at most {}", bar.figure, most.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;
    use crate::surroundings::Surroundings;

    fn bar(at_least: f64, of: Option<&str>, is_check: bool) -> Bar {
        Bar {
            figure: "w.x".to_owned(),
            at_least: Some(at_least),
            at_most: None,
            on: None,
            of: of.map(str::to_owned),
            than: None,
            or_more_by: None,
            is_check,
        }
    }

    fn report(bar: Bar, targets: &[&str]) -> Report {
        let mut findings = Findings::default();
        findings.enter("hub", "w.x".to_owned(), "x".to_owned(), 10.0, "/s");
        findings.enter("floor", "w.x".to_owned(), "x".to_owned(), 20.0, "/s");
        let mut report = Report::new("x", "y");
        let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
        judge(&[bar], &targets, &findings, &mut report);
        report
    }

    fn judged(bar: Bar) -> bool {
        report(bar, &["hub", "floor"]).is_good()
    }

    /// The goals of a report: what, whether it was met, and the value.
    fn goals(report: Report) -> Vec<(String, bool, Option<f64>)> {
        let record = report.into_record(Surroundings::look((0, 0), None, None), Accounts::default(), 1.0);
        record.goals.into_iter().map(|goal| (goal.goal, goal.met, goal.value)).collect()
    }

    #[test]
    fn a_tenth_or_two_mebibytes_whichever_is_more() {
        let gone = |start: f64, gone: f64| {
            let mut findings = Findings::default();
            for (figure, value) in [("start.private_bytes", start), ("gone.private_bytes", gone)] {
                findings.enter("hub", figure.to_owned(), figure.to_owned(), value, "B");
            }
            let bar = Bar {
                figure: "gone.private_bytes".to_owned(),
                at_least: None,
                at_most: Some(1.1),
                than: Some("start.private_bytes".to_owned()),
                or_more_by: Some(2_097_152.0),
                ..bar(0.0, None, true)
            };
            let mut report = Report::new("x", "y");
            judge(&[bar], &["hub".to_owned()], &findings, &mut report);
            report.is_good()
        };
        let mib = |mib: f64| mib * 1_048_576.0;
        assert!(gone(mib(10.0), mib(12.0)) && !gone(mib(10.0), mib(12.1)), "two mebibytes of a small one");
        assert!(gone(mib(50.0), mib(55.0)) && !gone(mib(50.0), mib(55.1)), "a tenth of a large one");
        assert!(gone(mib(10.0), mib(5.0)), "less is no growth");
    }

    #[test]
    fn a_goal_without_its_figure_is_missed_where_it_is_meant() {
        let missing = |of| Bar { figure: "w.none".to_owned(), ..bar(1.0, of, false) };
        let missed = |what: &str| vec![(format!("{what} (not measured in this run): at least 1"), false, None)];
        assert_eq!(goals(report(missing(None), &["hub", "floor"])), missed("hub: w.none"));
        // A hub of the scenario's own.
        assert_eq!(goals(report(missing(None), &["with"])), missed("with: w.none"));
        assert_eq!(goals(report(missing(Some("floor")), &["hub", "floor"])).len(), 1);
        for (of, targets) in [(Some("nchan"), &["hub", "floor"][..]), (None, &["floor"]), (None, &["nchan", "hub"])] {
            assert_eq!(goals(report(missing(of), targets)), [], "{of:?} {targets:?}");
        }
    }

    #[test]
    fn a_missed_check_fails_and_a_missed_goal_does_not() {
        assert!(judged(bar(10.0, None, true)));
        assert!(!judged(bar(10.1, None, true)));
        assert!(judged(bar(10.1, None, false)));
        assert!(judged(bar(0.5, Some("floor"), true)));
        assert!(!judged(bar(0.51, Some("floor"), true)));
        assert!(!judged(bar(0.5, Some("nchan"), true)));
    }
}
