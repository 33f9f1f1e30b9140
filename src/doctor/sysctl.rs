//! The sysctls the doctor looks at: all of them, so that the guide can be held against the list.

use crate::kernel::Root;
use std::collections::BTreeMap;

/// Where the lines it prints belong.
pub const SYSCTL_FILE: &str = "/etc/sysctl.d/90-cinnabar.conf";

/// Every name the doctor reads. tuning/README.md explains each.
pub const SYSCTLS: &[&str] = &[
    "fs.epoll.max_user_watches",
    "fs.file-max",
    "fs.nr_open",
    "kernel.io_uring_disabled",
    "net.core.default_qdisc",
    "net.core.netdev_max_backlog",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_migrate_req",
    "net.ipv4.tcp_syncookies",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_count",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "vm.overcommit_memory",
    "vm.swappiness",
];

/// Reads those that are there. In a container many aren't: they belong to the host.
pub(super) fn read(root: &Root) -> BTreeMap<&'static str, String> {
    let value = |name: &&'static str| {
        let text = root.read(&format!("proc/sys/{}", name.replace('.', "/")))?;
        // Several values are separated by tabs there and by spaces everywhere else.
        Some((*name, text.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    SYSCTLS.iter().filter_map(value).collect()
}
