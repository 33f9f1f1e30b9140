//! The secret coordinator and agents share. It never goes over the wire: each end proves that it knows it, by a keyed hash of
//! what both have just made up.

use std::path::PathBuf;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// The variable of the environment it may stand in.
pub(crate) const SECRET_VARIABLE: &str = "CINNABAR_LOADGEN_SECRET";
/// A shorter one is guessed.
const SECRET_BYTES_MIN: usize = 16;
const NONCE_BYTES: usize = 16;

/// Where the secret is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SecretOption {
    /// The file with the secret coordinator and agents share, 16 bytes or more; otherwise the environment's
    /// CINNABAR_LOADGEN_SECRET counts. Agents that listen on loopback need none
    #[arg(long, value_name = "FILE", help_heading = "Agents")]
    pub(super) secret_file: Option<PathBuf>,
}

impl SecretOption {
    /// Reads it, if there is one.
    pub(super) fn read(&self) -> anyhow::Result<Option<Secret>> {
        let (text, from) = match &self.secret_file {
            Some(file) => {
                let from = file.display().to_string();
                (std::fs::read_to_string(file).with_context(|| format!("read the secret from {from}"))?, from)
            }
            None => match std::env::var(SECRET_VARIABLE) {
                Ok(text) if !text.is_empty() => (text, SECRET_VARIABLE.to_owned()),
                Ok(_) | Err(std::env::VarError::NotPresent) => return Ok(None),
                Err(error) => bail!("{SECRET_VARIABLE}: {error}"),
            },
        };
        let text = text.trim();
        if text.len() < SECRET_BYTES_MIN {
            bail!("the secret of {from} is shorter than {SECRET_BYTES_MIN} bytes: `openssl rand -hex 32` makes one");
        }
        Ok(Some(Secret::new(text)))
    }
}

/// Which end proves something. Each end's proof is of no use for the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Coordinator,
    Agent,
}

/// What both ends made up for this connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nonces<'a> {
    pub(super) agent: &'a str,
    pub(super) coordinator: &'a str,
    /// The run this is about.
    pub(super) run: &'a str,
}

impl Nonces<'_> {
    fn said_by(self, end: End) -> Vec<u8> {
        let end = match end {
            End::Coordinator => "coordinator",
            End::Agent => "agent",
        };
        // As JSON no two lists of texts are the same bytes.
        serde_json::to_vec(&[end, self.agent, self.coordinator, self.run]).expect("texts are JSON")
    }
}

/// The shared secret.
#[derive(Clone)]
pub(super) struct Secret(hmac::Key);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))
    }

    /// What only somebody who knows the secret can say.
    pub(super) fn proof(&self, end: End, nonces: Nonces<'_>) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &nonces.said_by(end)))
    }

    /// Is this the proof? Takes as long for every wrong one.
    pub(super) fn proves(&self, proof: &str, end: End, nonces: Nonces<'_>) -> bool {
        let Ok(proof) = URL_SAFE_NO_PAD.decode(proof) else {
            return false;
        };
        hmac::verify(&self.0, &nonces.said_by(end), &proof).is_ok()
    }
}

/// Something nobody has said before.
#[expect(clippy::disallowed_methods, reason = "the ends of a connection draw what nobody can know")]
pub(super) fn nonce() -> anyhow::Result<String> {
    let mut bytes = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut bytes).ok().context("the system has no random bytes")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCES: Nonces<'static> = Nonces { agent: "a", coordinator: "c", run: "r" };

    #[test]
    fn only_the_same_secret_proves_it_for_this_end_and_connection() {
        let secret = Secret::new("a secret of some length");
        let proof = secret.proof(End::Coordinator, NONCES);
        assert!(secret.proves(&proof, End::Coordinator, NONCES));
        assert!(!Secret::new("another of some length").proves(&proof, End::Coordinator, NONCES));
        assert!(!secret.proves(&proof, End::Agent, NONCES));
        for other in [
            Nonces { agent: "b", ..NONCES },
            Nonces { coordinator: "d", ..NONCES },
            Nonces { run: "s", ..NONCES },
            Nonces { agent: "a\",\"c", coordinator: "", run: "r" },
        ] {
            assert!(!secret.proves(&proof, End::Coordinator, other), "{other:?}");
        }
        for wrong in ["", "AAAA", "no base64!", &proof[1..]] {
            assert!(!secret.proves(wrong, End::Coordinator, NONCES), "{wrong}");
        }
    }

    #[test]
    fn a_secret_stands_in_a_file_and_is_not_short() {
        let file = std::env::temp_dir().join(format!("cinnabar-loadgen-secret-{}", std::process::id()));
        let option = SecretOption { secret_file: Some(file.clone()) };
        assert!(option.read().is_err(), "there is no such file");
        std::fs::write(&file, "   too short   \n").expect("written");
        let error = option.read().err().expect("refused").to_string();
        assert!(error.contains("shorter than 16 bytes"), "{error}");
        std::fs::write(&file, "long enough for a test\n").expect("written");
        let secret = option.read().expect("read").expect("there");
        let proof = Secret::new("long enough for a test").proof(End::Agent, NONCES);
        assert!(secret.proves(&proof, End::Agent, NONCES));
        std::fs::remove_file(&file).expect("removed");
    }

    #[test]
    fn no_nonce_comes_twice() {
        assert_ne!(nonce().expect("drawn"), nonce().expect("drawn"));
    }
}
