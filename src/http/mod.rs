//! Bytes to requests and responses: HTTP/1.1 heads and bodies, forms, cookies, credentials, CORS, problem
//! documents.
//!
//! What belongs here is a rule of HTTP or of a standard beside it (RFC 9110, 9112, 9113 as far as heads go, 6265, 6750, 7239, 9457,
//! Fetch, the PROXY protocol).
//! Nothing here knows hubs, Mercure, sockets or clocks: bytes and dates are arguments, and errors carry the status
//! to answer. Requests are read strictly: whatever two parsers could read differently is refused, because a proxy
//! in front of us is the other parser.

pub mod accept;
pub mod accept_encoding;
pub mod assemble;
pub mod authority;
pub mod body;
pub mod cookie;
pub mod cors;
pub mod credentials;
pub mod date;
pub mod form;
pub mod forwarded;
mod framing;
pub mod head;
pub mod host_list;
pub mod network;
pub mod origin;
pub mod problem;
pub mod proxy_header;
pub mod response;
mod target;
