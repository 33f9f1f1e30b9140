//! Topics by template: `https://loadgen.example/topic/{n % 1000}`, where `n` counts subscribers or events from 0.

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TopicError {
    /// A brace without its partner.
    #[error("a `{{` without `}}` in the topic {0:?}")]
    Unclosed(String),
    /// Something else than `n` or `n % 1000` between braces.
    #[error("`{{{0}}}` in a topic: write `{{n}}` or `{{n % 1000}}`")]
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `n`, or its rest when divided.
    Counter(Option<u64>),
}

/// A topic that may differ from one subscriber or event to the next.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct TopicTemplate(Vec<Part>);

impl TryFrom<String> for TopicTemplate {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        Self::parse(&text)
    }
}

impl From<TopicTemplate> for String {
    fn from(template: TopicTemplate) -> Self {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Counter(None) => "{n}".to_owned(),
            Part::Counter(Some(modulus)) => format!("{{n % {modulus}}}"),
        };
        template.0.iter().map(part).collect()
    }
}

impl TopicTemplate {
    /// Takes a template apart.
    pub(crate) fn parse(text: &str) -> Result<Self, TopicError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, after) = after.split_once('}').ok_or_else(|| TopicError::Unclosed(text.to_owned()))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Counter(counter(inside).ok_or_else(|| TopicError::Unknown(inside.to_owned()))?));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The topic for a count.
    pub(crate) fn at(&self, n: u64) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Counter(None) => n.to_string(),
            Part::Counter(Some(modulus)) => (n % modulus).to_string(),
        };
        self.0.iter().map(part).collect()
    }

    /// After so many counts the topics repeat; nothing when they never do.
    pub(crate) fn period(&self) -> Option<u64> {
        self.0.iter().try_fold(1_u64, |period, part| match part {
            Part::Text(_) => Some(period),
            Part::Counter(None) => None,
            Part::Counter(Some(modulus)) => period.checked_mul(modulus / gcd(period, *modulus)),
        })
    }
}

/// What stands between braces: `n`, or `n % NUMBER`.
fn counter(inside: &str) -> Option<Option<u64>> {
    let rest = inside.trim().strip_prefix('n')?.trim();
    if rest.is_empty() {
        return Some(None);
    }
    let modulus: u64 = rest.strip_prefix('%')?.trim().parse().ok()?;
    (modulus > 0).then_some(Some(modulus))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_filled_in() {
        let template = TopicTemplate::parse("a/{n % 3}/b/{n}").expect("parses");
        assert_eq!([0, 4].map(|n| template.at(n)), ["a/0/b/0", "a/1/b/4"]);
        assert_eq!(template.period(), None);
        assert_eq!(TopicTemplate::parse("{n%4}/{ n % 6 }").expect("parses").period(), Some(12));
        assert_eq!(TopicTemplate::parse("plain").expect("parses").period(), Some(1));
    }

    #[test]
    fn a_template_is_written_as_it_is_read() {
        for text in ["a/{n % 3}/b/{n}", "plain", "", "{n}{n}"] {
            assert_eq!(String::from(TopicTemplate::parse(text).expect("parses")), text);
        }
    }

    #[test]
    fn what_is_no_counter_is_refused() {
        assert_eq!(TopicTemplate::parse("a/{n"), Err(TopicError::Unclosed("a/{n".to_owned())));
        for inside in ["x", "n % 0", "n + 1", "n % x", ""] {
            let error = TopicTemplate::parse(&format!("a/{{{inside}}}")).expect_err("refused");
            assert_eq!(error, TopicError::Unknown(inside.to_owned()));
        }
    }
}
