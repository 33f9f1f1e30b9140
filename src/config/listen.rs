//! Where connections are accepted: any number of places, plain or with TLS, all at once.

use super::admin::SOCKET_PATH_BYTES_MAX;
use super::load::Reader;
use super::refusal::Refusal;
use super::value::parse_listen;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Places to listen at, at most: each costs every shard a descriptor.
pub(crate) const LISTENERS_MAX: usize = 8;
/// Who may connect to a socket unless that is said: its user and its group.
const SOCKET_MODE: u32 = 0o660;

/// What is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An address and a port.
    Address(SocketAddr),
    /// A socket in the file system.
    Unix {
        /// Its file.
        path: PathBuf,
        /// The permissions of the file: who may write may connect.
        mode: u32,
    },
    /// Sockets that systemd has opened: those of this name, or all that no other place names.
    Systemd(Option<String>),
}

/// One place where connections are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub place: Place,
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// Whether whoever comes is only told to come back with TLS.
    pub redirects: bool,
}

impl Listen {
    /// An address without TLS.
    pub fn plain(address: SocketAddr) -> Listen {
        Listen { place: Place::Address(address), tls: false, redirects: false }
    }

    /// The address, if it is one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Address(address) => Some(address),
            Place::Unix { .. } | Place::Systemd(_) => None,
        }
    }

    /// Whether all that comes from there is of this machine, a proxy's as a rule.
    pub fn is_local(&self) -> bool {
        match &self.place {
            Place::Address(address) => address.ip().is_loopback(),
            Place::Unix { .. } => true,
            Place::Systemd(_) => false,
        }
    }

    /// Whether connections may come by a Unix socket, whose peers have no address.
    pub fn may_be_unix(&self) -> bool {
        !matches!(self.place, Place::Address(_))
    }

    /// The scheme of URLs that lead there.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    fn parse(word: &str) -> Result<Listen, String> {
        let (tls, redirects, place) = match (word.strip_prefix("tls:"), word.strip_prefix("redirect:")) {
            (Some(place), _) => (true, false, place),
            (None, Some(place)) => (false, true, place),
            (None, None) => (false, false, word),
        };
        let place = match (place.strip_prefix("unix:"), place.strip_prefix("systemd")) {
            (Some(_), _) if tls || redirects => {
                return Err(
                    "asks for more than a Unix socket has: what comes there comes from a proxy, write unix:PATH"
                        .to_owned(),
                );
            }
            (Some(socket), _) => unix(socket)?,
            (None, Some("")) => Place::Systemd(None),
            (None, Some(name)) if name.starts_with(':') => match &name[1..] {
                "" => return Err("names no socket: write systemd for all, or what FileDescriptorName= says".to_owned()),
                name => Place::Systemd(Some(name.to_owned())),
            },
            _ => Place::Address(parse_listen(place)?),
        };
        Ok(Listen { place, tls, redirects })
    }

    /// Whether two of them would be the same place.
    pub(super) fn is_beside(&self, other: &Listen) -> bool {
        match (&self.place, &other.place) {
            (Place::Address(one), Place::Address(other)) => one == other && one.port() != 0,
            (Place::Unix { path: one, .. }, Place::Unix { path: other, .. }) => one == other,
            (Place::Systemd(one), Place::Systemd(other)) => one == other,
            _ => false,
        }
    }
}

/// `/run/cinnabar/hub.sock?mode=666`
fn unix(word: &str) -> Result<Place, String> {
    let (path, mode) = match word.split_once('?') {
        None => (word, SOCKET_MODE),
        Some((path, option)) => {
            let digits = option.strip_prefix("mode=").filter(|digits| (3..=4).contains(&digits.len()));
            let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok()).filter(|mode| *mode <= 0o777);
            (path, mode.ok_or("has something else than a mode behind its path: write unix:PATH?mode=660")?)
        }
    };
    match path.len() {
        0 => Err("names no socket: write a path, such as unix:/run/cinnabar/hub.sock".to_owned()),
        1..=SOCKET_PATH_BYTES_MAX => Ok(Place::Unix { path: PathBuf::from(path), mode }),
        _ => Err(format!("is too long: the path of a socket has {SOCKET_PATH_BYTES_MAX} bytes at most")),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(address) => write!(f, "{address}"),
            Place::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Place::Systemd(None) => write!(f, "systemd"),
            Place::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

/// As a URL where it is an address: `https://127.0.0.1:443`.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "{}://{address}", self.scheme())?,
            None => write!(f, "{}", self.place)?,
        }
        if self.redirects { write!(f, ", where all are sent on to https") } else { Ok(()) }
    }
}

impl Reader<'_> {
    /// The places of `--listen`; one at least, whatever was refused.
    pub(super) fn listen(&mut self, dev: bool) -> Vec<Listen> {
        let words = self.resolved.said("listen").words.clone();
        let mut found: Vec<Listen> = Vec::new();
        for word in &words {
            match Listen::parse(word) {
                Ok(listen) if found.iter().any(|it| it.is_beside(&listen)) => {
                    self.refuse(
                        "listen",
                        word,
                        &"stands twice: a place is either plain, or with TLS, or sends everybody on",
                    );
                }
                Ok(listen) => found.push(listen),
                Err(why) => self.refuse("listen", word, &why),
            }
        }
        if words.is_empty() {
            self.refuse("listen", "", &"names no address: write 127.0.0.1:3000, or leave it out");
        } else if found.len() > LISTENERS_MAX {
            let value = words.join(" ");
            self.refuse("listen", &value, &format!("names more than {LISTENERS_MAX} addresses"));
        }
        let beyond = |listen: &&Listen| listen.address().is_some_and(|address| !address.ip().is_loopback());
        if let Some(beyond) = found.iter().find(|listen| dev && beyond(listen)) {
            let (place, value) = (self.resolved.place("listen"), beyond.place.to_string());
            self.refusals.push(Refusal::DevelopmentBeyondLoopback { place, value });
        }
        if !found.is_empty() && found.iter().all(|listen| listen.redirects) {
            let value = words.join(" ");
            self.refuse(
                "listen",
                &value,
                &"sends everybody on, and nobody is there: add a place, such as tls:0.0.0.0:443",
            );
        }
        if found.is_empty() {
            found.push(Listen::plain(SocketAddr::from(([127, 0, 0, 1], 3000))));
        }
        found
    }

    /// The port of those URLs that whoever comes without TLS is sent to, where it isn't that of the first place with TLS.
    pub(super) fn redirect_to_port(&mut self, listen: &[Listen]) -> Option<u16> {
        const NAME: &str = "redirect-to-port";
        let parse = |word: &str| word.parse().ok().filter(|&port: &u16| port != 0).ok_or("isn't a port: write 443");
        let port = self.one(NAME, parse);
        let redirects = listen.iter().find(|listen| listen.redirects);
        match redirects {
            Some(redirect) if port.is_none() && !listen.iter().any(|listen| listen.tls) => {
                let why = "leads nowhere, as nobody listens with TLS: add --listen tls:ADDR:PORT, or say with --redirect-to-port where TLS \
                           is spoken";
                self.refuse("listen", &format!("redirect:{}", redirect.place), &why);
            }
            None if port.is_some() => self.warnings.push(
                "--redirect-to-port means nothing as long as nobody is sent on: add --listen redirect:ADDR:PORT"
                    .to_owned(),
            ),
            _ => {}
        }
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, flags};

    fn load_with(words: &[&str], more: &[(&'static str, &str)]) -> Result<Config, String> {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        let resource = vec!["https://hub.example/.well-known/mercure".to_owned()];
        let given = [("listen", words), ("resource", resource), ("anonymous", vec!["true".to_owned()])];
        let tls = ["tls-certificate", "tls-key"].map(|name| (name, vec!["file.pem".to_owned()]));
        let more = more.iter().map(|&(name, word)| (name, vec![word.to_owned()]));
        Config::load(flags(given.into_iter().chain(tls).chain(more)), []).map_err(|why| why.to_string())
    }

    fn load(words: &[&str]) -> Result<Vec<Listen>, String> {
        load_with(words, &[]).map(|config| config.listen)
    }

    #[test]
    fn all_kinds_of_places_stand_side_by_side_in_order() {
        let listen = load(&[
            "127.0.0.1:80",
            "tls:[::1]:443",
            "tls:localhost:8443",
            "unix:/run/hub.sock",
            "systemd",
            "tls:systemd:https",
            "redirect:0.0.0.0:80",
        ])
        .unwrap();
        let shown: Vec<String> = listen.iter().map(Listen::to_string).collect();
        let places = ["http://127.0.0.1:80", "https://[::1]:443", "https://127.0.0.1:8443", "unix:/run/hub.sock"];
        assert_eq!(shown[..4], places);
        assert_eq!(shown[4..], ["systemd", "systemd:https", "http://0.0.0.0:80, where all are sent on to https"]);
    }

    #[test]
    fn a_socket_is_for_its_user_and_group_unless_that_is_said() {
        let modes = load(&["unix:/run/a.sock", "unix:b.sock?mode=666", "unix:c?mode=0600"]).unwrap();
        let modes: Vec<u32> = modes
            .iter()
            .map(|listen| match listen.place {
                Place::Unix { mode, .. } => mode,
                _ => panic!("{listen:?}"),
            })
            .collect();
        assert_eq!(modes, [0o660, 0o666, 0o600]);
    }

    #[test]
    fn what_is_no_place_or_stands_twice_is_refused() {
        let long = format!("unix:/{}", "a".repeat(107));
        for (words, why) in [
            (&["tls:"][..], "isn't an address and port"),
            (&["tls::443"], "write 127.0.0.1:443 for this machine only"),
            (&["TLS:127.0.0.1:443"], "isn't an address and port"),
            (&["127.0.0.1:80", "tls:127.0.0.1:80"], "stands twice"),
            (&["unix:a", "unix:a?mode=600"], "stands twice"),
            (&["systemd:a", "tls:systemd:a"], "stands twice"),
            (&["unix:"], "names no socket"),
            (&["unix:?mode=600"], "names no socket"),
            (&[&long], "is too long"),
            (&["unix:a?mode=1777"], "write unix:PATH?mode=660"),
            (&["unix:a?owner=me"], "write unix:PATH?mode=660"),
            (&["tls:unix:a"], "write unix:PATH"),
            (&["systemd:"], "FileDescriptorName="),
            (&["systemdx"], "isn't an address and port"),
            (&["redirect:127.0.0.1:80"], "nobody is there"),
            (&["redirect:127.0.0.1:80", "127.0.0.1:81"], "leads nowhere"),
            (&[], "names no address"),
            (&["tls:127.0.0.1:0"; 9], "more than 8"),
        ] {
            let said = load(words).unwrap_err();
            assert!(said.contains(why), "{words:?}: {said}");
        }
        assert_eq!(load(&["tls:127.0.0.1:0"; 8]).map(|listen| listen.len()), Ok(8));
    }

    #[test]
    fn those_without_tls_are_sent_to_the_port_that_is_said() {
        let port = |more| load_with(&["redirect:127.0.0.1:80", "127.0.0.1:81"], more).map(|it| it.redirect_to_port);
        assert_eq!(port(&[("redirect-to-port", "443")]), Ok(Some(443)));
        assert!(port(&[("redirect-to-port", "0")]).unwrap_err().contains("isn't a port"));
        let unused = load_with(&["127.0.0.1:81"], &[("redirect-to-port", "443")]).unwrap().warnings;
        assert!(unused.iter().any(|warning| warning.contains("redirect:ADDR:PORT")), "{unused:?}");
    }
}
