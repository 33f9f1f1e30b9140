//! For tests: is a page well-formed? Every element is closed in order, attributes are quoted, and nothing comes from elsewhere.

const VOID: [&str; 3] = ["meta", "br", "hr"];

/// Panics where it isn't.
pub(super) fn check(page: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a stray > in {:?}", &rest[..at]);
        entities(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix("!doctype html>") {
            rest = after;
            continue;
        }
        let end = tag_end(rest);
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of order, {open:?} are open");
            continue;
        }
        let name = tag.split([' ', '\n', '/']).next().unwrap_or_default().to_owned();
        attributes(tag[name.len()..].trim_end_matches('/'));
        if name == "script" || name == "style" {
            let close = format!("</{name}>");
            let (inner, after) = rest.split_once(&close).expect("it is closed");
            assert!(!inner.contains('<') || name == "script", "{inner}");
            rest = after;
        } else if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    for foreign in ["src=", "@import", "url(", "href=\"http", "href=\"//"] {
        assert!(!page.contains(foreign), "{foreign} asks for something from elsewhere");
    }
}

/// The end of a tag: the first > that isn't in a quoted value.
fn tag_end(text: &str) -> usize {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '>' if !quoted => return at,
            _ => {}
        }
    }
    panic!("a tag without an end: {:?}", &text[..text.len().min(60)]);
}

fn attributes(text: &str) {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("an attribute without a value: {rest:?}"));
        assert!(
            name.chars().all(|c| c.is_ascii_alphanumeric() || "-:".contains(c)),
            "the attribute's name is {name:?}"
        );
        let (value, after) = after.split_once('"').expect("the value is quoted");
        assert!(!value.contains('<'), "{value}");
        entities(value);
        rest = after.trim_start();
    }
}

fn entities(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().any(|entity| text[at..].starts_with(entity));
        assert!(known, "a stray & in {text:?}");
    }
}

#[test]
#[should_panic(expected = "closed out of order")]
fn elements_that_overlap_are_found() {
    check("<p><b>x</p></b>");
}

#[test]
#[should_panic(expected = "a stray &")]
fn stray_ampersands_are_found() {
    check("<p>a & b</p>");
}

#[test]
fn a_small_page_is_well_formed() {
    check("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><p title=\"a > b\">x &lt; y</p><br></html>");
}
