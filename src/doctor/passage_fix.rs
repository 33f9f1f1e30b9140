//! What to change in the proxies that people put in front of a hub, by what went wrong on the way.

use super::finding::{Finding, Fix};

/// What a proxy did to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It kept events back.
    Buffers,
    /// It ended a silent stream.
    CutsOff,
    /// It compressed what it passed on, and kept it back for that.
    Compresses,
    /// It took response fields away.
    Strips,
    /// It answers browsers with HTTP/1.1 only.
    OldVersion,
    /// It didn't pass `Last-Event-ID` on.
    ForgetsLastId,
}

/// A proxy's name, how to recognise it, and its line for each trouble.
struct Proxy {
    name: &'static str,
    fixes: fn(Trouble) -> &'static str,
}

const PROXIES: &[Proxy] = &[
    Proxy { name: "nginx", fixes: nginx },
    Proxy { name: "Caddy", fixes: caddy },
    Proxy { name: "HAProxy", fixes: haproxy },
];

fn nginx(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Buffers => "proxy_buffering off;   # and no proxy_ignore_headers X-Accel-Buffering",
        Trouble::CutsOff => "proxy_read_timeout 1h;",
        Trouble::Compresses => {
            "gzip off;   # in the hub's location, and no proxy_set_header Accept-Encoding: the hub compresses by itself"
        }
        Trouble::Strips => "take out the proxy_hide_header and add_header lines that name it",
        Trouble::OldVersion => "listen 443 ssl http2;   # from 1.25.1 on: http2 on;",
        Trouble::ForgetsLastId => "proxy_set_header Last-Event-ID $http_last_event_id;",
    }
}

fn caddy(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Buffers => "reverse_proxy HUB { flush_interval -1 }",
        Trouble::CutsOff => "take out write_timeout of the servers option and read_timeout of the transport",
        Trouble::Compresses => "encode only elsewhere: @rest not path /.well-known/mercure*   encode @rest gzip",
        Trouble::Strips => "take out header -NAME and header_down -NAME",
        Trouble::OldVersion => "take out the protocols option of the servers, which leaves h2 out",
        Trouble::ForgetsLastId => "take out header_up -Last-Event-ID",
    }
}

fn haproxy(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Buffers => "option http-no-delay   # and no response filters that wait for the body",
        Trouble::CutsOff => "timeout client 1h   timeout server 1h",
        Trouble::Compresses => "leave text/event-stream out of compression type",
        Trouble::Strips => "take out http-response del-header and replace-header rules that name it",
        Trouble::OldVersion => "bind :443 ssl crt FILE alpn h2,http/1.1",
        Trouble::ForgetsLastId => "take out http-request del-header Last-Event-ID",
    }
}

/// Adds what to change: for the proxies that were seen, or for all when none was.
pub(super) fn fix(mut finding: Finding, trouble: Trouble, seen: &[String]) -> Finding {
    let is_seen =
        |proxy: &&Proxy| seen.iter().any(|name| name.to_ascii_lowercase().contains(&proxy.name.to_ascii_lowercase()));
    let mut proxies: Vec<_> = PROXIES.iter().filter(is_seen).collect();
    if proxies.is_empty() {
        proxies = PROXIES.iter().collect();
    }
    let fixes =
        proxies.into_iter().map(|proxy| Fix { place: proxy.name.to_owned(), text: (proxy.fixes)(trouble).to_owned() });
    finding.fixes.extend(fixes);
    finding
}
