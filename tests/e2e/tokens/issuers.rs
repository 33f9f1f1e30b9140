//! Issuers and their keys, from flags, the environment and a file.

use super::{good, publish_status, subscribe_status};
use crate::harness::*;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;
use std::process::{Command, Stdio};

const KEY_A: &str = "the-secret-of-issuer-a-0123456789abcdef";
const KEY_B: &str = "the-secret-of-issuer-b-0123456789abcdef";

#[test]
fn each_issuer_has_keys_of_its_own() {
    let launch = Launch::serve();
    let config = launch.file(
        "cinnabar.toml",
        &format!(
            r#"
            resource = "{RESOURCE}"

            [[issuer]]
            id = "https://a.example"
            publisher = {{ key = "{KEY_A}", algorithms = ["HS256"] }}
            subscriber = {{ key = "{KEY_A}" }}

            [[issuer]]
            id = "https://b.example"
            publisher = {{ key = "{KEY_B}" }}
            "#
        ),
    );
    let hub = launch.args(&["--config", &config]).start();
    let a = good().claim("iss", json!("https://a.example"));
    let b = good().claim("iss", json!("https://b.example"));
    assert_eq!(publish_status(&hub, &a.sign(KEY_A)), 200);
    assert_eq!(publish_status(&hub, &b.sign(KEY_B)), 200);
    assert_eq!(publish_status(&hub, &a.sign(KEY_B)), 401, "signed by the other issuer");
    assert_eq!(publish_status(&hub, &b.sign(KEY_A)), 401, "signed by the other issuer");
    assert_eq!(subscribe_status(&hub, &a.sign(KEY_A)), 200);
    assert_eq!(subscribe_status(&hub, &b.sign(KEY_B)), 401, "an issuer without that role");
}

#[test]
fn issuers_separated_by_spaces_share_the_keys() {
    let hub = Launch::serve()
        .args(&["--resource", RESOURCE, "--issuer", "https://a.example https://b.example"])
        .args(&["--publisher-jwt-key", PUBLISHER_KEY, "--subscriber-jwt-key", SUBSCRIBER_KEY])
        .start();
    for issuer in ["https://a.example", "https://b.example"] {
        assert_eq!(publish_status(&hub, &good().claim("iss", json!(issuer)).sign(PUBLISHER_KEY)), 200, "{issuer}");
    }
    let both = good().claim("iss", json!("https://a.example https://b.example"));
    assert_eq!(publish_status(&hub, &both.sign(PUBLISHER_KEY)), 401);
}

#[test]
fn the_usual_environment_variables_configure_the_keys() {
    let key = ec_key();
    let hub = Launch::serve()
        .env("CINNABAR_RESOURCE", RESOURCE)
        .env("MERCURE_TRUSTED_ISSUERS", "https://a.example https://b.example")
        .env("MERCURE_PUBLISHER_JWT_KEY", &key.public_pem)
        .env("MERCURE_PUBLISHER_JWT_ALG", "ES256")
        .env("MERCURE_SUBSCRIBER_JWT_KEY", SUBSCRIBER_KEY)
        .start();
    let token = good().claim("iss", json!("https://b.example"));
    assert_eq!(subscribe_status(&hub, &token.sign(SUBSCRIBER_KEY)), 200);
    let token = token.header("alg", json!("ES256"));
    assert_eq!(publish_status(&hub, &token.sign_with(|input| (key.sign)(input))), 200);
}

#[test]
fn keys_of_every_kind_are_read_from_text_and_from_files() {
    let (ec, ed, rsa) = (ec_key(), ed_key(), rsa_key());
    let launch = Launch::serve();
    let ed_file = launch.file("ed.pem", &ed.public_pem);
    let rsa_file = launch.file("rsa.pem", &rsa.public_pem);
    let secret_file = launch.file("secret", KEY_A);
    let config = launch.file(
        "cinnabar.toml",
        &format!(
            r#"
            resource = "{RESOURCE}"

            [[issuer]]
            id = "ec"
            publisher = {{ key = """{}""", algorithms = ["ES256"] }}

            [[issuer]]
            id = "ed"
            publisher = {{ key_file = "{ed_file}", algorithms = ["EdDSA"] }}

            [[issuer]]
            id = "rsa"
            publisher = {{ key_file = "{rsa_file}", algorithms = ["RS256", "PS256"] }}

            [[issuer]]
            id = "secret"
            publisher = {{ key_file = "{secret_file}", algorithms = ["HS256"] }}
            "#,
            ec.public_pem
        ),
    );
    let hub = launch.args(&["--config", &config]).start();
    let signed = |issuer: &str, algorithm: &str, key: &AsymmetricKey| {
        good().claim("iss", json!(issuer)).header("alg", json!(algorithm)).sign_with(|input| (key.sign)(input))
    };
    assert_eq!(publish_status(&hub, &signed("ec", "ES256", &ec)), 200);
    assert_eq!(publish_status(&hub, &signed("ed", "EdDSA", &ed)), 200);
    assert_eq!(publish_status(&hub, &signed("rsa", "RS256", &rsa)), 200);
    assert_eq!(publish_status(&hub, &signed("rsa", "PS256", &rsa)), 401, "an RS256 signature is no PS256 signature");
    assert_eq!(publish_status(&hub, &signed("ed", "ES256", &ec)), 401, "a key of another issuer");
    assert_eq!(publish_status(&hub, &signed("ec", "EdDSA", &ed)), 401, "an algorithm that isn't listed");
    assert_eq!(publish_status(&hub, &good().claim("iss", json!("secret")).sign(KEY_A)), 200);

    // The oldest trick: the public key as the secret of an HMAC.
    for (issuer, pem) in [("ec", &ec.public_pem), ("ed", &ed.public_pem), ("rsa", &rsa.public_pem)] {
        assert_eq!(publish_status(&hub, &good().claim("iss", json!(issuer)).sign(pem)), 401, "{issuer}");
    }
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

struct AsymmetricKey {
    public_pem: String,
    sign: Sign,
}

fn ec_key() -> AsymmetricKey {
    let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
    // SubjectPublicKeyInfo of a point on P-256 (RFC 5480).
    let prefix = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    AsymmetricKey {
        public_pem: pem(&[&prefix, pair.public_key().as_ref()].concat()),
        sign: Box::new(move |input| pair.sign(&random, input).expect("signs").as_ref().to_vec()),
    }
}

fn ed_key() -> AsymmetricKey {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
    // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410).
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    AsymmetricKey {
        public_pem: pem(&[&prefix, pair.public_key().as_ref()].concat()),
        sign: Box::new(move |input| pair.sign(input).as_ref().to_vec()),
    }
}

/// Made by openssl, since ring makes no RSA keys.
fn rsa_key() -> AsymmetricKey {
    let folder = Folder::new();
    let private = folder.path().join("private.pem");
    let openssl = |arguments: &[&str]| {
        let output =
            Command::new("openssl").args(arguments).stderr(Stdio::null()).output().expect("openssl is installed");
        assert!(output.status.success(), "openssl {arguments:?}");
        output.stdout
    };
    let path = private.to_str().expect("UTF-8").to_owned();
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &path]);
    let public_pem = String::from_utf8(openssl(&["pkey", "-in", &path, "-pubout"])).expect("PEM");
    AsymmetricKey {
        public_pem,
        sign: Box::new(move |input| {
            let message = folder.path().join("message");
            std::fs::write(&message, input).expect("a file");
            let message = message.to_str().expect("UTF-8").to_owned();
            let private = folder.path().join("private.pem");
            openssl(&["dgst", "-sha256", "-sign", private.to_str().expect("UTF-8"), &message])
        }),
    }
}

fn pem(der: &[u8]) -> String {
    let mut text = base64url(der).replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|start| &text[start..text.len().min(start + 64)]).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}
