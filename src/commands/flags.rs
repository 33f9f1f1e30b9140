//! The flags of `serve`, made from the table of settings.

use super::outside::say;
use cinnabar::config::setting::{Fallback, Kind, SETTINGS, Setting};
use cinnabar::config::{Config, Layer, Refusals, flags};
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};

/// What the flags said; nothing has a type yet, since the environment and the file may say the rest.
#[derive(Debug, Clone, Default)]
pub(super) struct SettingFlags {
    pub(super) layer: Layer,
}

impl SettingFlags {
    /// The configuration of these flags, this process's environment and the file either names.
    pub(super) fn load(self) -> Result<Config, Refusals> {
        Config::load(self.layer, std::env::vars_os())
    }

    /// The same, with the refusals said on standard error.
    pub(super) fn load_or_say(self) -> Option<Config> {
        let refusals = match self.load() {
            Ok(config) => return Some(config),
            Err(refusals) => refusals,
        };
        for refusal in refusals.0 {
            say(&format!("cinnabar: {refusal}"));
        }
        None
    }
}

impl Args for SettingFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        // Said twice, the last one holds: scripts append to what others wrote.
        command.args(SETTINGS.iter().map(flag)).args_override_self(true)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SettingFlags, clap::Error> {
        let given = SETTINGS.iter().filter_map(|setting| {
            let words = matches.get_many::<String>(setting.name)?.cloned().collect();
            Some((setting.name, words))
        });
        Ok(SettingFlags { layer: flags(given) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = SettingFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let flag = Arg::new(setting.name).long(setting.name).help_heading(setting.group).help(help(setting));
    match setting.kind {
        Kind::Switch => flag
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false")
            .action(ArgAction::Set),
        Kind::One => flag.value_name(setting.value).action(ArgAction::Set),
        Kind::Many => flag.value_name(setting.value).action(ArgAction::Append),
    }
    // A PEM key begins with dashes.
    .allow_hyphen_values(setting.secret)
}

fn help(setting: &Setting) -> String {
    let mut help = setting.doc.to_owned();
    let repeatable = if setting.kind == Kind::Many { " (repeatable)" } else { "" };
    help.push_str(&format!("{repeatable}\n[env: {}", setting.env()));
    if let Some(name) = setting.mercure_env {
        help.push_str(&format!(", {name}"));
    }
    help.push_str(&format!("] [default: {}", setting.default.text()));
    if let Some(dev) = setting.dev_default {
        help.push_str(&format!("; with --dev: {}", dev.text()));
    }
    if setting.kind != Kind::Switch || setting.default != Fallback::Value("false") || setting.dev_default.is_some() {
        help.push(']');
    } else {
        // "default: false" says nothing about a switch.
        help.truncate(help.rfind(" [default").expect("it was just written"));
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;
    use cinnabar::config::setting::GROUPS;

    fn parse(args: &[&str]) -> Layer {
        let command = SettingFlags::augment_args(clap::Command::new("serve"));
        let matches = command.try_get_matches_from([&["serve"], args].concat()).unwrap();
        SettingFlags::from_arg_matches(&matches).unwrap().layer
    }

    #[test]
    fn every_setting_is_in_help_with_its_names_and_default() {
        let help = SettingFlags::augment_args(clap::Command::new("serve")).term_width(0).render_long_help().to_string();
        for setting in SETTINGS {
            assert!(help.contains(&format!("      {}", setting.flag())), "{}", setting.name);
            assert!(help.contains(&format!("[env: {}", setting.env())), "{}", setting.name);
            assert!(help.contains(setting.doc), "{}", setting.name);
            if let Fallback::Value(text) = setting.default
                && setting.kind != Kind::Switch
            {
                assert!(help.contains(&format!("[default: {text}")), "{}", setting.name);
            }
        }
        for group in GROUPS {
            assert!(help.contains(&format!("\n{group}:\n")), "{group}");
        }
    }

    #[test]
    fn only_what_was_said_is_in_the_layer() {
        assert!(parse(&[]).is_empty());
        let layer = parse(&["--heartbeat", "1s", "--anonymous", "--dev=false"]);
        assert_eq!(layer.len(), 3);
        assert_eq!(layer["heartbeat"].words, ["1s"]);
        assert_eq!(layer["anonymous"].words, ["true"]);
        assert_eq!(layer["dev"].words, ["false"]);
    }

    #[test]
    fn repeatable_flags_add_up_and_others_take_the_last() {
        let layer = parse(&["--cors-origin", "https://a.example", "--cors-origin", "https://b.example"]);
        assert_eq!(layer["cors-origin"].words, ["https://a.example", "https://b.example"]);
        assert_eq!(parse(&["--shards", "1", "--shards", "2"])["shards"].words, ["2"]);
    }

    #[test]
    fn a_pem_key_is_a_value_though_it_begins_with_dashes() {
        let pem = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----";
        assert_eq!(parse(&["--publisher-jwt-key", pem])["publisher-jwt-key"].words, [pem]);
    }
}
