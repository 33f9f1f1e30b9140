//! Axes: which values get a tick, what stands beside it, and where a value lies.

/// Ticks there are about, from zero to the top.
const TICKS: f64 = 5.0;
/// Where a percentile axis ends at last.
const NINES_MAX: f64 = 9.0;

/// An axis: values from `from` to `to` lie on pixels from `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) to: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Scale {
    /// The place of a value. Axes begin at zero, whatever the values do.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = (value / self.to).clamp(0.0, 1.0);
        self.low + (self.high - self.low) * if share.is_finite() { share } else { 0.0 }
    }
}

/// A mark on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// Round ticks from zero on; the last is the first one not below `top`.
pub(super) fn ticks(top: f64) -> Vec<Tick> {
    // Nothing, or nothing that can be drawn: an axis to one.
    let top = if top.is_finite() && top > 1e-9 { top.min(1e300) } else { 1.0 };
    let step = step(top / TICKS);
    let count = (top / step - 1e-9).ceil().max(1.0) as usize;
    let (unit, suffix) = match step * count as f64 {
        size if size >= 1e6 => (1e6, " M"),
        size if size >= 1e4 => (1e3, " k"),
        _ => (1.0, ""),
    };
    let digits = (-(step / unit).log10().floor()).clamp(0.0, 9.0) as usize;
    // A quarter needs one more than its size says.
    let digits = digits + usize::from(digits_are_short(step / unit, digits));
    let label = |at: f64| if at == 0.0 { "0".to_owned() } else { format!("{:.digits$}{suffix}", at / unit) };
    (0..=count).map(|place| place as f64 * step).map(|at| Tick { at, label: label(at) }).collect()
}

/// Ticks of a time in seconds up to `end`, none beyond it.
pub(super) fn time_ticks(end: f64) -> Vec<Tick> {
    let (unit, name) = match end {
        end if end >= 5.0 * 3600.0 => (3600.0, "h"),
        end if end >= 300.0 => (60.0, "min"),
        _ => (1.0, "s"),
    };
    let within = |tick: &Tick| tick.at <= end / unit * 1.0001;
    let named = |tick: Tick| Tick { at: tick.at * unit, label: format!("{} {name}", tick.label) };
    ticks(end / unit).into_iter().filter(within).map(named).collect()
}

/// Where a quantile lies on an axis of nines: 0.9 at 1, 0.99 at 2, and so on.
pub(super) fn nines(quantile: f64) -> f64 {
    (-(1.0 - quantile).log10()).clamp(0.0, NINES_MAX)
}

/// The ticks of an axis of nines up to `end`.
pub(super) fn percentile_ticks(end: f64) -> Vec<Tick> {
    let known = [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.999_9, "99.99 %")];
    let known = known.into_iter().chain([(0.999_99, "99.999 %"), (0.999_999, "99.9999 %")]);
    let ticks = known.map(|(quantile, label)| Tick { at: nines(quantile), label: label.to_owned() });
    ticks.filter(|tick| tick.at <= end + 1e-9).collect()
}

/// The smallest of 1, 2, 2.5, 5 and 10 times a power of ten that isn't below `least`.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= least * 0.999_999)
        .unwrap_or(least)
}

fn digits_are_short(step: f64, digits: usize) -> bool {
    let shown = step * 10_f64.powi(digits as i32);
    (shown - shown.round()).abs() > 1e-6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_begin_at_zero() {
        assert_eq!(labels(&ticks(143_000.0)), ["0", "50 k", "100 k", "150 k"]);
        assert_eq!(labels(&ticks(119.0)), ["0", "25", "50", "75", "100", "125"]);
        assert_eq!(labels(&ticks(1.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&ticks(0.011)), ["0", "0.0025", "0.0050", "0.0075", "0.0100", "0.0125"]);
        assert_eq!(labels(&ticks(12_000_000.0)), ["0", "2.5 M", "5.0 M", "7.5 M", "10.0 M", "12.5 M"]);
    }

    #[test]
    fn an_axis_of_nothing_still_has_ticks() {
        for top in [0.0, -5.0, f64::NAN, f64::INFINITY, 1e-300] {
            assert_eq!(ticks(top).len(), 6, "{top}");
        }
    }

    #[test]
    fn time_is_told_in_a_unit_that_fits() {
        assert_eq!(labels(&time_ticks(23.0)), ["0 s", "5 s", "10 s", "15 s", "20 s"]);
        assert_eq!(labels(&time_ticks(1500.0)), ["0 min", "5 min", "10 min", "15 min", "20 min", "25 min"]);
        assert_eq!(time_ticks(1500.0)[1].at, 300.0);
    }

    #[test]
    fn nines_lie_equally_far_apart() {
        assert!((nines(0.9) - 1.0).abs() < 1e-9 && (nines(0.99) - 2.0).abs() < 1e-9);
        assert_eq!([nines(0.0), nines(1.0)], [0.0, NINES_MAX]);
        assert_eq!(labels(&percentile_ticks(3.2)), ["0", "50 %", "90 %", "99 %", "99.9 %"]);
    }

    proptest! {
        #[test]
        fn ticks_cover_every_value_and_are_few(top in prop::num::f64::ANY) {
            let ticks = ticks(top);
            prop_assert!((2..=8).contains(&ticks.len()), "{:?}", ticks);
            prop_assert!(ticks[0].at == 0.0 && ticks.is_sorted_by(|a, b| a.at < b.at));
            if top.is_finite() && top < 1e299 {
                prop_assert!(ticks.last().expect("some").at >= top * 0.999_999);
            }
        }

        #[test]
        fn every_value_lies_on_the_axis(to in 0.0..1e12_f64, value in prop::num::f64::ANY) {
            let scale = Scale { to, low: 200.0, high: 10.0 };
            prop_assert!((10.0..=200.0).contains(&scale.place(value)));
        }
    }
}
