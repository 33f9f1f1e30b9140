//! Memory: of the machine, of control groups, of TCP, and how it is handed out.

use super::{Case, round_up};
use crate::config::memory::{self, NEAR_PERCENT, SHARE_PERCENT};
use crate::doctor::capacity::{PAGE_BYTES, Resource};
use crate::doctor::finding::{Finding, Level, bytes, count};

/// The first kernel that charges sockets made in interrupts to their control group.
const CHARGED_KERNEL: (u32, u32) = (6, 12);
/// TCP shouldn't be allowed a larger part of memory than so many percent.
const TCP_SHARE: u64 = 40;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    findings.push(enough(case));
    findings.push(ceiling(case));
    findings.extend(group(case));
    findings.push(tcp(case));
    findings.extend(huge_pages(case));
    findings.extend(overcommit(case));
    findings.extend(swap(case));
}

fn enough(case: &Case<'_>) -> Finding {
    const NAME: &str = "memory";
    let (limits, price) = (&case.capacity.memory, &case.capacity.price);
    let holds = case.capacity.allows(Resource::Memory).unwrap_or_default();
    let found = format!("{}{}", bytes(limits.total), if limits.limited { " by a control group" } else { "" });
    if case.shortage(Resource::Memory) != Level::Ok {
        let needed = limits.sum(price, case.target());
        let why = format!(
            "{} connections take {} together; what is left holds {}",
            count(case.target()),
            bytes(needed),
            count(holds)
        );
        let why = match (limits.limited, limits.ceiling) {
            (true, Some(_)) => format!(
                "{why}. From {NEAR_PERCENT} % of the limit on the hub refuses new subscribers, so that the kernel doesn't kill it"
            ),
            (true, None) => format!("{why}. Beyond the limit the kernel kills the hub"),
            (false, _) => why,
        };
        return Finding::new(NAME, Level::Fail, found, why)
            .wanted(bytes(memory::whole(needed)))
            .fix("hub", format!("--max-connections {}", holds.max(1)))
            .fix("hub", "a smaller --history-max-bytes, if history is a large part of it");
    }
    if case.hub.max_connections.is_none() {
        let why = format!(
            "without --max-connections the hub lets {} in, or as many as its ceiling of memory has room for, and knows nothing of \
             what else stops it",
            count(case.capacity.allows(Resource::Setting).unwrap_or_default())
        );
        let holds = case.capacity.holds.max(1);
        return Finding::new(NAME, Level::Note, found, why).fix("hub", format!("--max-connections {holds}"));
    }
    Finding::ok(NAME, found)
}

/// The hub's own ceiling, which it is to meet before the kernel does something worse.
fn ceiling(case: &Case<'_>) -> Finding {
    const NAME: &str = "--memory-max";
    let (limits, price) = (&case.capacity.memory, &case.capacity.price);
    let Some(ceiling) = limits.ceiling else {
        let why = "the hub refuses nobody for want of memory: when there is none left the kernel kills it, and all clients come back at \
                   once";
        return Finding::new(NAME, Level::Warn, "0: none", why)
            .wanted("a ceiling")
            .fix("hub", format!("leave --memory-max out: then it is {SHARE_PERCENT} % of what there is"));
    };
    let found = bytes(ceiling);
    let level = case.shortage(Resource::Ceiling);
    if level != Level::Ok {
        let why = format!(
            "from {NEAR_PERCENT} % of it on new subscribers get 503, which is so with {} connections once history is full; those there \
             are stay",
            count(case.capacity.allows(Resource::Ceiling).unwrap_or_default())
        );
        let finding = Finding::new(NAME, level, found, why);
        let needed = memory::ceiling_for(case.target(), limits.hub, price.hub);
        // More than there is would only let the kernel come first.
        return if case.shortage(Resource::Memory) == Level::Ok && needed <= limits.total {
            finding.wanted(bytes(needed)).fix("hub", format!("--memory-max {}MiB", needed.div_ceil(1 << 20)))
        } else {
            finding.wanted(bytes(needed)).fix("hub", "a smaller --history-max-bytes and --tail-bytes, or more memory")
        };
    }
    // Near a control group's limit the hub refuses too.
    if ceiling > limits.total && limits.total > 0 && !limits.limited {
        let why = "that is more than there is: the kernel kills the hub before it refuses anybody";
        return Finding::new(NAME, Level::Warn, found, why)
            .wanted(format!("{} or less", bytes(memory::share(limits.total))))
            .fix("hub", format!("leave --memory-max out: then it is {SHARE_PERCENT} % of what there is"));
    }
    Finding::ok(NAME, found)
}

fn group(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "memory.max";
    let (limit, high) = (case.machine.memory_limit(), case.machine.memory_high());
    if let Some(high) = high.filter(|high| limit.is_none_or(|limit| *high < limit)) {
        let found = format!("memory.high {}", bytes(high));
        let why = "above memory.high the kernel slows the whole process down, every shard with it: that is the limit that matters, and \
                   new subscribers are refused near it";
        return Some(
            Finding::new(NAME, Level::Warn, found, why)
                .fix("systemctl edit cinnabar.service", "[Service]\nMemoryHigh=infinity"),
        );
    }
    let limit = limit?;
    let version = case.machine.kernel.version;
    if version < CHARGED_KERNEL && version != (0, 0) {
        let why = "before 6.12 the kernel charges only a part of a connection to its group: the machine can run out while the \
                   group looks fine, so the machine's memory has to suffice too";
        return Some(Finding::new(NAME, Level::Warn, bytes(limit), why).wanted("kernel 6.12 or later"));
    }
    let mut why =
        "the memory of connections in the kernel counts too, and the answer to too much is SIGKILL".to_owned();
    if case.capacity.memory.ceiling.is_some() {
        why += &format!("; from {NEAR_PERCENT} % of it on the hub refuses new subscribers");
    }
    Some(Finding::new(NAME, Level::Note, bytes(limit), why))
}

fn tcp(case: &Case<'_>) -> Finding {
    const NAME: &str = "net.ipv4.tcp_mem";
    let found = case.machine.numbers(NAME);
    let [low, pressure, high] = found[..] else {
        let why = "it can't be read in a container: look at it on the host, it holds for all containers";
        return Finding::new(NAME, Level::Note, "unknown", why);
    };
    let shown = format!("{low} {pressure} {high}");
    let pages = case.machine.memory_bytes / PAGE_BYTES;
    let needed = case.target().saturating_mul(case.capacity.price.pages);
    let wanted = |pages: u64| {
        format!("{} {} {}", round_up(pages / 4 * 3), round_up(pages), round_up((pages / 4).saturating_mul(5)))
    };
    if pages > 0 && high > pages {
        let why = format!(
            "these are pages of {PAGE_BYTES} B, and the machine has {} of them: TCP may take it all",
            count(pages)
        );
        return Finding::new(NAME, Level::Fail, shown, why).set_sysctl(&wanted(needed.min(pages * TCP_SHARE / 125)));
    }
    let level = case.shortage(Resource::TcpMemory);
    if level == Level::Ok {
        return if case.machine.counters.aborts_on_memory > 0 {
            let why = format!(
                "{} connections were reset for want of TCP memory since the start",
                case.machine.counters.aborts_on_memory
            );
            Finding::new(NAME, Level::Warn, shown, why).set_sysctl(&wanted(round_up(needed.max(high))))
        } else {
            Finding::ok(NAME, shown)
        };
    }
    let why = "every event on its way to a client is charged a page at least. Beyond the last number the kernel takes no second \
               frame for a client before the first is acknowledged, and resets what is closed with data queued";
    let mut finding = Finding::new(NAME, level, shown, why).set_sysctl(&wanted(needed));
    if (needed / 4).saturating_mul(5) > pages / 100 * TCP_SHARE {
        finding.why.push_str(&format!(
            ". So many pages are more than {TCP_SHARE} % of the memory: all right only while frames are small, as a page is charged \
             and about 1.3 kB used"
        ));
    }
    finding
}

fn huge_pages(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "transparent_hugepage";
    let found = case.machine.huge_pages.clone()?;
    if found != "always" {
        return Some(Finding::ok(NAME, found));
    }
    let why = "memory grows in steps of 2 MiB, and the kernel stops the hub to make room for them";
    Some(
        Finding::new(NAME, Level::Warn, found, why)
            .wanted("madvise")
            .fix("now", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
            .fix("kernel command line", "transparent_hugepage=madvise"),
    )
}

fn overcommit(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "vm.overcommit_memory";
    let found = case.machine.number(NAME)?;
    if found != 2 {
        return Some(Finding::ok(NAME, found.to_string()));
    }
    let why = "with 2 what is reserved counts as if it were used, and the hub's allocator reserves 1 GiB at a time";
    Some(Finding::new(NAME, Level::Warn, "2", why).set_sysctl("0"))
}

fn swap(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "vm.swappiness";
    if !case.machine.swap {
        return None;
    }
    let found = case.machine.number(NAME)?;
    if found <= 10 {
        return Some(Finding::ok(NAME, found.to_string()));
    }
    let why = "there is swap: what the kernel holds for connections can't go there, and a shard that waits for the disk delivers nothing";
    Some(
        Finding::new(NAME, Level::Warn, found.to_string(), why)
            .set_sysctl("10")
            .fix("systemctl edit cinnabar.service", "[Service]\nMemorySwapMax=0"),
    )
}
