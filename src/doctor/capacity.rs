//! The arithmetic: what a connection costs, how many each limit allows, and which limit is met first.
//!
//! The prices are measured, on 2 cores of a KVM guest with kernel 6.18 over loopback; tuning/README.md says where each
//! comes from, and its worked example is held against this file by a test.

use super::finding::count;
use super::hub::Hub;
use super::machine::Machine;
use crate::config::memory::{self, KERNEL_BYTES, NEAR_PERCENT, STREAM_BYTES};
use serde::Serialize;

/// The hub's memory for one with a topic and a token of its own, announced.
const OWN_BYTES: u64 = 800;
/// What the kernel holds for a frame that isn't acknowledged, beside its bytes.
const FLIGHT_BYTES: u64 = 1_040;
/// Kernel memory behind a client that never reads.
const STALLED_BYTES: u64 = 24_576;
/// One client in so many is taken to be stalled.
const STALLED_SHARE: u64 = 100;
/// An entry of the connection tracking table with its share of the buckets.
const TRACKED_BYTES: u64 = 272;
/// The hub itself, without history and tail.
const HUB_BYTES: u64 = 16 << 20;
/// The rest of the system, where the hub has the machine to itself.
const SYSTEM_BYTES: u64 = 350_000_000;
/// Frames up to this fill one page of TCP's account.
const PAGE_FRAME_BYTES: u64 = 1_400;
/// What TCP counts in.
pub(super) const PAGE_BYTES: u64 = 4_096;
/// What a core is taken to be for when nobody says: an event for all of them takes it little more than a second.
const CORE_CONNECTIONS: u64 = 150_000;
/// No machine holds more, and no event is longer: products of these don't overflow.
const CONNECTIONS_MAX: u64 = 1 << 40;
const FRAME_BYTES_MAX: u64 = 1 << 30;
/// A loopback send costs this much CPU, nanoseconds.
const SEND_NS: u64 = 7_500;

/// What the machine is asked to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Connections to judge for; none asks only how many there can be.
    pub connections: Option<u64>,
    /// Bytes of a typical event.
    pub frame_bytes: u64,
    /// Whether every subscriber has a topic and a token of its own.
    pub own: bool,
}

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// `--max-connections`.
    Setting,
    /// Memory of the machine or the control group.
    Memory,
    /// `--memory-max`, near which the hub refuses new subscribers.
    Ceiling,
    /// The descriptor limit.
    Descriptors,
    /// Files open on the machine.
    Files,
    /// epoll registrations.
    Watches,
    /// Pages TCP may queue.
    TcpMemory,
    /// The connection tracking table.
    Conntrack,
}

impl Resource {
    /// As people read it.
    pub fn text(self) -> &'static str {
        match self {
            Resource::Setting => "--max-connections",
            Resource::Memory => "memory",
            Resource::Ceiling => "--memory-max",
            Resource::Descriptors => "descriptors",
            Resource::Files => "open files",
            Resource::Watches => "epoll watches",
            Resource::TcpMemory => "TCP memory",
            Resource::Conntrack => "connection tracking",
        }
    }
}

/// How many connections one resource allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// What would run out.
    pub resource: Resource,
    /// How many there can be before it does.
    pub connections: u64,
    /// How that was worked out.
    pub says: String,
}

/// Bytes of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Price {
    /// Of the kernel while nothing is sent.
    pub kernel: u64,
    /// Of the hub.
    pub hub: u64,
    /// Of one event on its way, as when something is sent to everybody.
    pub in_flight: u64,
    /// A share of what stalled clients pin.
    pub stalled: u64,
    /// Of connection tracking.
    pub tracked: u64,
    /// Pages of TCP's account for that event.
    pub pages: u64,
}

impl Price {
    fn new(machine: &Machine, load: &Load) -> Price {
        let frame = load.frame_bytes.min(FRAME_BYTES_MAX);
        let pages = if frame <= PAGE_FRAME_BYTES { 1 } else { 1 + frame.div_ceil(PAGE_BYTES) };
        // A control group is charged whole pages.
        let payload = if machine.memory_limit().is_some() { pages * PAGE_BYTES } else { frame };
        Price {
            kernel: KERNEL_BYTES,
            hub: if load.own { OWN_BYTES } else { STREAM_BYTES },
            in_flight: FLIGHT_BYTES * if frame <= PAGE_FRAME_BYTES { 1 } else { frame.div_ceil(PAGE_BYTES) + 1 }
                + payload,
            stalled: STALLED_BYTES.div_ceil(STALLED_SHARE),
            tracked: if machine.tracks_connections() { TRACKED_BYTES } else { 0 },
            pages,
        }
    }

    /// All of it.
    pub fn sum(&self) -> u64 {
        self.kernel + self.hub + self.in_flight + self.stalled + self.tracked
    }
}

/// Memory: what there is and what is spoken for before the first connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Of the machine, or of the control group that limits the hub.
    pub total: u64,
    /// Whether a control group limits it.
    pub limited: bool,
    /// What is left unplanned.
    pub spare: u64,
    /// For the rest of the system.
    pub system: u64,
    /// For the hub, its history and its tail, when they are full.
    pub hub: u64,
    /// The hub's own ceiling, as set or its share of what there is. It counts what is in `hub`, and each connection while
    /// nothing is sent.
    pub ceiling: Option<u64>,
}

impl Memory {
    fn new(machine: &Machine, hub: &Hub) -> Memory {
        let ceiling = memory::ceiling_bytes(hub.memory_max, Some(machine.memory_to_share()));
        let hub = HUB_BYTES + hub.history_bytes + hub.tail_bytes;
        let group = machine.memory_limit().into_iter().chain(machine.memory_high()).min();
        let (total, system) = group.map_or((machine.memory_bytes, SYSTEM_BYTES), |limit| (limit, 0));
        // Planned with the hub's share, though events on their way don't count towards its ceiling: there has to be room
        // for them.
        Memory { total, limited: group.is_some(), spare: total - memory::share(total), system, hub, ceiling }
    }

    /// What is left for connections.
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.spare + self.system + self.hub)
    }

    /// What so many connections take of the total, everything else included.
    pub fn sum(&self, price: &Price, connections: u64) -> u64 {
        (self.system + self.hub).saturating_add(price.sum().saturating_mul(connections))
    }
}

/// How many connections there can be, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// The smallest of the limits.
    pub holds: u64,
    /// What sets it.
    pub first: Resource,
    /// Every limit, the tightest first.
    pub limits: Vec<Limit>,
    /// Where memory goes.
    pub memory: Memory,
    /// What a connection costs.
    pub price: Price,
    /// What the findings are about: the connections asked for, else as many as memory and cores are good for.
    pub target: u64,
    /// Whether somebody asked for so many.
    pub asked: bool,
    /// Share of one core that heartbeats to so many take, in thousandths.
    pub heartbeat_core_thousandths: u64,
    /// How long one core would send an event to so many, milliseconds.
    pub broadcast_core_ms: u64,
}

impl Capacity {
    /// Asks every limit.
    pub fn new(machine: &Machine, hub: &Hub, load: &Load) -> Capacity {
        let (price, memory) = (Price::new(machine, load), Memory::new(machine, hub));
        let by_memory = memory.left() / price.sum();
        let mut limits = Vec::new();
        let mut limit = |resource, connections: u64, says: String| limits.push(Limit { resource, connections, says });
        let default_max = memory::connections_max(memory.ceiling.unwrap_or(memory::share(machine.memory_to_share())));
        let whose = if memory.limited { "a control group allows" } else { "there is" };
        limit(
            Resource::Memory,
            by_memory,
            format!(
                "{whose} {} MB, {} MB of it for connections of {} B",
                memory.total / 1_000_000,
                memory.left() / 1_000_000,
                count(price.sum())
            ),
        );
        if let Some(ceiling) = memory.ceiling {
            let says = format!(
                "new subscribers are refused from {NEAR_PERCENT} % of {} MB on, {} MB of it for the hub itself",
                ceiling / 1_000_000,
                memory.hub / 1_000_000
            );
            limit(Resource::Ceiling, memory::connections(ceiling, memory.hub, price.hub), says);
        }
        if !hub.uring {
            let descriptors = machine.descriptors_max();
            let left = descriptors.saturating_sub(hub.own_descriptors);
            limit(
                Resource::Descriptors,
                left,
                format!("limit of {}, {} of it for the hub itself", count(descriptors), hub.own_descriptors),
            );
        }
        if let Some(files) = machine.number("fs.file-max") {
            let left = files.saturating_sub(machine.files_open) / 12 * 10;
            limit(Resource::Files, left, format!("fs.file-max {}, of which a sixth is kept for others", count(files)));
        }
        if let Some(watches) = machine.number("fs.epoll.max_user_watches") {
            limit(
                Resource::Watches,
                watches,
                format!("fs.epoll.max_user_watches {}, one per connection", count(watches)),
            );
        }
        if let [_, _, high] = machine.numbers("net.ipv4.tcp_mem")[..] {
            let mut says =
                format!("net.ipv4.tcp_mem ends at {} pages, {} for each event on its way", count(high), price.pages);
            let mut pages = high;
            if memory.ceiling.is_some() {
                says += &format!("; new subscribers are refused from {NEAR_PERCENT} % on");
                pages = memory::near(high);
            }
            limit(Resource::TcpMemory, pages / price.pages, says);
        }
        if machine.tracks_connections()
            && let Some(entries) = machine.number("net.netfilter.nf_conntrack_max")
        {
            let says =
                format!("nf_conntrack_max {}, of which a third is kept for those that are closing", count(entries));
            limit(Resource::Conntrack, entries / 3 * 2, says);
        }
        let (max, says) = match hub.max_connections {
            Some(max) => (max, "the hub refuses further ones with 503"),
            None => (default_max, "not set: as many as its ceiling of memory would hold without history"),
        };
        limit(Resource::Setting, max, says.to_owned());
        limits.sort_by_key(|limit| limit.connections);
        let asked = load.connections.or(hub.max_connections).map(|asked| asked.min(CONNECTIONS_MAX));
        let target = asked.unwrap_or(by_memory.min(machine.cores * CORE_CONNECTIONS));
        let per_second = target.saturating_mul(1000).checked_div(hub.heartbeat_ms).unwrap_or(0);
        Capacity {
            holds: limits[0].connections,
            first: limits[0].resource,
            limits,
            memory,
            price,
            target,
            asked: asked.is_some(),
            heartbeat_core_thousandths: per_second.saturating_mul(SEND_NS) / 1_000_000,
            broadcast_core_ms: target.saturating_mul(SEND_NS) / 1_000_000,
        }
    }

    /// Whether what was asked for fits.
    pub fn fits(&self) -> bool {
        self.target <= self.holds
    }

    /// How many connections this resource allows, where it limits them.
    pub fn allows(&self, resource: Resource) -> Option<u64> {
        self.limits.iter().find(|limit| limit.resource == resource).map(|limit| limit.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{MadeUp, hub};
    use super::*;

    const PLAIN: Load = Load { connections: None, frame_bytes: 300, own: false };

    fn capacity(made: &MadeUp, load: Load) -> Capacity {
        Capacity::new(&made.machine(), &hub(), &load)
    }

    #[test]
    fn a_small_machine_as_it_comes_is_stopped_by_tcp_memory() {
        let capacity = capacity(&MadeUp::small_vm(), PLAIN);
        assert_eq!((capacity.holds, capacity.first), (84_420, Resource::TcpMemory));
        assert_eq!(capacity.allows(Resource::Memory), Some(430_616));
        assert_eq!(capacity.allows(Resource::Descriptors), None, "parked sockets aren't descriptors");
        assert_eq!((capacity.target, capacity.asked), (300_000, false));
    }

    #[test]
    fn tuned_it_holds_what_the_guide_aims_at() {
        let capacity = capacity(&MadeUp::tuned_vm(), Load { connections: Some(300_000), ..PLAIN });
        assert!(capacity.fits());
        assert_eq!((capacity.holds, capacity.first), (337_500, Resource::TcpMemory));
        assert_eq!(
            capacity.price,
            Price { kernel: 4_200, hub: 200, in_flight: 1_340, stalled: 246, tracked: 0, pages: 1 }
        );
        assert_eq!(capacity.memory.sum(&capacity.price, 300_000), 2_498_121_536);
        assert_eq!((capacity.heartbeat_core_thousandths, capacity.broadcast_core_ms), (90, 2_250));
    }

    #[test]
    fn a_container_is_stopped_by_its_memory_and_pays_whole_pages() {
        let capacity = Capacity::new(&MadeUp::container().machine(), &Hub { uring: false, ..hub() }, &PLAIN);
        assert_eq!(capacity.first, Resource::Memory);
        assert!(capacity.memory.limited);
        assert_eq!(capacity.price.in_flight, 1_040 + 4_096);
        assert_eq!(capacity.holds, (1_073_741_824 / 100 * 80 - (336 << 20)) / (4_200 + 200 + 5_136 + 246));
        assert_eq!(capacity.allows(Resource::Descriptors), Some(524_288 - 96));
    }

    #[test]
    fn tracked_connections_cost_memory_and_have_a_table() {
        let tracked = MadeUp::tuned_vm()
            .sysctl("net.netfilter.nf_conntrack_count", "12")
            .sysctl("net.netfilter.nf_conntrack_max", "262144");
        let capacity_of = capacity(&tracked, PLAIN);
        assert_eq!((capacity_of.first, capacity_of.holds), (Resource::Conntrack, 174_762));
        assert_eq!(capacity_of.price.tracked, 272);
        let idle = tracked.sysctl("net.netfilter.nf_conntrack_count", "0");
        assert_eq!(capacity(&idle, PLAIN).allows(Resource::Conntrack), None);
    }

    #[test]
    fn what_is_configured_counts_as_asked_for() {
        let capacity =
            Capacity::new(&MadeUp::tuned_vm().machine(), &Hub { max_connections: Some(1000), ..hub() }, &PLAIN);
        assert_eq!((capacity.holds, capacity.first, capacity.target), (1000, Resource::Setting, 1000));
        assert!(capacity.asked && capacity.fits());
    }

    #[test]
    fn the_hub_s_own_ceiling_stops_it_where_it_is_set_low() {
        let with = |memory_max| {
            Capacity::new(&MadeUp::tuned_vm().machine(), &Hub { memory_max: Some(memory_max), ..hub() }, &PLAIN)
        };
        let low = with(1 << 30);
        // Nine tenths of it, without the hub's 336 MiB, by 4,200 B of the kernel's and 200 of the hub's.
        let holds = ((1 << 30) / 100 * 90 - (336 << 20)) / 4_400;
        assert_eq!((low.holds, low.first), (holds, Resource::Ceiling));
        let none = with(0);
        assert_eq!((none.memory.ceiling, none.allows(Resource::Ceiling)), (None, None));
        assert_eq!(none.allows(Resource::TcpMemory), Some(375_000), "nor is anybody refused near that of TCP");
    }

    #[test]
    fn the_hub_s_limit_on_connections_is_never_below_its_ceiling() {
        for made in [MadeUp::small_vm(), MadeUp::container()] {
            for own in [false, true] {
                let capacity = capacity(&made, Load { own, ..PLAIN });
                assert!(capacity.allows(Resource::Setting) > capacity.allows(Resource::Ceiling), "{capacity:?}");
                assert!(capacity.allows(Resource::Ceiling) > capacity.allows(Resource::Memory), "{capacity:?}");
            }
        }
    }

    #[test]
    fn where_the_hub_would_be_slowed_down_is_where_its_memory_ends() {
        let made = MadeUp::container().with("sys/fs/cgroup/memory.high", "805306368\n");
        assert_eq!(capacity(&made, PLAIN).memory.total, 805_306_368);
        let unit = MadeUp::small_vm().with("etc/systemd/system/cinnabar.service", "[Service]\nMemoryHigh=1G\n");
        let memory = capacity(&unit, PLAIN).memory;
        assert_eq!((memory.total, memory.ceiling), (1 << 30, Some(4_099_993_600 / 100 * 80)), "{memory:?}");
    }

    #[test]
    fn longer_frames_take_more_pages() {
        let pages = |frame_bytes| capacity(&MadeUp::small_vm(), Load { frame_bytes, ..PLAIN }).price.pages;
        // As measured: 1 up to 1,400 B, 2 for 4 KiB, 5 for 16 KiB.
        assert_eq!([3, 1_400, 4_096, 16_384].map(pages), [1, 1, 2, 5]);
    }

    #[test]
    fn nothing_overflows_and_nothing_divides_by_zero() {
        let load = Load { connections: Some(u64::MAX), frame_bytes: 1 << 40, own: true };
        assert!(!capacity(&MadeUp::new(), load).fits());
        assert_eq!(capacity(&MadeUp::new(), load).holds, 0);
    }
}
