//! What a hub notes of a subscriber for the others: the documents that announce the ends of its subscriptions, a line for each.

use ring::digest::{SHA256, digest};

use crate::cluster::{NodeId, Subscriber};
use crate::protocol::event_id::IdCipher;

/// The line before those of a subscriber whose end is being announced: it is in no list any more, and should its hub die it is ended by
/// another one.
const ENDING: &str = "ending\n";
/// How the document of a subscription begins; its id, the address it is announced under, follows, which has neither quotes nor backslashes.
const ID: &str = "{\"id\":\"";

/// The same subscriber, with its end being announced.
pub(super) fn ending(id: &str, document: &str) -> Subscriber {
    Subscriber { id: id.to_owned(), document: format!("{ENDING}{document}") }
}

/// Whether its end is being announced.
pub(super) fn is_ending(document: &str) -> bool {
    document.starts_with(ENDING)
}

/// The subscriptions of a subscriber: with each address what announces that it has begun, or ended.
pub(super) fn subscriptions(document: &str, active: bool) -> impl Iterator<Item = (&str, String)> {
    document.lines().filter_map(move |ending| {
        let (address, _) = ending.strip_prefix(ID)?.split_once('"')?;
        // Quotes within its texts are escaped, so that the first of these is the document's own.
        let said = if active { ending.replacen("\"active\":false", "\"active\":true", 1) } else { ending.to_owned() };
        Some((address, said))
    })
}

/// Cuts what is to be sent into pieces of so many, and about so many bytes: one alone may have more.
pub(super) fn pieces<T>(
    all: impl IntoIterator<Item = T>,
    count_max: usize,
    bytes_max: usize,
    bytes: impl Fn(&T) -> usize,
) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = all.next()?;
        let mut size = bytes(&first);
        let mut piece = vec![first];
        while piece.len() < count_max
            && let Some(next) = all.next_if(|next| size + bytes(next) <= bytes_max)
        {
            size += bytes(&next);
            piece.push(next);
        }
        Some(piece)
    })
}

/// The id of the event that announces the end of a subscription at a hub, whoever announces it, so that it can be seen who has. The hub's
/// name in it only hubs know, so that nobody can publish under it.
pub(super) fn end_id(node: NodeId, address: &str) -> String {
    let key = digest(&SHA256, &[&node.0, address.as_bytes()].concat());
    let id = IdCipher::new(key.as_ref().try_into().expect("32 bytes")).encode(0, 0);
    String::from_utf8(id.to_vec()).expect("an id is ASCII")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::matcher::{MatchType, Matcher};
    use crate::protocol::subscription::Subscription;
    use crate::protocol::topic::HubUrl;

    #[test]
    fn a_document_tells_addresses_and_what_announces_beginnings_and_ends() {
        let line =
            r#"{"id":"/s/1","match":"a\"active\":false","subscriber":"s","active":false,"payload":{"active":false}}"#;
        let begun =
            r#"{"id":"/s/1","match":"a\"active\":false","subscriber":"s","active":true,"payload":{"active":false}}"#;
        let document = format!("{line}\n{}\n", line.replace("/s/1", "/s/2"));
        let ended: Vec<_> = subscriptions(&document, false).collect();
        assert_eq!(ended, [("/s/1", line.to_owned()), ("/s/2", line.replace("/s/1", "/s/2"))]);
        assert_eq!(subscriptions(&document, true).next(), Some(("/s/1", begun.to_owned())));
        let marked = ending("s", &document).document;
        assert!(is_ending(&marked) && !is_ending(&document));
        assert!(subscriptions(&marked, false).eq(ended), "whoever ends it finds the same");
    }

    proptest! {
        #[test]
        fn the_address_of_any_subscription_is_read_from_its_document(text in "\\PC{1,40}", subscriber in "[a-z:\"\\\\]{1,9}") {
            let hub = HubUrl::parse("https://hub.example/a\"b\\c/.well-known/mercure").unwrap();
            if let Ok(matcher) = Matcher::parse(MatchType::Exact, &text, &hub) {
                let subscription = Subscription { matcher: &matcher, subscriber: &subscriber, active: false, payload: None };
                let mut document = Vec::new();
                subscription.write(&hub, &mut document);
                let document = String::from_utf8(document).unwrap();
                let read: Vec<_> = subscriptions(&document, false).collect();
                prop_assert_eq!(read, [(&*subscription.address(&hub), document.clone())]);
            }
        }

        #[test]
        fn pieces_keep_to_their_limits_and_to_the_order(sizes in prop::collection::vec(0_usize..20, 0..50)) {
            let cut: Vec<Vec<usize>> = pieces(sizes.clone(), 4, 25, |size| *size).collect();
            prop_assert!(cut.iter().all(|piece| (1..=4).contains(&piece.len())));
            prop_assert!(cut.iter().all(|piece| piece.iter().sum::<usize>() <= 25));
            prop_assert_eq!(cut.concat(), sizes);
        }
    }
}
