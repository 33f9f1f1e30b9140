//! Development mode: a secret of its own, an issuer that signs with it, and the banner that says what to paste.

use super::data_folder::{DataFolder, DataFolderError, to_hex};
use super::issuer::{IssuerConfig, KeyConfig, RoleConfig, Secret};
use super::load::{Config, HUB_PATH, IdKey};
use jsonwebtoken::Algorithm;
use std::path::Path;

/// The file of the secret that development tokens are signed with.
pub const SECRET_FILE: &str = "dev-secret";

/// The file of the key that enciphers event ids.
pub const ID_KEY_FILE: &str = "id.key";

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
        let Some(folder) = DataFolder::existing(folder)? else { return Ok(None) };
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
        self.trust(self.dev_issuer(), &secrets.jwt_secret);
        Ok(())
    }

    /// The issuer of the ready-made tokens: the origin the hub listens on.
    pub fn dev_issuer(&self) -> String {
        dev_issuer(&self.local_url())
    }

    /// Adds a key to an issuer for both roles, beside those it may have already.
    fn trust(&mut self, id: String, secret: &Secret) {
        let key = KeyConfig {
            text: secret.clone(),
            algorithms: vec![Algorithm::HS256],
        };
        let at = self
            .issuers
            .iter()
            .position(|issuer| issuer.id == id)
            .unwrap_or_else(|| {
                self.issuers.push(IssuerConfig {
                    id,
                    publisher: None,
                    subscriber: None,
                });
                self.issuers.len() - 1
            });
        let issuer = &mut self.issuers[at];
        for role in [&mut issuer.publisher, &mut issuer.subscriber] {
            role.get_or_insert_with(|| RoleConfig { keys: Vec::new() })
                .keys
                .push(key.clone());
        }
    }
}

/// The issuer a hub in development mode trusts, by its URL: its origin.
pub fn dev_issuer(hub_url: &str) -> String {
    hub_url.strip_suffix(HUB_PATH).unwrap_or(hub_url).to_owned()
}

/// What development mode prints at start.
pub fn banner(
    config: &Config,
    hub_url: &str,
    publisher_token: &str,
    subscriber_token: &str,
) -> String {
    let data = config.data.as_deref().unwrap_or(Path::new(".")).display();
    let anonymous = if config.anonymous {
        "subscribers need no token (private updates still do)"
    } else {
        "subscribers need a token"
    };
    format!(
        "\
Cinnabar in DEVELOPMENT MODE: not for production. It listens on this machine only,
{anonymous}, and pages served from this machine may use it.
Tokens are signed with the secret in {data}/{SECRET_FILE}; they last a week.

hub               {hub_url}
publisher token   {publisher_token}
subscriber token  {subscriber_token}

subscribe to everything:
  curl -N '{hub_url}?match=*'

publish:
  curl -H 'Authorization: Bearer {publisher_token}' -d topic=https://example.com/books/1 -d data=hello '{hub_url}'

in a page:
  new EventSource('{hub_url}?match=*').onmessage = event => console.log(event.data)
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::data_folder::scratch;
    use super::super::flags;
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn dev(given: &[(&'static str, &str)]) -> Config {
        let given = given
            .iter()
            .map(|(name, word)| (*name, vec![(*word).to_owned()]));
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
            assert_eq!(
                fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777,
                0o600,
                "{file}"
            );
        }
        assert!(!format!("{first:?}").contains(&first.jwt_secret.expose()[..8]));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn development_mode_trusts_an_issuer_of_its_own() {
        let path = scratch("trust");
        let mut config = dev(&[("data", path.to_str().unwrap())]);
        assert_eq!(config.issuers, []);
        assert!(!path.exists(), "loading touches no folder");
        config.open_data_folder().unwrap();
        assert_eq!(config.issuers.len(), 1);
        assert_eq!(config.issuers[0].id, "http://localhost:3000");
        assert_eq!(config.issuers[0].publisher, config.issuers[0].subscriber);
        assert!(config.id_key.is_some());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn an_issuer_of_the_same_name_keeps_its_keys() {
        let path = scratch("same");
        let mut config = dev(&[
            ("data", path.to_str().unwrap()),
            ("issuer", "http://localhost:3000"),
            (
                "publisher-jwt-key",
                "a secret of more than thirty-two bytes",
            ),
        ]);
        config.open_data_folder().unwrap();
        assert_eq!(config.issuers.len(), 1);
        assert_eq!(config.issuers[0].publisher.as_ref().unwrap().keys.len(), 2);
        assert_eq!(config.issuers[0].subscriber.as_ref().unwrap().keys.len(), 1);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn the_bound_port_replaces_port_zero_everywhere() {
        let path = scratch("bound");
        let mut config = dev(&[("data", path.to_str().unwrap()), ("listen", "127.0.0.1:0")]);
        config.open_data_folder().unwrap();
        config.set_bound("127.0.0.1:4321".parse().unwrap());
        assert_eq!(config.resource, "http://localhost:4321/.well-known/mercure");
        assert_eq!(config.hub_url, config.resource);
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
        let mut config = Config::load(
            flags(given.map(|(name, word)| (name, vec![word.to_owned()]))),
            [],
        )
        .unwrap();
        config.open_data_folder().unwrap();
        assert!(config.id_key.is_some());
        assert!(config.issuers.is_empty());
        assert!(!path.join(SECRET_FILE).exists());
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
        assert!(text.contains(&format!("new EventSource('{url}?match=*')")));
        assert!(text.contains("./cinnabar-data/dev-secret"));
    }
}
