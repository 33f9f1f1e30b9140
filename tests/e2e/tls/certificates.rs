//! Certificates: which one is shown, and how they are renewed.

use std::sync::Arc;

use super::{Authority, Sealed, subscribe_on};
use crate::admin::metric;
use crate::harness::*;

/// The certificate that is shown to who asks for this name.
fn shown(sealed: &Sealed, name: &str) -> Vec<u8> {
    let mut client = Client::connect_tls(sealed.address, Arc::new(sealed.authority.client()), name);
    client.request("OPTIONS", HUB, &[], None);
    assert_eq!(client.response("OPTIONS").status, 204);
    client.tls().peer_certificates().expect("it was shown one")[0].to_vec()
}

#[test]
fn the_name_asked_for_picks_the_certificate() {
    let authority = Authority::new();
    authority.issue("first", &["localhost", "first.example"], 30);
    authority.issue("second", &["second.example", "*.second.example"], 30);
    let sealed = Sealed::with(Launch::keyed().args(&["--anonymous"]), authority, &["first", "second"]);
    for (name, file) in [
        ("first.example", "first.pem"),
        ("second.example", "second.pem"),
        ("a.second.example", "second.pem"),
        ("localhost", "first.pem"),
    ] {
        assert_eq!(shown(&sealed, name), sealed.authority.der(file).to_vec(), "{name}");
    }
    // Who asks for somebody unknown is shown the first one, and refuses it.
    let mut client = Client::connect_tls(sealed.address, Arc::new(sealed.authority.client()), "unknown.example");
    let refused = client.try_send(b"GET / HTTP/1.1\r\n\r\n").expect_err("not for that name");
    assert!(refused.to_string().contains("not valid for name"), "{refused}");
}

#[test]
fn a_renewed_certificate_is_shown_and_no_stream_ends() {
    let sealed = Sealed::anonymous();
    let mut stream = sealed.subscribe(&[("match", "urn:a")]);
    let mut kept_alive = sealed.connect();
    kept_alive.request("OPTIONS", HUB, &[], None);
    assert_eq!(kept_alive.response("OPTIONS").status, 204);
    for reload in [false, true] {
        let old = shown(&sealed, "localhost");
        sealed.authority.issue("server", &["localhost"], 30);
        if reload {
            signal(sealed.hub.pid(), "HUP");
        }
        // Without a signal the files are looked at.
        eventually("the new one is shown", || shown(&sealed, "localhost") != old);
        assert_eq!(shown(&sealed, "localhost"), sealed.authority.der("server.pem").to_vec());
    }
    sealed.hub.say("urn:a", "1");
    assert_eq!(stream.data(), "1");
    kept_alive.request("OPTIONS", HUB, &[], None);
    assert_eq!(kept_alive.response("OPTIONS").status, 204);
}

#[test]
fn a_broken_certificate_changes_nothing_and_is_named() {
    let sealed = Sealed::anonymous();
    let old = shown(&sealed, "localhost");
    std::fs::write(sealed.authority.path("server.pem"), "no certificate").expect("written");
    signal(sealed.hub.pid(), "HUP");
    eventually("it is named", || sealed.hub.log().contains("server.pem has no certificate in PEM"));
    eventually("the configuration holds", || sealed.hub.log().contains("was not reloaded, the old one holds"));
    eventually("so are files that changed", || sealed.hub.log().contains("the certificates from before are shown on"));
    assert_eq!(shown(&sealed, "localhost"), old);
    assert!(!sealed.hub.log().contains("PRIVATE KEY-----\n"));
}

#[test]
fn a_hub_does_not_start_with_certificates_it_cannot_use() {
    let authority = Authority::new();
    authority.issue("one", &["localhost"], 30);
    authority.issue("other", &["localhost"], 30);
    let refused = |certificate: &str, key: &str| {
        let (certificate, key) = (authority.text(certificate), authority.text(key));
        let pair = ["--tls-certificate", &certificate, "--tls-key", &key];
        Launch::keyed().args(&["--listen", "tls:127.0.0.1:0"]).args(&pair).refused()
    };
    assert!(refused("missing.pem", "one.key").contains("missing.pem can't be read"));
    assert!(refused("one.pem", "other.key").contains("isn't that of the certificate"));
    assert!(refused("one.pem", "one.csr").contains("has no key in PEM"));
    let without = Launch::keyed().args(&["--listen", "tls:127.0.0.1:0"]).refused();
    assert!(without.contains("needs a certificate: add --tls-certificate FILE and --tls-key FILE"), "{without}");
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of_and_measured() {
    let authority = Authority::new();
    authority.issue("server", &["localhost"], 13);
    let sealed = Sealed::with(Launch::keyed().args(&["--anonymous"]), authority, &["server"]);
    eventually("a warning", || sealed.hub.log().contains("the certificate ends soon"));
    let remaining = metric(&sealed.hub, "cinnabar_tls_certificate_expires_seconds{name=\"localhost\"}");
    assert!(remaining > 11.0 * 86_400.0 && remaining < 14.0 * 86_400.0, "{remaining}");
}

#[test]
fn a_response_about_a_certificate_is_stapled() {
    let authority = Authority::new();
    authority.issue("server", &["localhost"], 30);
    let folder = authority.path("");
    crate::servers::shell(&format!(
        "cd {} && touch index.txt && openssl ocsp -issuer ca.pem -cert server.pem -reqout request.der -no_nonce \
         && serial=$(openssl x509 -in server.pem -noout -serial | cut -d= -f2) \
         && printf 'V\\t400101000000Z\\t\\t%s\\tunknown\\t/CN=server\\n' $serial > index.txt \
         && openssl ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -reqin request.der -respout server.pem.ocsp -ndays 1",
        folder.display()
    ));
    let sealed = Sealed::with(Launch::keyed().args(&["--anonymous"]), authority, &["server"]);
    let mut stream = subscribe_on(sealed.connect(), &[("match", "urn:a")]);
    sealed.hub.say("urn:a", "1");
    assert_eq!(stream.data(), "1");
    let said = super::peers::openssl(&sealed, "-status", "");
    assert!(said.contains("OCSP Response Status: successful"), "{said}");
}
