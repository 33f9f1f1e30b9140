//! Certificates in files, and how they are renewed.

use std::sync::Arc;

use super::{Certificates, Files, Identity, open};
use crate::config::CertificateFiles;
use crate::server::inbox::{Inbox, Message};
use crate::server::tls::{CertificateError, Managed};

fn names(all: &Certificates) -> Vec<String> {
    all.remaining_s().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_with_its_file() {
    let files = Files::new("tls-errors");
    let good = files.write("good", &Identity::new(&["hub.example"], 30_000));
    let other = files.write("other", &Identity::new(&["other.example"], 30_000));
    let write = |name: &str, text: &str| {
        let path = files.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (text, missing) = (write("text", "no PEM"), files.0.join("missing"));
    let broken = write("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let long = write("long", &"x".repeat(300_000));
    let (certificate, key) = (good.certificate.clone(), good.key.clone());
    for (certificate, key, why) in [
        (&missing, &key, "can't be read"),
        (&certificate, &missing, "can't be read"),
        (&long, &key, "more than 262144 bytes"),
        (&text, &key, "has no certificate in PEM"),
        (&key, &key, "has no certificate in PEM"),
        (&broken, &key, "can't be used"),
        (&certificate, &text, "has no key in PEM"),
        (&certificate, &certificate, "has no key in PEM"),
        (&certificate, &other.key, "isn't that of the certificate"),
    ] {
        let pair = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
        let errors = open(&[pair]).err().unwrap();
        let [error] = &errors[..] else { panic!("{errors:?}") };
        assert!(error.to_string().contains(why), "{error}");
    }
    let both = [
        CertificateFiles { certificate: missing.clone(), key: key.clone() },
        CertificateFiles { certificate, key: other.key },
    ];
    assert_eq!(open(&both).err().map(|errors| errors.len()), Some(2), "all of it at once");
}

#[test]
fn an_ocsp_response_beside_a_certificate_is_taken_along() {
    let files = Files::new("tls-ocsp");
    let pair = files.write("a", &Identity::new(&["hub.example"], 30_000));
    let beside = files.0.join("a.pem.ocsp");
    std::fs::write(&beside, b"<html>").unwrap();
    assert_eq!(open(std::slice::from_ref(&pair)).err(), Some(vec![CertificateError::Ocsp { file: beside.clone() }]));
    std::fs::write(&beside, [0x30, 3, 10, 1, 0]).unwrap();
    assert!(open(&[pair]).is_ok());
}

#[test]
fn files_that_change_are_read_once_they_are_done_changing() {
    let files = Files::new("tls-change");
    let pair = files.write("a", &Identity::new(&["old.example"], 30_000));
    let all = open(std::slice::from_ref(&pair)).unwrap();
    let (inbox, messages, _) = Inbox::new().unwrap();
    let inboxes = [inbox];
    assert!(!all.look(&inboxes) && !all.look(&inboxes), "nothing has changed");
    let new = Identity::new(&["new.example"], 30_000);
    files.write("a", &new);
    assert!(!all.look(&inboxes), "it may be changing yet");
    assert_eq!(names(&all), ["old.example"]);
    assert!(all.look(&inboxes) && !all.look(&inboxes));
    assert_eq!(names(&all), ["new.example"]);
    assert!(matches!(messages.try_recv(), Ok(Message::Certificates(_))));
    // A key that isn't there yet: nothing changes until it is.
    let newest = Identity::new(&["newest.example"], 30_000);
    let [certificate, key] = newest.pem();
    std::fs::write(&pair.certificate, certificate).unwrap();
    assert!(!all.look(&inboxes) && !all.look(&inboxes) && !all.look(&inboxes));
    assert_eq!((names(&all), messages.len()), (vec!["new.example".to_owned()], 0));
    std::fs::write(&pair.key, key).unwrap();
    assert!(!all.look(&inboxes) && all.look(&inboxes));
    assert_eq!((names(&all), messages.len()), (vec!["newest.example".to_owned()], 1));
}

#[test]
fn certificates_have_one_figure_for_each_name_that_says_which_ends_first() {
    let files = Files::new("tls-figures");
    let pairs = [
        files.write("a", &Identity::new(&["hub.example"], 30_001)),
        files.write("b", &Identity::new(&["hub.example"], 30_000)),
        files.write("c", &Identity::new(&["other.example"], 10_000)),
    ];
    let all = open(&pairs).unwrap();
    let remaining = all.remaining_s();
    assert_eq!(remaining.len(), 2);
    assert!(remaining[0].1 > 0.0 && remaining[1].1 < 0.0, "{remaining:?}");
    let other = open(&pairs[..1]).unwrap().remaining_s();
    assert!(other[0].1 - remaining[0].1 > 86_000.0, "the earlier end counts");
}

#[test]
fn what_ends_soon_is_said_once_a_day_while_the_hub_runs() {
    const DAY_S: u64 = 86_400;
    let files = Files::new("tls-reminders");
    let pairs = [
        files.write("a", &Identity::new(&["a.example"], 30_000)),
        files.write("b", &Identity::new(&["b.example"], 30_010)),
    ];
    let all = open(&pairs).unwrap();
    assert_eq!(all.remind(30_000 * DAY_S - 15 * DAY_S), Some(0));
    assert_eq!(all.remind(30_000 * DAY_S - 14 * DAY_S + 1), Some(1));
    assert_eq!(all.remind(30_000 * DAY_S - 13 * DAY_S), None, "it was said today");
    assert_eq!(all.remind(30_000 * DAY_S), Some(2), "one has expired, the other ends soon");
    assert_eq!(all.remind(29_000 * DAY_S), Some(0), "a clock that was set back");
}

#[test]
fn certificates_the_hub_gets_itself_are_shown_when_they_come() {
    let files = Files::new("tls-managed");
    let pair = files.write("a", &Identity::new(&["a.example"], 30_000));
    let managed = ["b.example", "c.example"].map(|name| Managed { name: name.into(), file: files.0.join(name) });
    let all = Certificates::open(std::slice::from_ref(&pair), managed.to_vec(), Arc::default()).unwrap();
    assert_eq!(names(&all), ["a.example"]);
    let (inbox, messages, _) = Inbox::new().unwrap();
    let inboxes = [inbox];
    let write = |name: &str, identity: &Identity| {
        let [certificate, key] = identity.pem();
        std::fs::write(files.0.join(name), key + &certificate).unwrap();
    };
    write("b.example", &Identity::new(&["b.example"], 30_000));
    // One for another name, and one that is broken, are as good as none.
    write("c.example", &Identity::new(&["a.example"], 30_000));
    all.take_up(&inboxes);
    assert_eq!((names(&all), messages.len()), (vec!["a.example".to_owned(), "b.example".to_owned()], 1));
    std::fs::write(files.0.join("b.example"), "nothing").unwrap();
    all.take_up(&inboxes);
    assert_eq!(names(&all), ["a.example"]);
    // Somebody else may put them there, too.
    write("c.example", &Identity::new(&["c.example"], 30_000));
    assert!(!all.look(&inboxes) && all.look(&inboxes));
    assert_eq!(names(&all), ["a.example", "c.example"]);
    let alone = Certificates::open(&[], managed.to_vec(), Arc::default()).unwrap();
    assert!(alone.config().is_some() && open(&[]).unwrap().config().is_none());
}
