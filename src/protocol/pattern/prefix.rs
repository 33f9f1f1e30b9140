//! The literal text that all URLs a program matches start with: the key of an index of patterns.

use super::{Components, SEPARATOR, segments};

/// What every matching URL starts with once user and password are left out.
pub(super) fn of(program: &[u8]) -> String {
    let components: Vec<Leading<'_>> = program.split(|&b| b == SEPARATOR).map(Leading::of).collect();
    let (protocol, host) = (&components[Components::PROTOCOL], &components[Components::HOST]);
    let mut prefix = protocol.text.to_owned();
    if !protocol.whole {
        return prefix;
    }
    prefix.push(':');
    let special = matches!(protocol.text, "http" | "https" | "ws" | "wss" | "ftp" | "file");
    if !special && host.text.is_empty() {
        // Without a host a path of `/x` may be written `/x`, `///x` or `/.//x`; an opaque path stands as it is.
        if host.whole {
            let path = components[Components::PATH].text;
            prefix.push_str(if path.starts_with('/') { "/" } else { path });
        }
        return prefix;
    }
    prefix.push_str("//");
    push_from_host(&mut prefix, &components);
    prefix
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
