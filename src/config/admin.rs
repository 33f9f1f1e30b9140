//! Where administrators come in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::issuer::Secret;
use super::value::parse_listen;

/// The file of the socket in the data folder.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// Bytes of a token at least: it is all that stands between the network and the hub's insides.
const TOKEN_BYTES_MIN: usize = 32;
/// Bytes of a socket's path at most: what the system's address of it holds.
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What the admin listener listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListen {
    /// A Unix socket, for this user and root alone.
    Unix(PathBuf),
    /// An address; everybody needs the token.
    Tcp(SocketAddr),
    /// Nothing.
    Off,
}

/// What is said of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: AdminListen,
    /// Nobody said so: where it can't, the hub does without.
    pub by_default: bool,
    /// What requests over the network must present.
    pub token: Option<Secret>,
    /// Where health and metrics alone are answered, without a token.
    pub health: Option<SocketAddr>,
}

impl Admin {
    /// What holds when nobody says anything.
    pub(super) fn default_listen(data: Option<&Path>) -> AdminListen {
        match data {
            Some(folder) => AdminListen::Unix(folder.join(ADMIN_SOCKET)),
            None => AdminListen::Off,
        }
    }
}

pub(super) fn parse_admin(word: &str) -> Result<AdminListen, String> {
    if word == "off" {
        return Ok(AdminListen::Off);
    }
    if let Some(path) = word.strip_prefix("unix:") {
        return match path.len() {
            0 => Err("names no socket: write a path, such as unix:/run/cinnabar/admin.sock".to_owned()),
            1..=SOCKET_PATH_BYTES_MAX => Ok(AdminListen::Unix(PathBuf::from(path))),
            _ => Err(format!("is too long: the path of a socket has {SOCKET_PATH_BYTES_MAX} bytes at most")),
        };
    }
    parse_listen(word).map(AdminListen::Tcp).map_err(|why| format!("isn't unix:PATH or off, and {why}"))
}

/// Why a token won't do; the token itself is not repeated.
pub(super) fn parse_token(word: &str) -> Result<Secret, &'static str> {
    if word.len() < TOKEN_BYTES_MIN {
        return Err("has less than 32 bytes: make one with `openssl rand -hex 32`");
    }
    // What a header field can carry as one word.
    if !word.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has characters that a header field can't carry: use letters, digits and signs of ASCII");
    }
    Ok(Secret::new(word))
}

/// Where a collector takes spans, below its base URL.
#[cfg(feature = "otel")]
pub(super) fn parse_otlp_endpoint(word: &str) -> Result<url::Url, &'static str> {
    const WRONG: &str = "isn't the URL of a collector: write its base, such as http://127.0.0.1:4318";
    let mut url = url::Url::parse(word).map_err(|_| WRONG)?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(WRONG);
    }
    let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_a_socket_an_address_or_off() {
        assert_eq!(parse_admin("off"), Ok(AdminListen::Off));
        assert_eq!(parse_admin("unix:/run/a.sock"), Ok(AdminListen::Unix("/run/a.sock".into())));
        assert_eq!(parse_admin("[::1]:9000"), Ok(AdminListen::Tcp("[::1]:9000".parse().unwrap())));
        for wrong in ["", "unix:", "9000", "/run/a.sock", &format!("unix:/{}", "x".repeat(107))] {
            assert!(parse_admin(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Admin::default_listen(None), AdminListen::Off);
        let in_data = Admin::default_listen(Some(Path::new("/var/lib/c")));
        assert_eq!(in_data, AdminListen::Unix("/var/lib/c/admin.sock".into()));
    }

    #[test]
    fn a_token_is_long_and_fits_into_a_header_field() {
        assert!(parse_token(&"x".repeat(32)).is_ok());
        for wrong in ["x".repeat(31), "ü".repeat(20), format!("{} {}", "x".repeat(20), "y".repeat(20))] {
            assert!(parse_token(&wrong).is_err(), "{wrong}");
        }
    }
}
