//! TLS: what it takes to be reached by browsers directly, against clients nobody here wrote and against one that sees every byte.

mod acme;
pub(crate) mod authority;
mod certificates;
mod development;
mod handshakes;
mod pebble;
mod peers;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) use authority::Authority;
use authority::trusting;
use rustls::{ClientConfig, SupportedCipherSuite};

use crate::harness::*;

/// A hub that listens plainly and with TLS, and who vouches for it.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
    pub(crate) authority: Authority,
}

impl Sealed {
    pub(crate) fn start(args: &[&str]) -> Sealed {
        Sealed::launch(Launch::keyed().args(args))
    }

    pub(crate) fn anonymous() -> Sealed {
        Sealed::start(&["--anonymous"])
    }

    pub(crate) fn launch(launch: Launch) -> Sealed {
        let authority = Authority::new();
        authority.issue("server", &["localhost"], 30);
        Sealed::with(launch, authority, &["server"])
    }

    /// With these certificates.
    fn with(launch: Launch, authority: Authority, names: &[&str]) -> Sealed {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut args = vec!["--listen".to_owned(), format!("127.0.0.1:{}", launch.port())];
        args.extend(["--listen".to_owned(), format!("tls:{address}")]);
        for name in names {
            args.extend(["--tls-certificate".to_owned(), authority.text(&format!("{name}.pem"))]);
            args.extend(["--tls-key".to_owned(), authority.text(&format!("{name}.key"))]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Sealed { hub: launch.args(&args).start(), address, authority }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}{HUB}", self.address.port())
    }

    fn connect(&self) -> Client {
        self.connect_by(self.authority.client())
    }

    fn connect_by(&self, config: ClientConfig) -> Client {
        Client::connect_tls(self.address, Arc::new(config), "localhost")
    }

    fn connect_with(&self, suite: SupportedCipherSuite) -> Client {
        self.connect_by(self.authority.client_with(suite))
    }

    pub(crate) fn subscribe(&self, parameters: &[(&str, &str)]) -> Stream {
        subscribe_on(self.connect(), parameters)
    }
}

pub(crate) fn subscribe_on(mut client: Client, parameters: &[(&str, &str)]) -> Stream {
    client.request("GET", &query(parameters), &[], None);
    client.stream().expect("a stream")
}
