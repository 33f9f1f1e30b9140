//! docs/configuration.md, written from the table of settings.

use super::renew::LIVE;
use super::setting::{Fallback, GROUPS, Kind, OF_FEATURES, SETTINGS, Setting};

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from src/config/setting/table.rs by `UPDATE_DOCS=1 cargo test --lib config::docs`; a test holds the two together. -->

Every setting has one name. `--max-lifetime` on the command line is `CINNABAR_MAX_LIFETIME` in the environment and
`max_lifetime` in the TOML file that `--config` names. Flags win over the environment, the environment over the
file, the file over the default; `cinnabar config print` shows what holds and where it comes from, `cinnabar config check`
says whether the hub would start.

- A switch is on with the bare flag and off with `--anonymous=false`; in the environment and the file write `true` or `false`.
- A setting marked *repeatable* is given several times as a flag, separated by spaces in the environment, as an array in the
  file. The strongest layer that names it gives the whole list.
- Durations are numbers with units: `500ms`, `25s`, `10m`, `1h30m`, `7d`. Sizes are bytes, or have a unit: `64KiB`, `256MB`.
- An empty variable counts as unset. Relative paths in the file are relative to its folder.
- An unknown flag, key or `CINNABAR_` variable is refused at start, and so is a combination that isn't safe.
";

const ISSUERS: &str = "
## Several issuers

Issuers named with `--issuer` share the keys given with `--publisher-jwt-key` and `--subscriber-jwt-key`. In the file each can
have its own; one without `publisher` may not issue tokens for publishing, one without `subscriber` none for subscribing:

```toml
resource = \"https://hub.example/.well-known/mercure\"

[[issuer]]
id = \"https://app.example\"                # exactly what stands in `iss`
publisher = { key_file = \"app.secret\" }   # a shared secret, HS256 unless said otherwise

[[issuer]]
id = \"https://login.example\"
subscriber = { key_file = \"login.pem\", algorithms = [\"EdDSA\"] }
authorization_server = true               # named in the hub's metadata (RFC 9728)
```

`key` holds the key itself instead of `key_file`, and `jwks_url` says where a key set is:

```toml
[[issuer]]
id = \"https://login.example\"
subscriber = { jwks_url = \"https://login.example/.well-known/jwks.json\", algorithms = [\"ES256\", \"EdDSA\"] }
```

## Key sets

A key set is a JSON Web Key Set (RFC 7517): the public keys that an issuer publishes, so that it can replace them without anybody
telling the hub.

- It is fetched at start – the hub waits some seconds for it before it says that it listens – and kept for as long as its
  `Cache-Control: max-age` says, at least 1 minute and at most 1 hour, or 15 minutes if it says nothing. A `file:` URL is looked at every
  5 seconds.
- A token that names a key (`kid`) which isn't in the set, or that none of its keys signed, is refused with 401 and has the set fetched
  again: at most once in 30 seconds, however many such tokens come. Nobody waits for a fetch; the client tries again. An issuer that
  publishes a key some minutes before it signs with it spares its clients that.
- When a fetch fails, the last good set holds, the log says why, and it is tried again after 5 seconds, then (a URL) more and more rarely, up to
  every 5 minutes. As long as a set has never been fetched, tokens that need it are answered 503.
- A key that is no longer in the set stops working at once, and the streams that were opened with it are ended. A set without any key
  is taken at its word.
- The URL is trusted: it may be on a private network. Link-local addresses are refused, whatever name leads there, and so are redirects to
  another origin, answers of more than 256 KiB or 64 keys, and `http:` beyond loopback unless `--jwks-allow-http` is set. Proxies
  from the environment aren't used. Certificates are checked against the public authorities; for a server inside with a certificate of
  your own authority, write the set to a file now and then and use `file:`.
- RSA keys of 2048 to 8192 bits, P-256, P-384 and Ed25519 are used, each with the algorithms that it fits, that its `alg` allows and that
  the configuration allows. Shared secrets (`oct`), keys that show their private half and keys for other uses are left out, and the log says
  so. A token without `kid` is tried with up to four keys; where more could have signed it, it needs one.
";

const RELOAD: &str = "
## Changing the configuration while the hub runs

On SIGHUP (`systemctl reload`, `kill -HUP`) the hub reads the file, the key files and the key sets again. No connection is dropped for
it, except the streams whose key, issuer or algorithm isn't trusted any more. If anything is wrong, nothing changes, and the log says
what; so it is when a key set that wasn't there before can't be fetched. The flags and the environment are those of the start.

What changes: ";

const RELOAD_REST: &str = "
Everything else keeps its value until the next start, and the log names what differs. Streams that are open keep the end that
`--max-lifetime` gave them; the kernel's share in `--write-timeout` is that of the time they were opened.
";

/// The whole page.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in GROUPS {
        page.push_str(&format!("\n## {group}\n\n| setting | default | meaning |\n|---|---|---|\n"));
        page.extend(settings().filter(|setting| setting.group == *group).map(row));
    }
    page.push_str(ISSUERS);
    page.push_str(RELOAD);
    let live: Vec<String> = LIVE.iter().map(|name| format!("`--{name}`")).collect();
    page.push_str(&live.join(", "));
    page.push_str(".\n");
    page.push_str(RELOAD_REST);
    page
}

/// Those of every build.
fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| !OF_FEATURES.contains(&setting.name))
}

fn row(setting: &Setting) -> String {
    let value = match setting.kind {
        Kind::Switch => String::new(),
        Kind::One | Kind::Many => format!(" {}", setting.value),
    };
    let repeatable = if setting.kind == Kind::Many { ", *repeatable*" } else { "" };
    let name = format!("`{}{value}`{repeatable}<br>`{}`", setting.flag(), setting.env());
    let theirs = setting.mercure_env.map(|name| format!(", `{name}`")).unwrap_or_default();
    let mut default = default_text(setting.default);
    if let Some(dev) = setting.dev_default {
        default.push_str(&format!("; in development {}", default_text(dev)));
    }
    format!("| {}{theirs} | {default} | {} |\n", name.replace('|', "\\|"), setting.doc.replace('|', "\\|"))
}

fn default_text(default: Fallback) -> String {
    match default {
        Fallback::Value(text) => format!("`{text}`"),
        Fallback::Without(text) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::print_stderr, reason = "says what to run")]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/configuration.md differs: run UPDATE_DOCS=1 cargo test --lib config::docs");
    }

    #[test]
    fn every_setting_stands_under_all_its_names() {
        let page = page();
        for setting in settings() {
            assert!(page.contains(&setting.flag()), "{}", setting.name);
            assert!(page.contains(&setting.env()), "{}", setting.name);
        }
    }
}
