//! Tokens that were found valid, so that a crowd coming back doesn't cost a signature check each.
//!
//! Only successes are kept: failures are as many as an attacker likes. What changes with time is checked at every use.
//! A verdict holds under the rules it was found by – the issuers, their keys, the expected audience – and these have a
//! generation: under the next one it isn't found any more, and gives way to those that are.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Access, Role};
use crate::protocol::grants::DETAIL_TOPICS_MAX;
use crate::protocol::signature::sha256;

/// Verdicts in one cache.
pub const VERDICTS_MAX: usize = 16_384;
/// The tokens of all verdicts in one cache together. The tokens themselves aren't kept; what was read from them is of
/// their order of size, so this bounds the memory however long they are.
pub const VERDICT_TOKENS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A bounded memory of valid tokens. When it is full, those not used lately give way.
///
/// A token is known by its SHA-256, so that tokens aren't lying about in memory for longer than the connections they come on.
#[derive(Debug)]
pub struct VerdictCache {
    /// By a part of the key; the whole is compared in the verdict.
    places: HashMap<u64, u32>,
    verdicts: Vec<Verdict>,
    verdicts_max: usize,
    /// Sum over `verdicts`.
    token_bytes: usize,
    token_bytes_max: usize,
    /// Where the search for a victim goes on: a second-chance clock.
    hand: usize,
    /// The newest that was asked about.
    generation: u64,
}

/// The token's SHA-256, what it is presented for, and the generation of the rules, which stands for the expected audience
/// too: that is one of them.
type Key = ([u8; 32], Role, u64);

#[derive(Debug)]
struct Verdict {
    key: Key,
    access: Arc<Access>,
    token_bytes: u32,
    used: bool,
}

impl Default for VerdictCache {
    fn default() -> VerdictCache {
        VerdictCache::new(VERDICTS_MAX, VERDICT_TOKENS_BYTES_MAX)
    }
}

impl VerdictCache {
    /// A cache of at most so many verdicts (at least one), over tokens of at most so many bytes in total.
    pub fn new(verdicts_max: usize, token_bytes_max: usize) -> VerdictCache {
        assert!(verdicts_max > 0, "a cache holds something");
        VerdictCache {
            places: HashMap::new(),
            verdicts: Vec::new(),
            verdicts_max,
            token_bytes: 0,
            token_bytes_max,
            hand: 0,
            generation: 0,
        }
    }

    /// What the token gives, if it was found valid before by the rules of this generation, and is valid at this time
    /// (milliseconds since 1970).
    pub fn get(&mut self, token: &str, role: Role, generation: u64, now_unix_ms: u64) -> Option<Arc<Access>> {
        self.generation = self.generation.max(generation);
        let key = key(token, role, generation);
        let place = *self.places.get(&part(&key))? as usize;
        let verdict = &mut self.verdicts[place];
        if verdict.key != key {
            return None;
        }
        if verdict.access.valid_at(now_unix_ms) {
            verdict.used = true;
            Some(Arc::clone(&verdict.access))
        } else {
            // Expired, or the clock was set back to before `nbf`: in both cases the rules have to be applied anew.
            self.remove(place);
            None
        }
    }

    /// Keeps what the [`TokenVerifier::verify`](super::TokenVerifier::verify) of this generation said about the token.
    pub fn insert(&mut self, token: &str, role: Role, generation: u64, access: Access) -> Arc<Access> {
        let access = Arc::new(access);
        let key = key(token, role, generation);
        if let Some(&place) = self.places.get(&part(&key)) {
            self.remove(place as usize);
        }
        let token_bytes = match u32::try_from(weight(token, &access)) {
            Ok(bytes) if bytes as usize <= self.token_bytes_max => bytes,
            _ => return access,
        };
        while self.verdicts.len() >= self.verdicts_max || self.token_bytes + token_bytes as usize > self.token_bytes_max
        {
            self.evict();
        }
        self.token_bytes += token_bytes as usize;
        if self.verdicts.len() == self.verdicts.capacity() {
            // Doubling would leave up to half of a large list unused.
            self.verdicts.reserve_exact(self.verdicts.len() / 4 + 16);
        }
        self.places.insert(part(&key), self.verdicts.len() as u32);
        self.verdicts.push(Verdict { key, access: Arc::clone(&access), token_bytes, used: false });
        access
    }

    /// Removes the first verdict from the hand on that wasn't used since the hand last passed, or can't be any more.
    fn evict(&mut self) {
        loop {
            self.hand %= self.verdicts.len();
            let verdict = &mut self.verdicts[self.hand];
            if std::mem::take(&mut verdict.used) && verdict.key.2 >= self.generation {
                self.hand += 1;
            } else {
                return self.remove(self.hand);
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let removed = self.verdicts.swap_remove(place);
        self.token_bytes -= removed.token_bytes as usize;
        self.places.remove(&part(&removed.key));
        if let Some(moved) = self.verdicts.get(place) {
            self.places.insert(part(&moved.key), place as u32);
        }
        debug_assert_eq!(self.places.len(), self.verdicts.len());
    }
}

/// The bytes a token counts for: its own and, where there are more grants than tokens of 1.0 may have, theirs. The claim of
/// before has a thousand in a few bytes each.
fn weight(token: &str, access: &Access) -> usize {
    const GRANT_BYTES: usize = 64;
    let grants = access.grants.publish.len() + access.grants.subscribe.len();
    token.len() + GRANT_BYTES * grants.saturating_sub(2 * DETAIL_TOPICS_MAX)
}

fn key(token: &str, role: Role, generation: u64) -> Key {
    (sha256(token.as_bytes()), role, generation)
}

/// A part of the key that is as good as unique: of two that share it, the later one stays.
fn part((digest, role, generation): &Key) -> u64 {
    let word = u64::from_le_bytes(digest[..8].try_into().expect("eight bytes"));
    word ^ (generation << 1) ^ *role as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::grants::Grants;
    use crate::protocol::token::KeyIdentity;

    fn access(expires_at_ms: u64) -> Access {
        Access {
            issuer: "https://app.example".into(),
            subject: None,
            token_id: None,
            expires_at_ms,
            not_before_ms: 10,
            key: KeyIdentity(0),
            grants: Grants::default(),
        }
    }

    #[test]
    fn identical_tokens_share_one_access() {
        let mut cache = VerdictCache::default();
        let first = cache.insert("a", Role::Subscriber, 1, access(100));
        let second = cache.get("a", Role::Subscriber, 1, 50).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(cache.get("b", Role::Subscriber, 1, 50), None);
    }

    #[test]
    fn a_role_is_part_of_the_key() {
        let mut cache = VerdictCache::default();
        cache.insert("a", Role::Subscriber, 1, access(100));
        assert_eq!(cache.get("a", Role::Publisher, 1, 50), None);
    }

    #[test]
    fn a_verdict_is_not_found_under_other_rules_and_gives_way() {
        let mut cache = VerdictCache::new(2, 1000);
        for token in ["a", "b"] {
            cache.insert(token, Role::Subscriber, 1, access(100));
            assert!(cache.get(token, Role::Subscriber, 1, 50).is_some());
        }
        assert_eq!(cache.get("a", Role::Subscriber, 2, 50), None);
        for token in ["a", "b"] {
            cache.insert(token, Role::Subscriber, 2, access(200));
        }
        for token in ["a", "b"] {
            assert_eq!(cache.get(token, Role::Subscriber, 2, 150).unwrap().expires_at_ms, 200);
            assert_eq!(cache.get(token, Role::Subscriber, 1, 50), None, "a used verdict of old is evicted first");
        }
    }

    #[test]
    fn exp_and_nbf_are_checked_at_every_use() {
        let mut cache = VerdictCache::default();
        cache.insert("a", Role::Subscriber, 1, access(100));
        assert!(cache.get("a", Role::Subscriber, 1, 10).is_some());
        assert!(cache.get("a", Role::Subscriber, 1, 99).is_some());
        assert_eq!(cache.get("a", Role::Subscriber, 1, 100), None);
        assert!(cache.verdicts.is_empty() && cache.places.is_empty());
        cache.insert("a", Role::Subscriber, 1, access(100));
        assert_eq!(cache.get("a", Role::Subscriber, 1, 9), None);
    }

    #[test]
    fn a_full_cache_forgets_what_is_not_used() {
        let mut cache = VerdictCache::new(3, 1000);
        for token in ["a", "b", "c"] {
            cache.insert(token, Role::Subscriber, 1, access(100));
        }
        for token in ["d", "e", "f", "g"] {
            assert!(cache.get("a", Role::Subscriber, 1, 50).is_some(), "before {token}");
            cache.insert(token, Role::Subscriber, 1, access(100));
        }
        assert_eq!(cache.verdicts.len(), 3);
    }

    #[test]
    fn long_tokens_count_for_more() {
        let mut cache = VerdictCache::new(1000, 50_000);
        for number in 0..20 {
            cache.insert(&format!("{number:08000}"), Role::Publisher, 1, access(100));
        }
        assert_eq!(cache.verdicts.len(), 6);
        assert_eq!(cache.token_bytes, 48_000);
        let mut cache = VerdictCache::new(1000, 3);
        cache.insert("long", Role::Publisher, 1, access(100));
        assert_eq!(cache.get("long", Role::Publisher, 1, 50), None);
    }

    #[test]
    fn more_grants_than_a_token_of_today_may_have_count_too() {
        let bytes = |entries: usize| {
            let claim = serde_json::json!({"mercure": {"publish": vec!["a"; entries]}});
            let hub = crate::protocol::topic::HubUrl::parse("https://hub.example/hub").unwrap();
            let grants = Grants::from_mercure_claim(claim.as_object().unwrap(), &hub).unwrap();
            weight("token", &Access { grants, ..access(100) })
        };
        assert_eq!((bytes(0), bytes(200)), (5, 5));
        assert!(bytes(1000) > 50_000);
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may_nor_answers_for_another(
            steps in proptest::collection::vec((0..12_u64, any::<bool>(), 10..40_u64), 0..200)
        ) {
            let mut cache = VerdictCache::new(5, 12);
            for (token, insert, now) in steps {
                let text = token.to_string();
                if insert {
                    cache.insert(&text, Role::Publisher, 1, access(20 + token));
                    prop_assert!(cache.get(&text, Role::Publisher, 1, 10).is_some());
                } else if let Some(found) = cache.get(&text, Role::Publisher, 1, now) {
                    prop_assert_eq!(found.expires_at_ms, 20 + token);
                    prop_assert!(now < found.expires_at_ms);
                }
                prop_assert!(cache.verdicts.len() <= 5 && cache.token_bytes <= 12);
                for (place, verdict) in cache.verdicts.iter().enumerate() {
                    prop_assert_eq!(cache.places.get(&part(&verdict.key)), Some(&(place as u32)));
                }
                prop_assert_eq!(cache.places.len(), cache.verdicts.len());
            }
        }
    }
}
