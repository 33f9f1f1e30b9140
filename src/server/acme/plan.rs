//! When a certificate is asked for again. Time and chance are arguments.

/// Waits after failures of an authority that doesn't answer, seconds: the first, which doubles, and the longest.
const ABSENT_S: u64 = 5;
const ABSENT_S_MAX: u64 = 3_600;
/// Waits after an authority has said no, seconds. Let's Encrypt bears five failures of a name in an hour.
const REFUSED_S: [u64; 4] = [60, 600, 3_600, 6 * 3_600];
/// The longest that an authority can make the hub wait, seconds.
pub(super) const ASKED_S_MAX: u64 = 7 * 86_400;
/// Two certificates for a name aren't asked for within so many seconds.
const SOON_S: u64 = 10;
/// What part of a wait, or of a lifetime's last third, is left to chance: one in so many.
const CHANCE_SHARE: u64 = 10;

/// When a certificate is renewed: a third of its lifetime before it ends, and a bit earlier by chance (0 to 1), so that hubs that
/// began together don't come together.
pub(super) fn renewal_s(not_before_s: u64, not_after_s: u64, chance: f64) -> u64 {
    let third_s = not_after_s.saturating_sub(not_before_s) / 3;
    not_after_s - third_s - (third_s as f64 / CHANCE_SHARE as f64 * chance) as u64
}

/// When a certificate that has just come is renewed. One that would be due at once, as it lasts so short or was backdated so far, has
/// half of what is left of it: nobody is asked in a loop.
pub(super) fn next_renewal_s(not_before_s: u64, not_after_s: u64, now_s: u64, chance: f64) -> u64 {
    let due_s = renewal_s(not_before_s, not_after_s, chance);
    match due_s > now_s + SOON_S {
        true => due_s,
        false => now_s + (not_after_s.saturating_sub(now_s) / 2).max(SOON_S),
    }
}

/// Seconds until the next try after so many failures in a row (1 at least).
pub(super) fn wait_s(failures: u32, authority_answers: bool, asked_s: Option<u64>, chance: f64) -> u64 {
    let before = failures.saturating_sub(1);
    let wait_s = match authority_answers {
        true => REFUSED_S[(before as usize).min(REFUSED_S.len() - 1)],
        false => ABSENT_S.saturating_mul(1 << before.min(16)).min(ABSENT_S_MAX),
    };
    let wait_s = wait_s + (wait_s as f64 / CHANCE_SHARE as f64 * chance) as u64;
    wait_s.max(asked_s.unwrap_or(0).min(ASKED_S_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    #[test]
    fn a_third_of_the_lifetime_is_left_at_a_renewal() {
        assert_eq!(renewal_s(0, 90 * DAY_S, 0.0), 60 * DAY_S);
        assert_eq!(renewal_s(0, 90 * DAY_S, 1.0), 57 * DAY_S);
        assert_eq!(renewal_s(1_000, 1_030, 0.0), 1_020);
        assert_eq!(renewal_s(1_000, 900, 0.5), 900, "nonsense is renewed at once");
    }

    #[test]
    fn nobody_is_asked_in_a_loop_however_short_a_certificate_lasts() {
        assert_eq!(next_renewal_s(0, 90 * DAY_S, 3_600, 0.0), 60 * DAY_S);
        assert_eq!(next_renewal_s(1_000, 1_030, 1_000, 0.0), 1_020);
        assert_eq!(next_renewal_s(0, 3_630, 3_600, 0.0), 3_615, "backdated by an hour");
        assert_eq!(next_renewal_s(0, 3_601, 3_600, 0.0), 3_610);
        assert_eq!(next_renewal_s(0, 100, 3_600, 0.0), 3_610);
    }

    #[test]
    fn an_authority_that_says_no_is_asked_more_and_more_rarely() {
        let waits: Vec<_> = (1..7).map(|failures| wait_s(failures, true, None, 0.0)).collect();
        assert_eq!(waits, [60, 600, 3_600, 21_600, 21_600, 21_600]);
        assert_eq!(wait_s(1, true, None, 1.0), 66);
        assert!(waits.iter().take(3).sum::<u64>() > 3_600, "fewer than five in an hour");
    }

    #[test]
    fn one_that_does_not_answer_is_soon_asked_again() {
        let waits: Vec<_> = (1..13).map(|failures| wait_s(failures, false, None, 0.0)).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]);
        assert_eq!(wait_s(u32::MAX, false, None, 0.0), 3_600);
    }

    #[test]
    fn what_the_authority_asks_for_is_respected_within_bounds() {
        assert_eq!(wait_s(1, true, Some(7_200), 0.0), 7_200);
        assert_eq!(wait_s(4, true, Some(10), 0.0), 21_600);
        assert_eq!(wait_s(1, false, Some(u64::MAX), 0.0), 7 * DAY_S);
    }
}
