//! The certificate of development mode: one for this machine, vouched for by an authority that people can trust without a worry.
//!
//! The authority can speak for localhost and the loopback addresses only (its name constraints), and its key signs one certificate
//! and is thrown away: nobody can ever sign another one with it. The price is that there is a new authority to be trusted when
//! the certificate ends, once a year.

use std::net::Ipv6Addr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;

use super::certificate::Certificate;
use crate::config::data_folder::{DataFolder, DataFolderError, random_key, to_hex};
use crate::config::{CertificateFiles, DevelopmentCertificate};

/// What it is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// How long it is good for: about what browsers take of any certificate.
const LIFETIME_S: u64 = 397 * 86_400;
/// A new one is made when it ends sooner.
const RENEWED_S: u64 = 7 * 86_400;
/// So much it is backdated, for clocks that are behind.
const BACKDATED_S: u64 = 3_600;
/// Bytes of one of its files at most.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Why there is no certificate for development mode.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentCertificateError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
    /// The library.
    #[error("no certificate for development mode can be made: {0}")]
    Making(#[from] rcgen::Error),
}

/// Makes what isn't there or won't be good for long. True if it did: the authority is a new one then.
///
/// # Errors
/// When the folder can't be used.
pub(crate) fn make_ready(made: &DevelopmentCertificate, now_s: u64) -> Result<bool, DevelopmentCertificateError> {
    let folder = DataFolder::open(&made.folder)?;
    if is_good(&folder, made, now_s) {
        return Ok(false);
    }
    let Pair { authority, server } = sign(now_s, LIFETIME_S)?;
    // The one people trust first: a server's certificate that doesn't belong to it is made anew.
    folder.write_text(DevelopmentCertificate::AUTHORITY, &authority)?;
    folder.write_text(DevelopmentCertificate::SERVER, &server)?;
    Ok(true)
}

/// Whether what is there will do: in time, for these names, and of this authority.
fn is_good(folder: &DataFolder, made: &DevelopmentCertificate, now_s: u64) -> bool {
    let files = CertificateFiles::of_one(made.folder.join(DevelopmentCertificate::SERVER));
    let text = folder.read_text(DevelopmentCertificate::AUTHORITY, FILE_BYTES_MAX);
    let authority = text.ok().flatten().and_then(|text| CertificateDer::from_pem_slice(text.as_bytes()).ok());
    let (Some(authority), Ok(found)) = (authority, Certificate::read(&files, &default_provider())) else {
        return false;
    };
    found.key.cert.get(1) == Some(&authority)
        && found.names == NAMES[..1]
        && found.lifetime.not_before_s <= now_s
        && found.lifetime.not_after_s > now_s + RENEWED_S
}

/// An authority's certificate, and the server's with its key and that of the authority, in PEM.
struct Pair {
    authority: String,
    server: String,
}

/// Makes both; the authority's key ends with this.
fn sign(now_s: u64, lifetime_s: u64) -> Result<Pair, rcgen::Error> {
    let times = [now_s.saturating_sub(BACKDATED_S), now_s + lifetime_s];
    let authority = authority(times)?;
    let server = server(&authority, &NAMES, times)?;
    Ok(Pair { authority: authority.pem(), server })
}

fn authority(times: [u64; 2]) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    [params.not_before, params.not_after] = times.map(time);
    // Several of them can stand in a list of trusted authorities: a name for each.
    let name = format!("Cinnabar development {}", &to_hex(&random_key())[..8]);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let permitted_subtrees = vec![
        GeneralSubtree::DnsName(NAMES[0].to_owned()),
        GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
        GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(Ipv6Addr::LOCALHOST.octets(), 128)),
    ];
    params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// A certificate for these names behind its key, and that of the authority after it.
fn server(authority: &CertifiedIssuer<'_, KeyPair>, names: &[&str], times: [u64; 2]) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    [params.not_before, params.not_after] = times.map(time);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names[0]);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, authority)?;
    Ok(format!("{}{}{}", key.serialize_pem(), certificate.pem(), authority.pem()))
}

fn time(at_s: u64) -> OffsetDateTime {
    let at_s = i64::try_from(at_s).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(at_s).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{CertificateError, Error, RootCertStore};

    use super::*;
    use crate::config::data_folder::scratch;

    const NOW_S: u64 = 1_800_000_000;

    fn make(folder: &Path, now_s: u64) -> (bool, [String; 2]) {
        let made = DevelopmentCertificate { folder: folder.to_owned() };
        let new = make_ready(&made, now_s).unwrap();
        let read = |name| fs::read_to_string(folder.join(name)).unwrap();
        (new, [read(DevelopmentCertificate::AUTHORITY), read(DevelopmentCertificate::SERVER)])
    }

    /// What a client that trusts the authority makes of the server's certificate under this name.
    fn judge([authority, server]: &[String; 2], name: &str, now_s: u64) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        let chain = CertificateDer::pem_slice_iter(server.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
        let (name, now) =
            (ServerName::try_from(name).unwrap(), UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s)));
        verifier.build().unwrap().verify_server_cert(&chain[0], &chain[1..], &name, &[], now).map(drop)
    }

    #[test]
    fn it_is_made_once_for_this_machine_and_only_we_can_read_it() {
        let folder = scratch("dev-tls");
        let (new, first) = make(&folder, NOW_S);
        assert!(new);
        for name in NAMES {
            assert_eq!(judge(&first, name, NOW_S), Ok(()), "{name}");
        }
        assert!(judge(&first, "hub.example", NOW_S).is_err());
        for name in [DevelopmentCertificate::AUTHORITY, DevelopmentCertificate::SERVER] {
            assert_eq!(fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert!(!first[0].contains("PRIVATE"), "the authority's key is nowhere");
        assert_eq!(first[1].matches("PRIVATE KEY-----").count(), 2, "one key");
        let (new, again) = make(&folder, NOW_S + LIFETIME_S - RENEWED_S - 1);
        assert!(!new && first == again);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn one_that_ends_soon_or_is_spoilt_is_made_anew() {
        let folder = scratch("dev-tls-renewed");
        let (_, first) = make(&folder, NOW_S);
        let later_s = NOW_S + LIFETIME_S - RENEWED_S;
        let (new, second) = make(&folder, later_s);
        assert!(new && second[0] != first[0]);
        assert_eq!(judge(&second, "localhost", later_s + RENEWED_S), Ok(()));
        let expired = judge(&first, "localhost", later_s + RENEWED_S + 1);
        assert!(
            matches!(expired, Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))),
            "{expired:?}"
        );
        for (name, text) in [
            (DevelopmentCertificate::AUTHORITY, first[0].as_str()),
            (DevelopmentCertificate::SERVER, first[1].as_str()),
            (DevelopmentCertificate::SERVER, "nothing"),
            (DevelopmentCertificate::AUTHORITY, ""),
        ] {
            let (_, before) = make(&folder, later_s);
            fs::write(folder.join(name), text).unwrap();
            let (new, after) = make(&folder, later_s);
            assert!(new && before != after, "{name}: {text:.20}");
            assert_eq!(judge(&after, "::1", later_s), Ok(()));
        }
        // A clock that was set back.
        assert!(make(&folder, NOW_S - 1).0);
        fs::remove_dir_all(&folder).unwrap();
    }

    /// Whoever had its key could do no more than this.
    #[test]
    fn the_authority_can_speak_for_this_machine_only() {
        let times = [NOW_S, NOW_S + LIFETIME_S];
        let authority = authority(times).unwrap();
        let judged = |name| judge(&[authority.pem(), server(&authority, &[name], times).unwrap()], name, NOW_S);
        for name in ["localhost", "hub.localhost", "127.0.0.1", "127.1.2.3", "::1"] {
            assert_eq!(judged(name), Ok(()), "{name}");
        }
        for name in ["hub.example", "localhost.example", "notlocalhost", "192.0.2.1", "10.0.0.1", "::2", "2001:db8::1"]
        {
            assert!(judged(name).is_err(), "{name}");
        }
    }
}
