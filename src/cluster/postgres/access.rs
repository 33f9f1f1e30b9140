//! How PostgreSQL is reached: an address as its client takes it.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{Config, Host, SslMode};
use tokio_postgres::{Client, Connection, Socket};

use super::failure::Failure;
use super::tls::{Sealed, Tls};
use crate::cluster::{Address, EngineError};

/// How long making a connection may take, the handshakes included.
const CONNECT_TIMEOUT_MS: u64 = 2_000;
/// How long what we sent may stay unacknowledged before the kernel gives a connection up.
const TCP_USER_TIMEOUT_MS: u64 = 10_000;

/// Where PostgreSQL is, and how to get in.
pub(super) struct Access {
    address: Address,
    config: Config,
    privacy: Privacy,
    /// What errors call it: host, port and database.
    place: String,
}

/// `sslmode` of the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Privacy {
    /// `disable`
    None,
    /// `require`: TLS with whoever answers.
    Believing,
    /// `verify-full`: TLS with the host of the URL.
    Verifying,
}

impl Access {
    /// # Errors
    /// [`EngineError::Refused`] if the URL can't be used.
    pub(super) fn new(address: &Address) -> Result<Access, EngineError> {
        let refused = |why: String| EngineError::Refused(format!("the URL of PostgreSQL can't be used: {why}"));
        let mut url = address.url.clone();
        let mut mode = None;
        url.set_query(None);
        for (name, value) in address.url.query_pairs() {
            match &*name {
                "sslmode" => mode = Some(value.into_owned()),
                "password" | "sslpassword" | "sslkey" | "sslcert" | "sslrootcert" => {
                    return Err(refused(format!("{name} doesn't belong there; there is a setting of its own for it")));
                }
                _ => {
                    url.query_pairs_mut().append_pair(&name, &value);
                }
            }
        }
        let mut config = Config::from_str(url.as_str()).map_err(|error| {
            refused(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        if config.get_hosts().is_empty() {
            return Err(refused("it names no host".to_owned()));
        }
        if let (None, Some(user)) = (config.get_user(), &address.user) {
            config.user(user);
        }
        if let Some(password) = &address.password {
            config.password(password);
        }
        let privacy = match mode.as_deref() {
            Some(mode @ ("disable" | "require")) if address.ca.is_some() => {
                return Err(refused(format!(
                    "sslmode={mode} would not look at the certificates that are configured; leave one of them out"
                )));
            }
            Some("disable") => Privacy::None,
            Some("require") => Privacy::Believing,
            Some("verify-full") => Privacy::Verifying,
            Some(other) => {
                return Err(refused(format!("sslmode={other} is not known; use disable, require or verify-full")));
            }
            None if address.ca.is_none() && address.certificate.is_none() && config.get_hosts().iter().all(is_near) => {
                Privacy::None
            }
            None => Privacy::Verifying,
        };
        config
            .ssl_mode(if privacy == Privacy::None { SslMode::Disable } else { SslMode::Require })
            .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
            .tcp_user_timeout(Duration::from_millis(TCP_USER_TIMEOUT_MS));
        let place = place(&config);
        Ok(Access { address: address.clone(), config, privacy, place })
    }

    /// What errors call it.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// A new connection. Files of certificates are read for each.
    pub(super) async fn connect(&self, purpose: &str) -> Result<(Client, Connection<Socket, Sealed<Socket>>), Failure> {
        let tls = match self.privacy {
            Privacy::Verifying => Tls::verifying(&self.address),
            // Without TLS none of it is used.
            Privacy::Believing | Privacy::None => Tls::believing(&self.address),
        };
        let tls = tls.map_err(Failure::new)?;
        let mut config = self.config.clone();
        if config.get_application_name().is_none() {
            config.application_name(format!("cinnabar {purpose}"));
        }
        let limit = Duration::from_millis(CONNECT_TIMEOUT_MS);
        match tokio::time::timeout(limit, config.connect(tls)).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(Failure::of(&self.place, &error)),
            Err(_) => Err(Failure::unavailable(
                &self.place,
                &format!("no connection within {CONNECT_TIMEOUT_MS} milliseconds"),
            )),
        }
    }
}

/// Whether what goes there leaves this machine's kernel nowhere.
fn is_near(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        }
        Host::Unix(_) => true,
    }
}

fn place(config: &Config) -> String {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) if name.contains(':') => format!("[{name}]"),
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "?".to_owned(),
    };
    let database = config.get_dbname().map(|name| format!("/{name}")).unwrap_or_default();
    format!("PostgreSQL at {host}:{port}{database}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address {
            url: url::Url::parse(url).unwrap(),
            name: "cinnabar".to_owned(),
            user: None,
            password: Some("hunter2".to_owned()),
            credentials: None,
            ca: None,
            certificate: None,
        }
    }

    fn privacy(address: &Address) -> Result<Privacy, EngineError> {
        Access::new(address).map(|access| access.privacy)
    }

    #[test]
    fn what_leaves_the_machine_goes_by_tls_unless_the_url_says_otherwise() {
        for (url, expected) in [
            ("postgres://localhost/app", Privacy::None),
            ("postgres://127.0.0.1:5433/app", Privacy::None),
            ("postgresql://[::1]/app", Privacy::None),
            ("postgres:///app?host=/run/postgresql", Privacy::None),
            ("postgres://db/app", Privacy::Verifying),
            ("postgres://db/app?sslmode=disable", Privacy::None),
            ("postgres://db/app?sslmode=require", Privacy::Believing),
            ("postgres://localhost/app?sslmode=verify-full", Privacy::Verifying),
        ] {
            assert_eq!(privacy(&address(url)), Ok(expected), "{url}");
        }
    }

    #[test]
    fn a_file_of_certificates_means_that_they_are_looked_at() {
        let with_ca = |url| Address { ca: Some("ca.pem".into()), ..address(url) };
        assert_eq!(privacy(&with_ca("postgres://localhost/app")), Ok(Privacy::Verifying));
        assert!(matches!(privacy(&with_ca("postgres://db/app?sslmode=disable")), Err(EngineError::Refused(_))));
    }

    #[test]
    fn a_url_that_can_not_be_used_is_refused_without_its_secrets() {
        for url in [
            "postgres://db/app?sslmode=prefer",
            "postgres://db/app?password=hunter3",
            "postgres://db/app?hunter3=1",
            "postgres:///app",
        ] {
            let error = privacy(&address(url)).unwrap_err();
            assert!(matches!(&error, EngineError::Refused(why) if !why.contains("hunter2")), "{url}: {error}");
        }
        let error = privacy(&address("postgres://db/app?password=hunter3")).unwrap_err();
        assert!(!error.to_string().contains("hunter3"));
    }

    #[test]
    fn the_user_of_the_url_goes_first() {
        let user = |url| {
            let address = Address { user: Some("configured".to_owned()), ..address(url) };
            Access::new(&address).unwrap().config.get_user().map(str::to_owned)
        };
        assert_eq!(user("postgres://url@localhost/app").as_deref(), Some("url"));
        assert_eq!(user("postgres://localhost/app").as_deref(), Some("configured"));
    }
}
