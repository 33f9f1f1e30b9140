//! The judgement, knob by knob: each function looks at one subject and says everything about it.

mod clients;
mod descriptors;
mod kernel;
mod memory;
mod network;
#[cfg(test)]
mod tests;
mod tracking;

use super::capacity::{Capacity, Resource};
use super::finding::{Finding, Level};
use super::hub::Hub;
use super::machine::Machine;

/// A machine, the hub that is to run on it, and what was worked out about both.
pub(super) struct Case<'a> {
    machine: &'a Machine,
    hub: &'a Hub,
    capacity: &'a Capacity,
}

impl Case<'_> {
    /// How bad it is that a resource allows too few: what somebody asked for breaks, what nobody asked for is missed.
    fn shortage(&self, resource: Resource) -> Level {
        match self.capacity.allows(resource) {
            Some(allowed) if allowed < self.capacity.target => {
                if self.capacity.asked {
                    Level::Fail
                } else {
                    Level::Warn
                }
            }
            _ => Level::Ok,
        }
    }

    fn target(&self) -> u64 {
        self.capacity.target
    }
}

/// Everything there is to say, in the order of a connection's way through the machine.
pub fn findings(machine: &Machine, hub: &Hub, capacity: &Capacity) -> Vec<Finding> {
    let case = Case { machine, hub, capacity };
    let mut findings = Vec::new();
    kernel::judge(&case, &mut findings);
    descriptors::judge(&case, &mut findings);
    memory::judge(&case, &mut findings);
    network::judge(&case, &mut findings);
    tracking::judge(&case, &mut findings);
    clients::judge(&case, &mut findings);
    findings
}

/// The next number that looks chosen: rounded up to three digits and zeros.
fn round_up(number: u64) -> u64 {
    let mut unit = 1;
    while number / unit >= 1000 {
        unit *= 10;
    }
    number.div_ceil(unit).saturating_mul(unit)
}
