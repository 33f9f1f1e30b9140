//! What `cinnabar doctor` knows: how many connections a machine holds, what stops it first, and what to do about it.
//!
//! [`Machine`] is read once from a folder that stands for `/`, so tests give it made-up machines; everything after that
//! is arithmetic: [`Capacity`] prices a connection and asks every limit how many it allows, [`findings`] judges knob by
//! knob, [`Passage`] is what a client saw through the public URL. Nothing here changes a machine, opens a socket or reads
//! a clock, and how findings are shown is the command's affair.

mod capacity;
mod counters;
mod finding;
mod findings;
#[cfg(test)]
mod guide;
mod hub;
mod machine;
#[cfg(test)]
mod made_up;
mod passage;
mod passage_fix;
mod sysctl;
mod unit;

pub use crate::kernel::Root;
pub use capacity::{Capacity, Limit, Load, Memory, Price, Resource};
pub use finding::{Finding, Fix, Level, bytes, count};
pub use findings::findings;
pub use hub::Hub;
pub use machine::{IoUring, Kernel, Machine};
pub use passage::{Arrival, Passage, Replay, Silence, StreamCoding};
pub use sysctl::{SYSCTL_FILE, SYSCTLS};
