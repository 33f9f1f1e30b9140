//! Goals and checks on figures: absolute, or as a ratio to another target or another figure of the same run.

use super::findings::Findings;
use crate::record;
use crate::report::{Report, number};
use crate::scenario::Bar;

/// Enters how each bar was met. A goal in relation to a target that isn't part of the run is left out; a check is not.
pub(super) fn judge(bars: &[Bar], targets: &[String], findings: &Findings, report: &mut Report) {
    for bar in bars {
        let on = bar.on.as_ref().unwrap_or(&targets[0]);
        let skipped = [Some(on), bar.of.as_ref()].into_iter().flatten().any(|target| !targets.contains(target))
            || bar.of.as_ref() == Some(on);
        if skipped && !bar.is_check {
            continue;
        }
        let value = match (&bar.of, &bar.than) {
            (Some(of), _) => findings.ratio((on, &bar.figure), (of, &bar.figure)),
            (_, Some(than)) => {
                // Another target's figure is named in full.
                let (target, figure) = match than.split_once(':') {
                    Some((target, figure)) => (target, figure),
                    None => (on.as_str(), than.as_str()),
                };
                findings.ratio((on, &bar.figure), (target, figure))
            }
            _ => findings.median(on, &bar.figure),
        };
        let met = value.is_some_and(|value| {
            bar.at_least.is_none_or(|least| value >= least) && bar.at_most.is_none_or(|most| value <= most)
        });
        if bar.is_check {
            let found = value.map_or_else(|| "not measured".to_owned(), number);
            report.check(sentence(bar, on), met, found);
        } else if let Some(value) = value {
            let unit = match (&bar.of, &bar.than) {
                (None, None) => findings.unit(on, &bar.figure),
                _ => "x",
            };
            let limit = match (bar.at_least, bar.at_most) {
                (Some(least), _) => record::Bar::AtLeast(least),
                (_, most) => record::Bar::AtMost(most.unwrap_or_default()),
            };
            report.goal_of(format!("{on}: {}{}", bar.figure, relation(bar)), value, limit, unit);
        } else {
            report.note(format!("no such figure for the goal: {}", sentence(bar, on)));
        }
    }
}

/// What the figure is divided by.
fn relation(bar: &Bar) -> String {
    match (&bar.of, &bar.than) {
        (Some(of), _) => format!(" / {of}'s"),
        (_, Some(than)) => format!(" / {than}"),
        _ => String::new(),
    }
}

fn sentence(bar: &Bar, on: &str) -> String {
    let relation = relation(bar);
    match (bar.at_least, bar.at_most) {
        (Some(least), _) => format!("{on}: {}{relation} at least {least}", bar.figure),
        (_, most) => format!("{on}: {}{relation} at most {}", bar.figure, most.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(at_least: f64, of: Option<&str>, is_check: bool) -> Bar {
        Bar {
            figure: "w.x".to_owned(),
            at_least: Some(at_least),
            at_most: None,
            on: None,
            of: of.map(str::to_owned),
            than: None,
            is_check,
        }
    }

    fn judged(bar: Bar) -> bool {
        let mut findings = Findings::default();
        findings.enter("hub", "w.x".to_owned(), "x".to_owned(), 10.0, "/s");
        findings.enter("floor", "w.x".to_owned(), "x".to_owned(), 20.0, "/s");
        let mut report = Report::new("x", "y");
        judge(&[bar], &["hub".to_owned(), "floor".to_owned()], &findings, &mut report);
        report.is_good()
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
