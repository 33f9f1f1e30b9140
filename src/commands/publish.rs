//! `cinnabar pub`: publish an update, or one per line of standard input.

use super::credentials::Credentials;
use super::hub_client::{agent, parse_url, publish};
use anyhow::{Context, Result};
use cinnabar::protocol::matcher::MatchType;
use clap::Args;
use form_urlencoded::Serializer;
use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::time::Duration;
use url::Url;

/// How long the hub may leave a publish without an answer.
const SILENCE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Prints the id of the event, one line per event. On this machine the secret of a hub in development mode signs the token by \
itself; elsewhere give --token, or a key and the issuer the hub trusts.

Examples:
  cinnabar pub https://example.com/books/1 --data '{\"title\":\"Dune\"}'
  date | cinnabar pub https://example.com/clock --data -
  tail -f app.log | cinnabar pub https://example.com/log --lines
  cinnabar pub https://example.com/users/7 --private --type greeting --data hello
  cinnabar pub https://example.com/x --url https://hub.example/.well-known/mercure \\
    --key-file secret --issuer https://app.example --data hello";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Publish {
    /// The topic of the update, and other topics it belongs to besides
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// The update's data; `-` reads standard input to its end and leaves out its last line break [default: none]
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    data: Option<String>,
    /// Publish each line of standard input as an update of its own, over one connection
    #[arg(long, conflicts_with_all = ["data", "id"])]
    lines: bool,
    /// Only for subscribers whose token grants one of the topics
    #[arg(long)]
    private: bool,
    /// The event's id [default: one the hub makes]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The event's type, which `EventSource` listens for by name [default: message]
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// How long subscribers should wait before they reconnect
    #[arg(long, value_name = "MILLISECONDS")]
    retry: Option<u64>,
    /// The hub
    #[arg(long, env = "CINNABAR_URL", hide_env_values = true, default_value = "http://localhost:3000/.well-known/mercure", value_parser = parse_url)]
    url: Url,
    #[command(flatten)]
    credentials: Credentials,
}

impl Publish {
    pub(super) fn run(mut self) -> Result<ExitCode> {
        let agent = agent(&self.url, Some(SILENCE));
        let data = match self.data.take().as_deref() {
            Some("-") => Some(read_all(std::io::stdin().lock())?),
            data => data.map(str::to_owned),
        };
        let update = Update {
            topics: self.topics,
            private: self.private,
            id: self.id,
            event_type: self.event_type,
            retry: self.retry,
        };
        let grants = update.topics.iter().map(|topic| (MatchType::Exact, topic.clone())).collect();
        let mut shown = self.credentials.shown(&self.url, grants, Vec::new())?;
        let mut send = |data: Option<&str>| -> Result<()> {
            let id = publish(&agent, &self.url, shown.token()?.as_deref(), &update.form(data))?;
            writeln!(std::io::stdout().lock(), "{id}")?;
            Ok(())
        };
        if !self.lines {
            send(data.as_deref())?;
            return Ok(ExitCode::SUCCESS);
        }
        for line in std::io::stdin().lock().lines() {
            send(Some(&line.context("standard input")?))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the fields say, apart from the data.
#[derive(Debug)]
struct Update {
    topics: Vec<String>,
    private: bool,
    id: Option<String>,
    event_type: Option<String>,
    retry: Option<u64>,
}

impl Update {
    fn form(&self, data: Option<&str>) -> String {
        let mut form = Serializer::new(String::new());
        form.extend_pairs(self.topics.iter().map(|topic| ("topic", topic)));
        if self.private {
            form.append_pair("private", "on");
        }
        let retry = self.retry.map(|retry| retry.to_string());
        let fields = [
            ("id", self.id.as_deref()),
            ("type", self.event_type.as_deref()),
            ("retry", retry.as_deref()),
            ("data", data),
        ];
        form.extend_pairs(fields.into_iter().filter_map(|(name, value)| Some((name, value?))));
        form.finish()
    }
}

/// Everything, without the line break that ends the last line of a text.
fn read_all(mut input: impl Read) -> Result<String> {
    let mut text = String::new();
    input.read_to_string(&mut text).context("standard input")?;
    let end = text.strip_suffix('\n').map_or(text.len(), |text| text.strip_suffix('\r').unwrap_or(text).len());
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_becomes_a_form() {
        let update = Update {
            topics: vec!["https://example.com/a".to_owned(), "é&b".to_owned()],
            private: true,
            id: Some("x y".to_owned()),
            event_type: Some("t".to_owned()),
            retry: Some(0),
        };
        assert_eq!(
            update.form(Some("1\n2")),
            "topic=https%3A%2F%2Fexample.com%2Fa&topic=%C3%A9%26b&private=on&id=x+y&type=t&retry=0&data=1%0A2"
        );
        let bare = Update { topics: vec!["a".to_owned()], private: false, id: None, event_type: None, retry: None };
        assert_eq!(bare.form(None), "topic=a");
    }

    #[test]
    fn the_last_line_break_is_not_data() {
        for (input, data) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", ""), ("\n", "")] {
            assert_eq!(read_all(input.as_bytes()).unwrap(), data, "{input:?}");
        }
    }
}
