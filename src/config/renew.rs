//! Reading the configuration again while the hub runs: what changes at once, and what waits for the next start.

use std::ffi::OsString;

use super::load::Config;
use super::refusal::{Refusal, Refusals};
use super::setting::SETTINGS;

/// The settings that a reload applies; the others keep their value until the next start.
pub const LIVE: &[&str] = &[
    "issuer",
    "publisher-jwt-key",
    "publisher-jwt-alg",
    "publisher-jwks-url",
    "subscriber-jwt-key",
    "subscriber-jwt-alg",
    "subscriber-jwks-url",
    "jwks-allow-http",
    "authorization-server",
    "public-url",
    "tls-certificate",
    "tls-key",
    "anonymous",
    "cors-origin",
    "publish-origin",
    "cookie-name",
    "heartbeat",
    "max-lifetime",
    "write-timeout",
    "retry",
    "padding",
    "max-body-bytes",
    "max-head-bytes",
    "head-timeout",
    "body-timeout",
    "trusted-proxy",
    "forwarded",
    "proxy-protocol",
    "max-connections-per-address",
    "max-streams-per-subject",
    "max-http2-streams",
    "max-accept-rate",
    "publish-rate",
    "publish-burst",
    "max-connections",
    "memory-max",
    "drain-delay",
    "drain-window",
    "shutdown-timeout",
];

impl Config {
    /// Reads the environment and the file again, below the flags of the start.
    ///
    /// # Errors
    /// Everything that is wrong: then nothing should change.
    pub fn read_again(&self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Config, Refusals> {
        let read = Config::load(self.flags.clone(), variables)?;
        // Its defaults and its keys hang on it: half a change would be worse than none.
        if read.dev != self.dev {
            return Err(Refusals(vec![Refusal::DevelopmentByReload]));
        }
        Ok(read)
    }

    /// This configuration with what a reload can change from the one that was read, and the names of settings that differ
    /// and have to wait for the next start.
    pub fn renewed(&self, read: Config) -> (Config, Vec<&'static str>) {
        let waiting: Vec<_> = SETTINGS
            .iter()
            .map(|setting| setting.name)
            .filter(|name| !LIVE.contains(name) && self.resolved.said(name).words != read.resolved.said(name).words)
            .collect();
        let mut renewed = Config {
            issuers: read.issuers,
            key_sets: read.key_sets,
            authorization_servers: read.authorization_servers,
            public_hosts: read.public_hosts,
            certificates: read.certificates,
            anonymous: read.anonymous,
            cors_origins: read.cors_origins,
            publish_origins: read.publish_origins,
            cookie_name: read.cookie_name,
            heartbeat: read.heartbeat,
            max_lifetime: read.max_lifetime,
            write_timeout: read.write_timeout,
            retry: read.retry,
            padding_bytes: read.padding_bytes,
            max_body_bytes: read.max_body_bytes,
            max_head_bytes: read.max_head_bytes,
            head_timeout: read.head_timeout,
            body_timeout: read.body_timeout,
            client_limits: read.client_limits,
            max_connections: read.max_connections,
            memory_max: read.memory_max,
            drain_delay: read.drain_delay,
            drain_window: read.drain_window,
            shutdown_timeout: read.shutdown_timeout,
            warnings: read.warnings,
            ..self.clone()
        };
        renewed.resolved.take(LIVE, read.resolved);
        // Development's own keys were read at the start, from a folder that nothing is made in later.
        renewed.trust_dev_secret_again();
        (renewed, waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::data_folder::scratch;
    use super::super::flags;
    use super::super::listen::Listen;
    use super::*;
    use crate::protocol::token::{Role, TokenVerifier};

    const RESOURCE: &str = "https://hub.example/.well-known/mercure";

    fn read(config: &Config, variables: &[(&str, &str)]) -> Result<Config, Refusals> {
        config.read_again(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn anonymous() -> Config {
        let given = [("resource", RESOURCE), ("anonymous", "true"), ("shards", "3")];
        Config::load(flags(given.map(|(name, word)| (name, vec![word.to_owned()]))), []).unwrap()
    }

    #[test]
    fn what_can_change_does_and_the_rest_is_named() {
        let config = anonymous();
        let variables = [("CINNABAR_HEARTBEAT", "7s"), ("CINNABAR_TAIL_BYTES", "1MiB"), ("CINNABAR_LOG", "debug")];
        let (renewed, waiting) = config.renewed(read(&config, &variables).unwrap());
        assert_eq!(renewed.heartbeat, Some(Duration::from_secs(7)));
        assert_eq!(waiting, ["tail-bytes", "log"]);
        assert_eq!((renewed.tail_bytes, renewed.shards), (config.tail_bytes, 3), "flags hold as before");
        assert!(renewed.table().lines().any(|line| line.starts_with("heartbeat") && line.contains("7s")));
        assert!(renewed.table().lines().any(|line| line.starts_with("tail-bytes") && line.contains("64MiB")));
        let (renewed, waiting) = renewed.renewed(read(&renewed, &[]).unwrap());
        assert_eq!((renewed.heartbeat, waiting), (config.heartbeat, vec![]));
    }

    #[test]
    fn what_is_wrong_is_said_and_development_stays_what_it_is() {
        let config = anonymous();
        let refused = read(&config, &[("CINNABAR_HEARTBEAT", "soon"), ("CINNABAR_IO", "none")]).unwrap_err();
        assert_eq!(refused.0.len(), 2, "{refused}");
        let refused = read(&config, &[("CINNABAR_DEV", "true")]).unwrap_err();
        assert_eq!(refused.0, [Refusal::DevelopmentByReload]);
    }

    #[test]
    fn development_keys_survive() {
        let path = scratch("renew");
        let given = [("dev", "true"), ("data", path.to_str().unwrap()), ("listen", "127.0.0.1:0")];
        let mut config = Config::load(flags(given.map(|(name, word)| (name, vec![word.to_owned()]))), []).unwrap();
        config.open_data_folder().unwrap();
        config.set_bound(vec![Listen::plain("127.0.0.1:4321".parse().unwrap())]);
        let banner = config.dev_banner(Duration::from_secs(1_800_000_000)).unwrap().unwrap();
        let token = banner.lines().find_map(|line| line.strip_prefix("publisher token ")).unwrap().trim();
        std::fs::remove_dir_all(&path).unwrap();
        let again = [("CINNABAR_ISSUER", "https://a.example"), ("CINNABAR_PUBLISHER_JWT_KEY", "k".repeat(32).leak())];
        let (renewed, waiting) = config.renewed(read(&config, &again).unwrap());
        let (renewed, _) = renewed.renewed(read(&renewed, &again).unwrap());
        assert_eq!((renewed.issuers.len(), waiting), (2, vec![]));
        assert!(!path.exists(), "nothing is made");
        let verifier = TokenVerifier::new(renewed.token_rules());
        assert!(verifier.verify(token, Role::Publisher, 1_800_000_001_000).is_ok());
    }
}
