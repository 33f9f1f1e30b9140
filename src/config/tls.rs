//! The certificates of the hub: which files, and which key belongs to which.

use super::listen::Listen;
use super::load::Reader;
use std::path::PathBuf;

/// Certificates the hub may have: each is held in memory, and has a figure among the metrics.
const PAIRS_MAX: usize = 256;

/// A certificate and its key, as files in PEM. What is in them the server finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those that lead to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Reader<'_> {
    /// The pairs of `--tls-certificate` and `--tls-key`, in order.
    pub(super) fn certificates(&mut self, listen: &[Listen]) -> Vec<CertificateFiles> {
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
            Some(listen) if certificates.is_empty() && keys.is_empty() => {
                let value = format!("tls:{}", listen.address);
                self.refuse("listen", &value, &"needs a certificate: add --tls-certificate FILE and --tls-key FILE");
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

#[cfg(test)]
mod tests {
    use crate::config::{Config, Refusals, flags};

    fn load(given: &[(&'static str, &[&str])]) -> Result<Config, Refusals> {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let always = [("resource", &["https://hub.example/.well-known/mercure"][..]), ("anonymous", &["true"])];
        Config::load(flags(always.iter().chain(given).map(|&(name, it)| (name, words(it)))), [])
    }

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
    fn a_certificate_that_nobody_is_shown_is_worth_a_word() {
        let config = load(&[("tls-certificate", &["a.pem"]), ("tls-key", &["a.key"])]).unwrap();
        let said = |warning: &String| warning.contains("as long as nobody listens with TLS");
        assert!(config.warnings.iter().any(said), "{:?}", config.warnings);
    }
}
