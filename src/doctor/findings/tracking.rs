//! Connection tracking: a table that fills up, and time for every packet.

use super::{Case, round_up};
use crate::doctor::capacity::Resource;
use crate::doctor::finding::{Finding, Level, count};

/// Entries of connections that are gone are kept this long at most, seconds.
const KEPT_S: u64 = 3_600;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    const NAME: &str = "net.netfilter.nf_conntrack_max";
    let Some(max) = case.machine.number(NAME) else {
        findings.push(Finding::ok("conntrack", "not loaded"));
        return;
    };
    if !case.machine.tracks_connections() {
        findings.push(Finding::ok("conntrack", "loaded, but no rule uses it"));
        return;
    }
    let used = case.machine.number("net.netfilter.nf_conntrack_count").unwrap_or_default();
    let found = format!("{} of {}", count(used), count(max));
    let bypass = "every packet is looked up in it: 41 % more CPU per delivery where it was measured. Leave the hub's port out, \
                  unless addresses are translated (docker -p, services of Kubernetes)";
    let port = case.hub.port;
    let rules = format!(
        "table inet cinnabar {{\n  chain in {{ type filter hook prerouting priority -300; tcp dport {port} notrack; }}\n  \
         chain out {{ type filter hook output priority -300; tcp sport {port} notrack; }}\n}}"
    );
    findings.push(
        Finding::new("conntrack", Level::Warn, found.clone(), bypass)
            .wanted("not for the hub's port")
            .fix("a file for nft -f", rules),
    );
    let level = case.shortage(Resource::Conntrack);
    if level == Level::Ok {
        findings.push(Finding::ok(NAME, found));
    } else {
        let wanted = round_up(case.target().div_ceil(2).saturating_mul(3));
        let why = "when the table is full new connections are dropped without a word";
        findings.push(Finding::new(NAME, level, found, why).set_sysctl(&wanted.to_string()));
        findings.extend(buckets(case, wanted));
    }
    findings.extend(timeout(case));
}

/// The table's hash has to grow with it.
fn buckets(case: &Case<'_>, entries: u64) -> Option<Finding> {
    const NAME: &str = "net.netfilter.nf_conntrack_buckets";
    let found = case.machine.number(NAME)?;
    if found >= entries / 4 {
        return Some(Finding::ok(NAME, count(found)));
    }
    let why = "entries share buckets: with many in each, every packet walks a list";
    Some(Finding::new(NAME, Level::Warn, count(found), why).set_sysctl(&entries.to_string()))
}

fn timeout(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "net.netfilter.nf_conntrack_tcp_timeout_established";
    let found = case.machine.number(NAME)?;
    if found <= KEPT_S * 24 || case.hub.heartbeat_ms == 0 {
        return Some(Finding::ok(NAME, format!("{found} s")));
    }
    let why = "entries of clients that vanished stay for days; heartbeats keep those of the others";
    Some(Finding::new(NAME, Level::Note, format!("{found} s"), why).set_sysctl(&KEPT_S.to_string()))
}
