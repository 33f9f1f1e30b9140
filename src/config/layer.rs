//! Layers of what was said: flag beats environment, environment beats file, file beats default.

use super::setting::{Fallback, Kind, SETTINGS, Setting};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What one layer says, by the name of the setting.
pub type Layer = BTreeMap<&'static str, Said>;

/// The words of one setting and where they stand.
#[derive(Clone, PartialEq, Eq)]
pub struct Said {
    /// One word, or any number for a repeatable setting.
    pub words: Vec<String>,
    /// Where they stand.
    pub source: Source,
}

// Not derived: the words may be a key, which must not reach a log.
impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Said").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line.
    Flag,
    /// The environment variable of this name.
    Environment(String),
    /// This file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
    /// Nobody said anything, and development mode has a default of its own.
    Development,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => f.write_str("flag"),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Default => f.write_str("default"),
            Source::Development => f.write_str("development mode"),
        }
    }
}

/// A setting together with where its value stands: how a sentence points at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The setting's name.
    pub name: &'static str,
    /// Where its value stands.
    pub source: Source,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Environment(name) => f.write_str(name),
            Source::File(path) => {
                write!(f, "`{}` in {}", self.name.replace('-', "_"), path.display())
            }
            Source::Flag | Source::Default | Source::Development => write!(f, "`--{}`", self.name),
        }
    }
}

/// What holds for every setting after layering; a setting without value and default has no words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    values: Layer,
}

impl Resolved {
    /// The strongest layer comes first. The whole value of a setting comes from one layer: lists don't add up.
    pub(super) fn new(layers: &[Layer]) -> Resolved {
        let said = |setting: &Setting| layers.iter().find_map(|layer| layer.get(setting.name)).cloned();
        let dev = SETTINGS
            .iter()
            .find(|setting| setting.name == "dev")
            .and_then(said)
            .is_some_and(|said| said.words.first().and_then(|word| parse_switch(word)) == Some(true));
        let values = SETTINGS
            .iter()
            .map(|setting| (setting.name, said(setting).unwrap_or_else(|| unsaid(setting, dev))))
            .collect();
        Resolved { values }
    }

    /// What holds for the setting of this name.
    pub(super) fn said(&self, name: &str) -> &Said {
        self.values.get(name).expect("every setting of the table is resolved")
    }

    /// The one word of a setting, if it has a value.
    pub(super) fn word(&self, name: &str) -> Option<&str> {
        self.said(name).words.first().map(String::as_str)
    }

    /// Whether anybody set it, as opposed to a default.
    pub(super) fn is_set(&self, name: &str) -> bool {
        !matches!(self.said(name).source, Source::Default | Source::Development)
    }

    /// Takes over what another one has for the settings of these names.
    pub(super) fn take(&mut self, names: &[&'static str], mut other: Resolved) {
        self.values.extend(names.iter().filter_map(|name| other.values.remove_entry(name)));
    }

    /// Changes what was said, for words that must not be kept as they were.
    pub(super) fn change(&mut self, name: &'static str, change: impl FnOnce(&mut Said)) {
        self.values.entry(name).and_modify(change);
    }

    /// How to point at it in a sentence.
    pub(super) fn place(&self, name: &'static str) -> Place {
        Place { name, source: self.said(name).source.clone() }
    }
}

fn unsaid(setting: &Setting, dev: bool) -> Said {
    let source = if dev && setting.dev_default.is_some() { Source::Development } else { Source::Default };
    let words = match setting.default_in(dev) {
        Fallback::Value(text) => vec![text.to_owned()],
        Fallback::Without(_) => Vec::new(),
    };
    Said { words, source }
}

/// On or off, in the words people use in environments.
pub(super) fn parse_switch(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// What the flags say, as a layer: `(name, words)` of each flag that was given.
pub fn flags(given: impl IntoIterator<Item = (&'static str, Vec<String>)>) -> Layer {
    given.into_iter().map(|(name, words)| (name, Said { words, source: Source::Flag })).collect()
}

/// What a hub makes of flags alone, for tests of one group of settings.
#[cfg(test)]
pub(super) fn load_flags(given: &[(&'static str, &[&str])]) -> Result<super::Config, super::Refusals> {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    super::Config::load(flags(given.iter().map(|&(name, it)| (name, words(it)))), [])
}

/// The same of a hub that anybody may read.
#[cfg(test)]
pub(super) fn load_anonymous(given: &[(&'static str, &[&str])]) -> Result<super::Config, super::Refusals> {
    let always = [("resource", &["https://hub.example/.well-known/mercure"][..]), ("anonymous", &["true"])];
    load_flags(&[&always, given].concat())
}

/// The words of one text for this setting: a repeatable one takes several, separated by spaces.
pub(super) fn words(setting: &Setting, text: &str) -> Vec<String> {
    match setting.kind {
        Kind::Many => text.split_whitespace().map(str::to_owned).collect(),
        Kind::Switch | Kind::One => vec![text.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(source: Source, name: &'static str, word: &str) -> Layer {
        Layer::from([(name, Said { words: vec![word.to_owned()], source })])
    }

    #[test]
    fn each_layer_beats_the_next() {
        let flag = layer(Source::Flag, "heartbeat", "1s");
        let env = layer(Source::Environment("CINNABAR_HEARTBEAT".to_owned()), "heartbeat", "2s");
        let file = layer(Source::File("hub.toml".into()), "heartbeat", "3s");

        for (layers, word, source) in [
            (vec![flag.clone(), env.clone(), file.clone()], "1s", "flag"),
            (vec![Layer::new(), env, file.clone()], "2s", "environment CINNABAR_HEARTBEAT"),
            (vec![Layer::new(), Layer::new(), file], "3s", "file hub.toml"),
            (vec![], "25s", "default"),
        ] {
            let resolved = Resolved::new(&layers);
            assert_eq!(resolved.word("heartbeat"), Some(word));
            assert_eq!(resolved.said("heartbeat").source.to_string(), source);
        }
    }

    #[test]
    fn development_mode_has_defaults_of_its_own_that_anybody_may_override() {
        let dev = layer(Source::Flag, "dev", "true");
        let resolved = Resolved::new(std::slice::from_ref(&dev));
        assert_eq!(resolved.word("anonymous"), Some("true"));
        assert_eq!(resolved.said("anonymous").source, Source::Development);
        assert_eq!(resolved.word("data"), Some("./cinnabar-data"));

        let resolved = Resolved::new(&[dev, layer(Source::File("hub.toml".into()), "anonymous", "false")]);
        assert_eq!(resolved.word("anonymous"), Some("false"));
    }

    #[test]
    fn a_place_is_named_in_the_words_of_its_layer() {
        let place = |source| Place { name: "max-lifetime", source }.to_string();
        assert_eq!(place(Source::Flag), "`--max-lifetime`");
        assert_eq!(place(Source::Environment("CINNABAR_MAX_LIFETIME".to_owned())), "CINNABAR_MAX_LIFETIME");
        assert_eq!(place(Source::File("hub.toml".into())), "`max_lifetime` in hub.toml");
    }
}
