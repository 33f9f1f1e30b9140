//! Content codings of event streams: how the bytes of an event are written so that connections with a coding share them.
//!
//! Everything written to such a stream is a *fragment*: bytes that decode to what they stand for whatever came before them, so
//! that one fragment fits into every stream. For gzip (RFC 1952) that is deflate blocks (RFC 1951) up to a byte's end that
//! refer to nothing before them, none of them the last; the stream begins with gzip's header and never reaches its trailer. For
//! zstd (RFC 8878) it is whole frames. No brotli: its streams can't be put together, and browsers lose what follows the first.
//!
//! Two kinds of fragments: bytes compressed once ([`Compressor`]), and bytes as they are with a few in front ([`stored`]).

mod compressor;
#[cfg(test)]
pub(crate) mod decoder;
pub(crate) mod stored;

pub use compressor::Compressor;

/// A content coding, as HTTP names it (RFC 9110 §8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Every coding, in the order of counters.
    pub const ALL: [Coding; 2] = [Coding::Gzip, Coding::Zstd];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }

    /// What a stream of this coding begins with.
    pub fn header(self) -> &'static [u8] {
        match self {
            // No name, no time, no flags, of no system in particular.
            Coding::Gzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
            Coding::Zstd => &[],
        }
    }
}

/// The codings a hub offers, those it likes best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codings([Option<Coding>; Coding::ALL.len()]);

impl Codings {
    /// These, each once.
    pub fn new(wanted: &[Coding]) -> Codings {
        let mut codings = Codings::default();
        for &coding in wanted {
            if !codings.contains(coding)
                && let Some(free) = codings.0.iter_mut().find(|place| place.is_none())
            {
                *free = Some(coding);
            }
        }
        codings
    }

    /// In order of preference.
    pub fn iter(self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten()
    }

    /// Whether this one is offered.
    pub fn contains(self, coding: Coding) -> bool {
        self.0.contains(&Some(coding))
    }

    /// Whether none is.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }
}

/// How a connection wants its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// As chunks of HTTP/1.1.
    pub chunked: bool,
    /// Under a content coding.
    pub coding: Option<Coding>,
}

impl Form {
    /// Every form there is.
    pub const ALL: [Form; 6] = [
        Form { chunked: false, coding: None },
        Form { chunked: true, coding: None },
        Form { chunked: false, coding: Some(Coding::Gzip) },
        Form { chunked: true, coding: Some(Coding::Gzip) },
        Form { chunked: false, coding: Some(Coding::Zstd) },
        Form { chunked: true, coding: Some(Coding::Zstd) },
    ];

    /// Its place in [`Form::ALL`].
    pub fn index(self) -> usize {
        let coding = match self.coding {
            None => 0,
            Some(Coding::Gzip) => 2,
            Some(Coding::Zstd) => 4,
        };
        coding + usize::from(self.chunked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_keep_their_order_and_stand_once() {
        let codings = Codings::new(&[Coding::Zstd, Coding::Gzip, Coding::Zstd, Coding::Zstd]);
        assert_eq!(codings.iter().collect::<Vec<_>>(), [Coding::Zstd, Coding::Gzip]);
        assert!(Codings::new(&[]).is_empty() && !Codings::new(&[Coding::Zstd]).contains(Coding::Gzip));
    }

    #[test]
    fn every_form_has_its_place() {
        for (at, form) in Form::ALL.into_iter().enumerate() {
            assert_eq!(form.index(), at);
        }
    }
}
