//! The limits that turn clients away: each has a counter.

/// What a client was turned away for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Connections in total, or requests at once.
    Connections,
    /// Connections of its address.
    Address,
    /// Streams of its subject.
    Subject,
    /// Publishes of its issuer and subject in a time.
    PublishRate,
    /// Memory near its ceiling.
    Memory,
    /// No PROXY protocol header from a proxy that has to send one, or a wrong one.
    ProxyHeader,
}

impl Limit {
    /// Every limit, in the order of the counters.
    pub const ALL: [Limit; 6] =
        [Limit::Connections, Limit::Address, Limit::Subject, Limit::PublishRate, Limit::Memory, Limit::ProxyHeader];

    /// The word logs and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Connections => "connections",
            Limit::Address => "address",
            Limit::Subject => "subject",
            Limit::PublishRate => "publish_rate",
            Limit::Memory => "memory",
            Limit::ProxyHeader => "proxy_header",
        }
    }
}
