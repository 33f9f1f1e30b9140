//! What is drawn at random for a new log, and what stands for a publisher's id.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::{EngineError, Identity};

/// An identity nobody has.
#[allow(clippy::disallowed_methods, reason = "engines are part of the I/O shell; a log's identity is drawn here")]
pub(super) fn identity() -> Result<Identity, EngineError> {
    let random = SystemRandom::new();
    let mut identity = Identity { log: [0; 16], id_key: [0; 32] };
    let drawn = random.fill(&mut identity.log).and_then(|()| random.fill(&mut identity.id_key));
    drawn.map_err(|_| EngineError::Unavailable("the system gives no random numbers".to_owned()))?;
    Ok(identity)
}

/// What an id is looked up by: of the same size whatever the id, and not to be hit by another one on purpose.
pub(super) fn id_digest(id: &str) -> [u8; 16] {
    *digest(&SHA256, id.as_bytes()).as_ref().first_chunk().expect("a SHA-256 has 32 bytes")
}
