//! The I/O shell: threads, sockets, clocks and signals around the hub's state machines.
//!
//! [`run`] starts a sequencer, the history readers and a shard per core, and waits for a signal. Nothing here decides
//! who gets which event (that is `hub`) or what a request means (`protocol`, `http`): it moves bytes and time.

mod acme;
mod admin;
mod backbone;
mod census;
mod clock;
mod cluster;
mod commit;
mod compile;
mod compressor;
mod connection;
mod discovery;
mod ending;
mod guests;
mod http2;
mod inbox;
mod key_sets;
mod limits;
mod listen;
mod notify;
mod observed;
mod passed;
mod peers;
mod presence;
mod probe;
mod ration;
mod recall;
mod reload;
mod replies;
mod routes;
mod sender;
mod sequencer;
mod settings;
mod shard;
mod shared;
mod start;
mod sys;
mod tls;
mod tracer;
mod turns;
mod turnstile;
mod unix_socket;

pub use acme::AcmeError;
pub use admin::DenyListFileError;
pub use ending::Ended;
pub use key_sets::rules_with_key_sets;
pub use listen::ListenError;
pub use passed::{Names, PassedError};
pub use probe::{own_descriptors, try_io_uring};
pub use start::{StartError, block_signals, run};
pub use tls::{CertificateError, DevelopmentCertificateError};
