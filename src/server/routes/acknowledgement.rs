//! The answer to a publish that was taken: the same for all with one head, but for the id, which is its body.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::http::head::Version;
use crate::http::response::ResponseHead;

/// The answer, but for the id.
pub(super) struct Acknowledgement {
    response: ResponseHead,
    /// It is given again and again, so that its encoding is worth keeping. Many publishers send one update and leave.
    repeated: Cell<bool>,
    encoded: RefCell<Option<Encoded>>,
}

/// The head of an answer that keeps the connection, for an id of so many bytes. Good until the date changes.
struct Encoded {
    date: Rc<str>,
    version: Version,
    id_bytes: usize,
    head: Box<[u8]>,
}

impl Acknowledgement {
    pub(super) fn new(response: ResponseHead) -> Acknowledgement {
        Acknowledgement { response, repeated: Cell::new(false), encoded: RefCell::new(None) }
    }

    pub(super) fn response(&self) -> &ResponseHead {
        &self.response
    }

    pub(super) fn status(&self) -> u16 {
        self.response.status()
    }

    /// The same head has come again.
    pub(super) fn repeat(&self) {
        self.repeated.set(true);
    }

    /// Adds it, with its id.
    pub(super) fn encode(&self, id: &str, version: Version, keep_alive: bool, date: &Rc<str>, out: &mut Vec<u8>) {
        let mut encoded = self.encoded.borrow_mut();
        let same = |kept: &&Encoded| {
            Rc::ptr_eq(&kept.date, date) && kept.version == version && kept.id_bytes == id.len() && keep_alive
        };
        if let Some(kept) = encoded.as_ref().filter(same) {
            out.extend_from_slice(&kept.head);
            out.extend_from_slice(id.as_bytes());
            return;
        }
        let start = out.len();
        self.response.encode_with(id.as_bytes(), version, keep_alive, false, date, out);
        if keep_alive && self.repeated.get() {
            let head = out[start..out.len() - id.len()].into();
            *encoded = Some(Encoded { date: Rc::clone(date), version, id_bytes: id.len(), head });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(answer: &Acknowledgement, id: &str, keep_alive: bool, date: &Rc<str>) -> Vec<u8> {
        let mut out = Vec::new();
        answer.encode(id, Version::Http11, keep_alive, date, &mut out);
        out
    }

    fn keeps(answer: &Acknowledgement) -> bool {
        answer.encoded.borrow().is_some()
    }

    /// Seen: every connection's first publish kept an encoding, though most of them never read it.
    #[test]
    fn only_what_is_said_again_is_kept() {
        let answer = Acknowledgement::new(ResponseHead::new(200));
        let date: Rc<str> = "now".into();
        let first = encoded(&answer, "urn:1", true, &date);
        assert!(!keeps(&answer));
        answer.repeat();
        encoded(&answer, "urn:1", false, &date);
        assert!(!keeps(&answer), "the last one of a connection");
        assert_eq!(encoded(&answer, "urn:1", true, &date), first);
        assert!(keeps(&answer));
        assert_eq!(encoded(&answer, "urn:1", true, &date), first);
    }

    #[test]
    fn what_is_kept_is_what_would_be_encoded() {
        let [kept, fresh] = [200, 200].map(ResponseHead::new).map(Acknowledgement::new);
        kept.repeat();
        let dates: [Rc<str>; 2] = ["now".into(), "later".into()];
        for (id, keep_alive, date) in
            [("a", true, 0), ("b", true, 0), ("longer", true, 0), ("c", false, 0), ("d", true, 1), ("e", true, 1)]
        {
            let (id, date): (&str, _) = (id, &dates[date]);
            assert_eq!(encoded(&kept, id, keep_alive, date), encoded(&fresh, id, keep_alive, date), "{id}");
        }
    }
}
