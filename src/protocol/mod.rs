//! What Mercure means: topics, matchers, updates, the event stream encoding, tokens and grants.
//!
//! Nothing here knows sockets, clocks, threads or randomness. What belongs here is a rule of the protocol draft or of
//! a standard it builds on; what a connection does with it belongs in `hub`, how bytes become requests in `http`.

pub mod coding;
pub mod compat;
pub mod event_id;
pub mod event_stream;
mod form;
pub mod frame;
pub mod grants;
pub mod keys;
pub mod known_topics;
pub mod last_words;
pub mod matcher;
pub mod pattern;
pub mod prelude;
pub mod signature;
pub mod subscribe;
pub mod subscription;
pub mod template;
pub mod text;
pub mod token;
pub mod topic;
pub mod update;
