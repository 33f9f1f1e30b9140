//! docs/configuration.md, written from the table of settings.

use super::setting::{Fallback, GROUPS, Kind, OF_FEATURES, SETTINGS, Setting};

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from src/config/setting.rs by `UPDATE_DOCS=1 cargo test --lib config::docs`; a test holds the two together. -->

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
```

`key` holds the key itself instead of `key_file`. Key sets (`jwks_url`) aren't supported yet and are refused.
";

/// The whole page.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in GROUPS {
        page.push_str(&format!("\n## {group}\n\n| setting | default | meaning |\n|---|---|---|\n"));
        page.extend(settings().filter(|setting| setting.group == *group).map(row));
    }
    page.push_str(ISSUERS);
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
