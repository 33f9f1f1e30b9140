//! How much one client may have, and who a client is.

use std::fmt;
use std::time::Duration;

use super::amount;
use super::layer::Resolved;
use super::listen::Listen;
use super::refusal::Refusal;
use crate::http::forwarded::ForwardedField;
use crate::http::network::{NETWORKS_MAX, Network, NetworkList};

/// What a limit on a number may be at most: more is a slip.
const COUNT_MAX: u32 = 10_000_000;

/// Limits of clients. But for the one of HTTP/2 all are off unless somebody sets them: behind a proxy every client has one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// The proxies whose word counts.
    pub trusted_proxies: NetworkList,
    /// The field in which they say whom they speak for.
    pub forwarded: ForwardedField,
    /// They begin each connection with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Connections of an address, or of 64 bits of an IPv6 address.
    pub connections_per_address: Option<u32>,
    /// Streams of an issuer's subject.
    pub streams_per_subject: Option<u32>,
    /// Requests and streams that an HTTP/2 connection may have at once.
    pub http2_streams: u32,
    /// Connections accepted per second, over all shards.
    pub accepts_per_second: Option<u32>,
    /// Publishes of an issuer's subject.
    pub publish_rate: Option<PublishRate>,
}

/// The default of `--max-http2-streams`: more than the pages of one browser have.
const HTTP2_STREAMS: u32 = 256;
/// And the most it may be: each costs some hundred bytes, and one connection is one shard's.
const HTTP2_STREAMS_MAX: u32 = 65_536;

impl Default for ClientLimits {
    fn default() -> ClientLimits {
        ClientLimits {
            trusted_proxies: NetworkList::default(),
            forwarded: ForwardedField::default(),
            proxy_protocol: false,
            connections_per_address: None,
            streams_per_subject: None,
            http2_streams: HTTP2_STREAMS,
            accepts_per_second: None,
            publish_rate: None,
        }
    }
}

/// How fast somebody may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishRate {
    /// Updates.
    pub count: u32,
    /// In this time.
    pub period: Duration,
    /// And so many at once.
    pub burst: u32,
}

/// As it is written: `50/s`.
impl fmt::Display for PublishRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.period.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl PublishRate {
    /// `50/s` → 50 in a second, and as many at once as in a second, one at least.
    fn parse(word: &str) -> Result<PublishRate, &'static str> {
        const FORM: &str = "isn't a rate: write 50/s, 600/m or 1000/h";
        let (count, unit) = word.split_once('/').ok_or(FORM)?;
        let count = amount::parse_count(count).map_err(|_| FORM)?;
        let count = u32::try_from(count).ok().filter(|&count| count <= 1_000_000).ok_or("is more than 1000000")?;
        if count == 0 {
            return Err("lets nobody publish; leave it out for no limit");
        }
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(FORM),
        };
        Ok(PublishRate { count, period: Duration::from_secs(seconds), burst: count.div_ceil(seconds as u32) })
    }
}

impl ClientLimits {
    /// Reads the settings; what is wrong goes to the refusals.
    pub(super) fn read(
        resolved: &Resolved,
        listen: &[Listen],
        refusals: &mut Vec<Refusal>,
        warnings: &mut Vec<String>,
    ) -> ClientLimits {
        let behind_proxy = listen.iter().filter(|listen| !listen.redirects).all(Listen::is_local);
        let by_sockets = listen.iter().any(Listen::may_be_unix);
        let mut reader = Reader { resolved, refusals };
        let trusted_proxies = reader.trusted_proxies();
        let forwarded = match resolved.word("forwarded") {
            None | Some("x-forwarded-for") => ForwardedField::XForwardedFor,
            Some("forwarded") => ForwardedField::Forwarded,
            Some("off") => ForwardedField::Off,
            Some(_) => {
                reader.refuse("forwarded", "is none of x-forwarded-for, forwarded and off");
                ForwardedField::Off
            }
        };
        let proxy_protocol = match resolved.word("proxy-protocol").map(super::layer::parse_switch) {
            None => false,
            Some(Some(on)) => on,
            Some(None) => {
                reader.refuse("proxy-protocol", "is neither true nor false");
                false
            }
        };
        // Who comes by a Unix socket is a proxy that is trusted.
        if proxy_protocol && !by_sockets && resolved.said("trusted-proxy").words.is_empty() {
            reader.refuse(
                "proxy-protocol",
                "believes nobody, as there is no trusted proxy: name those that send the header with `--trusted-proxy`",
            );
        }
        let limits = ClientLimits {
            connections_per_address: reader.count("max-connections-per-address"),
            streams_per_subject: reader.count("max-streams-per-subject"),
            http2_streams: reader.http2_streams(),
            accepts_per_second: reader.count("max-accept-rate"),
            publish_rate: reader.publish_rate(),
            trusted_proxies,
            forwarded,
            proxy_protocol,
        };
        if resolved.is_set("forwarded")
            && forwarded != ForwardedField::Off
            && limits.trusted_proxies.is_empty()
            && !by_sockets
        {
            let place = resolved.place("forwarded");
            warnings.push(format!(
                "{place} believes nobody, as there is no trusted proxy: name yours with --trusted-proxy"
            ));
        }
        let unnamed = limits.trusted_proxies.is_empty() && behind_proxy && !listen.iter().all(Listen::may_be_unix);
        if limits.connections_per_address.is_some() && unnamed {
            warnings.push(
                "--max-connections-per-address counts all clients of a proxy on this machine as one: name the proxy with \
                 --trusted-proxy"
                    .to_owned(),
            );
        }
        limits
    }
}

struct Reader<'a> {
    resolved: &'a Resolved,
    refusals: &'a mut Vec<Refusal>,
}

impl Reader<'_> {
    fn refuse_word(&mut self, name: &'static str, word: &str, why: &str) {
        let place = self.resolved.place(name);
        self.refusals.push(Refusal::Value { place, value: word.to_owned(), why: why.to_owned() });
    }

    fn refuse(&mut self, name: &'static str, why: &str) {
        let word = self.resolved.word(name).unwrap_or_default().to_owned();
        self.refuse_word(name, &word, why);
    }

    fn trusted_proxies(&mut self) -> NetworkList {
        let words = &self.resolved.said("trusted-proxy").words;
        if words.len() > NETWORKS_MAX {
            self.refuse("trusted-proxy", &format!("is one of more than {NETWORKS_MAX}: name larger networks"));
            return NetworkList::default();
        }
        let mut networks = Vec::new();
        for word in words {
            match word.parse::<Network>() {
                Ok(network) => networks.push(network),
                Err(why) => self.refuse_word("trusted-proxy", word, &why.to_string()),
            }
        }
        NetworkList::new(networks)
    }

    fn count(&mut self, name: &'static str) -> Option<u32> {
        let count = match amount::parse_count(self.resolved.word(name)?) {
            Ok(count) => count,
            Err(why) => {
                self.refuse(name, &why.to_string());
                return None;
            }
        };
        if count == 0 {
            let place = self.resolved.place(name);
            self.refusals.push(Refusal::Zero { place, why: "nobody would get in; leave it out for no limit" });
            return None;
        }
        let within = u32::try_from(count).ok().filter(|&count| count <= COUNT_MAX);
        if within.is_none() {
            self.refuse(name, &format!("is more than {COUNT_MAX}; leave it out for no limit"));
        }
        within
    }

    fn http2_streams(&mut self) -> u32 {
        let Some(word) = self.resolved.word("max-http2-streams") else {
            return HTTP2_STREAMS;
        };
        let count = amount::parse_count(word).ok().and_then(|count| u32::try_from(count).ok());
        match count.filter(|count| (1..=HTTP2_STREAMS_MAX).contains(count)) {
            Some(count) => count,
            None => {
                self.refuse("max-http2-streams", &format!("isn't a whole number from 1 to {HTTP2_STREAMS_MAX}"));
                HTTP2_STREAMS
            }
        }
    }

    fn publish_rate(&mut self) -> Option<PublishRate> {
        let burst = self.count("publish-burst");
        let Some(word) = self.resolved.word("publish-rate") else {
            if self.resolved.is_set("publish-burst") {
                self.refuse("publish-burst", "limits nothing without a rate: add `--publish-rate`");
            }
            return None;
        };
        match PublishRate::parse(word) {
            Ok(rate) => Some(PublishRate { burst: burst.unwrap_or(rate.burst), ..rate }),
            Err(why) => {
                self.refuse("publish-rate", why);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::load_anonymous as load;

    type Given = (&'static str, &'static [&'static str]);

    fn refused(given: &[Given]) -> String {
        load(given).unwrap_err().to_string()
    }

    #[test]
    fn nothing_is_limited_unless_somebody_says_so() {
        let limits = load(&[]).unwrap().client_limits;
        assert_eq!(limits, ClientLimits::default());
    }

    #[test]
    fn everything_can_be_limited() {
        let config = load(&[
            ("trusted-proxy", &["10.0.0.0/8", "::1"]),
            ("forwarded", &["forwarded"]),
            ("proxy-protocol", &["true"]),
            ("max-connections-per-address", &["20"]),
            ("max-streams-per-subject", &["5"]),
            ("max-http2-streams", &["100"]),
            ("max-accept-rate", &["2_000"]),
            ("publish-rate", &["600/m"]),
        ]);
        let limits = config.unwrap().client_limits;
        assert!(limits.trusted_proxies.contains("10.1.1.1".parse().unwrap()) && limits.proxy_protocol);
        assert_eq!(limits.forwarded, ForwardedField::Forwarded);
        let counts = [limits.connections_per_address, limits.streams_per_subject, limits.accepts_per_second];
        assert_eq!(counts, [Some(20), Some(5), Some(2000)]);
        assert_eq!(limits.http2_streams, 100);
        let rate = PublishRate { count: 600, period: Duration::from_secs(60), burst: 10 };
        assert_eq!(limits.publish_rate, Some(rate));
        let limits = load(&[("publish-rate", &["5/h"]), ("publish-burst", &["50"])]).unwrap().client_limits;
        assert_eq!(limits.publish_rate.map(|rate| rate.burst), Some(50));
        assert_eq!(PublishRate::parse("5/h").map(|rate| rate.burst), Ok(1));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        let cases: [(Given, &str); 14] = [
            (("trusted-proxy", &["0.0.0.0/0"]), "is everybody"),
            (("trusted-proxy", &["10.0.0.1/8"]), "write 10.0.0.0/8"),
            (("forwarded", &["yes"]), "x-forwarded-for, forwarded and off"),
            (("proxy-protocol", &["true"]), "`--trusted-proxy`"),
            (("max-connections-per-address", &["0"]), "leave it out for no limit"),
            (("max-streams-per-subject", &["many"]), "a whole number"),
            (("max-http2-streams", &["0"]), "from 1 to 65536"),
            (("max-http2-streams", &["1e6"]), "from 1 to 65536"),
            (("max-accept-rate", &["99999999999"]), "is more than"),
            (("publish-rate", &["50"]), "write 50/s"),
            (("publish-rate", &["50/d"]), "write 50/s"),
            (("publish-rate", &["0/s"]), "lets nobody publish"),
            (("publish-burst", &["5"]), "`--publish-rate`"),
            (("memory-max", &["1MiB"]), "16MiB"),
        ];
        for (given, words) in cases {
            let said = refused(&[given]);
            assert!(said.contains(words), "{given:?}: {said}");
        }
    }

    #[test]
    fn a_field_that_nobody_may_write_is_warned_about() {
        let warnings = load(&[("forwarded", &["forwarded"])]).unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains("believes nobody")), "{warnings:?}");
    }

    #[test]
    fn a_limit_by_address_behind_an_unnamed_proxy_is_warned_about() {
        let limit: Given = ("max-connections-per-address", &["5"]);
        let warns = |given: &[Given]| {
            load(given).unwrap().warnings.iter().any(|warning| warning.contains("name the proxy with --trusted-proxy"))
        };
        assert!(warns(&[limit]));
        assert!(!warns(&[limit, ("trusted-proxy", &["127.0.0.1"])]));
        assert!(!warns(&[limit, ("listen", &["0.0.0.0:3000"])]));
    }
}
