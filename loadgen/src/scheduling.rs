//! Whether threads of this program went before or after others while something was published on a schedule: figures taken
//! with it and without it tell of different things.

use serde::{Deserialize, Serialize};

use crate::sys;

/// Whether the kernel was asked for something, and gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Use {
    /// Nothing was published on a schedule, or nobody had to go after others.
    #[default]
    NotUsed,
    Used,
    /// Who may not set it runs as every program.
    NotAllowed,
}

impl Use {
    fn of(used: bool, allowed: bool) -> Self {
        match (used, allowed) {
            (true, _) => Use::Used,
            (false, true) => Use::NotUsed,
            (false, false) => Use::NotAllowed,
        }
    }

    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Use::NotUsed => "not used",
            Use::Used => "used",
            Use::NotAllowed => "not allowed by the kernel (CAP_SYS_NICE)",
        }
    }
}

/// How the threads of a program stood beside all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scheduling {
    /// `SCHED_FIFO`, for who publishes on a schedule and for prompt groups.
    pub(crate) real_time: Use,
    /// Nice 10, for the threads of the other groups meanwhile.
    pub(crate) nice: Use,
}

impl Scheduling {
    /// Of this program until now.
    pub(crate) fn so_far() -> Self {
        let (first, last) = sys::precedences_used();
        let allowed = sys::may_go_first();
        Self { real_time: Use::of(first, allowed), nice: Use::of(last, allowed) }
    }

    /// Of client threads that always go by it: some of them prompt, some not.
    pub(crate) fn of_threads(any_prompt: bool, any_other: bool, allowed: bool) -> Self {
        let used = |any: bool| Use::of(any_prompt && any && allowed, allowed);
        Self { real_time: used(true), nice: used(any_other) }
    }

    /// What either of two used.
    pub(crate) fn or(self, other: Self) -> Self {
        let more = |a, b| if a == Use::Used || b == Use::NotUsed { a } else { b };
        Self { real_time: more(self.real_time, other.real_time), nice: more(self.nice, other.nice) }
    }

    /// As names and values.
    pub(crate) fn facts(this: Option<Self>) -> [(&'static str, &'static str); 2] {
        let words = |part: fn(Self) -> Use| this.map_or("not known", |this| part(this).words());
        [
            ("real time (SCHED_FIFO) on a schedule", words(|this| this.real_time)),
            ("nice 10 for the others meanwhile", words(|this| this.nice)),
        ]
    }

    /// In a sentence, where something was used that a reader has to know of.
    pub(crate) fn sentence(self) -> Option<&'static str> {
        match (self.real_time, self.nice) {
            (Use::Used, Use::Used) => Some(
                "while events were published on a schedule, their publishers and the prompt groups ran in real time \
                 (SCHED_FIFO), and the threads of the other groups with nice 10",
            ),
            (Use::Used, _) => Some(
                "while events were published on a schedule, their publishers and prompt groups ran in real time (SCHED_FIFO)",
            ),
            (_, Use::Used) => {
                Some("while events were published on a schedule, the threads of groups that aren't prompt had nice 10")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_told_apart_from_what_was_not_allowed() {
        assert_eq!(Scheduling::of_threads(true, true, true), Scheduling { real_time: Use::Used, nice: Use::Used });
        assert_eq!(Scheduling::of_threads(true, false, true), Scheduling { real_time: Use::Used, nice: Use::NotUsed });
        assert_eq!(Scheduling::of_threads(false, true, true), Scheduling::default());
        let refused = Scheduling { real_time: Use::NotAllowed, nice: Use::NotAllowed };
        assert_eq!(Scheduling::of_threads(true, true, false), refused);
        assert!(refused.sentence().is_none() && Scheduling::default().sentence().is_none());
        let used = Scheduling { real_time: Use::Used, nice: Use::NotUsed };
        assert_eq!(used.or(refused), Scheduling { real_time: Use::Used, nice: Use::NotAllowed });
        assert_eq!(Scheduling::default().or(used), used);
    }

    #[test]
    fn a_thread_that_went_first_is_remembered() {
        std::thread::spawn(|| {
            if sys::go(sys::Precedence::First) {
                assert_eq!(Scheduling::so_far().real_time, Use::Used);
            } else {
                assert_eq!(Scheduling::so_far().real_time, Use::NotAllowed);
            }
        })
        .join()
        .expect("thread");
    }
}
