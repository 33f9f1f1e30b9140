//! Servers that let nobody in without TLS, certificates and passwords.

use std::path::Path;

use super::{NatsServer, RedisServer};
use crate::certificates::Certificates;
use crate::harness::*;
use crate::postgres::PostgresServer;
use crate::servers::shell;

const SECRET: &str = "s3cret päss/word";

/// Two hubs find each other behind the guards, one told by flags and a password's file and one by a configuration file; a third one, without the password
/// or with the wrong authority, isn't let in. Nothing they say shows the password.
fn hubs_get_in(url: &str, made: &Certificates, client_certificate: bool) {
    let [ca, other, certificate, key] = ["ca.pem", "other.pem", "client.pem", "client.key"].map(|name| made.text(name));
    let launch = |ca: &str| {
        let launch = Launch::keyed().args(&["--anonymous", "--cluster", url, "--cluster-ca", ca]);
        let shown = ["--cluster-certificate", &certificate, "--cluster-key", &key];
        if client_certificate { launch.args(&shown) } else { launch }
    };
    let by_file = launch(&ca);
    let password = by_file.file("password", &format!("{SECRET}\n"));
    let one = by_file.args(&["--cluster-password-file", &password]).env("CINNABAR_LOG", "debug").start();
    let launch_two = Launch::keyed();
    let mut lines =
        format!("anonymous = true\ncluster = \"{url}\"\ncluster_ca = \"{ca}\"\ncluster_password = \"{SECRET}\"\n");
    if client_certificate {
        lines += &format!("cluster_certificate = \"{certificate}\"\ncluster_key = \"{key}\"\n");
    }
    let file = launch_two.file("cinnabar.toml", &lines);
    let two = launch_two.args(&["--config", &file]).start();
    let mut stream = two.subscribe(&[("match", "urn:a")]);
    one.say("urn:a", "guarded");
    assert_eq!(stream.data(), "guarded");
    let stranger = launch(&ca).env("CINNABAR_CLUSTER_PASSWORD", "s3cret-but-wrong").refused();
    let misled = launch(&other).env("CINNABAR_CLUSTER_PASSWORD", SECRET).refused();
    assert!(stranger.contains("can't join the cluster"), "{stranger}");
    assert!(misled.contains("can't join the cluster") && misled.contains("certificate"), "{misled}");
    for said in [&one.log(), &two.log(), &stranger, &misled] {
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn redis_with_tls_certificates_and_a_password() {
    let made = Certificates::make();
    let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| made.text(name));
    let tls = ["--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let server = RedisServer::with_tls(&[&tls[..], &["--requirepass", SECRET]].concat());
    hubs_get_in(&format!("rediss://127.0.0.1:{}", server.0.port), &made, true);
}

#[test]
fn nats_with_tls_certificates_and_a_password() {
    let made = Certificates::make();
    let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| made.text(name));
    let server = NatsServer::with(&format!(
        "tls {{ ca_file: \"{ca}\", cert_file: \"{certificate}\", key_file: \"{key}\", verify: true }}\n\
         authorization {{ user: hub, password: \"{SECRET}\" }}\n"
    ));
    hubs_get_in(&format!("tls://hub@127.0.0.1:{}", server.0.port), &made, true);
}

#[test]
fn postgres_with_tls_and_a_password() {
    let made = Certificates::make();
    let folder = Path::new(&made.text("ca.pem")).parent().expect("in a folder").display().to_string();
    // The server wants its key for itself.
    shell(&format!("cd {folder} && chmod 600 server.key && chmod a+rx . && (chown postgres server.key || true)"));
    let server = PostgresServer::with(&[
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", made.text("server.pem")),
        format!("ssl_key_file={}", made.text("server.key")),
    ]);
    server.psql(&format!("CREATE ROLE hub LOGIN SUPERUSER PASSWORD '{SECRET}'"));
    server.let_in("hostssl all all 127.0.0.1/32 scram-sha-256");
    hubs_get_in(&format!("postgres://hub@127.0.0.1:{}/postgres", server.port()), &made, false);
}
