//! The other commands, used as from a shell.

#[allow(unused_imports)]
use crate::harness::*;
