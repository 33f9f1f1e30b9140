//! Descriptors: of the process, of the machine, and what watches them.

use super::{Case, round_up};
use crate::doctor::capacity::Resource;
use crate::doctor::finding::{Finding, Level, count};

/// With io_uring descriptors are for requests only; below this there are few at a time.
const REQUESTS_FEW: u64 = 4_096;
/// What a limit is raised to at least.
const WANTED_MIN: u64 = 65_536;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let (own, raised) = own(case);
    findings.push(own);
    findings.extend(per_process(case, raised));
    findings.extend(files(case));
    findings.extend(watches(case));
}

/// And what it says the limit should be, 0 if it needn't be raised.
fn own(case: &Case<'_>) -> (Finding, u64) {
    const NAME: &str = "descriptors";
    let machine = case.machine;
    let max = machine.descriptors_max();
    let whose = match &machine.unit {
        Some(unit) => format!("in {}.service", unit.name),
        None => "of this process".to_owned(),
    };
    let found = format!("hard limit {} {whose}", count(max));
    let (level, why, wanted) = if case.hub.uring {
        if max >= REQUESTS_FEW {
            return (Finding::ok(NAME, format!("{found}; parked connections need none with io_uring")), 0);
        }
        let why = "streams need no descriptor with io_uring, but requests do: few can be served at a time, and a storm of \
                   reconnecting clients takes long";
        (Level::Warn, why, WANTED_MIN)
    } else {
        let level = case.shortage(Resource::Descriptors);
        if level == Level::Ok {
            return (Finding::ok(NAME, found), 0);
        }
        let why = "every connection is a descriptor on epoll: beyond the limit connections are closed as they come";
        (level, why, round_up((case.target().saturating_add(case.hub.own_descriptors)) / 10 * 11).max(WANTED_MIN))
    };
    let unit = machine.unit.as_ref().map_or("cinnabar", |unit| &unit.name);
    let finding = Finding::new(NAME, level, found, why)
        .wanted(count(wanted))
        .fix(format!("systemctl edit {unit}.service"), format!("[Service]\nLimitNOFILE={wanted}"))
        .fix("shell, before the hub is started as root", format!("ulimit -Hn {wanted}"))
        .fix("container", format!("--ulimit nofile={wanted}:{wanted}"));
    (finding, wanted)
}

/// A limit can't be raised above `fs.nr_open`.
fn per_process(case: &Case<'_>, raised: u64) -> Option<Finding> {
    const NAME: &str = "fs.nr_open";
    let ceiling = case.machine.number(NAME)?;
    let asked = case.machine.unit.as_ref().map_or(0, |unit| unit.descriptors).max(raised);
    // "infinity" means the ceiling itself.
    if asked <= ceiling || asked == u64::MAX {
        return Some(Finding::ok(NAME, count(ceiling)));
    }
    let why = "no process may have a higher limit on descriptors, root's included: a service that asks for more doesn't start";
    Some(Finding::new(NAME, Level::Fail, count(ceiling), why).set_sysctl(&round_up(asked).to_string()))
}

fn files(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "fs.file-max";
    let max = case.machine.number(NAME)?;
    let level = case.shortage(Resource::Files);
    if level == Level::Ok {
        return Some(Finding::ok(NAME, count(max)));
    }
    let wanted = round_up((case.target() / 10 * 12 + 1_000).saturating_add(case.machine.files_open));
    let why = "files of the whole machine: beyond it nobody can open anything, and connections are closed as they come";
    Some(Finding::new(NAME, level, count(max), why).set_sysctl(&wanted.to_string()))
}

fn watches(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "fs.epoll.max_user_watches";
    let max = case.machine.number(NAME)?;
    let level = case.shortage(Resource::Watches);
    if level == Level::Ok {
        return Some(Finding::ok(NAME, count(max)));
    }
    let why = "each connection is watched by epoll, with io_uring too: further ones are closed as they come";
    Some(Finding::new(NAME, level, count(max), why).set_sysctl(&round_up(case.target() / 10 * 11 + 1_000).to_string()))
}
