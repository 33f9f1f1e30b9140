//! `cinnabar token mint|explain`.

use super::credentials::{Grant, Signing};
use super::flags::SettingFlags;
use super::hub_client::parse_url;
use super::outside::{Paint, now, printable, say};
use anyhow::{Context, Result, anyhow};
use cinnabar::config::{Config, parse_duration};
use cinnabar::protocol::matcher::MatchType;
use cinnabar::protocol::token::{Mint, Outcome, Role, TokenVerifier, decode_unverified, mint};
use cinnabar::protocol::topic::{ParsedTopic, Topic};
use clap::{Args, Subcommand, ValueEnum};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;
use url::Url;

const MINT_EXAMPLES: &str = "\
Prints the token. The secret of a hub in development mode on this machine signs when no key is given.

Examples:
  cinnabar token mint --subscribe '*'
  cinnabar token mint --compat --subscribe 'https://example.com/users/{id}'
  cinnabar token mint --publish https://example.com/books/1 --publish-pattern 'https://example.com/users/:id' --ttl 10m
  cinnabar token mint --key-file secret --issuer https://app.example \\
    --audience https://hub.example/.well-known/mercure --subscribe https://example.com/users/7 --sub user-7";

const EXPLAIN_EXAMPLES: &str = "\
Shows what is in the token, applies every rule the hub applies, and says what is wrong. The flags of `serve`, the \
environment and the file say which hub judges; without any of them it is the one in development mode on this machine. \
Exits with 0 if the hub would accept the token (and the topic, if one is given) and 1 if not.

Examples:
  cinnabar token explain \"$TOKEN\"
  cinnabar token explain - --config /etc/cinnabar.toml < token
  cinnabar token explain \"$OLD_TOKEN\" --compat 8
  cinnabar token explain \"$TOKEN\" --action publish --topic https://example.com/books/1";

#[derive(Debug, Args)]
pub(super) struct TokenCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an access token.
    #[command(after_help = MINT_EXAMPLES)]
    Mint(Box<MintCommand>),
    /// Say what is right and wrong about a token.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
}

impl TokenCommand {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.action {
            Action::Mint(command) => command.run(),
            Action::Explain(command) => command.run(),
        }
    }
}

#[derive(Debug, Args)]
struct MintCommand {
    /// Make a token of before version 1.0, which grants by the claim `mercure`; topics may be URI templates then
    #[arg(long)]
    compat: bool,
    /// Grant publishing to this topic; `*` is every topic (repeatable)
    #[arg(long, value_name = "TOPIC")]
    publish: Vec<String>,
    /// Grant publishing to topics of this URL pattern (repeatable)
    #[arg(long, value_name = "PATTERN")]
    publish_pattern: Vec<String>,
    /// Grant private updates of this topic; `*` is every topic (repeatable)
    #[arg(long, value_name = "TOPIC")]
    subscribe: Vec<String>,
    /// Grant private updates of topics of this URL pattern (repeatable)
    #[arg(long, value_name = "PATTERN")]
    subscribe_pattern: Vec<String>,
    /// How long the token lasts
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    ttl: Duration,
    /// Whom the token is about: `sub`
    #[arg(long, value_name = "SUBJECT")]
    sub: Option<String>,
    /// A name for this one token: `jti`
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
    /// A JSON object that the bearer's subscriptions are announced with
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    payload: Option<serde_json::Value>,
    /// The hub the token is for, where --issuer and --audience don't say otherwise
    #[arg(long, env = "CINNABAR_URL", hide_env_values = true, default_value = "http://localhost:3000/.well-known/mercure", value_parser = parse_url)]
    url: Url,
    #[command(flatten)]
    signing: Signing,
}

fn parse_json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|why| format!("not JSON: {why}"))
}

fn grants(kind: MatchType, topics: Vec<String>, patterns: Vec<String>) -> Vec<Grant> {
    let topics = topics.into_iter().map(|text| (kind, text));
    topics.chain(patterns.into_iter().map(|text| (MatchType::UrlPattern, text))).collect()
}

impl MintCommand {
    fn run(self) -> Result<ExitCode> {
        let signer = self.signing.signer(&self.url)?.context(
            "no key to sign with: give --key-file FILE or --key KEY (or start `cinnabar` once: a hub in development mode \
             leaves a secret in ./cinnabar-data)",
        )?;
        let now = now();
        let kind = if self.compat { MatchType::Topic } else { MatchType::Exact };
        let token = Mint {
            issuer: signer.issuer,
            audience: signer.audience,
            subject: self.sub,
            token_id: self.jti,
            issued_at_s: now.as_secs(),
            expires_at_s: (now + self.ttl).as_secs(),
            publish: grants(kind, self.publish, self.publish_pattern),
            subscribe: grants(kind, self.subscribe, self.subscribe_pattern),
            payload: self.payload,
            compat: self.compat,
            ..Mint::default()
        };
        if token.publish.is_empty() && token.subscribe.is_empty() {
            say("cinnabar: warning: the token grants nothing: add --publish or --subscribe");
        }
        writeln!(std::io::stdout().lock(), "{}", mint(&token, &signer.key)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What a topic is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Intent {
    Publish,
    Subscribe,
}

impl Intent {
    fn role(self) -> Role {
        match self {
            Intent::Publish => Role::Publisher,
            Intent::Subscribe => Role::Subscriber,
        }
    }
}

#[derive(Debug, Args)]
struct Explain {
    /// The token; `-` reads it from standard input
    token: String,
    /// Ask about this topic (repeatable: a publish needs all of them granted, a private update needs one)
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// What the token is to be used for [default: whatever its grants are for]
    #[arg(long)]
    action: Option<Intent>,
    #[command(flatten)]
    flags: SettingFlags,
}

impl Explain {
    fn run(mut self) -> Result<ExitCode> {
        let mut token = std::mem::take(&mut self.token);
        if token == "-" {
            token.clear();
            std::io::stdin().lock().read_to_string(&mut token).context("standard input")?;
        }
        // Pasted with its scheme, or over several lines of a terminal.
        let token: String = token.trim().trim_start_matches("Bearer ").split_whitespace().collect();
        let config = judge(self.flags)?;
        let mut out = std::io::stdout().lock();
        let paint = Paint::stdout();
        let decoded = decode_unverified(&token);
        if let Ok((header, claims)) = &decoded {
            // Pretty JSON escapes control characters by itself.
            writeln!(out, "{}\n{header:#}\n\n{}\n{claims:#}\n", paint.bold("header"), paint.bold("claims"))?;
        }
        let actions = decoded.map(|(_, claims)| granted_actions(&claims)).unwrap_or_default();
        let intents = match self.action {
            Some(intent) => vec![intent],
            None if actions.is_empty() => vec![Intent::Publish, Intent::Subscribe],
            None => actions,
        };
        let (rules, problems) = cinnabar::server::rules_with_key_sets(&config);
        for problem in problems {
            say(&format!("cinnabar: warning: {problem}"));
        }
        let verifier = TokenVerifier::new(rules);
        let mut accepted = true;
        for intent in intents {
            let mut judged = Judgement { out: &mut out, paint, verifier: &verifier, config: &config };
            accepted &= judged.write(&token, intent, &self.topic)?;
        }
        Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The configuration of the hub that judges.
fn judge(flags: SettingFlags) -> Result<Config> {
    let said = |name: &str| {
        let setting = cinnabar::config::setting::setting(name);
        let named = [Some(setting.env().as_str()), setting.mercure_env]
            .into_iter()
            .flatten()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        named || flags.layer.contains_key(name)
    };
    let mut layer = flags.layer.clone();
    if !["config", "dev", "issuer", "resource"].into_iter().any(said) {
        layer.extend(cinnabar::config::flags([("dev", vec!["true".to_owned()])]));
    }
    let mut config = SettingFlags { layer }.load().map_err(|refusals| anyhow!("{refusals}"))?;
    config.trust_existing_dev_secret()?;
    if config.issuers.is_empty() {
        say(
            "cinnabar: warning: no issuer is known: name one with --issuer and its keys, or --config, or --data of a hub in development mode",
        );
    }
    Ok(config)
}

/// What the claims speak of, before anybody believes them.
fn granted_actions(claims: &serde_json::Value) -> Vec<Intent> {
    let details =
        claims.get("authorization_details").and_then(|details| details.as_array()).map_or(&[][..], Vec::as_slice);
    let speaks_of = |name: &str| {
        let actions = details.iter().filter_map(|detail| detail.get("actions")?.as_array()).flatten();
        actions.into_iter().any(|action| action == name)
    };
    // The claim of before version 1.0, which counts where there are no details.
    let old = ["https://mercure.rocks/", "mercure"].into_iter().find_map(|name| claims.get(name));
    let old_speaks_of = |name: &str| {
        let entries = old.and_then(|claim| claim.get(name)?.as_array());
        details.is_empty() && entries.is_some_and(|entries| !entries.is_empty())
    };
    let all = [(Intent::Publish, "publish"), (Intent::Subscribe, "subscribe")];
    all.into_iter().filter(|(_, name)| speaks_of(name) || old_speaks_of(name)).map(|(intent, _)| intent).collect()
}

struct Judgement<'a> {
    out: &'a mut dyn Write,
    paint: Paint,
    verifier: &'a TokenVerifier,
    config: &'a Config,
}

impl Judgement<'_> {
    /// Writes what holds and what doesn't for one use; true if the hub would accept it.
    fn write(&mut self, token: &str, intent: Intent, topics: &[String]) -> Result<bool> {
        let name = if intent == Intent::Publish { "to publish" } else { "to subscribe" };
        writeln!(self.out, "{}", self.paint.bold(name))?;
        for check in self.verifier.explain(token, intent.role(), millis(now())) {
            let (mark, words) = match &check.outcome {
                Outcome::Pass => (self.paint.green("ok  "), check.detail.clone()),
                Outcome::Fail(why) => (self.paint.red("FAIL"), why.clone()),
                Outcome::Skipped => (self.paint.dim("-   "), "not looked at".to_owned()),
            };
            writeln!(self.out, "  {mark}  {:21}  {}", check.rule, printable(&words))?;
        }
        let verdict = match self.verifier.verify(token, intent.role(), millis(now())) {
            Ok(access) => self.topics(intent, topics, |topic| match intent {
                Intent::Publish => access.grants.may_publish(topic),
                Intent::Subscribe => access.grants.may_subscribe(topic),
            })?,
            Err(_) => false,
        };
        let words = match (verdict, topics.is_empty()) {
            (true, true) => "the hub accepts the token".to_owned(),
            (true, false) => "the hub allows this".to_owned(),
            (false, _) => "the hub refuses this".to_owned(),
        };
        writeln!(self.out, "  {}\n", if verdict { self.paint.green(&words) } else { self.paint.red(&words) })?;
        Ok(verdict)
    }

    fn topics(
        &mut self,
        intent: Intent,
        topics: &[String],
        granted: impl Fn(&ParsedTopic<'_>) -> bool,
    ) -> Result<bool> {
        let hub = &self.config.hub_url;
        let mut allowed = Vec::new();
        for topic in topics {
            let publishable = match intent {
                Intent::Publish => Topic::parse(topic, hub).map(|_| ()).map_err(|why| why.to_string()),
                Intent::Subscribe => Ok(()),
            };
            let why = match (publishable, granted(&ParsedTopic::new(topic, hub))) {
                (Ok(()), true) => Ok("granted"),
                (Ok(()), false) => Err("no grant of the token covers it".to_owned()),
                (Err(why), _) => Err(why),
            };
            let (mark, words) = match &why {
                Ok(words) => (self.paint.green("ok  "), *words),
                Err(why) => (self.paint.red("FAIL"), why.as_str()),
            };
            writeln!(self.out, "  {mark}  {}: {}", printable(topic), printable(words))?;
            allowed.push(why.is_ok());
        }
        Ok(match intent {
            Intent::Publish => allowed.iter().all(|allowed| *allowed),
            Intent::Subscribe => allowed.is_empty() || allowed.iter().any(|allowed| *allowed),
        })
    }
}

fn millis(since_1970: Duration) -> u64 {
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cinnabar::protocol::keys::SigningKey;

    const SECRET: &str = "a secret of more than thirty-two bytes";

    fn config() -> Config {
        let given = [
            ("resource", "https://hub.example/.well-known/mercure"),
            ("issuer", "https://app.example"),
            ("publisher-jwt-key", SECRET),
            ("subscriber-jwt-key", SECRET),
        ];
        Config::load(cinnabar::config::flags(given.map(|(name, word)| (name, vec![word.to_owned()]))), []).unwrap()
    }

    fn token(audience: &str) -> String {
        let token = Mint {
            issuer: "https://app.example".to_owned(),
            audience: audience.to_owned(),
            issued_at_s: now().as_secs(),
            expires_at_s: now().as_secs() + 60,
            publish: grants(
                MatchType::Exact,
                vec!["https://example.com/a".to_owned()],
                vec!["https://example.com/b/:id".to_owned()],
            ),
            ..Mint::default()
        };
        mint(&token, &SigningKey::from_text(SECRET, None).unwrap()).unwrap()
    }

    fn judged(token: &str, intent: Intent, topics: &[&str]) -> (bool, String) {
        let config = config();
        let mut out = Vec::new();
        let verifier = TokenVerifier::new(config.token_rules());
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let mut judgement = Judgement { out: &mut out, paint: Paint::plain(), verifier: &verifier, config: &config };
        let accepted = judgement.write(token, intent, &topics).unwrap();
        (accepted, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_good_token_is_accepted_for_what_it_grants() {
        let token = token("https://hub.example/.well-known/mercure");
        let (accepted, text) = judged(&token, Intent::Publish, &[]);
        assert!(accepted, "{text}");
        assert!(text.contains("the hub accepts the token"), "{text}");
        assert!(judged(&token, Intent::Publish, &["https://example.com/a", "https://example.com/b/1"]).0);
        let (accepted, text) = judged(&token, Intent::Publish, &["https://example.com/a", "https://example.com/c"]);
        assert!(!accepted, "{text}");
        assert!(text.contains("FAIL  https://example.com/c: no grant of the token covers it"), "{text}");
        assert!(!judged(&token, Intent::Subscribe, &["https://example.com/a"]).0, "it grants publishing only");
        let (accepted, text) = judged(&token, Intent::Publish, &["/.well-known/mercure/x"]);
        assert!(!accepted, "reserved: {text}");
    }

    #[test]
    fn the_rule_that_failed_is_named() {
        let (accepted, text) = judged(&token("https://elsewhere.example"), Intent::Publish, &[]);
        assert!(!accepted);
        let line = text.lines().find(|line| line.contains("FAIL")).unwrap();
        assert!(line.contains("aud"), "{text}");
        assert!(text.contains("the hub refuses this"), "{text}");
    }

    #[test]
    fn what_the_grants_are_for_decides_what_is_asked() {
        let claims = serde_json::json!({"authorization_details": [{"actions": ["subscribe", 1]}, "odd", {"actions": "publish"}]});
        assert_eq!(granted_actions(&claims), [Intent::Subscribe]);
        assert_eq!(granted_actions(&serde_json::json!({})), []);
        let old = serde_json::json!({"mercure": {"publish": ["*"], "subscribe": []}, "authorization_details": []});
        assert_eq!(granted_actions(&old), [Intent::Publish]);
    }
}
