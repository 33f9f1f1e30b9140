//! The facts about this machine that belong to every result.

use std::fs;

use serde_json::{Value, json};

/// What ran the measurement.
pub(crate) fn facts() -> Value {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kb = meminfo.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0);
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": model,
        "memory_bytes": memory_kb * 1024,
        "kernel": line("/proc/sys/kernel/osrelease"),
        "load": line("/proc/loadavg"),
        "congestion_control": line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "tcp_mem": line("/proc/sys/net/ipv4/tcp_mem"),
        "tcp_wmem": line("/proc/sys/net/ipv4/tcp_wmem"),
        "mimalloc_allow_thp": std::env::var("MIMALLOC_ALLOW_THP").ok(),
    })
}
