//! An issuer with keys of its own, and the server it publishes them on.

use super::{ISSUER, Token, base64url};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A P-256 key under a name.
#[derive(Debug)]
pub(crate) struct IssuerKey {
    kid: String,
    pair: EcdsaKeyPair,
}

impl IssuerKey {
    pub(crate) fn new(kid: &str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self { kid: kid.to_owned(), pair: pair.expect("a key") }
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y})
    }

    /// A token for everything, both ways.
    pub(crate) fn token(&self) -> String {
        self.sign(Token::granting(&["publish", "subscribe"], &["*"]).claim("iss", json!(ISSUER)))
    }

    pub(crate) fn sign(&self, token: Token) -> String {
        let token = token.header("alg", json!("ES256")).header("kid", json!(self.kid));
        let sign = |input: &[u8]| self.pair.sign(&SystemRandom::new(), input).expect("signs").as_ref().to_vec();
        token.sign_with(sign)
    }
}

/// The text of a set of these keys.
pub(crate) fn key_set(keys: &[&IssuerKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Answers every request with what it was last told to.
#[derive(Debug)]
pub(crate) struct KeyServer {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
}

impl KeyServer {
    /// A server of these keys, on loopback.
    pub(crate) fn start(keys: &[&IssuerKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server =
            Self { address: listener.local_addr().expect("bound"), answer: Arc::default(), requests: Arc::default() };
        server.serve(keys);
        let (answer, requests) = (server.answer.clone(), server.requests.clone());
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let mut head = BufReader::new(&socket).lines().map_while(Result::ok);
                while head.next().is_some_and(|line| !line.is_empty()) {}
                requests.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().expect("no panic").clone();
                // Who has enough hangs up.
                let _ = (&socket).write_all(answer.as_bytes());
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// From now on it has these keys.
    pub(crate) fn serve(&self, keys: &[&IssuerKey]) {
        self.answer("200 OK", "Cache-Control: max-age=3600\r\n", &key_set(keys));
    }

    /// From now on it says this.
    pub(crate) fn answer(&self, status: &str, fields: &str, body: &str) {
        *self.answer.lock().expect("no panic") =
            format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}
