//! Accepting, queueing and sending.

use super::{Case, round_up};
use crate::doctor::finding::{Finding, Level, count};

/// What the hub asks for when it listens.
const BACKLOG: u64 = 16_384;
/// Below this a storm of reconnecting clients overflows the accept queue.
const BACKLOG_FEW: u64 = 4_096;
/// An accept queue longer than this only hides that nobody accepts.
const BACKLOG_MANY: u64 = 262_144;
/// Lowering the number of kept TIME_WAITs below this is a recipe from elsewhere.
const TIME_WAITS_FEW: u64 = 8_192;
/// Closing connections per open one that the kernel should have room for, as a percentage.
const ORPHANS_SHARE: u64 = 30;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    findings.extend(accept_queue(case));
    findings.extend(half_open(case));
    findings.extend(exact(
        case,
        "net.ipv4.tcp_syncookies",
        0,
        "1",
        "a flood of half-open connections keeps everybody out",
    ));
    findings.extend(exact(
        case,
        "net.ipv4.tcp_abort_on_overflow",
        1,
        "0",
        "clients that find a full accept queue see an error at once, where they would have got in a second later",
    ));
    findings.extend(orphans(case));
    findings.extend(time_waits(case));
    findings.extend(migration(case));
    findings.extend(ports(case));
    findings.extend(input_queue(case));
    findings.extend(sending(case));
}

fn accept_queue(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "net.core.somaxconn";
    let found = case.machine.number(NAME)?;
    let overflows = case.machine.counters.listen_overflows;
    if found > BACKLOG_MANY {
        let why = "an accept queue longer than what is accepted in a second only hides overload from clients, which give up in it";
        return Some(Finding::new(NAME, Level::Warn, count(found), why).set_sysctl(&BACKLOG.to_string()));
    }
    if found < BACKLOG_FEW {
        let why = "connections that come at once wait in this queue, and those that find it full try again after a second: with 128 the \
                   99th percentile of 8,000 was 3.1 s, with 4096 0.16 s";
        return Some(Finding::new(NAME, Level::Warn, count(found), why).set_sysctl(&BACKLOG.to_string()));
    }
    if overflows > 0 && found < BACKLOG {
        let why = format!("{} connections found a full accept queue since the start", count(overflows));
        return Some(Finding::new(NAME, Level::Warn, count(found), why).set_sysctl(&BACKLOG.to_string()));
    }
    Some(Finding::ok(NAME, count(found)))
}

fn half_open(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "net.ipv4.tcp_max_syn_backlog";
    let found = case.machine.number(NAME)?;
    if found >= 1024 || case.target() < 50_000 {
        return Some(Finding::ok(NAME, count(found)));
    }
    let why = "half-open connections beyond it are answered with cookies, which forget some of their options; never the limit where it was measured";
    Some(Finding::new(NAME, Level::Note, count(found), why).set_sysctl(&BACKLOG.to_string()))
}

/// A switch that is right unless it has one value.
fn exact(case: &Case<'_>, name: &'static str, wrong: u64, right: &str, why: &str) -> Option<Finding> {
    let found = case.machine.number(name)?;
    if found != wrong {
        return Some(Finding::ok(name, found.to_string()));
    }
    Some(Finding::new(name, Level::Warn, found.to_string(), why).set_sysctl(right))
}

fn orphans(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "net.ipv4.tcp_max_orphans";
    let found = case.machine.number(NAME)?;
    let wanted = case.target() / 100 * ORPHANS_SHARE;
    if found >= wanted {
        return Some(Finding::ok(NAME, count(found)));
    }
    let why = "when the hub closes many connections at once, as a restart does, those beyond it are reset before their last bytes arrive";
    Some(Finding::new(NAME, Level::Warn, count(found), why).set_sysctl(&round_up(wanted).to_string()))
}

fn time_waits(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "net.ipv4.tcp_max_tw_buckets";
    let found = case.machine.number(NAME)?;
    if found >= TIME_WAITS_FEW {
        return Some(Finding::ok(NAME, count(found)));
    }
    let why =
        "closed connections are forgotten too early, and late packets of one can reach another; an entry costs 256 B";
    Some(Finding::new(NAME, Level::Warn, count(found), why).set_sysctl("131072"))
}

fn migration(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "net.ipv4.tcp_migrate_req";
    let found = case.machine.number(NAME)?;
    if found != 0 || case.hub.shards < 2 {
        return Some(Finding::ok(NAME, found.to_string()));
    }
    let why = "handshakes that haven't come through when a listener closes are reset; with 1 they move to another that shares the port";
    Some(Finding::new(NAME, Level::Note, "0", why).set_sysctl("1"))
}

fn ports(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "net.ipv4.ip_local_port_range";
    let [first, last] = case.machine.numbers(NAME)[..] else { return None };
    let ports = last.saturating_add(1).saturating_sub(first);
    let found = format!("{first} {last}");
    if !case.hub.behind_local_proxy || case.target() <= ports {
        return Some(Finding::ok(NAME, found));
    }
    let why = format!(
        "the hub listens on loopback, so a proxy makes all connections: {} from one of its addresses to one address and port of the hub",
        count(ports)
    );
    let mut finding = Finding::new(NAME, Level::Warn, found, why)
        .wanted(format!("a source port for each of {}", count(case.target())));
    if ports < 60_000 {
        finding = finding.fix("now", "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"");
        finding = finding.fix(crate::doctor::SYSCTL_FILE, "net.ipv4.ip_local_port_range = 1024 65535");
    }
    Some(finding.fix(
        "proxy",
        "more source addresses: tuning/nginx.conf shows how with proxy_bind; or let the hub listen on its own address, without a proxy",
    ))
}

fn input_queue(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "net.core.netdev_max_backlog";
    let found = case.machine.number(NAME)?;
    let drops = case.machine.counters.softnet_drops;
    if drops == 0 || found >= 5_000 {
        return Some(Finding::ok(NAME, count(found)));
    }
    let why = format!("{} packets were dropped since the start because a core's input queue was full", count(drops));
    Some(Finding::new(NAME, Level::Warn, count(found), why).set_sysctl("5000"))
}

/// How packets leave: shown, with the one pair that bites a broadcast.
fn sending(case: &Case<'_>) -> Vec<Finding> {
    let text = |name: &'static str| case.machine.sysctls.get(name).cloned();
    let mut findings = Vec::new();
    if let Some(control) = text("net.ipv4.tcp_congestion_control") {
        findings.push(Finding::ok("net.ipv4.tcp_congestion_control", control));
    }
    if let Some(qdisc) = text("net.core.default_qdisc") {
        findings.push(if qdisc == "fq" && case.target() > 10_000 {
            let why = "fq holds 10,000 packets by default, and a broadcast to more connections overflows it: raise its limit, and look \
                       at `tc -s qdisc` for drops";
            let limit = round_up(case.target());
            Finding::new("net.core.default_qdisc", Level::Note, qdisc, why)
                .fix("now, for the interface eth0", format!("tc qdisc replace dev eth0 root fq limit {limit} flow_limit 100"))
        } else {
            Finding::ok("net.core.default_qdisc", qdisc)
        });
    }
    findings
}
