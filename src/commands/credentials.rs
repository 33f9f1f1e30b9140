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
use std::path::{Path, PathBuf};
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
    /// The key to sign with: the issuer's secret, or its private key in PEM [env: CINNABAR_KEY]
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// The file that holds the key [env: CINNABAR_KEY_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
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
    /// The data folder of a hub in development mode (`--data` of `serve`), whose secret signs when no key is given
    #[arg(
        long,
        value_name = "FOLDER",
        env = "CINNABAR_DATA",
        hide_env_values = true,
        default_value = "./cinnabar-data"
    )]
    data_folder: PathBuf,
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
        let given = self.given()?;
        let found = given.is_none();
        let text = match given {
            Some(text) => text,
            None if is_loopback(url) => match DevSecrets::existing_jwt_secret(&self.data_folder)? {
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

    /// The key that was given: by flag, else by variable.
    fn given(&self) -> Result<Option<String>> {
        if let Some(text) = self.flagged()? {
            return Ok(Some(text));
        }
        match (variable("CINNABAR_KEY"), variable("CINNABAR_KEY_FILE")) {
            (Some(text), _) => Ok(Some(text)),
            (None, Some(path)) => read_key(Path::new(&path)).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn flagged(&self) -> Result<Option<String>> {
        match (&self.key, &self.key_file) {
            (Some(text), _) => Ok(Some(text.clone())),
            (None, Some(path)) => read_key(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// The file's text as `serve` reads it: the line break an editor adds isn't part of a secret.
fn read_key(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("the key file {}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A variable, where it isn't empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
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
    /// The access token to show [env: CINNABAR_TOKEN]
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["key", "key_file"])]
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
        // Flags beat variables: a key on the command line is meant, whatever token the shell exports.
        let keyed = self.signing.key.is_some() || self.signing.key_file.is_some();
        if let Some(token) = self.token.or_else(|| variable("CINNABAR_TOKEN").filter(|_| !keyed)) {
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
        Signing {
            key: key.map(str::to_owned),
            key_file: None,
            alg: None,
            issuer: None,
            audience: None,
            data_folder: "/nowhere".into(),
        }
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
