//! What a command shows to a hub: a token that was given, one signed on the spot, or nothing.

use super::hub_client::is_loopback;
use super::outside::{now, say};
use anyhow::{Context, Result, anyhow};
use cinnabar::config::dev::{DevSecrets, dev_issuer};
use cinnabar::protocol::keys::SigningKey;
use cinnabar::protocol::matcher::MatchType;
use cinnabar::protocol::token::{Mint, mint};
use clap::Args;
use jsonwebtoken::Algorithm;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// How long a token signed on the spot lasts: a stream is ended with it, and comes back with a new one.
const TOKEN_TTL: Duration = Duration::from_secs(3600);

/// After this long a new one is signed, well before the old one ends.
const TOKEN_REUSE: Duration = Duration::from_secs(600);

/// A grant, as a token has it.
pub(super) type Grant = (MatchType, String);

/// With what key tokens are signed, and what stands in them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signing a token")]
pub(super) struct Signing {
    /// The key to sign with: the issuer's secret, or its private key in PEM
    #[arg(long, value_name = "KEY", env = "CINNABAR_KEY", hide_env_values = true, allow_hyphen_values = true)]
    key: Option<String>,
    /// The file that holds the key
    #[arg(long, value_name = "FILE", env = "CINNABAR_KEY_FILE", conflicts_with = "key")]
    key_file: Option<PathBuf>,
    /// The algorithm to sign with [default: by the kind of the key: HS256, RS256, ES256, ES384 or EdDSA]
    #[arg(long, value_name = "ALG")]
    alg: Option<Algorithm>,
    /// Who issues the token: `iss`, as the hub trusts it [default: the origin of --url]
    #[arg(long, value_name = "ISS")]
    issuer: Option<String>,
    /// Whom the token is for: `aud`, the hub's --resource [default: --url]
    #[arg(long, value_name = "URL")]
    audience: Option<String>,
    /// The data folder of a hub in development mode, whose secret signs when no key is given
    #[arg(long, value_name = "FOLDER", env = "CINNABAR_DATA", default_value = "./cinnabar-data")]
    data: PathBuf,
}

/// A key with the names that go into its tokens.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) key: SigningKey,
    pub(super) issuer: String,
    pub(super) audience: String,
    /// Nobody gave a key: it was found in the data folder.
    pub(super) found: bool,
}

impl Signing {
    /// The signer of what was said, or else of the development secret; none if there is neither.
    pub(super) fn signer(&self, url: &Url) -> Result<Option<Signer>> {
        let given = match (&self.key, &self.key_file) {
            (Some(text), _) => Some(text.clone()),
            (None, Some(path)) => {
                let text = fs::read_to_string(path).with_context(|| format!("the key file {}", path.display()))?;
                // As `serve` reads it: the line break an editor adds isn't part of a secret.
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            (None, None) => None,
        };
        let found = given.is_none();
        let text = match given {
            Some(text) => text,
            None if is_loopback(url) => match DevSecrets::existing_jwt_secret(&self.data)? {
                Some(secret) => secret.expose().to_owned(),
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        let key = SigningKey::from_text(&text, self.alg).map_err(|why| anyhow!("the key can't be used: {why}"))?;
        let url = local_name(url);
        Ok(Some(Signer {
            key,
            issuer: self.issuer.clone().unwrap_or_else(|| dev_issuer(&url)),
            audience: self.audience.clone().unwrap_or(url),
            found,
        }))
    }
}

/// A hub in development mode calls itself `localhost`, however it is reached.
fn local_name(url: &Url) -> String {
    let mut url = url.clone();
    if url.host_str() == Some("127.0.0.1") {
        url.set_host(Some("localhost")).expect("`localhost` is a host");
    }
    url.into()
}

/// Where the token comes from.
#[derive(Debug, Args)]
pub(super) struct Credentials {
    /// The access token to show
    #[arg(long, value_name = "TOKEN", env = "CINNABAR_TOKEN", hide_env_values = true, conflicts_with_all = ["key", "key_file"])]
    token: Option<String>,
    #[command(flatten)]
    signing: Signing,
}

/// What is shown, request after request.
#[derive(Debug)]
pub(super) enum Shown {
    Nothing,
    Given(String),
    Signed { signer: Box<Signer>, publish: Vec<Grant>, subscribe: Vec<Grant>, last: Option<(String, Duration)> },
}

impl Credentials {
    /// Decides what is shown to this hub; a signed token gets these grants and no more.
    pub(super) fn shown(self, url: &Url, publish: Vec<Grant>, subscribe: Vec<Grant>) -> Result<Shown> {
        if let Some(token) = self.token {
            return Ok(Shown::Given(token));
        }
        Ok(match self.signing.signer(url)? {
            Some(signer) => Shown::Signed { signer: Box::new(signer), publish, subscribe, last: None },
            None => Shown::Nothing,
        })
    }
}

impl Shown {
    /// The token for a request made now.
    pub(super) fn token(&mut self) -> Result<Option<String>> {
        let (signer, publish, subscribe, last) = match self {
            Shown::Nothing => return Ok(None),
            Shown::Given(token) => return Ok(Some(token.clone())),
            Shown::Signed { signer, publish, subscribe, last } => (signer, publish, subscribe, last),
        };
        let now = now();
        if let Some((token, at)) = last
            && now.saturating_sub(*at) < TOKEN_REUSE
        {
            return Ok(Some(token.clone()));
        }
        let token = mint(
            &Mint {
                issuer: signer.issuer.clone(),
                audience: signer.audience.clone(),
                issued_at_s: now.as_secs(),
                expires_at_s: (now + TOKEN_TTL).as_secs(),
                publish: publish.clone(),
                subscribe: subscribe.clone(),
                ..Mint::default()
            },
            &signer.key,
        )?;
        *last = Some((token.clone(), now));
        Ok(Some(token))
    }

    /// Gives up a key that was only found, when the hub doesn't know it: it may let anybody in.
    pub(super) fn forget_found(&mut self) -> bool {
        let found = matches!(self, Shown::Signed { signer, .. } if signer.found);
        if found {
            say("the hub doesn't know the secret in the data folder; trying without a token");
            *self = Shown::Nothing;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signing(key: Option<&str>) -> Signing {
        Signing { key: key.map(str::to_owned), key_file: None, alg: None, issuer: None, audience: None, data: "/nowhere".into() }
    }

    #[test]
    fn names_in_the_token_follow_the_url() {
        let url = Url::parse("http://127.0.0.1:3000/.well-known/mercure").unwrap();
        let signer = signing(Some("a secret of more than thirty-two bytes")).signer(&url).unwrap().unwrap();
        assert_eq!(signer.issuer, "http://localhost:3000");
        assert_eq!(signer.audience, "http://localhost:3000/.well-known/mercure");
        assert!(!signer.found);
    }

    #[test]
    fn without_key_and_folder_nothing_is_shown() {
        let url = Url::parse("http://localhost:3000/.well-known/mercure").unwrap();
        assert!(signing(None).signer(&url).unwrap().is_none());
    }

    #[test]
    fn a_key_that_can_not_sign_is_refused() {
        let url = Url::parse("http://localhost:3000/").unwrap();
        let why = signing(Some("short")).signer(&url).unwrap_err().to_string();
        assert!(why.starts_with("the key can't be used: the secret has 5 bytes"), "{why}");
    }

    #[test]
    fn a_signed_token_is_shown_again() {
        let url = Url::parse("http://localhost:3000/").unwrap();
        let signer = signing(Some("a secret of more than thirty-two bytes")).signer(&url).unwrap().unwrap();
        let publish = vec![(MatchType::Exact, "a".to_owned())];
        let mut shown = Shown::Signed { signer: Box::new(signer), publish, subscribe: Vec::new(), last: None };
        let first = shown.token().unwrap();
        assert_eq!(shown.token().unwrap(), first);
        assert!(!shown.forget_found(), "a key that was given is never given up");
    }
}
