//! Words that aren't amounts, read as what they mean. Each refusal completes the sentence "…, which …".

use super::listen::Listen;
use super::load::IoChoice;
use crate::protocol::coding::{Coding, Codings};
use crate::protocol::compat::Compat;
use crate::protocol::topic::{HUB_PATH, HubUrl, HubUrlError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use url::Url;

/// `http://localhost:3000/.well-known/mercure` for 127.0.0.1:3000, as a browser would write it.
pub(super) fn url_of(listen: &[Listen]) -> HubUrl {
    let place = listen.iter().filter(|listen| !listen.redirects).find_map(|it| Some((it.scheme(), it.address()?)));
    let url = match place {
        // A proxy in front has an address of its own, which nobody here knows.
        None => format!("http://localhost{HUB_PATH}"),
        Some((scheme, address)) if is_here(address.ip()) => {
            format!("{scheme}://localhost:{}{HUB_PATH}", address.port())
        }
        Some((scheme, address)) => format!("{scheme}://{address}{HUB_PATH}"),
    };
    HubUrl::parse(&url).expect("an address and a path make a URL")
}

fn is_here(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// Where clients on this machine reach a hub that is called so in public: its path, on the first of these addresses.
pub(super) fn local_url(listen: &[Listen], hub: &HubUrl) -> HubUrl {
    let mut url = url_of(listen).url().clone();
    url.set_path(hub.path());
    HubUrl::parse(url.as_str()).expect("an address and the path of a URL make a URL")
}

/// The text without the user and the password it may name, to be shown.
pub(super) fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    match rest.rsplit_once('@') {
        Some((_, rest)) if scheme.is_empty() => format!("...@{rest}"),
        Some((_, rest)) => format!("{scheme}://...@{rest}"),
        None => url.to_owned(),
    }
}

pub(super) fn parse_compat(word: &str) -> Result<Compat, &'static str> {
    Compat::from_number(word)
        .ok_or("is neither 7 nor 8, the versions before 1.0 that a hub can speak; leave it out for 1.0 only")
}

/// The codings of streams, or the word that is wrong and why.
pub(super) fn parse_compression(words: &[String]) -> Result<Codings, (String, &'static str)> {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
    match words[..] {
        [] => return Err((String::new(), "names no coding: write gzip, zstd or off")),
        ["off"] => return Ok(Codings::default()),
        _ => {}
    }
    let coding = |word: &&str| match Coding::ALL.into_iter().find(|coding| coding.name() == *word) {
        Some(coding) => Ok(coding),
        None if *word == "off" => Err(((*word).to_owned(), "stands beside a coding: write off alone, or leave it out")),
        None => Err(((*word).to_owned(), "isn't a coding the hub has: write gzip, zstd or off")),
    };
    Ok(Codings::new(&words.iter().map(coding).collect::<Result<Vec<_>, _>>()?))
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

/// The hub's public URL, at whatever path it is.
pub(super) fn parse_resource(word: &str) -> Result<HubUrl, &'static str> {
    HubUrl::parse(word).map_err(|why| match why {
        HubUrlError::Unparsable(_) => {
            "isn't a URL: write the hub's public one, such as https://hub.example/.well-known/mercure"
        }
        HubUrlError::Scheme(_) => {
            "isn't a URL clients can reach a hub under: write one that begins with https:// or http://"
        }
        HubUrlError::Credentials => {
            "names a user or a password, which every relative topic would inherit: leave them out"
        }
        HubUrlError::QueryOrFragment => {
            "has a query or a fragment, which a hub's URL can't have: leave out what begins with ? or #"
        }
        HubUrlError::TrailingSlash => {
            "has no path or one that ends in a slash, below which nothing could be kept for the hub: write a path such as \
             /.well-known/mercure"
        }
    })
}

/// One of the URLs the hub is reached under. Its host and port count; a path can only be the hub's.
pub(super) fn parse_public_url(word: &str, hub: &HubUrl) -> Result<Url, &'static str> {
    let url = Url::parse(word).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("isn't a URL clients can reach a hub under: write one such as https://hub.example")?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("is more than the hub's URL: leave out user, password, query and fragment");
    }
    if url.path() != "/" && url.path() != hub.path() {
        return Err("has another path than the resource, where the hub doesn't answer: leave the path out");
    }
    Ok(url)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_url_names_no_password() {
        for (url, shown) in [
            ("https://hub.example/x", "https://hub.example/x"),
            ("https://u:p@hub.example/x", "https://...@hub.example/x"),
            ("https://u:p@w@hub.example", "https://...@hub.example"),
            ("u:p@hub.example", "...@hub.example"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }

    #[test]
    fn codings_are_words_in_order_and_off_is_none() {
        let parse = |words: &[&str]| parse_compression(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&["gzip"]), Ok(Codings::new(&[Coding::Gzip])));
        for words in [["zstd", "gzip"].as_slice(), &["zstd gzip"], &["zstd", "gzip", "zstd"]] {
            assert_eq!(parse(words), Ok(Codings::new(&[Coding::Zstd, Coding::Gzip])), "{words:?}");
        }
        assert_eq!(parse(&["off"]), Ok(Codings::default()));
        for (words, wrong) in
            [([].as_slice(), ""), (&[""], ""), (&["off", "gzip"], "off"), (&["gzip", "br"], "br"), (&["GZIP"], "GZIP")]
        {
            assert_eq!(parse(words).map_err(|(word, _)| word), Err(wrong.to_owned()), "{words:?}");
        }
    }
}
