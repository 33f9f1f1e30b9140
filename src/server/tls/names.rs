//! Which certificate a client is shown: the one for the name it asks for (RFC 6066 §3), of a kind it can judge.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::server::acme::{ACME_TLS, Challenges};

/// All of them, by name.
#[derive(Debug)]
pub(super) struct Names {
    certificates: Vec<Arc<CertifiedKey>>,
    /// Places in the list; `*.` first where a name stands for one label.
    by_name: HashMap<String, Vec<usize>>,
    /// Names whose certificates are being got: who asks for one is shown none, rather than another one's.
    awaited: Vec<String>,
    challenges: Arc<Challenges>,
}

impl Names {
    /// Certificates and what they are for, the one for everybody else first.
    pub(super) fn new(
        certificates: impl IntoIterator<Item = (Arc<CertifiedKey>, Vec<String>)>,
        awaited: Vec<String>,
        challenges: Arc<Challenges>,
    ) -> Names {
        let mut all = Names { certificates: Vec::new(), by_name: HashMap::new(), awaited, challenges };
        for (at, (certificate, names)) in certificates.into_iter().enumerate() {
            all.certificates.push(certificate);
            for name in names {
                all.by_name.entry(name).or_default().push(at);
            }
        }
        all
    }

    fn find(&self, name: Option<&str>, fits: impl Fn(&CertifiedKey) -> bool) -> Option<&Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let parent = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let exact = self.by_name.get(&name);
        let places = exact.or_else(|| self.by_name.get(&parent?)).map(Vec::as_slice).unwrap_or_default();
        if places.is_empty() && self.awaited.contains(&name) {
            return None;
        }
        let named = || places.iter().map(|&at| &self.certificates[at]);
        // A certificate of a kind the client can't judge is better than one for another name.
        let chosen = named().find(|certificate| fits(certificate)).or_else(|| named().next());
        let anybody = || self.certificates.iter().find(|certificate| fits(certificate));
        chosen.or_else(anybody).or_else(|| self.certificates.first())
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let only_looks = hello.alpn().is_some_and(|mut offered| {
            // RFC 8737 §3: nothing else is offered then, and nothing else is shown.
            offered.next() == Some(ACME_TLS) && offered.next().is_none()
        });
        if only_looks {
            return self.challenges.certificate(hello.server_name()?);
        }
        let schemes = hello.signature_schemes();
        self.find(hello.server_name(), |certificate| certificate.key.choose_scheme(schemes).is_some()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tls::tests::identity::Identity;

    #[test]
    fn the_name_decides_then_the_kind_then_the_order() {
        let names: [&[&str]; 4] = [&["first.example"], &["a.example"], &["a.example", "b.example"], &["*.c.example"]];
        let certificates: Vec<_> =
            names.iter().map(|names| Arc::new(Identity::new(names, 30_000).certified())).collect();
        let all =
            certificates.iter().cloned().zip(names.map(|names| names.iter().map(|&name| name.to_owned()).collect()));
        let all = Names::new(all, vec!["awaited.example".to_owned()], Arc::default());
        let which = |name: Option<&str>, unfit: &[usize]| {
            let fits = |it: &CertifiedKey| !unfit.iter().any(|&at| std::ptr::eq(it, &*certificates[at]));
            let found = all.find(name, fits).unwrap();
            certificates.iter().position(|it| Arc::ptr_eq(it, found)).unwrap()
        };
        for (name, unfit, want) in [
            (Some("a.example"), &[][..], 1),
            (Some("A.Example"), &[], 1),
            (Some("a.example"), &[1], 2),
            (Some("a.example"), &[1, 2], 1),
            (Some("b.example"), &[], 2),
            (Some("x.c.example"), &[], 3),
            (Some("x.y.c.example"), &[], 0),
            (Some("c.example"), &[], 0),
            (Some("elsewhere.example"), &[], 0),
            (None, &[], 0),
            (None, &[0], 1),
        ] {
            assert_eq!(which(name, unfit), want, "{name:?} {unfit:?}");
        }
        assert!(all.find(Some("Awaited.example"), |_| true).is_none(), "not another one's");
    }
}
