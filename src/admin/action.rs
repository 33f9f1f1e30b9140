//! What a request to the admin listener asks for.

use std::time::Duration;

use super::{Health, Reply};
use crate::config::parse_duration;
use crate::hub::{DENIED_TEXT_BYTES_MAX, Denied, SURVEY_ROWS_MAX};
use crate::protocol::token::Role;

/// Rows shown when nobody says how many.
const ROWS: usize = 20;
/// Nobody is denied for longer: by then every token should have ended.
const DENY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Topics asked about at once.
const TOPICS_MAX: usize = 100;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A probe.
    Health(Health),
    /// The metrics as text.
    Metrics,
    /// The numbers as JSON.
    Stats,
    /// Streams, all or somebody's.
    Connections {
        /// Whose; `None`: everybody's.
        whom: Option<Denied>,
        /// Rows at most.
        limit: usize,
    },
    /// The largest audiences.
    Topics {
        /// Rows at most.
        limit: usize,
    },
    /// The slowest readers.
    Slow {
        /// Rows at most.
        limit: usize,
    },
    /// End streams, and keep their owners out for a while.
    Kick {
        /// Whose.
        whom: Denied,
        /// For how long they are kept out; `None`: they may come back.
        deny: Option<Duration>,
    },
    /// The deny list.
    Denials,
    /// Take somebody off the deny list.
    Allow {
        /// Whom.
        whom: Denied,
    },
    /// Say why a token may do something or may not.
    Explain {
        /// What for.
        role: Role,
        /// With which topics.
        topics: Vec<String>,
    },
    /// Read the configuration again.
    Reload,
}

impl Action {
    /// Understands a request. A wrong one is answered with what would be right.
    ///
    /// # Errors
    /// The answer.
    pub fn parse(method: &str, path: &str, query: &str) -> Result<Action, Reply> {
        let methods: &'static str = match path {
            "/connections" | "/denied" => "GET, HEAD, DELETE",
            "/reload" => "POST",
            "/health/ready" | "/health/live" | "/mercure/health/ready" | "/mercure/health/live" => "GET, HEAD",
            "/metrics" | "/stats" | "/topics" | "/slow" | "/explain" => "GET, HEAD",
            _ => {
                return Err(Reply::problem(
                    404,
                    "Not Found",
                    "there is nothing here; docs/admin.md lists what there is",
                ));
            }
        };
        let method = if method == "HEAD" { "GET" } else { method };
        if !methods.split(", ").any(|allowed| allowed == method) {
            let detail = format!("this resource has the methods {methods}");
            return Err(Reply::problem(405, "Method Not Allowed", &detail).with_field("Allow", methods));
        }
        let mut query = Query::parse(query)?;
        let action = match (method, path) {
            // The second ones are the reference hub's.
            (_, "/health/ready" | "/mercure/health/ready") => Action::Health(Health::Ready),
            (_, "/health/live" | "/mercure/health/live") => Action::Health(Health::Live),
            (_, "/metrics") => Action::Metrics,
            (_, "/stats") => Action::Stats,
            (_, "/reload") => Action::Reload,
            (_, "/topics") => Action::Topics { limit: query.limit()? },
            (_, "/slow") => Action::Slow { limit: query.limit()? },
            (_, "/explain") => Action::Explain { role: query.role()?, topics: query.all("topic") },
            ("DELETE", "/connections") => Action::Kick { whom: query.somebody()?, deny: query.deny()? },
            ("DELETE", _) => Action::Allow { whom: query.somebody()? },
            (_, "/connections") => Action::Connections { whom: query.anybody()?, limit: query.limit()? },
            _ => Action::Denials,
        };
        query.nothing_left()?;
        Ok(action)
    }

    /// Whether it shows no more than how the hub is doing, and changes nothing.
    pub fn is_open(&self) -> bool {
        matches!(self, Action::Health(_) | Action::Metrics)
    }
}

fn bad(detail: &str) -> Reply {
    Reply::problem(400, "Bad Request", detail)
}

/// The parameters that haven't been asked for yet. What is left in the end isn't known: a misspelt `deny` must not pass
/// for none.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Result<Query, Reply> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().take(TOPICS_MAX + 8).collect();
        if pairs.len() > TOPICS_MAX + 7 {
            return Err(bad("there are too many parameters"));
        }
        Ok(Query(pairs))
    }

    fn all(&mut self, name: &str) -> Vec<String> {
        let (those, rest) = std::mem::take(&mut self.0).into_iter().partition(|(key, _)| key == name);
        self.0 = rest;
        let those: Vec<(String, String)> = those;
        those.into_iter().map(|(_, value)| value).collect()
    }

    fn one(&mut self, name: &str) -> Result<Option<String>, Reply> {
        let mut all = self.all(name);
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(bad(&format!("`{name}` is given more than once"))),
        }
    }

    fn limit(&mut self) -> Result<usize, Reply> {
        let Some(text) = self.one("limit")? else {
            return Ok(ROWS);
        };
        let limit = text.parse().ok().filter(|limit| (1..=SURVEY_ROWS_MAX).contains(limit));
        limit.ok_or_else(|| bad(&format!("`limit` is a number from 1 to {SURVEY_ROWS_MAX}")))
    }

    fn anybody(&mut self) -> Result<Option<Denied>, Reply> {
        let mut found = Vec::new();
        for kind in ["sub", "jti", "topic"] {
            found.extend(self.one(kind)?.and_then(|text| Denied::of(kind, &text)));
        }
        match found.as_slice() {
            [] | [_] => {}
            _ => return Err(bad("`sub`, `jti` and `topic` can't be combined: give one of them")),
        }
        let whom = found.pop();
        if whom.as_ref().is_some_and(|whom| whom.text().is_empty() || whom.text().len() > DENIED_TEXT_BYTES_MAX) {
            return Err(bad(&format!("a `sub`, `jti` or `topic` has 1 to {DENIED_TEXT_BYTES_MAX} bytes")));
        }
        Ok(whom)
    }

    fn somebody(&mut self) -> Result<Denied, Reply> {
        self.anybody()?.ok_or_else(|| bad("say who is meant: `sub`, `jti` or `topic`"))
    }

    fn deny(&mut self) -> Result<Option<Duration>, Reply> {
        let Some(text) = self.one("deny")? else {
            return Ok(None);
        };
        let deny = parse_duration(&text).map_err(|why| bad(&format!("`deny` is `{text}`, which {why}")))?;
        if deny.is_zero() || deny > DENY_MAX {
            return Err(bad("`deny` is more than nothing and at most 366d"));
        }
        Ok(Some(deny))
    }

    fn role(&mut self) -> Result<Role, Reply> {
        match self.one("action")?.as_deref() {
            Some("publish") => Ok(Role::Publisher),
            Some("subscribe") => Ok(Role::Subscriber),
            _ => Err(bad("`action` is `publish` or `subscribe`")),
        }
    }

    fn nothing_left(&self) -> Result<(), Reply> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(100).collect();
                Err(bad(&format!("the parameter {name:?} isn't known here")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &str, path: &str, query: &str) -> (u16, String) {
        let reply = Action::parse(method, path, query).unwrap_err();
        (reply.status, String::from_utf8(reply.body).unwrap())
    }

    #[test]
    fn requests_are_understood() {
        let eve = Denied::Subject("eve".into());
        let an_hour = Some(Duration::from_secs(3600));
        for (method, target, action) in [
            ("GET", "/health/ready", Action::Health(Health::Ready)),
            ("HEAD", "/health/live", Action::Health(Health::Live)),
            ("GET", "/mercure/health/ready", Action::Health(Health::Ready)),
            ("GET", "/metrics", Action::Metrics),
            ("GET", "/topics", Action::Topics { limit: 20 }),
            ("GET", "/slow?limit=1000", Action::Slow { limit: 1_000 }),
            ("GET", "/connections", Action::Connections { whom: None, limit: 20 }),
            ("GET", "/connections?sub=eve&limit=1", Action::Connections { whom: Some(eve.clone()), limit: 1 }),
            ("DELETE", "/connections?sub=eve", Action::Kick { whom: eve.clone(), deny: None }),
            ("DELETE", "/connections?deny=1h&sub=eve", Action::Kick { whom: eve.clone(), deny: an_hour }),
            (
                "DELETE",
                "/connections?topic=urn%3Aa%2Bb",
                Action::Kick { whom: Denied::Topic("urn:a+b".into()), deny: None },
            ),
            ("GET", "/denied", Action::Denials),
            ("DELETE", "/denied?jti=t1", Action::Allow { whom: Denied::TokenId("t1".into()) }),
            ("POST", "/reload", Action::Reload),
            (
                "GET",
                "/explain?action=publish&topic=a&topic=b",
                Action::Explain { role: Role::Publisher, topics: vec!["a".to_owned(), "b".to_owned()] },
            ),
        ] {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            assert_eq!(Action::parse(method, path, query), Ok(action), "{method} {target}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_is_done() {
        for (method, target, status, says) in [
            ("GET", "/", 404, "nothing here"),
            ("GET", "/connections/1", 404, "nothing here"),
            ("POST", "/connections", 405, "GET, HEAD, DELETE"),
            ("DELETE", "/metrics", 405, "GET, HEAD"),
            ("GET", "/reload", 405, "POST"),
            ("DELETE", "/connections", 400, "say who is meant"),
            ("DELETE", "/connections?sub=", 400, "1 to 2048 bytes"),
            ("DELETE", "/connections?sub=a&jti=b", 400, "can't be combined"),
            ("DELETE", "/connections?sub=a&sub=b", 400, "more than once"),
            ("DELETE", "/connections?sub=a&denny=1h", 400, "denny"),
            ("DELETE", "/connections?sub=a&deny=1", 400, "`deny`"),
            ("DELETE", "/connections?sub=a&deny=0s", 400, "more than nothing"),
            ("DELETE", "/connections?sub=a&deny=400d", 400, "366d"),
            ("GET", "/slow?limit=0", 400, "1 to 1000"),
            ("GET", "/slow?limit=1001", 400, "1 to 1000"),
            ("GET", "/metrics?x=1", 400, "isn't known"),
            ("GET", "/explain?topic=a", 400, "`action`"),
        ] {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let (found, body) = refused(method, path, query);
            assert_eq!(found, status, "{method} {target}");
            assert!(body.contains(says), "{method} {target}: {body}");
        }
        assert_eq!(refused("GET", "/slow", &"a=b&".repeat(1_000)).0, 400);
    }

    #[test]
    fn probes_and_metrics_alone_are_open() {
        let open = |path| Action::parse("GET", path, "").unwrap().is_open();
        assert!(["/health/ready", "/health/live", "/metrics"].into_iter().all(open));
        assert!(!["/stats", "/connections", "/topics", "/slow", "/denied"].into_iter().any(open));
    }
}
