//! What a shard counts of TLS.

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// Plain HTTP where TLS is spoken.
    Plain,
    /// No version, cipher, protocol or kind of certificate in common.
    Incompatible,
    /// The client ended it, mostly for a certificate it doesn't accept.
    Alert,
    /// What came isn't TLS.
    Protocol,
    /// There is no certificate yet for the name it asked for.
    NoCertificate,
    /// It took too long.
    Slow,
    /// The client went.
    Gone,
}

impl HandshakeFailure {
    /// Every reason, in the order of the counters.
    pub const ALL: [HandshakeFailure; 7] = [
        HandshakeFailure::Plain,
        HandshakeFailure::Incompatible,
        HandshakeFailure::Alert,
        HandshakeFailure::Protocol,
        HandshakeFailure::NoCertificate,
        HandshakeFailure::Slow,
        HandshakeFailure::Gone,
    ];

    /// The word logs and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            HandshakeFailure::Plain => "plain",
            HandshakeFailure::Incompatible => "incompatible",
            HandshakeFailure::Alert => "alert",
            HandshakeFailure::Protocol => "protocol",
            HandshakeFailure::NoCertificate => "no-certificate",
            HandshakeFailure::Slow => "slow",
            HandshakeFailure::Gone => "gone",
        }
    }
}

/// Why TLS ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedEnd {
    /// As many records as its key is good for.
    RecordLimit,
    /// The client wanted other keys.
    KeyUpdate,
    /// The client sent what can't be opened.
    BadRecord,
}

impl SealedEnd {
    /// Every reason, in the order of the counters.
    pub const ALL: [SealedEnd; 3] = [SealedEnd::RecordLimit, SealedEnd::KeyUpdate, SealedEnd::BadRecord];

    /// The word metrics use.
    pub fn name(self) -> &'static str {
        match self {
            SealedEnd::RecordLimit => "record-limit",
            SealedEnd::KeyUpdate => "key-update",
            SealedEnd::BadRecord => "bad-record",
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsTally {
    /// Handshakes done: whole ones, and those that went on with what an earlier one began.
    pub handshakes: [u64; 2],
    /// Those that came to nothing, by [`HandshakeFailure`].
    pub failures: [u64; HandshakeFailure::ALL.len()],
    /// Streams ended, by [`SealedEnd`].
    pub ends: [u64; SealedEnd::ALL.len()],
}

impl TlsTally {
    /// Adds another shard's.
    pub fn add(&mut self, other: &TlsTally) {
        let all = [&mut self.handshakes[..], &mut self.failures, &mut self.ends];
        for (all, other) in all.into_iter().zip([&other.handshakes[..], &other.failures, &other.ends]) {
            all.iter_mut().zip(other).for_each(|(sum, one)| *sum += one);
        }
    }
}
