//! The certificates of the hub: which files, and which key belongs to which.

use super::listen::Listen;
use super::load::Reader;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Certificates the hub may have: each is held in memory, and has a figure among the metrics.
const PAIRS_MAX: usize = 256;

/// Where in the data folder development mode keeps its certificate.
const DEVELOPMENT_FOLDER: &str = "dev-tls";

/// How far the port with TLS is from the plain one in development mode: 3443 is beside 3000.
const DEVELOPMENT_PORTS: u16 = 443;
/// Which that is as if, where no place has an address.
const DEVELOPMENT_PLAIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

/// A certificate and its key, as files in PEM. What is in them the server finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those that lead to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Both in one file, which is replaced in one step.
    pub(crate) fn of_one(file: PathBuf) -> CertificateFiles {
        CertificateFiles { certificate: file.clone(), key: file }
    }
}

/// What development mode keeps in the data folder to speak TLS on this machine: made at start, by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevelopmentCertificate {
    /// Its folder.
    pub folder: PathBuf,
}

impl DevelopmentCertificate {
    /// The file of the certificate that people trust.
    pub const AUTHORITY: &str = "authority.pem";
    /// The file with the hub's certificate and its key.
    pub const SERVER: &str = "localhost.pem";

    /// Where the certificate is that people trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.join(Self::AUTHORITY)
    }

    fn files(&self) -> CertificateFiles {
        CertificateFiles::of_one(self.folder.join(Self::SERVER))
    }
}

impl Reader<'_> {
    /// The certificate of `--dev --tls`, unless one is named; and a place to show it at, unless there is one.
    pub(super) fn development_certificate(
        &mut self,
        dev: bool,
        data: Option<&Path>,
        listen: &mut Vec<Listen>,
    ) -> Option<DevelopmentCertificate> {
        if !self.switch("tls") {
            return None;
        }
        if !dev {
            let why = "makes a certificate for this machine, which is for `--dev` only: elsewhere write --listen tls:0.0.0.0:443, and \
                       add --acme with the hub's name, or --tls-certificate FILE and --tls-key FILE";
            self.refuse("tls", "true", &why);
            return None;
        }
        if !listen.iter().any(|listen| listen.tls) {
            let address = beside(listen.iter().find_map(Listen::address).unwrap_or(DEVELOPMENT_PLAIN));
            let beside = Listen { tls: true, ..Listen::plain(address) };
            if listen.iter().any(|listen| listen.is_beside(&beside)) {
                let why = "has no room for TLS beside it: name the place yourself with --listen tls:127.0.0.1:PORT";
                self.refuse("listen", &beside.place.to_string(), &why);
            } else {
                listen.push(beside);
            }
        }
        let named = ["tls-certificate", "tls-key"].iter().any(|name| !self.resolved.said(name).words.is_empty());
        let folder = data.filter(|_| !named)?.join(DEVELOPMENT_FOLDER);
        Some(DevelopmentCertificate { folder })
    }

    /// The pairs of `--tls-certificate` and `--tls-key`, in order.
    pub(super) fn certificates(
        &mut self,
        listen: &[Listen],
        development: Option<&DevelopmentCertificate>,
        acme: bool,
    ) -> Vec<CertificateFiles> {
        if let Some(development) = development {
            return vec![development.files()];
        }
        let paths = |name: &str| self.resolved.said(name).words.iter().map(PathBuf::from).collect::<Vec<_>>();
        let (certificates, keys) = (paths("tls-certificate"), paths("tls-key"));
        let encrypted = listen.iter().find(|listen| listen.tls);
        if certificates.len() != keys.len() {
            let (name, other) = match certificates.len() > keys.len() {
                true => ("tls-certificate", "--tls-key"),
                false => ("tls-key", "--tls-certificate"),
            };
            let value = self.resolved.said(name).words.last().cloned().unwrap_or_default();
            let why = format!("is of no use by itself: give {other} as often, in the same order");
            self.refuse(name, &value, &why);
        } else if certificates.len() > PAIRS_MAX {
            self.refuse("tls-certificate", &certificates.len().to_string(), &format!("is more than {PAIRS_MAX} files"));
        }
        match encrypted {
            Some(listen) if certificates.is_empty() && keys.is_empty() && !acme => {
                let value = format!("tls:{}", listen.place);
                let why = "needs a certificate: add --tls-certificate FILE and --tls-key FILE, or --acme with the hub's name, or in \
                           development mode --tls";
                self.refuse("listen", &value, &why);
            }
            None if !certificates.is_empty() => self.warnings.push(
                "--tls-certificate means nothing as long as nobody listens with TLS: add --listen tls:ADDR:PORT"
                    .to_owned(),
            ),
            _ => {}
        }
        certificates.into_iter().zip(keys).map(|(certificate, key)| CertificateFiles { certificate, key }).collect()
    }
}

/// Where development mode speaks TLS if nobody says: 443 above the plain port; any if that is any.
fn beside(plain: SocketAddr) -> SocketAddr {
    let port = match plain.port() {
        0 => 0,
        port => port.checked_add(DEVELOPMENT_PORTS).unwrap_or(port - DEVELOPMENT_PORTS),
    };
    SocketAddr::new(plain.ip(), port)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::layer::{load_anonymous as load, load_flags};

    const TLS: (&str, &[&str]) = ("listen", &["tls:127.0.0.1:443"]);

    #[test]
    fn certificates_and_keys_pair_in_order() {
        let config = load(&[TLS, ("tls-certificate", &["a.pem", "b.pem"]), ("tls-key", &["a.key", "b.key"])]).unwrap();
        let pairs: Vec<_> = config.certificates.iter().map(|it| (it.certificate.to_str(), it.key.to_str())).collect();
        assert_eq!(pairs, [(Some("a.pem"), Some("a.key")), (Some("b.pem"), Some("b.key"))]);
        assert!(!config.warnings.iter().any(|warning| warning.contains("tls")), "{:?}", config.warnings);
    }

    #[test]
    fn half_a_pair_and_tls_without_a_certificate_are_refused() {
        for (given, why) in [
            (&[TLS][..], "`--listen` is `tls:127.0.0.1:443`, which needs a certificate: add --tls-certificate FILE"),
            (&[TLS, ("tls-certificate", &["a.pem"])], "`--tls-certificate` is `a.pem`, which is of no use by itself"),
            (&[TLS, ("tls-key", &["a.key"])], "give --tls-certificate as often"),
            (&[TLS, ("tls-certificate", &["a", "b"]), ("tls-key", &["a"])], "`--tls-certificate` is `b`"),
        ] {
            let said = load(given).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn development_mode_makes_a_certificate_and_listens_beside_the_plain_place() {
        let dev = |given: &[(&'static str, &[&str])]| {
            load_flags(&[&[("dev", &["true"][..]), ("tls", &["true"])], given].concat())
        };
        let shown = |config: &Config| config.listen.iter().map(ToString::to_string).collect::<Vec<_>>();
        let config = dev(&[]).unwrap();
        assert_eq!(shown(&config), ["http://127.0.0.1:3000", "https://127.0.0.1:3443"]);
        let made = config.development_certificate.unwrap();
        assert_eq!(made.authority().to_str(), Some("./cinnabar-data/dev-tls/authority.pem"));
        assert_eq!(config.certificates, [made.files()]);
        for (listen, want) in [
            (&["127.0.0.1:65500"][..], &["http://127.0.0.1:65500", "https://127.0.0.1:65057"][..]),
            (&["[::1]:0"], &["http://[::1]:0", "https://[::1]:0"]),
            (&["tls:127.0.0.1:8443"], &["https://127.0.0.1:8443"]),
        ] {
            assert_eq!(shown(&dev(&[("listen", listen)]).unwrap()), want);
        }
        let own = dev(&[("tls-certificate", &["a.pem"]), ("tls-key", &["a.key"])]).unwrap();
        assert_eq!((own.listen.len(), own.development_certificate), (2, None));
        let taken = dev(&[("listen", &["127.0.0.1:3000", "127.0.0.1:3443"])]).unwrap_err().to_string();
        assert!(taken.contains("has no room for TLS beside it"), "{taken}");
        let elsewhere = load(&[("tls", &["true"])]).unwrap_err().to_string();
        assert!(elsewhere.contains("for `--dev` only: elsewhere write --listen tls:0.0.0.0:443"), "{elsewhere}");
    }

    #[test]
    fn a_certificate_that_nobody_is_shown_is_worth_a_word() {
        let config = load(&[("tls-certificate", &["a.pem"]), ("tls-key", &["a.key"])]).unwrap();
        let said = |warning: &String| warning.contains("as long as nobody listens with TLS");
        assert!(config.warnings.iter().any(said), "{:?}", config.warnings);
    }
}
