//! The expansions of RFC 6570 §3.2, each held against its template, and what comes close to one.

use proptest::prelude::*;

use super::*;

fn template(text: &str) -> Arc<Template> {
    let parsed = Template::parse(text, Asker::Subscription);
    parsed.unwrap_or_else(|error| panic!("{text}: {error}")).unwrap_or_else(|| panic!("{text} is a template"))
}

/// Templates and expansions as the RFC lists them, §3.2.2 to §3.2.9.
const EXPANSIONS: &[(&str, &[&str])] = &[
    // §3.2.2: simple strings.
    ("{var}", &["value"]),
    ("{hello}", &["Hello%20World%21"]),
    ("{half}", &["50%25"]),
    ("O{empty}X", &["OX"]),
    ("O{undef}X", &["OX"]),
    ("{x,y}", &["1024,768"]),
    ("{x,hello,y}", &["1024,Hello%20World%21,768"]),
    ("?{x,empty}", &["?1024,"]),
    ("?{x,undef}", &["?1024"]),
    ("?{undef,y}", &["?768"]),
    ("{var:3}", &["val"]),
    ("{var:30}", &["value"]),
    ("{list}", &["red,green,blue"]),
    ("{list*}", &["red,green,blue"]),
    ("{keys}", &["semi,%3B,dot,.,comma,%2C", "comma,%2C,dot,.,semi,%3B"]),
    ("{keys*}", &["semi=%3B,dot=.,comma=%2C"]),
    // §3.2.3: reserved.
    ("{+var}", &["value"]),
    ("{+hello}", &["Hello%20World!"]),
    ("{+half}", &["50%25"]),
    ("{base}index", &["http%3A%2F%2Fexample.com%2Fhome%2Findex"]),
    ("{+base}index", &["http://example.com/home/index"]),
    ("O{+empty}X", &["OX"]),
    ("O{+undef}X", &["OX"]),
    ("{+path}/here", &["/foo/bar/here"]),
    ("here?ref={+path}", &["here?ref=/foo/bar"]),
    ("up{+path}{var}/here", &["up/foo/barvalue/here"]),
    ("{+x,hello,y}", &["1024,Hello%20World!,768"]),
    ("{+path,x}/here", &["/foo/bar,1024/here"]),
    ("{+path:6}/here", &["/foo/b/here"]),
    ("{+list}", &["red,green,blue"]),
    ("{+list*}", &["red,green,blue"]),
    ("{+keys}", &["semi,;,dot,.,comma,,"]),
    ("{+keys*}", &["semi=;,dot=.,comma=,"]),
    // §3.2.4: fragments.
    ("{#var}", &["#value"]),
    ("{#hello}", &["#Hello%20World!"]),
    ("{#half}", &["#50%25"]),
    ("foo{#empty}", &["foo#"]),
    ("foo{#undef}", &["foo"]),
    ("{#x,hello,y}", &["#1024,Hello%20World!,768"]),
    ("{#path,x}/here", &["#/foo/bar,1024/here"]),
    ("{#path:6}/here", &["#/foo/b/here"]),
    ("{#list}", &["#red,green,blue"]),
    ("{#list*}", &["#red,green,blue"]),
    ("{#keys}", &["#semi,;,dot,.,comma,,"]),
    ("{#keys*}", &["#semi=;,dot=.,comma=,"]),
    // §3.2.5: labels.
    ("{.who}", &[".fred"]),
    ("{.who,who}", &[".fred.fred"]),
    ("{.half,who}", &[".50%25.fred"]),
    ("www{.dom*}", &["www.example.com"]),
    ("X{.var}", &["X.value"]),
    ("X{.empty}", &["X."]),
    ("X{.undef}", &["X"]),
    ("X{.var:3}", &["X.val"]),
    ("X{.list}", &["X.red,green,blue"]),
    ("X{.list*}", &["X.red.green.blue"]),
    ("X{.keys}", &["X.semi,%3B,dot,.,comma,%2C"]),
    ("X{.keys*}", &["X.semi=%3B.dot=..comma=%2C"]),
    ("X{.empty_keys}", &["X"]),
    ("X{.empty_keys*}", &["X"]),
    // §3.2.6: path segments.
    ("{/who}", &["/fred"]),
    ("{/who,who}", &["/fred/fred"]),
    ("{/half,who}", &["/50%25/fred"]),
    ("{/who,dub}", &["/fred/me%2Ftoo"]),
    ("{/var}", &["/value"]),
    ("{/var,empty}", &["/value/"]),
    ("{/var,undef}", &["/value"]),
    ("{/var,x}/here", &["/value/1024/here"]),
    ("{/var:1,var}", &["/v/value"]),
    ("{/list}", &["/red,green,blue"]),
    ("{/list*}", &["/red/green/blue"]),
    ("{/list*,path:4}", &["/red/green/blue/%2Ffoo"]),
    ("{/keys}", &["/semi,%3B,dot,.,comma,%2C"]),
    ("{/keys*}", &["/semi=%3B/dot=./comma=%2C"]),
    // §3.2.7: path-style parameters.
    ("{;who}", &[";who=fred"]),
    ("{;half}", &[";half=50%25"]),
    ("{;empty}", &[";empty"]),
    ("{;v,empty,who}", &[";v=6;empty;who=fred"]),
    ("{;v,bar,who}", &[";v=6;who=fred"]),
    ("{;x,y}", &[";x=1024;y=768"]),
    ("{;x,y,empty}", &[";x=1024;y=768;empty"]),
    ("{;x,y,undef}", &[";x=1024;y=768"]),
    ("{;hello:5}", &[";hello=Hello"]),
    ("{;list}", &[";list=red,green,blue"]),
    ("{;list*}", &[";list=red;list=green;list=blue"]),
    ("{;keys}", &[";keys=semi,%3B,dot,.,comma,%2C"]),
    ("{;keys*}", &[";semi=%3B;dot=.;comma=%2C"]),
    // §3.2.8: queries.
    ("{?who}", &["?who=fred"]),
    ("{?half}", &["?half=50%25"]),
    ("{?x,y}", &["?x=1024&y=768"]),
    ("{?x,y,empty}", &["?x=1024&y=768&empty="]),
    ("{?x,y,undef}", &["?x=1024&y=768"]),
    ("{?var:3}", &["?var=val"]),
    ("{?list}", &["?list=red,green,blue"]),
    ("{?list*}", &["?list=red&list=green&list=blue"]),
    ("{?keys}", &["?keys=semi,%3B,dot,.,comma,%2C"]),
    ("{?keys*}", &["?semi=%3B&dot=.&comma=%2C"]),
    // §3.2.9: more of a query.
    ("{&who}", &["&who=fred"]),
    ("{&half}", &["&half=50%25"]),
    ("?fixed=yes{&x}", &["?fixed=yes&x=1024"]),
    ("{&x,y,empty}", &["&x=1024&y=768&empty="]),
    ("{&x,y,undef}", &["&x=1024&y=768"]),
    ("{&var:3}", &["&var=val"]),
    ("{&list}", &["&list=red,green,blue"]),
    ("{&list*}", &["&list=red&list=green&list=blue"]),
    ("{&keys}", &["&keys=semi,%3B,dot,.,comma,%2C"]),
    ("{&keys*}", &["&semi=%3B&dot=.&comma=%2C"]),
    // §1.2 and §2.4: the rest of the levels, values longer than their prefix, two variables before and after each other.
    ("map?{x,y}", &["map?1024,768"]),
    ("{var:20}", &["value"]),
    ("{#x,hello,y}", &["#1024,Hello%20World!,768"]),
    ("find{?year*}", &["find?year=1965&year=2000&year=2012"]),
    ("http://example.com/~{username}/", &["http://example.com/~fred/", "http://example.com/~mark/"]),
    ("http://example.com/dictionary/{term:1}/{term}", &["http://example.com/dictionary/d/dog"]),
    (
        "http://example.com/search{?q,lang}",
        &[
            "http://example.com/search?q=cat&lang=en",
            "http://example.com/search?q=chien&lang=fr",
            "http://example.com/search",
        ],
    ),
];

#[test]
fn every_expansion_the_rfc_lists_fits_its_template() {
    for (text, expansions) in EXPANSIONS {
        for expansion in *expansions {
            assert!(template(text).matches(expansion), "{text} {expansion}");
        }
    }
}

#[test]
fn what_is_no_expansion_does_not_fit() {
    let near_misses: &[(&str, &[&str])] = &[
        ("{var}", &["a/b", "a b", "é", "%2", "%zz", "a?b", "a=b", "a:b"]),
        ("O{empty}X", &["O/X", "O", "X", "ox", "OXX/"]),
        ("{x,y}", &["1,2/3", "a=b"]),
        ("{var:3}", &["valu", "v,a", "%C3%A9%C3%A9%C3%A9%C3%A9", "%61%62%63%64"]),
        ("{list*}", &["red/green"]),
        ("{keys*}", &["a=b=c"]),
        ("{+path}/here", &["/foo bar/here", "/foo/bar/there", "/é/here", "/%/here"]),
        ("{+path:6}/here", &["/foo/ba/here"]),
        ("{#var}", &["value", "#a b"]),
        ("X{.var}", &["Xvalue", "X/value", "X.a/b"]),
        ("X{.list*}", &["X.a/b", "Xa.b"]),
        ("{/var,x}/here", &["value/here", "/a/b/c/here", "/a/b", "/a//b/here"]),
        ("{/who}", &["fred", "/fred/", "/fred/fred", "/a?b"]),
        ("{;x,y}", &[";y=1;x=2", ";z=1", ";x=1;x=2", "x=1", ";x=1;"]),
        ("{;empty}", &["empty", ";empt", ";emptyy"]),
        ("{?x,y}", &["?y=1&x=2", "?x", "?", "x=1", "&x=1", "?x=1?y=2", "?x=1&", "?x=1&y=2&z=3", "?X=1"]),
        ("{?var:3}", &["?var=valu", "?var"]),
        ("{?list*}", &["?list", "?a=b=c", "?a=1&", "?=1&b"]),
        ("?fixed=yes{&x}", &["?fixed=yes?x=1", "?fixed=yesx=1", "?fixed=no&x=1"]),
        ("https://e.com/books/{id}", &["https://e.com/books", "https://e.com/books/1/2", "http://e.com/books/1"]),
        ("https://e.com/{a}/x/{b}", &["https://e.com/1/y/2", "https://e.com/1/x/2/3", "https://e.com/1/x"]),
    ];
    for (text, topics) in near_misses {
        for topic in *topics {
            assert!(!template(text).matches(topic), "{text} {topic}");
        }
    }
}

#[test]
fn variables_may_be_missing_one_by_one() {
    for topic in ["", "?a=1", "?b=2", "?c=3", "?a=1&c=3", "?b=2&c=3", "?a=1&b=2&c=3"] {
        assert!(template("{?a,b,c}").matches(topic), "{topic}");
    }
    for topic in ["", ";a", ";b", ";a=1;c", ";c=3"] {
        assert!(template("{;a,b,c}").matches(topic), "{topic}");
    }
    for topic in ["", "12,3", "abc=1,45", "k=v,l,123", "12"] {
        assert!(template("{a:2,b*,c:3}").matches(topic), "{topic}");
    }
}

#[test]
fn escapes_fit_in_any_case_of_their_digits() {
    assert!(template("{+a}x{b}").matches("/%c3%A9x%C3%a9"));
    assert!(template("{a:1}").matches("%c3%a9") && template("{a:1}").matches("%F0%9F%A6%8A"));
}

#[test]
fn a_literal_beyond_ascii_stands_for_itself_and_for_its_escapes() {
    for topic in ["https://é.example/1/ü", "https://%C3%A9.example/1/%C3%BC"] {
        assert!(template("https://é.example/{id}/ü").matches(topic), "{topic}");
    }
    assert!(!template("https://é.example/{id}/ü").matches("https://e.example/1/ü"));
    assert_eq!(template("https://é.example/{id}").prefix(), "");
}

#[test]
fn what_is_no_template_is_left_alone() {
    for text in [
        "",
        "plain",
        "a}b",
        "{",
        "{}",
        "{a",
        "a}{b",
        "{a}}",
        "{a{b}}",
        "{a b}",
        "{a,}",
        "{,a}",
        "{a.}",
        "{.}",
        "{a..b}",
        "{a:0}",
        "{a:}",
        "{a:12345}",
        "{a:1*}",
        "{a*:1}",
        "{a:+1}",
        "{=a}",
        "{!a}",
        "{@a}",
        "{|a}",
        "{a%2}",
        "{é}",
        "{a-b}",
        "{a} b",
        "{a}<",
        "{a}%4",
        "{a}\\",
        "{a}\"",
        "{a}^",
        "{a}`",
        "{a}|",
    ] {
        assert_eq!(Template::parse(text, Asker::Subscription), Ok(None), "{text}");
        assert!(!Template::needs_regex(text));
    }
    for text in ["{a.b}", "{_}", "{%41}", "{+a.b_1,%4a:9999x}", "{a}'"] {
        assert_eq!(Plan::of(text).is_some(), text != "{+a.b_1,%4a:9999x}", "{text}");
    }
}

#[test]
fn names_hold_dots_and_escapes_literally() {
    assert!(template("{?a.b,%4A}").matches("?a.b=1&%4A=2"));
    assert!(!template("{?a.b}").matches("?aXb=1"));
}

#[test]
fn templates_too_large_to_compile_are_refused() {
    let error = |text: &str| Template::parse(text, Asker::Subscription).unwrap_err();
    assert_eq!(error("{a:9999}"), PatternError::RegexTooBig);
    assert_eq!(error(&format!("{{?{}a}}", "a,".repeat(2_000))), PatternError::RegexTooBig);
    assert_eq!(error(&format!("{{&{}a}}", "a,".repeat(2_000))), PatternError::RegexTooBig);
    assert_eq!(error(&"{+a}/".repeat(800)), PatternError::RegexTooBig);
    let length = PATTERN_BYTES_MAX + 1;
    assert_eq!(error(&format!("{{a}}{}", "x".repeat(length - 3))), PatternError::TooLong { length });
}

#[test]
fn ordinary_templates_are_small_and_cheap() {
    for text in ["https://example.com/books/{id}", "https://example.com/books/{id}/pages/{page}?q={q}&x"] {
        let plain = template(text);
        assert!(matches!(plain.middle, Middle::Values) && plain.typical_cost_ns() < 500);
        assert_eq!(plain.prefix(), "https://example.com/books/");
    }
    // What differs in literals only shares one regular expression.
    let regex = |text: &str| match &template(text).middle {
        Middle::Regex(regex) => Arc::clone(regex),
        Middle::Values => panic!("{text}"),
    };
    assert!(Arc::ptr_eq(&regex("https://a.example/{+x}/1/{y}"), &regex("https://b.example/{+z}/1/{y}/end")));
    // In nanoseconds, at worst.
    let prices = ["{a}.{b}", "{+a}", "{?q,page}", "{/a*}"].map(|text| template(text).typical_cost_ns());
    assert!(prices.iter().all(|ns| *ns < 100_000), "{prices:?}");
}

proptest! {
    #[test]
    fn the_plain_matcher_agrees_with_the_regular_expression(
        text in proptest::sample::select(vec!["{id}", "{a}/{b}", "{a}/x/{b}", "{a}?{b}&{c}", "{a}//{b}", "{a}/%4a{b}"]),
        topic in proptest::collection::vec(
            proptest::sample::select(vec!["a", "9", "%", "%4", "%4a", "F", ",", "-", "/", "/", "x", "=", "?", "&", "é"]), 0..8),
    ) {
        let topic = topic.concat();
        let regex = Compiled::get(&Plan::of(text).unwrap().regex().unwrap(), Asker::Subscription).unwrap();
        prop_assert!(!Template::needs_regex(text));
        prop_assert_eq!(template(text).matches(&topic), regex.matches(topic.as_bytes()));
    }

    #[test]
    fn any_text_is_judged_without_panic(
        pieces in proptest::collection::vec(proptest::sample::select(
            vec!["{", "}", "a", "b*", "c:2", ",", "+", "#", ".", "/", ";", "?", "&", "é", "%", "%41", "\\", "[", "("]), 0..12),
        topic in "\\PC{0,12}",
    ) {
        let text = pieces.concat();
        if let Ok(Some(template)) = Template::parse(&text, Asker::Subscription) {
            let _ = template.matches(&topic);
            prop_assert!(template.prefix().is_ascii());
        }
    }

    #[test]
    fn strings_expand_to_what_fits(values in proptest::collection::vec("[a-zé/ %]{0,6}", 3)) {
        let encoded: Vec<String> = values.iter().map(|value| {
            value.bytes().map(|b| match b {
                b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
                b => format!("%{b:02X}"),
            }).collect()
        }).collect();
        let [a, b, c] = &encoded[..] else { unreachable!() };
        for (text, topic) in [
            ("https://e.com/{a}/{b}.{c}", format!("https://e.com/{a}/{b}.{c}")),
            ("x{/a,b}{?c}", format!("x/{a}/{b}?c={c}")),
            ("{+a,b}{#c}", format!("{a},{b}#{c}")),
            ("{;a}{.b}{&c}", format!("{}.{b}&c={c}", if a.is_empty() { ";a".to_owned() } else { format!(";a={a}") })),
        ] {
            prop_assert!(template(text).matches(&topic), "{} {}", text, topic);
        }
    }
}
