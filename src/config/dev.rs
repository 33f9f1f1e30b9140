//! Development mode: a secret of its own, an issuer that signs with it, and the banner that says what to paste.

use super::data_folder::{DataFolder, DataFolderError, to_hex};
use super::issuer::Secret;
use super::load::{Config, IdKey};
use super::value::local_url;
use crate::protocol::keys::{SigningKey, VerificationKey};
use crate::protocol::matcher::MatchType;
use crate::protocol::token::{Issuer, Mint, MintError, mint};
use crate::protocol::topic::HubUrl;
use jsonwebtoken::Algorithm;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// The file of the secret that development tokens are signed with.
pub const SECRET_FILE: &str = "dev-secret";

/// The file of the key that enciphers event ids.
pub const ID_KEY_FILE: &str = "id.key";

/// How long the ready-made tokens last.
const DEV_TOKEN_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// What development mode keeps in the data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevSecrets {
    /// The HS256 secret, as text: the hexadecimal digits in the file, so that it can be pasted into an application.
    pub jwt_secret: Secret,
    /// The key that enciphers event ids.
    pub id_key: IdKey,
}

impl DevSecrets {
    /// The secrets of this folder, made the first time.
    ///
    /// # Errors
    /// When the folder or a file in it can't be used, or others could read it.
    pub fn load_or_create(folder: &Path) -> Result<DevSecrets, DataFolderError> {
        let folder = DataFolder::open(folder)?;
        Ok(DevSecrets {
            jwt_secret: Secret::new(to_hex(&folder.key(SECRET_FILE)?)),
            id_key: IdKey(folder.key(ID_KEY_FILE)?),
        })
    }

    /// The HS256 secret a hub in development mode has left in this folder, for commands that sign with it.
    ///
    /// # Errors
    /// When the folder or the file can't be used, or others could read it.
    pub fn existing_jwt_secret(folder: &Path) -> Result<Option<Secret>, DataFolderError> {
        let Some(folder) = DataFolder::existing(folder)? else {
            return Ok(None);
        };
        Ok(folder.existing_key(SECRET_FILE)?.map(|key| Secret::new(to_hex(&key))))
    }
}

impl Config {
    /// Opens the data folder, if there is one, and takes from it what is kept there. In development mode this adds
    /// the issuer of the ready-made tokens. Loading and checking a configuration touches no folder; starting does.
    ///
    /// # Errors
    /// When the folder can't be used, or others could read it.
    pub fn open_data_folder(&mut self) -> Result<(), DataFolderError> {
        let Some(path) = self.data.clone() else {
            return Ok(());
        };
        if !self.dev {
            self.id_key = Some(IdKey(DataFolder::open(&path)?.key(ID_KEY_FILE)?));
            return Ok(());
        }
        let secrets = DevSecrets::load_or_create(&path)?;
        self.id_key = Some(secrets.id_key);
        self.trust_dev_secret(&secrets.jwt_secret);
        Ok(())
    }

    /// Trusts what a hub in development mode has signed with the secret it left in the data folder, if there is one.
    /// For commands that only look: nothing is made.
    ///
    /// # Errors
    /// When the folder can't be used, or others could read it.
    pub fn trust_existing_dev_secret(&mut self) -> Result<(), DataFolderError> {
        if let (true, Some(path)) = (self.dev, &self.data)
            && let Some(secret) = DevSecrets::existing_jwt_secret(path)?
        {
            self.trust_dev_secret(&secret);
        }
        Ok(())
    }

    /// The issuer of the ready-made tokens: the origin the hub listens on.
    pub fn dev_issuer(&self) -> String {
        dev_issuer(self.local_url().as_str())
    }

    /// What development mode prints once it listens, with tokens made `now` (since 1970); nothing in other modes. The
    /// data folder must be open.
    ///
    /// # Errors
    /// When no token can be made.
    pub fn dev_banner(&self, now: Duration) -> Result<Option<String>, MintError> {
        let Some(key) = &self.dev_key else {
            return Ok(None);
        };
        let everything = || vec![(MatchType::Exact, "*".to_owned())];
        let token = Mint {
            issuer: self.dev_issuer(),
            audience: self.resource.clone(),
            issued_at_s: now.as_secs(),
            expires_at_s: (now + DEV_TOKEN_TTL).as_secs(),
            ..Mint::default()
        };
        let publisher = mint(&Mint { publish: everything(), ..token.clone() }, key)?;
        let subscriber = mint(&Mint { subscribe: everything(), ..token }, key)?;
        Ok(Some(banner(self, self.shown_url().as_str(), &publisher, &subscriber)))
    }

    /// The URL people are shown: the one with TLS if they asked for that.
    fn shown_url(&self) -> HubUrl {
        let sealed = self.listen.iter().find(|listen| listen.tls && self.development_certificate.is_some());
        local_url(sealed.map_or(&self.listen, std::slice::from_ref), &self.hub_url)
    }

    /// Adds the secret to the issuer of the ready-made tokens, beside keys it may have already.
    fn trust_dev_secret(&mut self, secret: &Secret) {
        let id = self.dev_issuer();
        let key = VerificationKey::from_text(secret.expose(), &[Algorithm::HS256])
            .expect("64 hexadecimal digits are enough for HS256");
        self.dev_key = SigningKey::from_text(secret.expose(), Some(Algorithm::HS256)).ok();
        self.dev_trust = Some(key.clone());
        self.trust_dev_key(id, key);
    }

    /// The same for a configuration that was read again.
    pub(super) fn trust_dev_secret_again(&mut self) {
        if let Some(key) = self.dev_trust.clone() {
            self.trust_dev_key(self.dev_issuer(), key);
        }
    }

    fn trust_dev_key(&mut self, id: String, key: VerificationKey) {
        let at = self.issuers.iter().position(|issuer| issuer.id == id).unwrap_or_else(|| {
            self.issuers.push(Issuer { id, publisher: None, subscriber: None });
            self.issuers.len() - 1
        });
        let issuer = &mut self.issuers[at];
        for role in [&mut issuer.publisher, &mut issuer.subscriber] {
            role.get_or_insert_default().push(key.clone());
        }
    }
}

/// The issuer a hub in development mode trusts, by its URL: its origin.
pub fn dev_issuer(hub_url: &str) -> String {
    Url::parse(hub_url).map_or_else(|_| hub_url.to_owned(), |url| url.origin().ascii_serialization())
}

/// What development mode prints at start.
pub fn banner(config: &Config, hub_url: &str, publisher_token: &str, subscriber_token: &str) -> String {
    let data = config.data.as_deref().unwrap_or(Path::new(".")).display();
    let anonymous = if config.anonymous {
        "subscribers need no token (private updates still do)"
    } else {
        "subscribers need a token"
    };
    let console = match config.console {
        true => format!("console           {}/console/\n", dev_issuer(hub_url)),
        false => String::new(),
    };
    let (plain, trust, ca) = match &config.development_certificate {
        None => (String::new(), String::new(), String::new()),
        Some(made) => {
            let authority = std::path::absolute(made.authority()).unwrap_or_else(|_| made.authority());
            let plain = format!("without TLS       {}\n", config.local_url().as_str());
            let trust = format!(
                "Browsers warn of its certificate until they trust {} (docs/tls.md says how).\n",
                authority.display()
            );
            (plain, trust, format!("--cacert '{}' ", authority.display()))
        }
    };
    format!(
        "\
Cinnabar in DEVELOPMENT MODE: not for production. It listens on this machine only,
{anonymous}, and pages served from this machine may use it.
Tokens are signed with the secret in {data}/{SECRET_FILE}; they last a week.
{trust}
hub               {hub_url}
{plain}{console}publisher token   {publisher_token}
subscriber token  {subscriber_token}

subscribe to everything:
  curl {ca}-N '{hub_url}?match=*'

publish:
  curl {ca}-H 'Authorization: Bearer {publisher_token}' -d topic=https://example.com/books/1 -d data=hello '{hub_url}'

in a page:
  new EventSource('{hub_url}?match=*').onmessage = event => console.log(event.data)
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::data_folder::scratch;
    use super::super::flags;
    use super::super::listen::Listen;
    use super::*;
    use crate::protocol::token::{Role, TokenVerifier};
    use crate::protocol::topic::ParsedTopic;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn dev(given: &[(&'static str, &str)]) -> Config {
        let given = given.iter().map(|(name, word)| (*name, vec![(*word).to_owned()]));
        Config::load(flags(given.chain([("dev", vec!["true".to_owned()])])), []).unwrap()
    }

    #[test]
    fn secrets_are_made_once_and_only_we_can_read_them() {
        let path = scratch("dev");
        assert_eq!(DevSecrets::existing_jwt_secret(&path), Ok(None));
        let first = DevSecrets::load_or_create(&path).unwrap();
        assert_eq!(DevSecrets::load_or_create(&path).unwrap(), first);
        assert_eq!(DevSecrets::existing_jwt_secret(&path).unwrap(), Some(first.jwt_secret.clone()));
        assert_eq!(first.jwt_secret.expose().len(), 64);
        for file in [SECRET_FILE, ID_KEY_FILE] {
            assert_eq!(fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
        assert!(!format!("{first:?}").contains(&first.jwt_secret.expose()[..8]));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn development_mode_trusts_an_issuer_of_its_own() {
        let path = scratch("trust");
        let mut config = dev(&[("data", path.to_str().unwrap())]);
        assert!(config.issuers.is_empty());
        assert!(!path.exists(), "loading touches no folder");
        config.open_data_folder().unwrap();
        assert_eq!(config.issuers.len(), 1);
        assert_eq!(config.issuers[0].id, "http://localhost:3000");
        assert!(config.id_key.is_some());

        let now = Duration::from_secs(1_800_000_000);
        let text = config.dev_banner(now).unwrap().unwrap();
        let token = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let verifier = TokenVerifier::new(config.token_rules());
        let topic = ParsedTopic::new("https://example.com/books/1", &config.hub_url);
        let publisher = verifier.verify(&token("publisher token "), Role::Publisher, 1_800_000_001_000).unwrap();
        assert!(publisher.grants.may_publish(&topic) && !publisher.grants.may_subscribe(&topic));
        let subscriber = verifier.verify(&token("subscriber token"), Role::Subscriber, 1_800_000_001_000).unwrap();
        assert!(subscriber.grants.may_subscribe(&topic) && !subscriber.grants.may_publish(&topic));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn an_issuer_of_the_same_name_keeps_its_keys() {
        let path = scratch("same");
        let mut config = dev(&[
            ("data", path.to_str().unwrap()),
            ("issuer", "http://localhost:3000"),
            ("publisher-jwt-key", "a secret of more than thirty-two bytes"),
        ]);
        config.open_data_folder().unwrap();
        assert_eq!(config.issuers.len(), 1);
        assert_eq!(config.issuers[0].publisher.as_ref().unwrap().len(), 2);
        assert_eq!(config.issuers[0].subscriber.as_ref().unwrap().len(), 1);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn the_bound_port_replaces_port_zero_everywhere() {
        let path = scratch("bound");
        let mut config = dev(&[("data", path.to_str().unwrap()), ("listen", "127.0.0.1:0")]);
        config.open_data_folder().unwrap();
        config.set_bound(vec![Listen::plain("127.0.0.1:4321".parse().unwrap())]);
        assert_eq!(config.resource, "http://localhost:4321/.well-known/mercure");
        assert_eq!(config.hub_url.as_str(), config.resource);
        assert_eq!(config.issuers[0].id, "http://localhost:4321");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn outside_development_a_data_folder_keeps_the_key_of_ids() {
        let path = scratch("ids");
        let given = [
            ("anonymous", "true"),
            ("resource", "https://hub.example/.well-known/mercure"),
            ("data", path.to_str().unwrap()),
        ];
        let mut config = Config::load(flags(given.map(|(name, word)| (name, vec![word.to_owned()]))), []).unwrap();
        config.open_data_folder().unwrap();
        assert!(config.id_key.is_some());
        assert!(config.issuers.is_empty());
        assert!(!path.join(SECRET_FILE).exists());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn the_banner_has_the_path_of_the_resource() {
        let path = scratch("path");
        let mut config = dev(&[("data", path.to_str().unwrap()), ("resource", "https://hub.example/live")]);
        config.open_data_folder().unwrap();
        assert_eq!(config.issuers[0].id, "http://localhost:3000");
        let text = config.dev_banner(Duration::from_secs(1_800_000_000)).unwrap().unwrap();
        assert!(text.contains("curl -N 'http://localhost:3000/live?match=*'"), "{text}");
        assert!(text.contains("-d data=hello 'http://localhost:3000/live'"), "{text}");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn the_banner_says_what_to_paste() {
        let url = "http://localhost:3000/.well-known/mercure";
        let text = banner(&dev(&[]), url, "PUB", "SUB");
        assert!(text.contains("DEVELOPMENT MODE"));
        assert!(text.contains(&format!("curl -N '{url}?match=*'")));
        assert!(text.contains("-H 'Authorization: Bearer PUB' -d topic="));
        assert!(text.contains("subscriber token  SUB"));
        assert!(text.contains("\nconsole           http://localhost:3000/console/\npublisher token"));
        assert!(!banner(&dev(&[("console", "false")]), url, "PUB", "SUB").contains("console  "));
        assert!(text.contains(&format!("new EventSource('{url}?match=*')")));
        assert!(text.contains("./cinnabar-data/dev-secret"));
    }
}
