//! What the hub wants to know of a certificate: its names, and when it ends (RFC 5280 §4.1).

use crate::protocol::keys::der::{CONTEXT_0, Der, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};

/// Names of a certificate that are taken in.
const NAMES_MAX: usize = 1_000;

const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[3] EXPLICIT`: the extensions.
const CONTEXT_3: u8 = 0xa3;
/// `[2] IMPLICIT`: a DNS name among the alternative names.
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17, the subject's alternative names.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Lower-case; `*.` first where it stands for one label.
    pub(super) names: Vec<String>,
    /// Seconds of Unix time, both.
    pub(super) not_before_s: u64,
    pub(super) not_after_s: u64,
}

/// Reads them. `None`: it isn't a certificate.
pub(super) fn facts(certificate: &[u8]) -> Option<Facts> {
    let mut signed = Der::new(certificate).sequence()?.sequence()?;
    if signed.peek(CONTEXT_0) {
        signed.read(CONTEXT_0)?;
    }
    signed.read(INTEGER)?; // serial number
    signed.read(SEQUENCE)?; // algorithm
    signed.read(SEQUENCE)?; // issuer
    let mut validity = signed.sequence()?;
    let mut time = || validity.any().and_then(|(tag, text)| seconds(tag, text));
    let (not_before_s, not_after_s) = (time()?, time()?);
    signed.read(SEQUENCE)?; // subject
    signed.read(SEQUENCE)?; // public key
    let mut names = Vec::new();
    while let Some((tag, contents)) = signed.any() {
        if tag == CONTEXT_3 {
            names = alternative_names(Der::new(contents).sequence()?)?;
        }
    }
    Some(Facts { names, not_before_s, not_after_s })
}

fn alternative_names(mut extensions: Der<'_>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while let Some(mut extension) = extensions.sequence() {
        let is_names = extension.read(OBJECT_IDENTIFIER)? == SUBJECT_ALT_NAME;
        if extension.peek(BOOLEAN) {
            extension.read(BOOLEAN)?;
        }
        let value = extension.read(OCTET_STRING)?;
        let mut found = if is_names { Der::new(value).sequence()? } else { Der::new(&[]) };
        while let Some((tag, name)) = found.any() {
            if tag == DNS_NAME && name.is_ascii() && names.len() < NAMES_MAX {
                names.push(String::from_utf8_lossy(name).to_ascii_lowercase());
            }
        }
    }
    Some(names)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` as Unix time; what was before 1970 has ended anyway.
fn seconds(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = (number(&digits[..2]), &digits[2..]);
            // RFC 5280 §4.1.2.5.1.
            (if year >= 50 { 1900 + year } else { 2000 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| number(&rest[at..at + 2]));
    if !(1..=12).contains(&month) {
        return None;
    }
    // Days since 1970 of a date, with years that begin in March, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::server::tls::tests::identity::Identity;

    #[test]
    fn times_are_read_in_both_spellings() {
        for (tag, text, want) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229120000Z", Some(951_825_600)),
            (UTC_TIME, "261231235959Z", Some(1_798_761_599)),
            (GENERALIZED_TIME, "20261231235959Z", Some(1_798_761_599)),
            (GENERALIZED_TIME, "20500301000000Z", Some(2_529_705_600)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "261331235959Z", None),
            (UTC_TIME, "2612312359Z", None),
            (UTC_TIME, "261231235959+0100", None),
            (4, "261231235959Z", None),
        ] {
            assert_eq!(seconds(tag, text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn names_and_end_of_a_certificate_are_read() {
        let identity = Identity::new(&["Hub.Example", "*.hub.example"], 20_000);
        let facts = facts(&identity.certificate()).unwrap();
        assert_eq!(
            facts,
            Facts {
                names: vec!["hub.example".into(), "*.hub.example".into()],
                not_before_s: 1_577_836_800,
                not_after_s: 20_000 * 86_400
            }
        );
    }

    proptest! {
        #[test]
        fn what_is_spoilt_is_read_without_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut certificate = Identity::new(&["hub.example"], 20_000).certificate();
            let at = at.index(certificate.len());
            certificate[at] = byte;
            facts(&certificate);
        }
    }
}
