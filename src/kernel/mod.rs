//! What the kernel says of a machine and of the control groups on it, read from files below a folder that stands for `/`, so
//! that tests can put theirs in place of them. What it means belongs to the hub and to the doctor.

pub(crate) mod groups;
pub(crate) mod memory;

mod root;

pub use root::Root;
#[cfg(test)]
pub(crate) use root::tests::Files;
