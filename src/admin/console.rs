//! The console: one page that shows the hub at work, and the files it is made of.
//!
//! The files hold nothing about a hub but its URL; what they show, the page asks for like anybody else. They are served as
//! they stand in the folder beside this one.

use super::Reply;

/// The page. `{{hub}}`, `{{data}}` and `{{version}}` are filled in.
const PAGE: &str = include_str!("console/page.html");
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page loads, by name.
const FILES: &[(&str, &str, &str)] = &[
    ("console.css", "text/css; charset=utf-8", include_str!("console/console.css")),
    ("console.js", SCRIPT, include_str!("console/console.js")),
    ("chart.js", SCRIPT, include_str!("console/chart.js")),
    ("data.js", SCRIPT, include_str!("console/data.js")),
    ("element.js", SCRIPT, include_str!("console/element.js")),
    ("explain.js", SCRIPT, include_str!("console/explain.js")),
    ("overview.js", SCRIPT, include_str!("console/overview.js")),
    ("publish.js", SCRIPT, include_str!("console/publish.js")),
    ("samples.js", SCRIPT, include_str!("console/samples.js")),
    ("stream.js", SCRIPT, include_str!("console/stream.js")),
    ("subscribe.js", SCRIPT, include_str!("console/subscribe.js")),
    ("theme.js", SCRIPT, include_str!("console/theme.js")),
];

/// What the console may ask for where it is open to more than administrators' own listener.
pub const CONSOLE_DATA: &[&str] = &["/stats", "/connections", "/topics", "/slow", "/explain"];

/// Where the console is served.
#[derive(Clone, Copy, Debug)]
pub struct Console<'a> {
    /// The hub's URL as the page is to use it: whole, or its path where both have the same origin.
    pub hub: &'a str,
    /// The hub's origin, where it isn't that of the page.
    pub hub_origin: Option<&'a str>,
    /// What the names of [`CONSOLE_DATA`] are appended to, relative to the page.
    pub data: &'a str,
}

/// Whether a path of the admin listener is the page or one of its files: they are nobody's secret.
pub fn is_console_file(path: &str) -> bool {
    let name = path.strip_prefix('/');
    name.is_some_and(|name| name.is_empty() || FILES.iter().any(|(known, _, _)| *known == name))
}

impl Console<'_> {
    /// The page, for the empty name, or one of its files.
    pub fn file(&self, name: &str) -> Option<Reply> {
        let reply = if name.is_empty() {
            Reply::new("text/html; charset=utf-8", self.page())
        } else {
            let (_, content_type, text) = FILES.iter().find(|(known, _, _)| *known == name)?;
            Reply::new(content_type, *text)
        };
        Some(reply.with_field("Content-Security-Policy", self.policy()).with_field("Referrer-Policy", "no-referrer"))
    }

    fn page(&self) -> String {
        PAGE.replace("{{version}}", env!("CARGO_PKG_VERSION"))
            .replace("{{data}}", &escaped(self.data))
            .replace("{{hub}}", &escaped(self.hub))
    }

    /// No script but the page's own, no connection but to the hub, in nobody's frame. Forms are never sent by the browser
    /// itself: a token would end up in a URL.
    fn policy(&self) -> String {
        let hub = self.hub_origin.map(|origin| format!(" {origin}")).unwrap_or_default();
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{hub}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Action;

    const HERE: Console<'_> = Console { hub: "/.well-known/mercure", hub_origin: None, data: "api/" };

    fn text(console: Console<'_>, name: &str) -> String {
        String::from_utf8(console.file(name).unwrap().body).unwrap()
    }

    #[test]
    fn the_page_is_told_where_the_hub_is() {
        let page = text(HERE, "");
        assert!(page.contains("data-hub=\"/.well-known/mercure\" data-data=\"api/\""), "{page}");
        assert!(!page.contains("{{"), "nothing is left to fill in");
        let hostile = text(Console { hub: "/a\"><script>", ..HERE }, "");
        assert!(hostile.contains("data-hub=\"/a&quot;&gt;&lt;script&gt;\""));
    }

    #[test]
    fn every_file_the_page_and_its_modules_name_is_served() {
        let page = text(HERE, "");
        assert!(is_console_file("/") && !is_console_file("/page.html") && !is_console_file("/stats"));
        for (name, _, _) in FILES {
            assert!(is_console_file(&format!("/{name}")), "{name}");
            let file = text(HERE, name);
            let named = |text: &str| text.contains(&format!("\"{name}\"")) || text.contains(&format!("'./{name}'"));
            let used = named(&page) || FILES.iter().any(|(other, _, text)| other != name && named(text));
            assert!(used, "nobody loads {name}");
            for import in file.split("from './").skip(1).filter_map(|rest| rest.split('\'').next()) {
                assert!(HERE.file(import).is_some(), "{name} imports {import}");
            }
        }
        assert_eq!(HERE.file("page.html"), None, "it is the page, filled in");
    }

    #[test]
    fn nothing_needs_a_looser_policy() {
        let policy = HERE.policy();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("connect-src 'self';"), "{policy}");
        let afar = Console { hub_origin: Some("https://hub.example"), ..HERE }.policy();
        assert!(afar.contains("connect-src 'self' https://hub.example;"), "{afar}");
        let page = text(HERE, "");
        for inline in ["<style", " style=", " onclick=", "<script>"] {
            assert!(!page.contains(inline), "{inline}");
        }
        for (name, _, file) in FILES {
            let file = file.replace("https://example.com/", "an example of a topic: ");
            for risky in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://"] {
                assert!(!file.contains(risky), "{name} has {risky}");
            }
        }
    }

    #[test]
    fn what_the_console_asks_for_is_there_and_changes_nothing() {
        for path in CONSOLE_DATA {
            let query = if *path == "/explain" { "action=publish" } else { "" };
            assert!(Action::parse("GET", path, query).is_ok(), "{path}");
            assert!(FILES.iter().any(|(_, _, text)| text.contains(&path[1..])) || *path == "/connections");
        }
    }
}
