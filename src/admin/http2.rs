//! What a shard counts of HTTP/2.

/// Why an HTTP/2 connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2End {
    /// The client closed it, or it broke.
    Gone,
    /// No request and no stream for too long.
    Idle,
    /// The hub is stopping.
    Stopping,
    /// It broke the protocol.
    Protocol,
    /// The beginning of the connection, or the head of a request, took too long.
    Slow,
    /// It took nothing of what it was sent.
    Stalled,
    /// Streams were reset too often, by either side.
    Resets,
    /// Too many pings.
    Pings,
    /// Too many changes of settings.
    Settings,
    /// Windows were opened too often for what was sent.
    WindowUpdates,
    /// Too many frames without content, or of no use here.
    Frames,
    /// A head in too many pieces, or far larger than it may be.
    Heads,
    /// The library found something else excessive.
    Excess,
}

impl Http2End {
    /// Every reason, in the order of the counters.
    pub const ALL: [Http2End; 13] = [
        Http2End::Gone,
        Http2End::Idle,
        Http2End::Stopping,
        Http2End::Protocol,
        Http2End::Slow,
        Http2End::Stalled,
        Http2End::Resets,
        Http2End::Pings,
        Http2End::Settings,
        Http2End::WindowUpdates,
        Http2End::Frames,
        Http2End::Heads,
        Http2End::Excess,
    ];

    /// The word logs and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Http2End::Gone => "gone",
            Http2End::Idle => "idle",
            Http2End::Stopping => "stopping",
            Http2End::Protocol => "protocol",
            Http2End::Slow => "slow",
            Http2End::Stalled => "stalled",
            Http2End::Resets => "resets",
            Http2End::Pings => "pings",
            Http2End::Settings => "settings",
            Http2End::WindowUpdates => "window-updates",
            Http2End::Frames => "frames",
            Http2End::Heads => "heads",
            Http2End::Excess => "excess",
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http2Tally {
    /// Connections begun.
    pub connections: u64,
    /// Requests.
    pub requests: u64,
    /// Connections closed, by [`Http2End`].
    pub ends: [u64; Http2End::ALL.len()],
}

impl Http2Tally {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Http2Tally) {
        self.connections += other.connections;
        self.requests += other.requests;
        self.ends.iter_mut().zip(&other.ends).for_each(|(sum, one)| *sum += one);
    }
}
