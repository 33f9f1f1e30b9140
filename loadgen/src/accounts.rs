//! Who used the machine while a scenario ran: the servers, this program, interrupts, everybody else, and the hypervisor's
//! other guests.

use serde::{Deserialize, Serialize};

use crate::process::{self, MachineTime};
use crate::sys;

/// Shares of others beyond which a result says that it was disturbed, in percent of the machine.
pub(crate) const OTHERS_PERCENT_MAX: f64 = 5.0;

/// CPU seconds of a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Accounts {
    /// All there was: cores times time.
    pub(crate) total_s: f64,
    /// Of it, what wasn't idle.
    pub(crate) busy_s: f64,
    /// The servers: those this program started and waited for, and the one `--server-pid` names.
    pub(crate) servers_s: f64,
    /// This program.
    pub(crate) own_s: f64,
    /// Interrupts: what the network does for servers and clients is partly here.
    pub(crate) interrupts_s: f64,
    /// Time the hypervisor gave to somebody else.
    pub(crate) stolen_s: f64,
}

impl Accounts {
    /// A time in percent of all there was.
    pub(crate) fn percent(&self, seconds: f64) -> f64 {
        if self.total_s > 0.0 { seconds * 100.0 / self.total_s } else { 0.0 }
    }

    /// What other programs used.
    pub(crate) fn others_s(&self) -> f64 {
        (self.busy_s - self.servers_s - self.own_s - self.interrupts_s - self.stolen_s).max(0.0)
    }

    /// Did others use so much that the figures may be worse than they would be alone?
    pub(crate) fn is_disturbed(&self) -> bool {
        self.percent(self.others_s() + self.stolen_s) > OTHERS_PERCENT_MAX
    }

    /// In a sentence.
    pub(crate) fn sentence(&self) -> String {
        let percent = |seconds| format!("{:.1} %", self.percent(seconds));
        format!(
            "of the machine's CPU time the servers used {}, this program {}, interrupts {}, other programs {}, other \
             guests {}",
            percent(self.servers_s),
            percent(self.own_s),
            percent(self.interrupts_s),
            percent(self.others_s()),
            percent(self.stolen_s),
        )
    }
}

/// The clocks at the beginning of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    machine: MachineTime,
    own_s: f64,
    children_s: f64,
    server: Option<(u32, f64)>,
    at_ns: u64,
}

impl Opening {
    /// Reads them; `server` is one that isn't started by this program.
    pub(crate) fn now(server: Option<u32>) -> Self {
        let (own_s, children_s) = process::family_cpu_seconds().unwrap_or_default();
        Self {
            machine: MachineTime::now(),
            own_s,
            children_s,
            server: server.map(|pid| (pid, cpu_of(pid))),
            at_ns: sys::now_ns(),
        }
    }

    /// What was used since, and how long that is in seconds.
    pub(crate) fn close(self) -> (Accounts, f64) {
        let now = Self::now(self.server.map(|(pid, _)| pid));
        let known = now.server.zip(self.server).map_or(0.0, |((_, now), (_, before))| now - before);
        let accounts = Accounts {
            total_s: rounded(now.machine.total_s - self.machine.total_s),
            busy_s: rounded(now.machine.busy_s - self.machine.busy_s),
            servers_s: rounded(now.children_s - self.children_s + known),
            own_s: rounded(now.own_s - self.own_s),
            interrupts_s: rounded(now.machine.interrupts_s - self.machine.interrupts_s),
            stolen_s: rounded(now.machine.stolen_s - self.machine.stolen_s),
        };
        (accounts, rounded((now.at_ns - self.at_ns) as f64 / 1e9))
    }
}

fn cpu_of(pid: u32) -> f64 {
    process::cpu_seconds(pid).map(|(user, system)| user + system).unwrap_or_default()
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_what_is_left() {
        let accounts =
            Accounts { total_s: 20.0, busy_s: 12.0, servers_s: 7.0, own_s: 2.0, interrupts_s: 1.0, stolen_s: 0.5 };
        assert_eq!(accounts.others_s(), 1.5);
        assert!(accounts.is_disturbed());
        assert_eq!(
            accounts.sentence(),
            "of the machine's CPU time the servers used 35.0 %, this program 10.0 %, interrupts 5.0 %, other programs \
             7.5 %, other guests 2.5 %"
        );
    }

    #[test]
    fn a_moment_of_nothing_is_no_division_by_zero() {
        let (accounts, seconds) = Opening::now(None).close();
        assert!(seconds >= 0.0 && accounts.percent(accounts.own_s).is_finite());
        assert!(!Accounts::default().is_disturbed());
    }
}
