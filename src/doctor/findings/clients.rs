//! Who clients are to the hub: behind a proxy all of them have its address, unless the proxy's word counts.

use super::Case;
use crate::doctor::finding::{Finding, Level, count};

/// What proxies on this machine connect from; tuning/nginx.conf and tuning/haproxy.cfg use a dozen of these.
const LOCAL_PROXIES: &str = "--trusted-proxy 127.0.0.0/8 --trusted-proxy ::1";

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    findings.extend(per_address(case));
    findings.extend(proxy_protocol(case));
}

fn per_address(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "--max-connections-per-address";
    let limit = case.hub.connections_per_address?;
    let found = count(limit);
    if case.hub.trusts_proxies {
        return Some(Finding::ok(NAME, found));
    }
    if !case.hub.behind_local_proxy {
        let why = "right while clients connect by themselves; behind a proxy or a balancer all of them have its address, and count as one";
        return Some(
            Finding::new(NAME, Level::Note, found, why).fix("hub, if there is one", "--trusted-proxy ITS-ADDRESS"),
        );
    }
    let why = "the hub listens on loopback, so a proxy makes all connections: all clients have its address and count as one, and those \
               beyond the limit get 429";
    let level = if limit >= case.target() {
        Level::Note
    } else if case.capacity.asked {
        Level::Fail
    } else {
        Level::Warn
    };
    Some(
        Finding::new(NAME, level, found, why)
            .wanted("clients told apart")
            .fix("hub", LOCAL_PROXIES)
            .fix("nginx", "proxy_set_header X-Forwarded-For $remote_addr;")
            .fix("HAProxy", "option forwardfor")
            .fix("Caddy", "nothing: it says so by itself"),
    )
}

fn proxy_protocol(case: &Case<'_>) -> Option<Finding> {
    const NAME: &str = "--proxy-protocol";
    if !case.hub.proxy_protocol {
        return None;
    }
    let why = "each connection of a trusted proxy has to begin with the header, health checks and trials from its machine included: \
               those without get 400";
    Some(
        Finding::new(NAME, Level::Note, "on", why)
            .fix("HAProxy", "send-proxy-v2 in the line of the server, and check-send-proxy with check")
            .fix("Caddy", "transport http { proxy_protocol v2 }")
            .fix("nginx", "proxy_protocol on; in a server of stream {}: its proxies for HTTP can't send it"),
    )
}
