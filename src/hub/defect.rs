//! Defects that tests plant in the hub, to prove that the simulator would find them.
//!
//! Each is consulted at one place. Outside tests [`planted`] is `false` at compile time and nothing of it remains.

/// What can be made to go wrong, by the invariant it breaks (design §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests plant defects"))]
pub(crate) enum Defect {
    /// Order: a subscriber's own offset isn't looked at, so it gets again what it has.
    Repeats,
    /// Complete: when a member leaves, the walk under way passes over another one.
    SkipsMember,
    /// Complete: a subscriber whose socket is full loses the event after the one being written.
    DropsWhenBehind,
    /// Complete: an edge of writability is overlooked while a frame is cut.
    LosesWakeUp,
    /// Complete: who was told at its beginning what is gone is told again in its midst, and has to begin anew.
    ForgetsTold,
    /// Complete: who was cut inside an event goes on in whatever frame that event has by then.
    MistakesFrame,
    /// Bounded: who held an answer of history keeps its place among those who read.
    KeepsTurn,
    /// Private: grants are looked at live, but not on replay from the tail.
    ReplaysPrivate,
    /// Private: grants are looked at live, but not by the history readers.
    ReadsPrivate,
    /// Acked: a publish is answered before history has it.
    AnswersEarly,
    /// Visible: events reach the shards before history has them.
    ShowsEarly,
    /// Bounded: the tail is never trimmed.
    NeverTrims,
    /// Isolated: only the oldest pending event is served.
    OldestOnly,
    /// Isolated: only the event with the smallest audience is served.
    SmallestOnly,
    /// Isolated: a socket that is full is tried again and again.
    SpinsOnBlocked,
    /// Complete: the end of a subscription whose socket was full is not announced.
    LeavesGhosts,
    /// Expiry: `exp` is not looked at.
    IgnoresExpiry,
    /// Revoked: only who registers after a key was withdrawn is ended, not who was there.
    SparesRevoked,
    /// Revoked: who registers after a key was withdrawn is not looked at.
    AdmitsRevoked,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread's hub is to have the defect.
#[cfg(test)]
pub(crate) fn planted(defect: Defect) -> bool {
    PLANTED.get() == Some(defect)
}

/// Never, outside tests.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn planted(_: Defect) -> bool {
    false
}

/// Plants a defect in this thread until the guard is dropped.
#[cfg(test)]
pub(crate) fn plant(defect: Defect) -> Planted {
    PLANTED.set(Some(defect));
    Planted
}

/// See [`plant`].
#[cfg(test)]
pub(crate) struct Planted;

#[cfg(test)]
impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}
