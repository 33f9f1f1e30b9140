//! The rules of URL patterns, and the hub's matcher held against the `urlpattern` crate's own.

use proptest::prelude::*;
use urlpattern::quirks::{StringOrInit, process_construct_pattern_input};
use urlpattern::{UrlPatternMatchInput, UrlPatternOptions};

use super::*;
use crate::protocol::topic::ParsedTopic;

fn hub() -> HubUrl {
    HubUrl::parse("https://hub.example/.well-known/mercure").unwrap()
}

fn parse(text: &str) -> Arc<UrlPattern> {
    UrlPattern::parse(text, &hub(), Asker::Subscription).unwrap()
}

fn matches(pattern: &str, topic: &str) -> bool {
    parse(pattern).matches(&ParsedTopic::new(topic, &hub()).url.unwrap())
}

#[test]
fn components_after_the_last_written_one_are_wildcards() {
    for url in ["https://e.com/b/1", "https://e.com/b/1?x", "https://e.com/b/1?x#y", "https://u:p@e.com/b/1"] {
        assert!(matches("https://e.com/b/:id", url), "{url}");
    }
    for url in
        ["https://e.com/b/", "https://e.com/b/1/2", "http://e.com/b/1", "https://e.com:81/b/1", "https://e.com/B/1"]
    {
        assert!(!matches("https://e.com/b/:id", url), "{url}");
    }
}

#[test]
fn a_relative_pattern_means_the_hubs_origin() {
    for topic in ["/a/1", "https://hub.example/a/1"] {
        assert!(matches("/a/:x", topic));
        assert!(matches("https://hub.example/a/:x", topic));
    }
    for topic in ["https://elsewhere/a/1", "http://hub.example/a/1", "https://hub.example:8443/a/1"] {
        assert!(!matches("/a/:x", topic));
    }
}

#[test]
fn a_name_takes_one_segment_of_the_path_or_one_label_of_the_host() {
    assert!(matches("https://:tenant.e.com/:a/:b", "https://t1.e.com/x/y"));
    assert!(!matches("https://:tenant.e.com/:a/:b", "https://t.1.e.com/x/y"));
    assert!(!matches("https://:tenant.e.com/:a/:b", "https://t1.e.com/x/y/z"));
}

#[test]
fn a_star_takes_anything_and_nothing() {
    for topic in ["https://e.com/f/", "https://e.com/f/a/b"] {
        assert!(matches("https://e.com/f/*", topic));
    }
    assert!(!matches("https://e.com/f/*", "https://e.com/f"));
    assert!(matches("https://*.e.com/*", "https://a.b.e.com/"));
}

#[test]
fn modifiers_and_groups_work() {
    assert!(matches("http{s}?://e.com/x{/y}?", "http://e.com/x"));
    assert!(matches("http{s}?://e.com/x{/y}?", "https://e.com/x/y"));
    assert!(matches("https://e.com/:id(\\d+)", "https://e.com/42"));
    assert!(!matches("https://e.com/:id(\\d+)", "https://e.com/4x"));
    assert!(matches("https://e.com/(a|b)/:rest+", "https://e.com/b/1/2"));
    assert!(!matches("https://e.com/(a|b)/:rest+", "https://e.com/c/1"));
}

#[test]
fn schemes_without_a_host_match_by_their_path() {
    // An unescaped `:room` would be a name.
    assert!(matches("urn\\:room\\:*", "urn:room:1"));
    assert!(!matches("urn\\:room\\:*", "urn:hall:1"));
}

#[test]
fn an_ipv6_host_and_a_default_port_are_normalised() {
    assert!(matches("https://[\\:\\:1]:443/*", "https://[::1]/x"));
    assert!(matches("http://localhost:3000/:x", "http://LOCALHOST:3000/x"));
}

#[test]
fn case_is_never_ignored_in_a_path() {
    assert!(!matches("/Books/:id", "/books/1"));
}

#[test]
fn what_can_not_be_linear_is_refused_by_name() {
    let error = |text: &str| UrlPattern::parse(text, &hub(), Asker::Subscription).unwrap_err();
    assert!(matches!(error("/(?=a)"), PatternError::Syntax(_)));
    assert_eq!(error("/((?=a)b)"), PatternError::LookAround);
    assert_eq!(error("/((?:a)\\1)"), PatternError::BackReference);
    assert_eq!(error("/(a{1000}{1000})"), PatternError::RegexTooBig);
    assert!(matches!(error("/([b-a])"), PatternError::Regex(_)));
}

#[test]
fn the_length_is_limited_in_bytes() {
    let longest = format!("/{}", "a".repeat(PATTERN_BYTES_MAX - 1));
    assert!(UrlPattern::parse(&longest, &hub(), Asker::Subscription).is_ok());
    let error = UrlPattern::parse(&(longest + "a"), &hub(), Asker::Subscription).unwrap_err();
    assert_eq!(error, PatternError::TooLong { length: PATTERN_BYTES_MAX + 1 });
}

#[test]
fn malformed_patterns_are_refused() {
    for text in ["https://e.com/{", "https://e.com/:a/:a", "/(", "https://e.com/:", "https://[z]/", "https://e com/"] {
        assert!(matches!(UrlPattern::parse(text, &hub(), Asker::Subscription), Err(PatternError::Syntax(_))), "{text}");
    }
}

#[test]
fn an_unopened_bracket_in_the_host_is_refused_and_one_in_the_path_is_not() {
    for text in [
        "https://a]b/",
        "https://[\\:\\:1]]/",
        "https://{x}]",
        "https:]",
        "https:[}]{",
        "https://([)]",
        "https://\\(]",
        "a{b}:]",
    ] {
        assert_eq!(UrlPattern::parse(text, &hub(), Asker::Subscription), Err(PatternError::Bracket), "{text}");
    }
    for text in ["/a]b/:x", "https://e.com/a]", "https://([a-z]+).e.com/x]"] {
        assert!(UrlPattern::parse(text, &hub(), Asker::Subscription).is_ok(), "{text}");
    }
}

#[test]
fn prefixes_reach_to_the_first_wildcard() {
    let prefix = |text: &str| parse(text).address_prefix().to_owned();
    assert_eq!(prefix("https://e.com/b/:id/c"), "https://e.com/b/");
    assert_eq!(prefix("https://e.com:8443/b/*"), "https://e.com:8443/b/");
    assert_eq!(prefix("https://e.com/b/(\\d+)"), "https://e.com/b");
    assert_eq!(prefix("/a/:x"), "https://hub.example/a/");
    assert_eq!(prefix("https://*.e.com/a"), "https://");
    assert_eq!(prefix("http{s}?://e.com/a"), "http");
    assert_eq!(prefix("*://e.com/a"), "");
    assert_eq!(prefix("foo://e/a/:b"), "foo://e/a/");
    assert_eq!(prefix("foo:/a/:b"), "foo:/");
}

#[test]
fn segments_are_fixed_as_long_as_each_wildcard_takes_one() {
    let fixed = |text: &str| parse(text).fixed_segments().map(|segment| segment.unwrap_or("-").to_owned()).join(" ");
    assert_eq!(fixed("https://e.com/a/:b/c/:d/e"), "- - c -");
    assert_eq!(fixed("/:tenant/orders-17"), "- orders-17 - -");
    assert_eq!(fixed("https://*.e.com/a/b"), "a b - -", "what the prefix doesn't have");
    assert_eq!(fixed("http{s}?://e.com/a/:b"), "a - - -");
    assert_eq!(fixed("/a/:b/c:d/e/"), "- - - e");
    assert_eq!(fixed("/a/*/c"), "- - - -");
    assert_eq!(fixed("/a/:b/(\\d+)/d"), "- - - -");
    assert_eq!(fixed("/a{/:b}?/c"), "- - - -");
    assert_eq!(fixed("urn\\:a\\:b/c"), "- - - -");
    assert_eq!(fixed("/:a/b/c/d/e/f/g"), "- b c d");
    assert_eq!(fixed(&format!("/:a/{}/c", "b".repeat(65))), "- - c -", "too long");
}

#[test]
fn a_plain_pattern_takes_less_than_a_kilobyte_and_no_regular_expression() {
    let pattern = parse("https://app.example.com/tenants/:tenant/rooms/:room/messages/*");
    assert!(pattern.regexes.is_empty());
    assert!(pattern.owned_bytes() < 320, "{}", pattern.owned_bytes());
}

#[test]
fn equal_texts_share_what_regular_expression_they_need() {
    let (one, other) = (parse("/a/(x|y)z"), parse("/b/(x|y)z"));
    assert!(Arc::ptr_eq(&one.regexes[0], &other.regexes[0]));
    assert_ne!(one, other);
    assert_eq!(one, parse("/a/(x|y)z"));
}

// What the urlpattern crate itself says: the specification of ours.

fn reference(text: &str) -> Option<urlpattern::UrlPattern> {
    let mut init = process_construct_pattern_input(StringOrInit::String(text.into()), Some(hub().as_str())).ok()?;
    if init.protocol.is_some() {
        init.base_url = None;
    }
    <urlpattern::UrlPattern>::parse(init, UrlPatternOptions::default()).ok()
}

fn agrees(text: &str, topics: &[String]) -> Result<(), TestCaseError> {
    let ours = UrlPattern::parse(text, &hub(), Asker::Subscription);
    if ours == Err(PatternError::Bracket) {
        return Ok(());
    }
    let theirs = reference(text);
    prop_assert_eq!(ours.is_ok(), theirs.is_some(), "{}: {:?}", text, ours);
    let (Ok(ours), Some(theirs)) = (ours, theirs) else {
        return Ok(());
    };
    for topic in topics {
        let topic = ParsedTopic::new(topic, &hub());
        let Some(url) = &topic.url else { continue };
        let expected = theirs.test(UrlPatternMatchInput::Url(url.clone())).unwrap();
        prop_assert_eq!(ours.matches(url), expected, "{} on {}", text, url);
        if expected {
            prop_assert!(topic.address().unwrap().starts_with(ours.address_prefix()), "{} on {}", text, url);
            for (fixed, segment) in ours.fixed_segments().into_iter().zip(segments_of(url)) {
                prop_assert!(fixed.is_none() || fixed == segment, "{} on {}", text, url);
            }
        }
    }
    Ok(())
}

fn scheme() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("https://"), 1 => Just("http://"), 1 => Just("http{s}?://"), 1 => Just("*://"), 1 => Just(":p://"),
        2 => Just("foo://"), 1 => Just("foo:"), 1 => Just("file://"), 1 => Just("urn\\:"), 2 => Just(""),
        1 => Just("(http|foo)://"), 1 => Just("https:"),
    ]
    .prop_map(str::to_owned)
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(""), 4 => Just("e.com"), 2 => Just("a.e.com"), 1 => Just("*.e.com"), 1 => Just(":h.e.com"), 1 => Just("*"),
        1 => Just("u@e.com"), 1 => Just("u:p@e.com"), 1 => Just(":u::w@e.com"), 1 => Just("e.com:81"), 1 => Just("e.com:*"),
        1 => Just("e.com:443"), 1 => Just("(a|b).e.com"), 1 => Just("[\\:\\:1]"), 1 => Just("hub.example"), 1 => Just("{a.}?e.com"),
    ]
    .prop_map(str::to_owned)
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just("/"), 3 => Just("a"), 3 => Just("b"), 4 => Just(":N"), 3 => Just("*"), 1 => Just("-"), 1 => Just("."),
        1 => Just("{/a}?"), 1 => Just("/:N?"), 1 => Just("/:N+"), 1 => Just("/:N*"), 1 => Just("(a|b)"), 1 => Just("(.*)"),
        1 => Just("([^/]+?)"), 1 => Just(":N(a+)"), 1 => Just("{a:Nb}"), 1 => Just("{a*b}"), 1 => Just("\\:"), 1 => Just("é"),
        1 => Just("%41"), 1 => Just(".."), 1 => Just("?"), 1 => Just("?a=:N"), 1 => Just("#"), 1 => Just("#:N"), 1 => Just(" "),
        1 => Just("]"), 1 => Just("\\("), 1 => Just("(.+?)"), 1 => Just("\\?b"),
    ]
}

fn pattern_text() -> impl Strategy<Value = String> {
    (scheme(), host(), proptest::collection::vec(piece(), 0..9)).prop_map(|(scheme, host, pieces)| {
        let mut text = scheme + &host;
        for (n, piece) in pieces.into_iter().enumerate() {
            text.push_str(&piece.replace(":N", &format!(":n{n}")));
        }
        text
    })
}

fn topic_text() -> impl Strategy<Value = String> {
    let start = prop_oneof![
        6 => Just("https://e.com"), 1 => Just("http://e.com"), 1 => Just("https://a.e.com"), 1 => Just("https://u:p@e.com"),
        1 => Just("https://u@e.com"), 1 => Just("https://e.com:81"), 1 => Just("foo://e.com"), 1 => Just("foo:"), 1 => Just("foo://"),
        1 => Just("urn:"), 3 => Just(""), 1 => Just("file://"), 1 => Just("https://[::1]"), 1 => Just("https://hub.example"),
    ];
    let piece = prop_oneof![
        6 => Just("/"), 4 => Just("a"), 4 => Just("b"), 1 => Just("-"), 1 => Just("."), 1 => Just(":"), 1 => Just("é"),
        1 => Just("A"), 1 => Just("?"), 1 => Just("?a=b"), 1 => Just("#"), 1 => Just("%20"), 1 => Just("("), 1 => Just("]"),
    ];
    (start, proptest::collection::vec(piece, 0..9)).prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

/// A topic that has a good chance to match: the pattern with its wildcards filled in.
fn filled(pattern: &str, value: &str) -> String {
    let mut topic = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => topic.push_str(value),
            ':' if rest.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
                topic.push_str(value);
            }
            '(' => {
                rest = rest.split_once(')').map_or("", |(_, rest)| rest);
                topic.push('a');
            }
            '{' | '}' | '+' | '\\' => {}
            other => topic.push(other),
        }
    }
    topic
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_segment_matcher_agrees_with_the_crates_regular_expressions(
        text in pattern_text(),
        topics in proptest::collection::vec(topic_text(), 1..6),
    ) {
        let mut topics = topics;
        topics.extend(["a", "", "b/a", "a.b"].map(|value| filled(&text, value)));
        agrees(&text, &topics)?;
    }

    #[test]
    fn a_pattern_is_read_or_refused_without_panic(text in "[\\[\\]:/{}()\\\\*?+#@a.h|é&\\-^$0]{0,14}") {
        for text in [format!("https:{text}"), format!("https://{text}"), format!("foo{text}"), text] {
            agrees(&text, &[filled(&text, "a")])?;
        }
    }
}
