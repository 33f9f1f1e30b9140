//! Memory and its ceilings, as they were last seen.

/// What is used of what there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes there may be.
    pub ceiling_bytes: u64,
}

/// What the hub and those around it take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The process, and the kernel for its connections; against `--memory-max`, 0 if there is no ceiling.
    pub process: Option<MemoryUse>,
    /// The control group nearest its limit, without cached files.
    pub group: Option<MemoryUse>,
    /// All TCP sockets of the machine; against the last number of `tcp_mem`.
    pub tcp: Option<MemoryUse>,
    /// Which of them is so near its ceiling that new subscribers are refused.
    pub near: Option<&'static str>,
}

impl Memory {
    /// The words for what is looked at, in logs and metrics.
    pub const PARTS: [&'static str; 3] = ["process", "group", "tcp"];

    /// One of the parts by its word; `None`: it isn't known.
    pub fn of(&self, part: &str) -> Option<MemoryUse> {
        match part {
            "process" => self.process,
            "group" => self.group,
            "tcp" => self.tcp,
            _ => None,
        }
    }

    /// Those that are known.
    pub fn known(&self) -> impl Iterator<Item = (&'static str, MemoryUse)> {
        Memory::PARTS.into_iter().filter_map(|part| Some((part, self.of(part)?)))
    }
}
