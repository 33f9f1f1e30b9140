//! Words that aren't amounts, read as what they mean. Each refusal completes the sentence "…, which …".

use super::load::IoChoice;
use crate::protocol::topic::{HUB_PATH, HubUrl};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use url::Url;

/// `http://localhost:3000/.well-known/mercure` for 127.0.0.1:3000, as a browser would write it.
pub(super) fn url_of(listen: SocketAddr) -> HubUrl {
    let url = match listen.ip() {
        ip if ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST) => {
            format!("http://localhost:{}{HUB_PATH}", listen.port())
        }
        _ => format!("http://{listen}{HUB_PATH}"),
    };
    HubUrl::parse(&url).expect("an address and a path make a URL")
}

/// A resource identifier as the URL of a hub, where it is one and relative topics can be resolved against it. A proxy
/// may have put something before the path.
pub(super) fn as_hub_url(resource: &str) -> Option<HubUrl> {
    HubUrl::parse(resource).ok().filter(|url| url.path().ends_with(HUB_PATH))
}

pub(super) fn parse_listen(word: &str) -> Result<SocketAddr, String> {
    if let Some(port) = word.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    word.parse().map_err(|_| {
        let port = word.strip_prefix(':').unwrap_or(word);
        match port.parse::<u16>() {
            Ok(port) => {
                format!("has no address: write 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for everybody")
            }
            Err(_) => "isn't an address and port: write 127.0.0.1:3000, 0.0.0.0:3000 or [::]:3000".to_owned(),
        }
    })
}

pub(super) fn parse_resource(word: &str) -> Result<String, &'static str> {
    match Url::parse(word) {
        Ok(url) if url.fragment().is_some() => {
            Err("has a fragment, which a resource identifier can't have: leave out the `#…`")
        }
        // Compared byte by byte with `aud`: it must stay as it was written.
        Ok(_) => Ok(word.to_owned()),
        Err(_) => Err("isn't a URL: write the hub's public one, such as https://hub.example/.well-known/mercure"),
    }
}

pub(super) fn parse_io(word: &str) -> Result<IoChoice, &'static str> {
    match word {
        "auto" => Ok(IoChoice::Auto),
        "uring" => Ok(IoChoice::Uring),
        "epoll" => Ok(IoChoice::Epoll),
        _ => Err("isn't auto, uring or epoll"),
    }
}

/// RFC 6265 section 4.1.1: a cookie's name is a token.
pub(super) fn parse_cookie_name(word: &str) -> Result<String, &'static str> {
    let is_token = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_token) {
        Ok(word.to_owned())
    } else {
        Err("isn't a cookie name: use letters, digits, `-` and `_`")
    }
}

pub(super) fn parse_log(word: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(word) {
        Ok(_) => Ok(word.to_owned()),
        Err(why) => Err(format!("isn't a log filter ({why}): write a level such as info or debug")),
    }
}
