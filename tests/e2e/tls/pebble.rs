//! An authority with ACME for tests: Pebble, by the makers of Let's Encrypt, built from tests/acme with Go. It looks for every name on this
//! machine, at the ports it is told, and turns away some good nonces on purpose.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

use super::peers::stdout;
use super::{Authority, trusting};
use crate::harness::*;

/// What all the names lead to, and what the authority does.
pub(super) struct Rules {
    pub(super) http_port: u16,
    pub(super) tls_port: u16,
    /// How long its certificates last, seconds.
    pub(super) validity_s: u64,
    /// Whether it wants accounts of its customers only: `kid-1`, with [`EAB_KEY`].
    pub(super) customers_only: bool,
}

/// The key of the one customer.
pub(super) const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// See the module.
pub(super) struct Pebble {
    programs: PathBuf,
    /// Who vouches for its own server.
    authority: Authority,
    rules: Rules,
    port: u16,
    management: u16,
    processes: Vec<Process>,
}

impl Pebble {
    /// Not running yet. `None`: there is no Go here to build it with.
    pub(super) fn new(rules: Rules) -> Option<Pebble> {
        let programs = programs()?.to_owned();
        let authority = Authority::new();
        authority.issue("pebble", &["localhost"], 30);
        let (port, management) = (free_port(), free_port());
        Some(Pebble { programs, authority, rules, port, management, processes: Vec::new() })
    }

    /// Runs it, with keys of its own each time.
    pub(super) fn start(&mut self) {
        let (dns, http, https, alpn, doh) = (free_port(), free_port(), free_port(), free_port(), free_port());
        let bind = |port: u16| format!("127.0.0.1:{port}");
        let mut names = Command::new(self.programs.join("pebble-challtestsrv"));
        names.args(["-defaultIPv6", "", "-dnsserver", &bind(dns), "-http01", &bind(http), "-https01", &bind(https)]);
        names.args(["-tlsalpn01", &bind(alpn), "-doh", "", "-management", &bind(doh)]);
        let mut config = json!({
            "listenAddress": bind(self.port),
            "managementListenAddress": bind(self.management),
            "certificate": self.authority.text("pebble.pem"),
            "privateKey": self.authority.text("pebble.key"),
            "httpPort": self.rules.http_port,
            "tlsPort": self.rules.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.rules.customers_only,
            "domainBlocklist": ["blocked.example"],
            "retryAfter": { "authz": 1, "order": 1 },
            "keyAlgorithm": "ecdsa",
            "profiles": { "default": { "description": "tests", "validityPeriod": self.rules.validity_s } },
        });
        if self.rules.customers_only {
            config["externalAccountMACKeys"] = json!({ "kid-1": EAB_KEY });
        }
        let file = self.authority.path("pebble.json");
        std::fs::write(&file, json!({ "pebble": config }).to_string()).expect("written");
        let mut pebble = Command::new(self.programs.join("pebble"));
        pebble.arg("-config").arg(&file).args(["-dnsserver", &bind(dns)]).env("PEBBLE_VA_NOSLEEP", "1");
        self.processes = vec![Process::start(names), Process::start(pebble)];
        eventually("the authority answers", || {
            let line = format!("curl -s --cacert {} {}", self.authority.text("ca.pem"), self.directory());
            stdout(&line).contains("newOrder")
        });
    }

    pub(super) fn stop(&mut self) {
        self.processes.clear();
    }

    pub(super) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// What a hub has to be told.
    pub(super) fn arguments(&self) -> Vec<String> {
        ["--acme-directory", &self.directory(), "--acme-ca", &self.authority.text("ca.pem")].map(str::to_owned).to_vec()
    }

    /// A client that trusts what it signs, as long as it runs, and wants to be shown it each time.
    pub(super) fn client(&self) -> Arc<ClientConfig> {
        let url = format!("https://localhost:{}/roots/0", self.management);
        let root = stdout(&format!("curl -s --cacert {} {url}", self.authority.text("ca.pem")));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("a root")).expect("a certificate");
        let mut client = trusting(roots);
        client.resumption = Resumption::disabled();
        Arc::new(client)
    }
}

/// The folder of the programs, built once.
fn programs() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let go = go()?;
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("acme");
        std::fs::create_dir_all(&to).expect("a folder");
        let mut build = Command::new(go);
        build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/acme"));
        build.args(["build", "-mod=readonly", "-o"]).arg(&to).arg("tool");
        let output = build.output().expect("Go runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(to)
    };
    BUILT.get_or_init(build).as_deref()
}
