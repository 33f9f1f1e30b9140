//! What the check of a token costs: one that was seen before, and a fresh one, beside the bare signature check of ring over
//! the same signatures in the same run.
//!
//!     cargo bench --bench tokens
//!
//! Allocations are counted first; times come after that.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark reads the clock and prints"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cinnabar::protocol::keys::{SigningKey, VerificationKey};
use cinnabar::protocol::matcher::MatchType;
use cinnabar::protocol::token::{Issuer, Mint, Role, TokenRules, TokenVerifier, VerdictCache, mint};
use cinnabar::protocol::topic::HubUrl;
use criterion::Criterion;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const HUB: &str = "https://hub.example/.well-known/mercure";
const ISSUER: &str = "https://login.example";
const NOW_S: u64 = 1_800_000_000;
const NOW_MS: u64 = NOW_S * 1000;
/// Tokens that come again and again: a crowd of subscribers.
const CROWD: usize = 1_000;
/// Rounds of the comparison, each of which checks every fresh token once either way.
const ROUNDS: usize = 201;
const FRESH: usize = 32;
/// The goals.
const VERDICTS_PER_SECOND_MIN: f64 = 100_000.0;
const SHARE_MIN: f64 = 0.70;

/// A token taken apart for ring.
struct Bare {
    message: Vec<u8>,
    signature: Vec<u8>,
}

struct World {
    verifier: TokenVerifier,
    tokens: Vec<String>,
    public: UnparsedPublicKey<Vec<u8>>,
    bare: Vec<Bare>,
}

impl World {
    fn new() -> World {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("a key");
        let signer = SigningKey::from_text(&pem("PRIVATE KEY", pkcs8.as_ref()), None).expect("a key");
        let point = pair.public_key().as_ref();
        // SubjectPublicKeyInfo of a point on P-256 (RFC 5480).
        let prefix = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        let key = VerificationKey::from_text(&pem("PUBLIC KEY", &[&prefix, point].concat()), &[]).expect("a key");
        let verifier = TokenVerifier::new(TokenRules {
            issuers: vec![Issuer { id: ISSUER.into(), publisher: None, subscriber: Some(vec![key]) }],
            audience: HUB.into(),
            hub: HubUrl::parse(HUB).expect("a URL"),
            compat: None,
        });
        let tokens: Vec<_> = (0..CROWD).map(|number| token(number, &signer)).collect();
        let bare = tokens[..FRESH].iter().map(|token| {
            let (message, signature) = token.rsplit_once('.').expect("three parts");
            let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
            Bare { message: message.into(), signature }
        });
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.to_vec());
        World { bare: bare.collect(), public, verifier, tokens }
    }

    fn verify_bare(&self, at: usize) {
        let Bare { message, signature } = &self.bare[at];
        self.public.verify(black_box(message), signature).expect("a good signature");
    }

    fn verify(&self, at: usize) {
        let access = self.verifier.verify(black_box(&self.tokens[at]), Role::Subscriber, NOW_MS);
        black_box(access.expect("a good token"));
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// What an application gives its users: two topics, one of them a pattern.
fn token(number: usize, signer: &SigningKey) -> String {
    let order = Mint {
        issuer: ISSUER.into(),
        audience: HUB.into(),
        subject: Some(format!("user-{number}")),
        client_id: Some("https://app.example".into()),
        token_id: Some(format!("token-{number}")),
        issued_at_s: NOW_S - 60,
        expires_at_s: NOW_S + 3600,
        subscribe: vec![
            (MatchType::Exact, format!("https://app.example/users/{number}")),
            (MatchType::UrlPattern, format!("https://app.example/rooms/{number}/:message")),
        ],
        key_id: Some("2026-11".into()),
        ..Mint::default()
    };
    mint(&order, signer).expect("a token")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds that a piece of work takes.
fn timed(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_nanos() as f64
}

/// Allocations of each check. The first of a kind isn't counted: what it makes stays.
fn count(what: &str, checks: usize, mut check: impl FnMut(usize)) {
    check(0);
    let ((), tally) = allocator::counted(|| (0..checks).for_each(&mut check));
    println!("| {what} | {:.1} |", tally.allocations as f64 / checks as f64);
}

fn main() {
    let world = World::new();
    let mut cache = VerdictCache::default();
    for token in &world.tokens {
        let access = world.verifier.verify(token, Role::Subscriber, NOW_MS).expect("a good token");
        cache.insert(token, Role::Subscriber, 1, access);
    }
    let mut crowd = world.tokens.iter().cycle();
    let mut repeated = || {
        let token = crowd.next().expect("endless");
        black_box(cache.get(black_box(token), Role::Subscriber, 1, NOW_MS).expect("a known token"));
    };

    println!("\n| what ({} bytes a token) | allocations |\n|---|---|", world.tokens[0].len());
    count("a repeated token", CROWD, |_| repeated());
    count("a fresh ES256 token: ring alone", FRESH, |at| world.verify_bare(at));
    count("a fresh ES256 token: verify", FRESH, |at| world.verify(at));
    println!();

    let mut criterion = Criterion::default().measurement_time(Duration::from_secs(3)).configure_from_args();
    let mut next = (0..FRESH).cycle();
    let mut fresh = criterion.benchmark_group("a fresh ES256 token");
    fresh.bench_function("ring alone", |bencher| bencher.iter(|| world.verify_bare(next.next().expect("endless"))));
    fresh.bench_function("verify", |bencher| bencher.iter(|| world.verify(next.next().expect("endless"))));
    fresh.finish();
    criterion.bench_function("a repeated token", |bencher| bencher.iter(&mut repeated));

    // The figures: in turns, so that whatever else the machine does meets both alike.
    let mut shares = Vec::new();
    let (mut bares, mut verifies, mut verdicts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let bare = timed(|| (0..FRESH).for_each(|at| world.verify_bare(at))) / FRESH as f64;
        let verify = timed(|| (0..FRESH).for_each(|at| world.verify(at))) / FRESH as f64;
        verdicts.push(timed(|| (0..CROWD).for_each(|_| repeated())) / CROWD as f64);
        shares.push(bare / verify);
        bares.push(bare);
        verifies.push(verify);
    }
    let (bare, verify, verdict, share) = (median(bares), median(verifies), median(verdicts), median(shares));
    println!(
        "\n| what ({} bytes a token, medians of {ROUNDS} rounds) | goal | reached |\n|---|---|---|",
        world.tokens[0].len()
    );
    println!(
        "| verdicts on repeated tokens, per second and core | ≥ {VERDICTS_PER_SECOND_MIN:.0} | {:.0} ({:.2} µs each) |",
        1e9 / verdict,
        verdict / 1e3
    );
    println!(
        "| fresh ES256 tokens, share of ring's bare verification | ≥ {SHARE_MIN:.2} | {share:.2} ({:.1} µs, ring alone {:.1} µs) |",
        verify / 1e3,
        bare / 1e3
    );
}
