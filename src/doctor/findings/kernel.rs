//! The kernel, its ring, its cores and its clock.

use super::Case;
use crate::doctor::finding::{Finding, Level};
use crate::doctor::machine::IoUring;

/// Threads a hub has beside its shards, with workers of the kernel's.
const OTHER_THREADS: u64 = 32;
/// The first kernel whose rings do all the hub asks of them.
const URING_KERNEL: (u32, u32) = (6, 1);
/// The first kernel whose `somaxconn` isn't 128.
const OLD_KERNEL: (u32, u32) = (5, 4);

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    findings.push(version(case));
    findings.push(io_uring(case));
    findings.push(cores(case));
    findings.extend(pids(case));
    findings.push(clock(case));
}

fn version(case: &Case<'_>) -> Finding {
    let kernel = &case.machine.kernel;
    let release = kernel.release.clone();
    match kernel.version {
        (0, 0) => Finding::new("kernel", Level::Note, "unknown", "the kernel's version can't be read here"),
        version if version < OLD_KERNEL => Finding::new(
            "kernel",
            Level::Warn,
            release,
            "before 5.4 the accept queue holds 128 connections unless told otherwise, and there is no io_uring to speak of",
        )
        .wanted("6.1 or later"),
        version if version < URING_KERNEL => Finding::new(
            "kernel",
            Level::Note,
            release,
            "io_uring as the hub uses it came with 6.1: it runs on epoll here, where every connection is a descriptor",
        )
        .wanted("6.1 or later"),
        _ => Finding::ok("kernel", release),
    }
}

fn io_uring(case: &Case<'_>) -> Finding {
    const NAME: &str = "io_uring";
    let IoUring::Denied(why) = &case.machine.io_uring else {
        return Finding::ok(NAME, if case.hub.uring { "works" } else { "works; --io epoll leaves it aside" });
    };
    let level = if case.hub.uring_demanded { Level::Fail } else { Level::Warn };
    let consequence = match level {
        Level::Fail => "with --io uring the hub doesn't start",
        _ => "the hub runs on epoll: every connection is a descriptor, and it delivers some 7 % less",
    };
    let mut finding = Finding::new(NAME, level, format!("denied: {why}"), consequence).wanted("works");
    let disabled = case.machine.number("kernel.io_uring_disabled").unwrap_or(0);
    if disabled > 0 {
        finding.why.push_str(&format!("; kernel.io_uring_disabled is {disabled}"));
        finding = finding
            .fix("now", "sysctl -w kernel.io_uring_disabled=0")
            .fix(crate::doctor::SYSCTL_FILE, "kernel.io_uring_disabled = 0");
    } else if case.machine.seccomp {
        finding.why.push_str("; a seccomp profile is on, as container engines have one by default");
        finding = finding.fix(
            "container",
            "add io_uring_setup, io_uring_enter and io_uring_register to the seccomp profile, and name it with \
             --security-opt seccomp=PROFILE.json",
        );
    }
    if case.hub.uring_demanded {
        finding = finding.fix("hub", "--io auto");
    }
    finding
}

fn cores(case: &Case<'_>) -> Finding {
    const NAME: &str = "cores";
    let machine = case.machine;
    let cores = machine.groups.cpu_max.map_or(machine.cores as f64, |quota| quota.min(machine.cores as f64));
    let found = match machine.groups.cpu_max {
        Some(quota) if quota < machine.cores as f64 => format!("{} cores, time for {quota} of them", machine.cores),
        _ => format!("{} cores, {} shards", machine.cores, case.hub.shards),
    };
    let shards = case.hub.shards as f64;
    if shards > cores.ceil() {
        let why =
            "shards take turns on a core: with more shards than cores the last one's deliveries wait for the others'";
        let wanted = cores.floor().max(1.0);
        return Finding::new(NAME, Level::Warn, found, why)
            .wanted(format!("{wanted} shards"))
            .fix("hub", format!("--shards {wanted}"));
    }
    if machine.groups.cpu_max.is_some_and(|quota| quota < machine.cores as f64) {
        let why = "a quota stops all shards at once when a broadcast has used it up; whole cores (a cpuset) don't";
        return Finding::new(NAME, Level::Note, found, why);
    }
    let thousandths = case.capacity.heartbeat_core_thousandths;
    if thousandths as f64 > cores * 500.0 {
        let why = format!("heartbeats to {} connections take {} % of a core", case.target(), thousandths / 10);
        return Finding::new(NAME, Level::Warn, found, why).fix("hub", "a longer --heartbeat, or more cores");
    }
    Finding::ok(NAME, found)
}

fn pids(case: &Case<'_>) -> Option<Finding> {
    let unit = case.machine.unit.as_ref().and_then(|unit| unit.tasks_max);
    let max = case.machine.groups.pids_max.into_iter().chain(unit).min()?;
    let wanted = case.hub.shards + OTHER_THREADS;
    if max >= wanted {
        return Some(Finding::ok("pids", max.to_string()));
    }
    let why = "threads count as well: the hub can't start all of its own";
    Some(
        Finding::new("pids", Level::Fail, max.to_string(), why)
            .wanted(format!("{wanted} or more"))
            .fix("systemctl edit cinnabar.service", "[Service]\nTasksMax=256")
            .fix("container", "--pids-limit 256"),
    )
}

fn clock(case: &Case<'_>) -> Finding {
    const NAME: &str = "clock";
    let source = case.machine.clock_source.clone().unwrap_or_default();
    if ["hpet", "acpi_pm", "jiffies"].contains(&source.as_str()) {
        let why = "every look at the clock goes to a slow device";
        return Finding::new(NAME, Level::Warn, source, why).wanted("tsc or kvm-clock").fix(
            "now",
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource   # if available_clocksource has it",
        );
    }
    if !case.machine.time_kept {
        let why = "no service that keeps the time is seen here; tokens are judged by the time of day (a host may keep it for its guests)";
        return Finding::new(NAME, Level::Note, source, why).fix("now", "timedatectl set-ntp true");
    }
    Finding::ok(NAME, source)
}
