//! What the people who run the hub see of it and tell it: metrics, health, what is going on, who is kept out.
//!
//! Everything here is made from a [`Snapshot`] or an answer of the shards, and is text in the end. Requests are
//! understood here ([`Action`]); listening, asking the shards and keeping files is the server's.

mod action;
mod console;
mod deny_list;
mod explain;
mod health;
mod http2;
mod limit;
mod memory;
mod metrics;
mod reply;
mod snapshot;
#[cfg(feature = "otel")]
mod span;
mod stats;
mod tls;
mod views;

pub use action::Action;
pub use console::{CONSOLE_DATA, Console, is_console_file};
pub use deny_list::{DENY_LIST_BYTES_MAX, DenyListError, denials_from_text, denials_to_text};
pub use explain::explain;
pub use health::{Health, LIVE_MS, READY_MS};
pub use http2::{Http2End, Http2Tally};
pub use limit::Limit;
pub use memory::{Memory, MemoryUse};
pub use metrics::{METRICS, METRICS_TYPE, Metric, metrics};
pub use reply::Reply;
pub use snapshot::{AcmeStanding, Clustering, Compression, Sequencing, ShardSnapshot, Snapshot, Stage, Tally};
#[cfg(feature = "otel")]
pub use span::{Note, Span, TraceParent, otlp};
pub use stats::stats;
pub use tls::{HandshakeFailure, SealedEnd, TlsTally};
pub use views::{Seen, audiences, denied, slow, streams};
