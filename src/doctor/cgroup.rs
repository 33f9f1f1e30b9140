//! Limits of control groups: a container's, or a systemd unit's.

use super::machine::Root;
use serde::Serialize;
use std::path::Path;

/// What the groups of a process allow; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Groups {
    /// Memory of all in the group, kernel memory of its sockets included, beyond which the process is killed.
    pub memory_max: Option<u64>,
    /// Memory beyond which the group is slowed down.
    pub memory_high: Option<u64>,
    /// Threads and processes.
    pub pids_max: Option<u64>,
    /// Cores' worth of time.
    pub cpu_max: Option<f64>,
}

/// Reads `proc/WHO/cgroup` and the files of every group the process is in, and of those around them: the smallest holds.
/// In a container the path may be the host's, which isn't there: the walk up ends at the container's own.
pub(super) fn read(root: &Root, who: &str) -> Groups {
    let mut groups = Groups::default();
    let text = root.read(&format!("proc/{who}/cgroup")).unwrap_or_default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        for group in Path::new(path.trim_start_matches('/')).ancestors().filter_map(Path::to_str) {
            if controllers.is_empty() {
                second(root, group, &mut groups);
            } else {
                first(root, controllers, group, &mut groups);
            }
        }
    }
    groups
}

/// The second version: one tree.
fn second(root: &Root, group: &str, groups: &mut Groups) {
    for mount in ["sys/fs/cgroup", "sys/fs/cgroup/unified"] {
        let read = |file: &str| root.read(&format!("{mount}/{group}/{file}"));
        least(&mut groups.memory_max, number(read("memory.max")));
        least(&mut groups.memory_high, number(read("memory.high")));
        least(&mut groups.pids_max, number(read("pids.max")));
        let quota = read("cpu.max").and_then(|text| {
            let (quota, period) = text.trim().split_once(' ')?;
            share(quota.parse().ok()?, period.parse().ok()?)
        });
        least(&mut groups.cpu_max, quota);
    }
}

/// The first version: a tree per controller.
fn first(root: &Root, controllers: &str, group: &str, groups: &mut Groups) {
    for controller in controllers.split(',') {
        let read = |file: &str| root.read(&format!("sys/fs/cgroup/{controller}/{group}/{file}"));
        match controller {
            // "No limit" is a number beyond any memory there.
            "memory" => {
                let limit = number(read("memory.limit_in_bytes")).filter(|limit| *limit < 1 << 60);
                least(&mut groups.memory_max, limit);
            }
            "pids" => least(&mut groups.pids_max, number(read("pids.max"))),
            "cpu" => {
                let quota = read("cpu.cfs_quota_us").and_then(|text| text.trim().parse().ok());
                let period = read("cpu.cfs_period_us").and_then(|text| text.trim().parse().ok());
                least(&mut groups.cpu_max, quota.zip(period).and_then(|(quota, period)| share(quota, period)));
            }
            _ => {}
        }
    }
}

fn share(quota_us: i64, period_us: i64) -> Option<f64> {
    (quota_us > 0 && period_us > 0).then(|| quota_us as f64 / period_us as f64)
}

fn number(text: Option<String>) -> Option<u64> {
    text?.trim().parse().ok()
}

fn least<T: PartialOrd>(limit: &mut Option<T>, found: Option<T>) {
    if let Some(found) = found
        && limit.as_ref().is_none_or(|limit| found < *limit)
    {
        *limit = Some(found);
    }
}
