//! Several load machines: agents hold the subscribers of a run, one coordinator publishes, gives the orders and puts the
//! results together.
//!
//! An agent is to a `Swarm` what a client thread is: orders go there, counts and times come back, and at the end a verdict
//! (`link` is the coordinator's end, `session` the agent's). The engine knows no difference. What was published has to be known
//! where it is received, so the coordinator's lanes are mirrored; who has just got its response head asks what had been sent
//! by then (`lanes`). Latencies count in the coordinator's clock: `clock` measures how far an agent's is away from it, and
//! `course` follows it while a run lasts.
//!
//! Both ends speak frames of JSON over one connection for each server that is measured (`frame`, `message`), after both
//! have proven that they know the same secret (`secret`); until then they wait in the `lobby`. What an agent is sent is data: who subscribes where. Nothing of
//! it is ever run.

mod clock;
mod course;
mod frame;
mod hire;
mod link;
mod lobby;
mod message;
mod part;
mod secret;
mod serve;
mod session;
mod slot;
mod times;

pub(crate) use course::ClockShift;
pub(crate) use hire::{AgentOptions, hire};
pub(crate) use link::Hired;
pub(crate) use message::Usage;
pub(crate) use secret::SECRET_VARIABLE;
pub(crate) use serve::AgentCommand;
