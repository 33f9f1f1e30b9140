//! Sessions and parked streams against the library's own client, in memory.

pub(crate) mod identity;
mod renewal;

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use identity::Identity;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::certificate::CertificateError;
use super::certificates::Certificates;
use super::flight::{FirstMessage, Look};
use super::record::PLAINTEXT_BYTES_MAX;
use super::session::Session;
use super::stream::{InputEnd, SealError, TlsStream};
use crate::config::CertificateFiles;
use crate::config::data_folder::scratch;

pub(crate) const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// A folder of files that goes with the test.
struct Files(std::path::PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let folder = scratch(name);
        std::fs::create_dir_all(&folder).unwrap();
        Files(folder)
    }

    /// Writes a pair.
    fn write(&self, name: &str, identity: &Identity) -> CertificateFiles {
        let [certificate, key] = [format!("{name}.pem"), format!("{name}.key")].map(|name| self.0.join(name));
        for (path, text) in [&certificate, &key].into_iter().zip(identity.pem()) {
            std::fs::write(path, text).unwrap();
        }
        CertificateFiles { certificate, key }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Those of files alone.
fn open(files: &[CertificateFiles]) -> Result<Certificates, Vec<CertificateError>> {
    Certificates::open(files, Vec::new(), Arc::default())
}

pub(crate) struct Stage {
    identity: Identity,
    config: Arc<ServerConfig>,
}

impl Stage {
    pub(crate) fn new(name: &str) -> Stage {
        let identity = Identity::new(&["hub.example"], 30_000);
        let files = Files::new(name);
        let all = open(&[files.write("a", &identity)]).unwrap();
        Stage { config: all.config().unwrap(), identity }
    }

    fn client_config(&self, suite: Option<CipherSuite>, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.identity.certificate().into()).unwrap();
        let all = ring::default_provider();
        let cipher_suites = all.cipher_suites.iter().filter(|it| suite.is_none_or(|suite| it.suite() == suite));
        let provider = CryptoProvider { cipher_suites: cipher_suites.copied().collect(), ..all.clone() };
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// A connection whose handshake is done.
    fn connect(&self, suite: Option<CipherSuite>, version: &'static SupportedProtocolVersion) -> (Client, Session) {
        self.connect_by(Arc::new(self.client_config(suite, version)))
    }

    fn connect_by(&self, config: Arc<ClientConfig>) -> (Client, Session) {
        let (mut client, mut session) = self.shake(config);
        client.takes(&session.take_tickets());
        (client, session)
    }

    /// A connection whose handshake is done, and on which nothing has been sent since.
    fn shake(&self, config: Arc<ClientConfig>) -> (Client, Session) {
        let name = ServerName::try_from("hub.example").unwrap();
        let mut client = Client(ClientConnection::new(config, name).unwrap());
        let mut session = Session::new(self.config.clone()).unwrap();
        let mut plain = Vec::new();
        while client.0.is_handshaking() || session.is_handshaking() {
            let mut out = Vec::new();
            session.receive(&client.sends(), &mut plain, &mut out).unwrap();
            let out = if session.is_handshaking() { out } else { session.keep_tickets(out) };
            client.takes(&out);
        }
        assert!(plain.is_empty());
        (client, session)
    }

    pub(crate) fn parked(&self, suite: CipherSuite) -> (Client, TlsStream) {
        let (client, session) = self.connect(Some(suite), &TLS13);
        (client, session.park().unwrap())
    }
}

pub(crate) struct Client(ClientConnection);

impl Client {
    fn sends(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    pub(crate) fn says(&mut self, text: &[u8]) -> Vec<u8> {
        self.0.writer().write_all(text).unwrap();
        self.sends()
    }

    /// Takes bytes and gives what they say.
    pub(crate) fn takes(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.0.read_tls(&mut bytes).unwrap();
            self.0.process_new_packets().unwrap();
            match self.0.reader().read_to_end(&mut plain) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        plain
    }

    /// Whether the hub has said that nothing more will follow.
    pub(crate) fn has_end(&mut self) -> bool {
        self.0.reader().read(&mut [0]).is_ok_and(|read| read == 0)
    }
}

fn seal(stream: &mut TlsStream, pieces: &[&[u8]], out: &mut Vec<u8>) -> Result<usize, SealError> {
    stream.seal(pieces.iter().copied(), &mut Vec::new(), out)
}

/// What both kinds of parked streams do.
pub(crate) fn every_kind(stage: &Stage) -> Vec<(String, Client, TlsStream)> {
    let mut all: Vec<_> = SUITES
        .iter()
        .map(|&suite| {
            let (client, stream) = stage.parked(suite);
            (format!("{suite:?}"), client, stream)
        })
        .collect();
    let (client, session) = stage.connect(None, &TLS12);
    all.push(("TLS 1.2".to_owned(), client, session.park().unwrap()));
    all
}

#[test]
fn requests_and_answers_pass_in_both_versions() {
    let stage = Stage::new("tls-requests");
    for version in [&TLS13, &TLS12] {
        let (mut client, mut session) = stage.connect(None, version);
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let request = vec![b'x'; 100_000];
        // The writer of the client takes as much as fits into its buffer.
        for part in request.chunks(20_000) {
            // Byte by byte at the ends of records, too.
            let bytes = client.says(part);
            let (first, rest) = bytes.split_at(bytes.len() - 3);
            session.receive(first, &mut plain, &mut out).unwrap();
            rest.iter().for_each(|byte| session.receive(&[*byte], &mut plain, &mut out).unwrap());
        }
        assert!(plain == request && out.is_empty() && session.incoming().is_empty());
        session.seal(&request, &mut out).unwrap();
        assert!(client.takes(&out) == request);
        out.clear();
        session.close_notify(&mut out).unwrap();
        client.takes(&out);
        assert!(client.has_end() && !session.peer_closed());
        client.0.send_close_notify();
        session.receive(&client.sends(), &mut plain, &mut out).unwrap();
        assert!(session.peer_closed());
    }
}

#[test]
fn a_ticket_waits_for_what_is_sent_first_and_goes_before_it() {
    let stage = Stage::new("tls-tickets");
    let shake = || stage.shake(Arc::new(stage.client_config(None, &TLS13)));
    let (mut client, mut session) = shake();
    assert_eq!(client.0.tls13_tickets_received(), 0);
    let mut out = Vec::new();
    session.seal(b"an answer", &mut out).unwrap();
    session.seal(b", and more", &mut out).unwrap();
    assert_eq!(client.takes(&out), b"an answer, and more");
    assert_eq!((client.0.tls13_tickets_received(), session.take_tickets().len()), (1, 0));

    let (mut client, mut session) = shake();
    let mut out = b"before".to_vec();
    session.close_notify(&mut out).unwrap();
    client.takes(&out[b"before".len()..]);
    assert!(client.has_end() && client.0.tls13_tickets_received() == 1);

    // The answer to new keys is sealed with the old ones.
    let (mut client, mut session) = shake();
    client.0.refresh_traffic_keys().unwrap();
    let (mut out, mut plain) = (Vec::new(), Vec::new());
    session.receive(&client.sends(), &mut plain, &mut out).unwrap();
    session.seal(b"with new keys", &mut out).unwrap();
    assert_eq!(client.takes(&out), b"with new keys");
    assert_eq!(client.0.tls13_tickets_received(), 1);

    let (_, mut session) = stage.shake(Arc::new(stage.client_config(None, &TLS12)));
    assert!(session.take_tickets().is_empty(), "in TLS 1.2 it is part of the handshake");
}

/// Seen: the answer to new keys that were asked for before the stream was never sent, and its records could not be opened.
#[test]
fn new_keys_before_a_stream_are_answered_on_it() {
    let stage = Stage::new("tls-keys");
    for updates in 0..3 {
        for together in [true, false] {
            let (mut client, mut session) = stage.connect(None, &TLS13);
            let (mut out, mut plain) = (Vec::new(), Vec::new());
            session.receive(&client.says(b"GET"), &mut plain, &mut out).unwrap();
            session.seal(b"an answer", &mut out).unwrap();
            assert_eq!(client.takes(&out), b"an answer");
            let mut said = Vec::new();
            for _ in 0..updates {
                client.0.refresh_traffic_keys().unwrap();
                said.extend(client.sends());
            }
            if !together {
                session.receive(&std::mem::take(&mut said), &mut plain, &mut Vec::new()).unwrap();
            }
            said.extend(client.says(b" /stream"));
            session.receive(&said, &mut plain, &mut Vec::new()).unwrap();
            assert_eq!(plain, b"GET /stream");
            let mut stream = session.park().unwrap();
            assert_eq!(stream.keeps_session(), updates > 0, "only then does it cost more");
            for event in [&b"one"[..], b"two"] {
                let mut out = Vec::new();
                assert_eq!(seal(&mut stream, &[event], &mut out), Ok(event.len()));
                assert_eq!(client.takes(&out), event, "after {updates} updates");
            }
        }
    }
}

#[test]
fn new_keys_in_the_flight_that_ends_the_handshake_are_answered_without_a_ticket_too() {
    let stage = Stage::new("tls-keys-at-once");
    let mut config = ServerConfig::clone(&stage.config);
    for tickets in [0, 1] {
        config.send_tls13_tickets = tickets;
        let name = ServerName::try_from("hub.example").unwrap();
        let own = Arc::new(stage.client_config(None, &TLS13));
        let mut client = Client(ClientConnection::new(own, name).unwrap());
        let mut session = Session::new(Arc::new(config.clone())).unwrap();
        let (mut out, mut plain) = (Vec::new(), Vec::new());
        session.receive(&client.sends(), &mut plain, &mut out).unwrap();
        client.takes(&out);
        let mut said = client.sends();
        client.0.refresh_traffic_keys().unwrap();
        said.extend(client.says(b"GET /stream"));
        out.clear();
        session.receive(&said, &mut plain, &mut out).unwrap();
        assert_eq!(plain, b"GET /stream");
        client.takes(&out);
        let mut stream = session.park().unwrap();
        out.clear();
        assert_eq!(seal(&mut stream, &[b"event"], &mut out), Ok(5));
        assert_eq!(client.takes(&out), b"event", "{tickets} tickets");
    }
}

/// Each costs some microseconds, and a turn would take thousands.
#[test]
fn changes_of_keys_without_data_between_them_come_to_an_end() {
    let stage = Stage::new("tls-keys-many");
    for (changes, good) in [(30, true), (100, false)] {
        let (mut client, mut session) = stage.connect(None, &TLS13);
        let mut said = Vec::new();
        for _ in 0..changes {
            client.0.refresh_traffic_keys().unwrap();
            said.extend(client.sends());
        }
        assert_eq!(session.receive(&said, &mut Vec::new(), &mut Vec::new()).is_ok(), good, "{changes}");
    }
}

#[test]
fn a_ticket_resumes_and_is_good_after_a_renewal() {
    let stage = Stage::new("tls-ticket");
    for version in [&TLS13, &TLS12] {
        let config = Arc::new(stage.client_config(None, version));
        let resumed = |(mut client, mut session): (Client, Session)| {
            let mut out = Vec::new();
            session.seal(b"x", &mut out).unwrap();
            client.takes(&out);
            session.was_resumed()
        };
        assert_eq!(resumed(stage.connect_by(config.clone())), Some(false));
        assert_eq!(resumed(stage.connect_by(config)), Some(true));
    }
}

#[test]
fn what_is_sealed_by_keys_alone_is_read_by_the_client() {
    let stage = Stage::new("tls-sealed");
    for (name, mut client, mut stream) in every_kind(&stage) {
        let large = vec![7; 3 * PLAINTEXT_BYTES_MAX];
        for round in 0..300_usize {
            let pieces = [b"event: ".as_slice(), &large[..round * 50], b"", b"end"];
            let mut out = Vec::new();
            let whole = pieces.concat();
            let sealed = seal(&mut stream, &pieces, &mut out).unwrap();
            assert_eq!(sealed, whole.len().min(PLAINTEXT_BYTES_MAX), "{name}");
            assert!(client.takes(&out) == whole[..sealed], "{name}, round {round}");
        }
        let mut out = Vec::new();
        assert_eq!(seal(&mut stream, &[&large], &mut out), Ok(PLAINTEXT_BYTES_MAX), "{name}: one record");
        assert_eq!(seal(&mut stream, &[b"", b""], &mut out), Ok(0), "{name}: nothing of nothing");
        assert!(client.takes(&out) == large[..PLAINTEXT_BYTES_MAX], "{name}");
        assert!(!client.has_end());
        out.clear();
        assert!(stream.end(&mut out) && !stream.end(&mut out), "{name}: said once");
        client.takes(&out);
        assert!(client.has_end(), "{name}");
    }
}

#[test]
fn a_record_cut_anywhere_arrives_once_and_whole() {
    let stage = Stage::new("tls-cuts");
    for (name, mut client, mut stream) in every_kind(&stage) {
        let mut cut = 0;
        loop {
            let mut out = Vec::new();
            let text = format!("record cut at {cut}");
            seal(&mut stream, &[text.as_bytes()], &mut out).unwrap();
            if cut > out.len() {
                break;
            }
            let mut got = client.takes(&out[..cut]);
            stream.keep(&out[cut..]);
            assert_eq!(stream.kept().len(), out.len() - cut);
            // The socket takes it in two parts.
            while !stream.kept().is_empty() {
                let part = stream.kept().len().div_ceil(2);
                got.extend(client.takes(&stream.kept()[..part]));
                stream.kept_sent(part);
            }
            assert_eq!(got, text.as_bytes(), "{name}");
            cut += 1;
        }
        assert!(cut > 30, "{name}");
    }
}

#[test]
fn the_end_stands_behind_what_is_kept() {
    let stage = Stage::new("tls-end-kept");
    for (name, mut client, mut stream) in every_kind(&stage) {
        let mut out = Vec::new();
        seal(&mut stream, &[b"the last event"], &mut out).unwrap();
        client.takes(&out[..9]);
        stream.keep(&out[9..]);
        stream.keep_end();
        assert!(stream.has_ended());
        assert_eq!(client.takes(stream.kept()), b"the last event", "{name}");
        assert!(client.has_end(), "{name}");
    }
}

#[test]
fn a_key_seals_so_many_records_and_then_only_the_end() {
    let stage = Stage::new("tls-limit");
    for suite in SUITES {
        let (_, mut stream) = stage.parked(suite);
        stream.skip_to_last();
        let mut out = Vec::new();
        assert_eq!(seal(&mut stream, &[b"one"], &mut out), Ok(3));
        let before = out.len();
        assert_eq!(seal(&mut stream, &[b"one too many"], &mut out), Err(SealError::RecordLimit));
        assert_eq!(out.len(), before);
        assert!(stream.end(&mut out) && out.len() > before);
    }
}

#[test]
fn what_a_client_says_is_thrown_away_in_whatever_pieces_it_comes() {
    let stage = Stage::new("tls-talk");
    for (name, mut client, mut stream) in every_kind(&stage) {
        let mut bytes = client.says(b"hello");
        bytes.extend(client.says(&[b'x'; 20_000]));
        let (first, rest) = bytes.split_at_mut(7);
        first.iter_mut().for_each(|byte| stream.receive(std::slice::from_mut(byte)).unwrap());
        assert_eq!(stream.receive(rest), Ok(()), "{name}");
        assert_eq!(stream.receive(&mut []), Ok(()), "{name}");
        client.0.send_close_notify();
        let mut end = client.sends();
        let (first, rest) = end.split_at_mut(3);
        assert_eq!(stream.receive(first), Ok(()), "{name}");
        assert_eq!(stream.receive(rest), Err(InputEnd::Closed), "{name}");
    }
}

/// What was read with the request and belongs to a record that isn't whole yet is not lost when the stream is parked.
#[test]
fn half_a_record_is_carried_over_when_a_stream_is_parked() {
    let stage = Stage::new("tls-carry");
    for version in [&TLS13, &TLS12] {
        let (mut client, mut session) = stage.connect(None, version);
        let mut bytes = client.says(b"request");
        bytes.extend(client.says(b"more"));
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let cut = bytes.len() - 5;
        session.receive(&bytes[..cut], &mut plain, &mut out).unwrap();
        assert_eq!(plain, b"request");
        let mut stream = session.park().unwrap();
        assert_eq!(stream.receive(&mut bytes[cut..]), Ok(()));
        assert_eq!(stream.receive(&mut client.says(b"and more")), Ok(()));
    }
}

#[test]
fn who_has_closed_before_its_stream_begins_gets_none() {
    let stage = Stage::new("tls-closed");
    for version in [&TLS13, &TLS12] {
        let (mut client, mut session) = stage.connect(None, version);
        let mut bytes = client.says(b"request");
        client.0.send_close_notify();
        bytes.extend(client.sends());
        let mut plain = Vec::new();
        session.receive(&bytes, &mut plain, &mut Vec::new()).unwrap();
        assert!(plain == b"request" && session.park().is_none());
    }
}

#[test]
fn other_keys_and_garbage_end_a_stream() {
    let stage = Stage::new("tls-garbage");
    for suite in SUITES {
        let (mut client, mut stream) = stage.parked(suite);
        client.0.refresh_traffic_keys().unwrap();
        assert_eq!(stream.receive(&mut client.sends()), Err(InputEnd::Handshake), "{suite:?}");
        let (mut client, mut stream) = stage.parked(suite);
        let mut spoilt = client.says(b"hello");
        let last = spoilt.len() - 1;
        spoilt[last] ^= 1;
        assert_eq!(stream.receive(&mut spoilt), Err(InputEnd::Broken), "{suite:?}");
        let (mut client, mut stream) = stage.parked(suite);
        let mut said = client.says(b"hello");
        assert_eq!(stream.receive(&mut said.clone()), Ok(()));
        assert_eq!(stream.receive(&mut said), Err(InputEnd::Broken), "{suite:?}: the same record again");
    }
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[23, 3, 3, 0xff, 0xff], &[23, 3, 3, 0, 0], &[23, 3, 3, 0, 17, 0], &[0; 30]]
    {
        let (_, mut stream) = stage.parked(SUITES[0]);
        let mut bytes = [garbage, &[0; 32]].concat();
        assert_eq!(stream.receive(&mut bytes), Err(InputEnd::Broken), "{garbage:?}");
    }
    let (_, session) = stage.connect(None, &TLS12);
    assert_eq!(session.park().unwrap().receive(&mut [9; 40]), Err(InputEnd::Broken));
}

#[test]
fn the_library_s_own_first_message_is_looked_at_when_it_is_whole() {
    let stage = Stage::new("tls-flight");
    let name = ServerName::try_from("hub.example").unwrap();
    let config = Arc::new(stage.client_config(None, &TLS13));
    let hello = Client(ClientConnection::new(config, name).unwrap()).sends();
    for cut in 0..hello.len() {
        assert_eq!(FirstMessage::default().look(&hello[..cut]), Look::Partial, "{cut} of {}", hello.len());
    }
    assert_eq!(FirstMessage::default().look(&hello), Look::Whole);
}

#[test]
fn a_handshake_of_hostile_bytes_ends_with_an_alert_and_keeps_little() {
    let stage = Stage::new("tls-hostile");
    for bytes in [&b"\x16\x03\x01\x00\x05hello"[..], &[21, 3, 3, 0, 2, 2, 40], &[23, 3, 3, 0, 1, 0], &[0; 64]] {
        let mut session = Session::new(stage.config.clone()).unwrap();
        let mut out = Vec::new();
        assert!(session.receive(bytes, &mut Vec::new(), &mut out).is_err(), "{bytes:?}");
        assert!(out.is_empty() || out[0] == 21, "{out:?}");
    }
    // A message that is said to be long, of which more and more comes.
    let mut session = Session::new(stage.config.clone()).unwrap();
    session.add(&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff]);
    session.add(&[0; 0x4000 - 4]);
    let mut refused = false;
    for _ in 0..8 {
        refused |= session.process(&mut Vec::new(), &mut Vec::new()).is_err();
        session.add(&[22, 3, 1, 0x40, 0]);
        session.add(&[0; 0x4000]);
    }
    assert!(refused);
}
