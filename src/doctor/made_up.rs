//! Machines that exist only in tests.

use super::{Hub, IoUring, Machine, Root};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder with the files of a machine, removed on drop.
pub(super) struct MadeUp {
    folder: PathBuf,
    root: Root,
    io_uring: IoUring,
}

impl MadeUp {
    /// A machine without any file.
    pub(super) fn new() -> MadeUp {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cinnabar-doctor-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        MadeUp { root: Root::new(&folder), folder, io_uring: IoUring::Works }
    }

    /// A virtual machine of 4 GiB and 2 cores as a distribution leaves it.
    pub(super) fn small_vm() -> MadeUp {
        let sysctls = [
            ("fs.epoll.max_user_watches", "890000"),
            ("fs.file-max", "9223372036854775807"),
            ("fs.nr_open", "1073741816"),
            ("kernel.io_uring_disabled", "0"),
            ("net.core.default_qdisc", "fq_codel"),
            ("net.core.netdev_max_backlog", "1000"),
            ("net.core.somaxconn", "4096"),
            ("net.ipv4.ip_local_port_range", "32768\t60999"),
            ("net.ipv4.tcp_abort_on_overflow", "0"),
            ("net.ipv4.tcp_congestion_control", "cubic"),
            ("net.ipv4.tcp_max_orphans", "16384"),
            ("net.ipv4.tcp_max_syn_backlog", "512"),
            ("net.ipv4.tcp_max_tw_buckets", "16384"),
            ("net.ipv4.tcp_mem", "46921\t62561\t93842"),
            ("net.ipv4.tcp_migrate_req", "0"),
            ("net.ipv4.tcp_syncookies", "1"),
            ("vm.overcommit_memory", "0"),
            ("vm.swappiness", "60"),
        ];
        let mut made = MadeUp::new()
            .with("proc/sys/kernel/osrelease", "6.12.0-debian\n")
            .with("proc/meminfo", "MemTotal:        4003900 kB\nMemFree: 1 kB\n")
            .with("proc/self/limits", "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n")
            .with("proc/self/status", "Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\nCpus_allowed_list:\t0-1\n")
            .with("proc/self/cgroup", "0::/user.slice\n")
            .with("proc/sys/fs/file-nr", "1000\t0\t9223372036854775807\n")
            .with("proc/swaps", "Filename Type Size Used Priority\n")
            .with("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
            .with("sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock\n")
            .with("run/systemd/timesync/synchronized", "");
        for (name, value) in sysctls {
            made = made.sysctl(name, value);
        }
        made
    }

    /// The same machine with the lines of tuning/sysctl.d.
    pub(super) fn tuned_vm() -> MadeUp {
        super::guide::lines().into_iter().fold(MadeUp::small_vm(), |made, (name, value)| made.sysctl(name, value))
    }

    /// A container on it with 1 GiB, one and a half cores and a profile that denies io_uring.
    pub(super) fn container() -> MadeUp {
        let mut made = MadeUp::small_vm()
            .without_io_uring()
            .with("proc/self/status", "Seccomp:\t2\nCpus_allowed_list:\t0-1\n")
            .with("proc/self/cgroup", "0::/\n")
            .with("sys/fs/cgroup/memory.max", "1073741824\n")
            .with("sys/fs/cgroup/pids.max", "100\n")
            .with("sys/fs/cgroup/cpu.max", "150000 100000\n");
        for global in ["net.ipv4.tcp_mem", "net.core.netdev_max_backlog", "net.core.default_qdisc"] {
            made = made.without(global);
        }
        made
    }

    pub(super) fn with(self, path: &str, text: &str) -> MadeUp {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(super) fn sysctl(self, name: &str, value: &str) -> MadeUp {
        assert!(super::SYSCTLS.contains(&name), "{name}");
        self.with(&format!("proc/sys/{}", name.replace('.', "/")), &format!("{value}\n"))
    }

    pub(super) fn without(self, sysctl: &str) -> MadeUp {
        std::fs::remove_file(self.folder.join(format!("proc/sys/{}", sysctl.replace('.', "/")))).unwrap();
        self
    }

    pub(super) fn without_io_uring(mut self) -> MadeUp {
        self.io_uring = IoUring::Denied("Operation not permitted".into());
        self
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn machine(&self) -> Machine {
        Machine::read(&self.root, "self", Some("cinnabar"), self.io_uring.clone())
    }
}

impl Drop for MadeUp {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A hub as it comes, open to the network.
pub(super) fn hub() -> Hub {
    Hub {
        shards: 2,
        uring: true,
        uring_demanded: false,
        max_connections: None,
        memory_max: None,
        history_bytes: 256 << 20,
        tail_bytes: 64 << 20,
        heartbeat_ms: 25_000,
        own_descriptors: 96,
        port: 8080,
        behind_local_proxy: false,
        connections_per_address: None,
        trusts_proxies: false,
        proxy_protocol: false,
    }
}
