//! Each finding on a machine that shows it and on one that doesn't.

use super::findings;
use crate::doctor::made_up::{MadeUp, hub};
use crate::doctor::{Capacity, Finding, Hub, Level, Load};

const ASKED: Load = Load { connections: Some(300_000), frame_bytes: 300, own: false };
const OPEN: Load = Load { connections: None, ..ASKED };

fn judged(made: &MadeUp, hub: &Hub, load: Load) -> Vec<Finding> {
    let machine = made.machine();
    findings(&machine, hub, &Capacity::new(&machine, hub, &load))
}

fn finding(made: &MadeUp, hub: &Hub, load: Load, name: &str) -> Finding {
    judged(made, hub, load)
        .into_iter()
        .find(|finding| finding.name == name)
        .unwrap_or_else(|| panic!("nothing about {name}"))
}

fn level(made: &MadeUp, name: &str) -> Level {
    finding(made, &hub(), ASKED, name).level
}

fn epoll() -> Hub {
    Hub { uring: false, ..hub() }
}

#[test]
fn the_tuned_machine_has_nothing_that_breaks_and_nothing_to_warn_of() {
    for finding in judged(&MadeUp::tuned_vm(), &hub(), ASKED) {
        assert!(finding.level < Level::Warn, "{finding:?}");
    }
}

#[test]
fn the_machine_as_it_comes_breaks_at_tcp_memory_alone() {
    let failed: Vec<_> =
        judged(&MadeUp::small_vm(), &hub(), ASKED).into_iter().filter(|finding| finding.level == Level::Fail).collect();
    let [tcp] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!((tcp.name, tcp.wanted.as_str()), ("net.ipv4.tcp_mem", "225000 300000 375000"));
    assert!(tcp.fixes.iter().any(|fix| fix.text == "sysctl -w net.ipv4.tcp_mem=\"225000 300000 375000\""), "{tcp:?}");
}

#[test]
fn what_nobody_asked_for_only_warns() {
    let findings = judged(&MadeUp::small_vm(), &hub(), OPEN);
    assert!(findings.iter().all(|finding| finding.level < Level::Fail), "{findings:?}");
    assert!(findings.iter().any(|finding| finding.name == "net.ipv4.tcp_mem" && finding.level == Level::Warn));
}

#[test]
fn whatever_is_not_right_says_why_and_what_to_do() {
    let machines = [
        MadeUp::container(),
        MadeUp::small_vm(),
        MadeUp::small_vm().without_io_uring().sysctl("net.core.somaxconn", "128").sysctl("fs.file-max", "100000"),
    ];
    for made in machines {
        for finding in judged(&made, &epoll(), ASKED).into_iter().filter(|finding| finding.level >= Level::Warn) {
            assert!(
                !finding.why.is_empty() && (!finding.fixes.is_empty() || !finding.wanted.is_empty()),
                "{finding:?}"
            );
        }
    }
}

#[test]
fn an_old_kernel_is_told() {
    let old = |release: &str| MadeUp::tuned_vm().with("proc/sys/kernel/osrelease", release);
    assert_eq!(level(&old("4.19.0"), "kernel"), Level::Warn);
    assert_eq!(level(&old("5.15.0-91-generic"), "kernel"), Level::Note);
    assert_eq!(level(&old("6.1.0"), "kernel"), Level::Ok);
}

#[test]
fn a_short_accept_queue_is_told() {
    let queue = |length: &str| level(&MadeUp::tuned_vm().sysctl("net.core.somaxconn", length), "net.core.somaxconn");
    assert_eq!(queue("128"), Level::Warn);
    assert_eq!(queue("4096"), Level::Ok);
    assert_eq!(queue("3000000"), Level::Warn, "so is an absurd one");
    let overflowed = MadeUp::tuned_vm()
        .sysctl("net.core.somaxconn", "4096")
        .with("proc/net/netstat", "TcpExt: ListenOverflows\nTcpExt: 7\n");
    assert_eq!(level(&overflowed, "net.core.somaxconn"), Level::Warn);
}

#[test]
fn io_uring_denied_warns_and_breaks_where_it_is_demanded() {
    let denied = MadeUp::tuned_vm().without_io_uring();
    assert_eq!(finding(&denied, &epoll(), ASKED, "io_uring").level, Level::Warn);
    let demanded = Hub { uring_demanded: true, ..epoll() };
    assert_eq!(finding(&denied, &demanded, ASKED, "io_uring").level, Level::Fail);
    assert_eq!(level(&MadeUp::tuned_vm(), "io_uring"), Level::Ok);
    let disabled = finding(&denied.sysctl("kernel.io_uring_disabled", "2"), &epoll(), ASKED, "io_uring");
    assert!(disabled.fixes.iter().any(|fix| fix.text == "sysctl -w kernel.io_uring_disabled=0"), "{disabled:?}");
    let container = finding(&MadeUp::container(), &epoll(), OPEN, "io_uring");
    assert!(container.fixes[0].text.contains("seccomp"), "{container:?}");
}

#[test]
fn descriptors_count_on_epoll_and_hardly_with_io_uring() {
    let few = MadeUp::tuned_vm().with("proc/self/limits", "Max open files 1024 20000 files\n");
    assert_eq!(finding(&few, &hub(), ASKED, "descriptors").level, Level::Ok);
    let epoll = finding(&few, &epoll(), ASKED, "descriptors");
    assert_eq!((epoll.level, epoll.wanted.as_str()), (Level::Fail, "331,000"));
    assert!(epoll.fixes.iter().any(|fix| fix.text == "[Service]\nLimitNOFILE=331000"), "{epoll:?}");
    let fewer = MadeUp::tuned_vm().with("proc/self/limits", "Max open files 1024 1024 files\n");
    assert_eq!(level(&fewer, "descriptors"), Level::Warn, "requests are descriptors all the same");
    let unit = few.with("etc/systemd/system/cinnabar.service", "[Service]\nLimitNOFILE=1048576\n");
    assert_eq!(finding(&unit, &self::epoll(), ASKED, "descriptors").level, Level::Ok, "the service's limit counts");
}

#[test]
fn a_limit_above_nr_open_keeps_the_service_from_starting() {
    let unit = |limit: &str| {
        let text = format!("[Service]\nLimitNOFILE={limit}\n");
        MadeUp::tuned_vm().sysctl("fs.nr_open", "1048576").with("etc/systemd/system/cinnabar.service", &text)
    };
    assert_eq!(level(&unit("2000000"), "fs.nr_open"), Level::Fail);
    assert_eq!(level(&unit("1048576"), "fs.nr_open"), Level::Ok);
    assert_eq!(level(&unit("infinity"), "fs.nr_open"), Level::Ok);
}

#[test]
fn files_and_watches_of_the_machine_are_counted() {
    for name in ["fs.file-max", "fs.epoll.max_user_watches"] {
        assert_eq!(level(&MadeUp::tuned_vm().sysctl(name, "100000"), name), Level::Fail);
        assert_eq!(level(&MadeUp::tuned_vm(), name), Level::Ok);
    }
}

#[test]
fn memory_that_does_not_suffice_breaks() {
    let asked = Load { connections: Some(600_000), ..ASKED };
    let found = finding(&MadeUp::tuned_vm(), &hub(), asked, "memory");
    assert_eq!(found.level, Level::Fail);
    assert!(found.fixes.iter().any(|fix| fix.text == "--max-connections 430616"), "{found:?}");
    assert_eq!(found.wanted, "5.37 GB", "four fifths of which are 4.29");
    assert_eq!(level(&MadeUp::tuned_vm(), "memory"), Level::Note, "nobody set a limit");
    let limited = Hub { max_connections: Some(300_000), ..hub() };
    assert_eq!(finding(&MadeUp::tuned_vm(), &limited, OPEN, "memory").level, Level::Ok);
}

#[test]
fn a_container_s_limit_is_the_one_that_kills() {
    let asked = Load { connections: Some(100_000), ..ASKED };
    let found = finding(&MadeUp::container(), &epoll(), asked, "memory");
    assert!(found.level == Level::Fail && found.why.contains("refuses new subscribers"), "{found:?}");
    assert_eq!(finding(&MadeUp::container(), &epoll(), OPEN, "memory.max").level, Level::Note);
    let old = MadeUp::container().with("proc/sys/kernel/osrelease", "6.1.0");
    assert_eq!(finding(&old, &epoll(), OPEN, "memory.max").level, Level::Warn);
    let high = MadeUp::container().with("sys/fs/cgroup/memory.high", "536870912\n");
    assert_eq!(finding(&high, &epoll(), OPEN, "memory.max").level, Level::Warn);
    let unlimited = Hub { memory_max: Some(0), ..epoll() };
    let found = finding(&MadeUp::container(), &unlimited, asked, "memory");
    assert!(found.why.contains("kills"), "nothing comes before it: {found:?}");
    assert!(judged(&MadeUp::small_vm(), &hub(), OPEN).iter().all(|finding| finding.name != "memory.max"));
}

#[test]
fn the_hub_s_own_ceiling_is_told_before_anybody_is_refused() {
    let judge = |memory_max, load| {
        finding(&MadeUp::tuned_vm(), &Hub { memory_max: Some(memory_max), ..hub() }, load, "--memory-max")
    };
    assert_eq!(level(&MadeUp::tuned_vm(), "--memory-max"), Level::Ok, "four fifths of the machine suffice");
    let low = judge(1 << 30, ASKED);
    assert!(low.level == Level::Fail && low.why.contains("503"), "{low:?}");
    let [fix] = &low.fixes[..] else { panic!("{low:?}") };
    let wanted = fix.text.strip_prefix("--memory-max ").and_then(|size| size.strip_suffix("MiB"));
    let wanted: u64 = wanted.expect("what to set").parse().expect("MiB");
    assert_eq!(judge(wanted << 20, ASKED).level, Level::Ok);
    assert_eq!(judge((wanted - 1) << 20, ASKED).level, Level::Fail);
    assert_eq!(judge(1 << 30, OPEN).level, Level::Warn, "nobody asked");
    assert_eq!(judge(8 << 30, ASKED).level, Level::Warn, "the kernel would come first");
    assert_eq!(judge(0, ASKED).level, Level::Warn);
    let more = judge(1 << 30, Load { connections: Some(2_000_000), ..ASKED });
    assert!(!more.fixes[0].text.contains("--memory-max"), "a ceiling beyond what there is helps nobody: {more:?}");
}

#[test]
fn clients_behind_a_proxy_nobody_named_are_one() {
    let name = "--max-connections-per-address";
    let local = Hub { behind_local_proxy: true, connections_per_address: Some(20), ..hub() };
    let few = Load { connections: Some(1_000), ..ASKED };
    let judge = |hub: &Hub, load| finding(&MadeUp::tuned_vm(), hub, load, name).level;
    assert_eq!((judge(&local, few), judge(&local, OPEN)), (Level::Fail, Level::Warn));
    assert_eq!(judge(&local, Load { connections: Some(20), ..ASKED }), Level::Note, "enough for all");
    assert_eq!(judge(&Hub { trusts_proxies: true, ..local.clone() }, few), Level::Ok);
    assert_eq!(judge(&Hub { behind_local_proxy: false, ..local.clone() }, few), Level::Note);
    let unset = Hub { connections_per_address: None, ..local };
    assert!(judged(&MadeUp::tuned_vm(), &unset, few).iter().all(|finding| finding.name != name));
}

#[test]
fn proxies_that_have_to_say_whom_they_speak_for_are_a_note() {
    let name = "--proxy-protocol";
    let spoken = Hub { proxy_protocol: true, trusts_proxies: true, ..hub() };
    assert_eq!(finding(&MadeUp::tuned_vm(), &spoken, ASKED, name).level, Level::Note);
    assert!(judged(&MadeUp::tuned_vm(), &hub(), ASKED).iter().all(|finding| finding.name != name));
}

#[test]
fn what_belongs_to_the_host_is_not_missing_in_a_container() {
    let found = finding(&MadeUp::container(), &epoll(), OPEN, "net.ipv4.tcp_mem");
    assert!(found.level == Level::Note && found.why.contains("host"), "{found:?}");
}

#[test]
fn more_tcp_memory_than_there_is_memory_breaks() {
    // The figures of somebody's machine with 64 GiB, taken for this one.
    let found = finding(
        &MadeUp::tuned_vm().sysctl("net.ipv4.tcp_mem", "3086496 4115330 6172992"),
        &hub(),
        ASKED,
        "net.ipv4.tcp_mem",
    );
    assert!(found.level == Level::Fail && found.why.contains("take it all"), "{found:?}");
    let aborted = MadeUp::tuned_vm().with("proc/net/netstat", "TcpExt: TCPAbortOnMemory\nTcpExt: 3\n");
    assert_eq!(level(&aborted, "net.ipv4.tcp_mem"), Level::Warn);
}

#[test]
fn pages_overcommit_and_swap_are_looked_at() {
    let huge = MadeUp::tuned_vm().with("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    assert_eq!(
        (level(&huge, "transparent_hugepage"), level(&MadeUp::tuned_vm(), "transparent_hugepage")),
        (Level::Warn, Level::Ok)
    );
    let strict = MadeUp::tuned_vm().sysctl("vm.overcommit_memory", "2");
    assert_eq!(
        (level(&strict, "vm.overcommit_memory"), level(&MadeUp::tuned_vm(), "vm.overcommit_memory")),
        (Level::Warn, Level::Ok)
    );
    let swap = || MadeUp::small_vm().with("proc/swaps", "Filename\n/dev/vda2 partition\n");
    assert_eq!(level(&swap(), "vm.swappiness"), Level::Warn);
    assert_eq!(level(&swap().sysctl("vm.swappiness", "10"), "vm.swappiness"), Level::Ok);
}

#[test]
fn cores_quota_and_threads_are_looked_at() {
    let shards = |shards| finding(&MadeUp::tuned_vm(), &Hub { shards, ..hub() }, ASKED, "cores").level;
    assert_eq!((shards(2), shards(16)), (Level::Ok, Level::Warn));
    assert_eq!(finding(&MadeUp::container(), &epoll(), OPEN, "cores").level, Level::Note);
    let busy = Hub { heartbeat_ms: 1_000, ..hub() };
    assert_eq!(finding(&MadeUp::tuned_vm(), &busy, ASKED, "cores").level, Level::Warn, "300,000 heartbeats a second");
    let pids =
        |max: &str| finding(&MadeUp::container().with("sys/fs/cgroup/pids.max", max), &epoll(), OPEN, "pids").level;
    assert_eq!((pids("10"), pids("100")), (Level::Fail, Level::Ok));
}

#[test]
fn clocks_are_looked_at() {
    let source =
        |name: &str| MadeUp::tuned_vm().with("sys/devices/system/clocksource/clocksource0/current_clocksource", name);
    assert_eq!((level(&source("hpet"), "clock"), level(&source("tsc"), "clock")), (Level::Warn, Level::Ok));
    assert_eq!(finding(&MadeUp::new(), &hub(), OPEN, "clock").level, Level::Note, "nobody keeps the time");
}

#[test]
fn a_tracked_connection_costs_and_its_table_fills() {
    let tracked = |max: &str| {
        MadeUp::tuned_vm()
            .sysctl("net.netfilter.nf_conntrack_count", "12")
            .sysctl("net.netfilter.nf_conntrack_buckets", "65536")
            .sysctl("net.netfilter.nf_conntrack_tcp_timeout_established", "432000")
            .sysctl("net.netfilter.nf_conntrack_max", max)
    };
    let full = tracked("262144");
    assert_eq!(level(&full, "net.netfilter.nf_conntrack_max"), Level::Fail);
    assert_eq!(level(&full, "net.netfilter.nf_conntrack_buckets"), Level::Warn);
    assert_eq!(level(&full, "net.netfilter.nf_conntrack_tcp_timeout_established"), Level::Note);
    let roomy = tracked("600000");
    assert_eq!(level(&roomy, "net.netfilter.nf_conntrack_max"), Level::Ok);
    assert_eq!(level(&roomy, "conntrack"), Level::Warn, "it costs all the same");
    let rules = finding(&roomy, &hub(), ASKED, "conntrack").fixes.remove(0).text;
    assert!(
        rules.contains("  chain in { type filter hook prerouting priority -300; tcp dport 8080 notrack; }\n"),
        "{rules}"
    );
    assert_eq!(level(&MadeUp::tuned_vm(), "conntrack"), Level::Ok);
    assert_eq!(level(&tracked("1").sysctl("net.netfilter.nf_conntrack_count", "0"), "conntrack"), Level::Ok);
}

#[test]
fn recipes_that_lower_defaults_are_told() {
    for (name, wrong) in [
        ("net.ipv4.tcp_max_tw_buckets", "5000"),
        ("net.ipv4.tcp_syncookies", "0"),
        ("net.ipv4.tcp_abort_on_overflow", "1"),
        ("net.ipv4.tcp_max_orphans", "1000"),
    ] {
        assert_eq!(level(&MadeUp::tuned_vm().sysctl(name, wrong), name), Level::Warn, "{name}");
        assert_eq!(level(&MadeUp::tuned_vm(), name), Level::Ok, "{name}");
    }
}

#[test]
fn optional_knobs_are_notes() {
    for (name, value) in
        [("net.ipv4.tcp_migrate_req", "0"), ("net.ipv4.tcp_max_syn_backlog", "512"), ("net.core.default_qdisc", "fq")]
    {
        assert_eq!(level(&MadeUp::tuned_vm().sysctl(name, value), name), Level::Note, "{name}");
        assert_eq!(level(&MadeUp::tuned_vm(), name), Level::Ok, "{name}");
    }
}

#[test]
fn a_proxy_on_the_machine_runs_out_of_ports() {
    let behind = Hub { behind_local_proxy: true, ..hub() };
    let name = "net.ipv4.ip_local_port_range";
    assert_eq!(finding(&MadeUp::tuned_vm(), &behind, ASKED, name).level, Level::Warn);
    assert_eq!(
        finding(&MadeUp::tuned_vm(), &behind, Load { connections: Some(20_000), ..ASKED }, name).level,
        Level::Ok
    );
    assert_eq!(level(&MadeUp::tuned_vm(), name), Level::Ok);
}

#[test]
fn no_number_is_too_large() {
    let huge = Load { connections: Some(u64::MAX), frame_bytes: u64::MAX, own: true };
    let most = u64::MAX.to_string();
    let machines = [
        MadeUp::new(),
        MadeUp::container(),
        MadeUp::small_vm()
            .sysctl("net.netfilter.nf_conntrack_count", &most)
            .sysctl("net.netfilter.nf_conntrack_max", &most)
            .sysctl("net.netfilter.nf_conntrack_buckets", "1")
            .sysctl("net.ipv4.tcp_mem", &format!("{most} {most} {most}"))
            .sysctl("net.ipv4.ip_local_port_range", &format!("0 {most}"))
            .sysctl("fs.file-max", &most)
            .with("proc/sys/fs/file-nr", &most)
            .with("proc/meminfo", "MemTotal: 18446744073709551615 kB\n"),
        MadeUp::small_vm().sysctl("fs.file-max", "1").with("proc/sys/fs/file-nr", &most),
    ];
    for made in machines {
        assert!(
            !judged(
                &made,
                &Hub { uring: false, behind_local_proxy: true, shards: 1024, heartbeat_ms: 1, ..hub() },
                huge
            )
            .is_empty()
        );
    }
}

#[test]
fn dropped_packets_ask_for_a_longer_queue() {
    let name = "net.core.netdev_max_backlog";
    let dropped = || MadeUp::tuned_vm().with("proc/net/softnet_stat", "00000001 00000005 00000000\n");
    assert_eq!((level(&dropped(), name), level(&MadeUp::tuned_vm(), name)), (Level::Warn, Level::Ok));
    assert_eq!(level(&dropped().sysctl(name, "5000"), name), Level::Ok);
}
