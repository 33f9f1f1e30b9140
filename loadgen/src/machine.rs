//! The facts about this machine that belong to every result.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sys;

/// Settings of the kernel that change what a hub reaches.
const SYSCTLS: [&str; 16] = [
    "fs/file-max",
    "fs/nr_open",
    "kernel/io_uring_disabled",
    "net/core/default_qdisc",
    "net/core/netdev_max_backlog",
    "net/core/rmem_max",
    "net/core/somaxconn",
    "net/core/wmem_max",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_mem",
    "net/ipv4/tcp_notsent_lowat",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_slow_start_after_idle",
    "net/ipv4/tcp_wmem",
];

/// What ran the measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    #[serde(default)]
    pub(crate) processor: Option<String>,
    pub(crate) architecture: String,
    /// Cores this program may use.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// What the processor suffers from, and what is done about it. What doesn't concern it is left out.
    pub(crate) mitigations: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) governor: Option<String>,
    #[serde(default)]
    pub(crate) transparent_huge_pages: Option<String>,
    /// Whether this program could make a ring.
    pub(crate) io_uring: bool,
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Limits of the container or the service this program runs in, if there are any.
    pub(crate) container: BTreeMap<String, String>,
    /// Descriptors a process may have open: soft and hard limit.
    pub(crate) descriptors: (u64, u64),
    /// Processes that ran or waited to in the last 1, 5 and 15 minutes, before the run.
    pub(crate) load: String,
    #[serde(default)]
    pub(crate) mimalloc_allow_thp: Option<String>,
}

impl Machine {
    /// This one, now.
    pub(crate) fn now(descriptors: (u64, u64)) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kb = meminfo.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0);
        let sysctl = |name: &&str| {
            Some((name.replace('/', "."), line(Path::new("/proc/sys").join(name)).filter(|v| !v.is_empty())?))
        };
        let load = line("/proc/loadavg").unwrap_or_default();
        Self {
            processor: model.map(str::to_owned),
            architecture: std::env::consts::ARCH.to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_kb * 1024,
            kernel: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            transparent_huge_pages: line("/sys/kernel/mm/transparent_hugepage/enabled").map(chosen),
            io_uring: sys::io_uring_is_allowed(),
            sysctls: SYSCTLS.iter().filter_map(sysctl).collect(),
            container: container_limits(),
            descriptors,
            load: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            mimalloc_allow_thp: std::env::var("MIMALLOC_ALLOW_THP").ok(),
        }
    }

    /// Everything as names and values, in the order people look for them.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let mut facts: Vec<(String, String)> = Vec::new();
        let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
        fact("processor", self.processor.clone().unwrap_or_else(|| "not known".to_owned()));
        fact("architecture", self.architecture.clone());
        fact("cores", self.cores.to_string());
        fact("memory", format!("{:.1} GiB", self.memory_bytes as f64 / f64::from(1 << 30)));
        fact("kernel", self.kernel.clone());
        fact("load before the run", self.load.clone());
        fact("io_uring", if self.io_uring { "allowed" } else { "not allowed" }.to_owned());
        fact("governor", self.governor.clone().unwrap_or_else(|| "not known".to_owned()));
        fact("descriptors, soft and hard limit", format!("{} {}", self.descriptors.0, self.descriptors.1));
        if let Some(pages) = &self.transparent_huge_pages {
            fact("transparent huge pages", pages.clone());
        }
        if let Some(value) = &self.mimalloc_allow_thp {
            fact("MIMALLOC_ALLOW_THP", value.clone());
        }
        for (name, value) in &self.container {
            fact(&format!("limit {name}"), value.clone());
        }
        for (name, value) in &self.mitigations {
            fact(&format!("mitigation {name}"), value.clone());
        }
        for (name, value) in &self.sysctls {
            fact(name, value.clone());
        }
        facts
    }

    /// The machine in one line.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} cores of {}, {:.0} GiB, kernel {}",
            self.cores,
            self.processor.as_deref().unwrap_or("an unknown processor"),
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel
        )
    }
}

/// A file of one line, with one space between words.
fn line(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: String) -> String {
    let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word.to_owned());
    word.unwrap_or(text)
}

fn mitigations(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let known =
        entries.filter_map(|entry| Some((entry.file_name().to_string_lossy().into_owned(), line(entry.path())?)));
    known.filter(|(_, state)| state != "Not affected").collect()
}

/// What the control groups above this program limit, in both their versions.
fn container_limits() -> BTreeMap<String, String> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limits = BTreeMap::new();
    for group in groups.lines() {
        let mut parts = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, names): (String, &[&str]) = match controllers {
            "" => ("/sys/fs/cgroup".to_owned(), &["memory.max", "memory.high", "cpu.max", "pids.max"]),
            "memory" => ("/sys/fs/cgroup/memory".to_owned(), &["memory.limit_in_bytes"]),
            "pids" => ("/sys/fs/cgroup/pids".to_owned(), &["pids.max"]),
            controllers if controllers.split(',').any(|name| name == "cpu") => {
                (format!("/sys/fs/cgroup/{controllers}"), &["cpu.cfs_quota_us", "cpu.cfs_period_us"])
            }
            _ => continue,
        };
        for name in names {
            // In a container the path is often that of the host, and the group itself is the root.
            let own = line(format!("{root}{path}/{name}")).or_else(|| line(format!("{root}/{name}")));
            if let Some(value) = own.filter(|value| is_limit(value)) {
                limits.insert((*name).to_owned(), value);
            }
        }
    }
    if !limits.contains_key("cpu.cfs_quota_us") {
        limits.remove("cpu.cfs_period_us");
    }
    limits
}

/// Is it a limit at all? Version 1 writes "none" as -1 or as a number no machine has.
fn is_limit(value: &str) -> bool {
    !value.starts_with("max") && value != "-1" && value.parse::<u64>().is_ok_and(|number| number < 1 << 60)
        || value.contains(' ') && !value.starts_with("max")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_memory_and_a_kernel() {
        let machine = Machine::now((1024, 4096));
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20 && !machine.kernel.is_empty());
        assert!(machine.sysctls.contains_key("net.ipv4.tcp_mem"));
        let facts = machine.facts();
        assert!(facts.iter().any(|(name, value)| name == "descriptors, soft and hard limit" && value == "1024 4096"));
        assert!(facts.iter().all(|(_, value)| !value.contains('\n')));
    }

    #[test]
    fn only_what_limits_is_a_limit() {
        let limits = ["536870912", "200000 100000", "4096"].map(is_limit);
        assert_eq!(limits, [true; 3]);
        let none = ["max", "max 100000", "-1", "9223372036854771712", ""].map(is_limit);
        assert_eq!(none, [false; 5]);
    }

    #[test]
    fn the_chosen_word_stands_in_brackets() {
        assert_eq!(chosen("always [madvise] never".to_owned()), "madvise");
        assert_eq!(chosen("plain".to_owned()), "plain");
    }
}
