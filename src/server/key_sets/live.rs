//! The keys that hold now, as every shard has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::hub::Revocation;
use crate::protocol::token::{Access, KeyIdentity, Role, TokenError, TokenVerifier};

/// All rules for tokens at one time. They never change: others take their place.
pub(crate) struct LiveKeys {
    generation: u64,
    verifier: TokenVerifier,
    revocation: Arc<Revocation>,
    /// Whose keys come from sets.
    wishes: Vec<(String, Role, Arc<Wish>)>,
}

/// The wish for a newer key set. Wishing costs nothing once somebody has.
#[derive(Debug)]
pub(crate) struct Wish {
    made: AtomicBool,
    wake: Arc<Notify>,
}

impl Wish {
    pub(super) fn new(wake: Arc<Notify>) -> Wish {
        Wish { made: AtomicBool::new(false), wake }
    }

    fn make(&self) {
        if !self.made.load(Ordering::Relaxed) && !self.made.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    pub(super) fn is_made(&self) -> bool {
        self.made.load(Ordering::Acquire)
    }

    /// It is about to be granted.
    pub(super) fn clear(&self) {
        self.made.store(false, Ordering::Release);
    }
}

impl LiveKeys {
    pub(super) fn new(generation: u64, verifier: TokenVerifier, wishes: Vec<(String, Role, Arc<Wish>)>) -> LiveKeys {
        let live = verifier.keys().map(|(identity, _)| identity).collect();
        LiveKeys { generation, verifier, revocation: Arc::new(Revocation::KeysGone { live }), wishes }
    }

    /// Grows with each that takes the place of another.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a key holds.
    pub(crate) fn has(&self, key: KeyIdentity) -> bool {
        self.revocation.spares(key)
    }

    /// What judges tokens, for those who only want to know why.
    pub(crate) fn verifier(&self) -> &TokenVerifier {
        &self.verifier
    }

    /// For the streams of all keys but these.
    pub(crate) fn revocation(&self) -> Arc<Revocation> {
        self.revocation.clone()
    }

    /// Judges a token. Where another key might do, newer ones are asked for; this answer doesn't wait for them.
    pub(crate) fn verify(&self, token: &str, role: Role, now_unix_ms: u64) -> Result<Access, TokenError> {
        let verdict = self.verifier.verify(token, role, now_unix_ms);
        if let Err(
            TokenError::KeyUnknown { issuer, .. }
            | TokenError::KeySetEmpty { issuer, .. }
            | TokenError::Signature { issuer, .. },
        ) = &verdict
        {
            let wish = self.wishes.iter().find(|(whose, whose_role, _)| whose == issuer && *whose_role == role);
            if let Some((_, _, wish)) = wish {
                wish.make();
            }
        }
        verdict
    }

    /// Every use of every key and the key's name: what makes one of these differ from another for anybody who has a token.
    pub(super) fn uses(&self) -> Vec<(KeyIdentity, Option<&str>)> {
        let mut uses: Vec<_> = self.verifier.keys().collect();
        uses.sort_unstable();
        uses
    }
}
