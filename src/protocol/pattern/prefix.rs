//! The literal text that all URLs a program matches start with: the key of an index of patterns.

use super::{Components, SEPARATOR, segments};

/// The prefix of matching addresses, and how much of it is a prefix of matching URLs too.
pub(super) fn of(program: &[u8]) -> (String, usize) {
    let components: Vec<Leading<'_>> = program.split(|&b| b == SEPARATOR).map(Leading::of).collect();
    let (protocol, host) = (&components[Components::PROTOCOL], &components[Components::HOST]);
    let mut prefix = protocol.text.to_owned();
    if !protocol.whole {
        let length = prefix.len();
        return (prefix, length);
    }
    prefix.push(':');
    let special = matches!(protocol.text, "http" | "https" | "ws" | "wss" | "ftp" | "file");
    if !special && host.text.is_empty() {
        // Without a host a path of `/x` may be written `/x`, `///x` or `/.//x`; an opaque path stands as it is.
        if host.whole {
            let path = components[Components::PATH].text;
            prefix.push_str(if path.starts_with('/') { "/" } else { path });
        }
        let length = prefix.len();
        return (prefix, length);
    }
    prefix.push_str("//");
    let before_user = prefix.len();
    push_from_host(&mut prefix, &components);
    let anonymous = [Components::USER, Components::PASSWORD].iter().all(|&place| components[place].is_empty());
    let length = if anonymous { prefix.len() } else { before_user };
    (prefix, length)
}

fn push_from_host(prefix: &mut String, components: &[Leading<'_>]) {
    let (host, port) = (&components[Components::HOST], &components[Components::PORT]);
    prefix.push_str(host.text);
    if !host.whole || !port.whole {
        return;
    }
    if !port.is_empty() {
        prefix.push(':');
        prefix.push_str(port.text);
    }
    prefix.push_str(components[Components::PATH].text);
}

/// The literal a component starts with.
struct Leading<'a> {
    text: &'a str,
    /// Whether the component is nothing but that.
    whole: bool,
}

impl Leading<'_> {
    fn of(program: &[u8]) -> Leading<'_> {
        let literal = segments::literal_prefix(program);
        let text = std::str::from_utf8(literal).expect("a literal is ASCII");
        Leading { text, whole: literal.len() == program.len() }
    }

    fn is_empty(&self) -> bool {
        self.whole && self.text.is_empty()
    }
}
