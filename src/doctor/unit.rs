//! The systemd unit of the hub, as far as its files say: a service doesn't have the limits of a shell.

use crate::kernel::Root;
use serde::Serialize;

/// The folders of units, the strongest first.
const FOLDERS: &[&str] = &[
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// The hard descriptor limit of services since systemd 240.
const DESCRIPTORS_DEFAULT: u64 = 524_288;

/// What a unit and its drop-ins set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// The hard limit of `LimitNOFILE=`, or systemd's own.
    pub descriptors: u64,
    /// `MemoryMax=`.
    pub memory_max: Option<u64>,
    /// `MemoryHigh=`.
    pub memory_high: Option<u64>,
    /// `TasksMax=`, where it is a number.
    pub tasks_max: Option<u64>,
}

/// Reads a unit, if there is one of this name.
pub(super) fn read(root: &Root, name: &str, memory_bytes: u64) -> Option<Unit> {
    let text = FOLDERS.iter().find_map(|folder| root.read(&format!("{folder}/{name}.service")))?;
    let mut unit = Unit {
        name: name.to_owned(),
        descriptors: DESCRIPTORS_DEFAULT,
        memory_max: None,
        memory_high: None,
        tasks_max: None,
    };
    unit.apply(&text, memory_bytes);
    let mut drop_ins: Vec<_> = FOLDERS
        .iter()
        .rev()
        .flat_map(|folder| root.list(&format!("{folder}/{name}.service.d")))
        .filter(|path| path.ends_with(".conf"))
        .collect();
    // By file name, whichever folder it is in; of two in different folders the later one, which is the stronger's.
    drop_ins.sort_by_key(|path| path.rsplit('/').next().unwrap_or_default().to_owned());
    for path in drop_ins {
        unit.apply(&root.read(&path).unwrap_or_default(), memory_bytes);
    }
    Some(unit)
}

impl Unit {
    fn apply(&mut self, text: &str, memory_bytes: u64) {
        let mut in_service = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                in_service = line == "[Service]";
            }
            let Some((key, value)) = line.split_once('=').filter(|_| in_service) else { continue };
            let value = value.trim();
            match key.trim() {
                "LimitNOFILE" => self.descriptors = descriptors(value).unwrap_or(self.descriptors),
                "MemoryMax" => self.memory_max = memory(value, memory_bytes).unwrap_or(self.memory_max),
                "MemoryHigh" => self.memory_high = memory(value, memory_bytes).unwrap_or(self.memory_high),
                "TasksMax" => self.tasks_max = value.parse().ok(),
                _ => {}
            }
        }
    }
}

/// `SOFT:HARD` or one number for both.
fn descriptors(value: &str) -> Option<u64> {
    match value.rsplit(':').next()? {
        "infinity" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// `2G`, `1.5G`, `80%`; `infinity` and nothing are no limit. What makes no sense is passed over, as systemd does it.
fn memory(value: &str, memory_bytes: u64) -> Option<Option<u64>> {
    if value.is_empty() || value == "infinity" {
        return Some(None);
    }
    let number = |digits: &str| digits.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    if let Some(percent) = value.strip_suffix('%') {
        return Some(Some((memory_bytes as f64 * number(percent)?.min(100.0) / 100.0) as u64));
    }
    let digits = value.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit_bytes = match &value[digits.len()..] {
        "" => 1_u64,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    // Beyond what a number holds it is the largest, which is as good as none.
    Some(Some((number(digits)? * unit_bytes as f64) as u64))
}

#[cfg(test)]
mod tests {
    use super::super::made_up::MadeUp;
    use super::*;

    #[test]
    fn a_drop_in_beats_the_unit_and_the_unit_systemd() {
        let made = MadeUp::new()
            .with("usr/lib/systemd/system/cinnabar.service", "[Unit]\nMemoryMax=1\n[Service]\nExecStart=x\n");
        let unit = |made: &MadeUp| read(made.root(), "cinnabar", 1000).unwrap();
        assert_eq!((unit(&made).descriptors, unit(&made).memory_max), (524_288, None));
        let made = made.with(
            "etc/systemd/system/cinnabar.service.d/10.conf",
            "[Service]\nLimitNOFILE=1024:65536\nMemoryMax=2G\nMemoryHigh=1G\nTasksMax=9",
        );
        assert_eq!(
            unit(&made),
            Unit {
                name: "cinnabar".into(),
                descriptors: 65_536,
                memory_max: Some(2 << 30),
                memory_high: Some(1 << 30),
                tasks_max: Some(9)
            }
        );
        let made = made.with(
            "etc/systemd/system/cinnabar.service.d/20.conf",
            "[Service]\nLimitNOFILE = infinity\nMemoryMax=80%\n",
        );
        assert_eq!((unit(&made).descriptors, unit(&made).memory_max), (u64::MAX, Some(800)));
        let made =
            made.with("etc/systemd/system/cinnabar.service.d/30.conf", "[Service]\nMemoryMax=1.5G\nMemoryHigh=lots\n");
        assert_eq!((unit(&made).memory_max, unit(&made).memory_high), (Some(3 << 29), Some(1 << 30)));
        let made =
            made.with("etc/systemd/system/cinnabar.service.d/40.conf", "[Service]\nMemoryMax=infinity\nMemoryHigh=\n");
        assert_eq!((unit(&made).memory_max, unit(&made).memory_high), (None, None));
        assert_eq!(read(made.root(), "other", 1000), None);
    }
}
