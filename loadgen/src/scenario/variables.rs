//! Variables of a scenario: `"${name}"` stands for the variable's value, also inside a text. They are replaced before the
//! file is parsed, line by line, so that every message names the line the user wrote.

use toml::{Table, Value};

use super::ScenarioError;

/// The file's text with all variables replaced. `set` overrides defaults, as `name=value`.
pub(super) fn filled(text: &str, set: &[String]) -> Result<String, ScenarioError> {
    if !text.contains("[variables]") {
        if let Some(first) = set.first() {
            return Err(ScenarioError::UnknownSet { name: name_of(first)?.0.to_owned(), known: String::new() });
        }
        return replace(text, &Table::new());
    }
    let mut values = defaults(text)?;
    for assignment in set {
        let (name, value) = name_of(assignment)?;
        let known = values.keys().cloned().collect::<Vec<_>>().join(", ");
        let Some(default) = values.get_mut(name) else {
            return Err(ScenarioError::UnknownSet { name: name.to_owned(), known });
        };
        *default = like(default, value)
            .ok_or_else(|| ScenarioError::BadSet { assignment: assignment.clone(), like: default.to_string() })?;
    }
    replace(text, &values)
}

fn name_of(assignment: &str) -> Result<(&str, &str), ScenarioError> {
    assignment.split_once('=').ok_or_else(|| ScenarioError::NoAssignment(assignment.to_owned()))
}

/// The lines of `[variables]`, up to the next table, are a file of their own.
fn defaults(text: &str) -> Result<Table, ScenarioError> {
    let mut inside = false;
    let mut own = String::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            inside = trimmed == "[variables]";
        } else if inside {
            own += line;
        }
        // Lines elsewhere stay as empty ones, so that errors name the right line.
        own.push('\n');
    }
    let values: Table = toml::from_str(&own).map_err(|error| ScenarioError::Toml(error.to_string()))?;
    for (name, value) in &values {
        let fits = match value {
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => true,
            Value::String(text) => !text.contains(['"', '\\', '\n', '\r']),
            _ => false,
        };
        if !fits {
            return Err(ScenarioError::BadVariable(name.clone()));
        }
    }
    Ok(values)
}

/// A value of the default's type.
fn like(default: &Value, text: &str) -> Option<Value> {
    match default {
        Value::Integer(_) => text.replace('_', "").parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Float),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::String(_) => (!text.contains(['"', '\\', '\n', '\r'])).then(|| Value::String(text.to_owned())),
        _ => None,
    }
}

fn replace(text: &str, values: &Table) -> Result<String, ScenarioError> {
    let mut filled = String::with_capacity(text.len());
    for (at, line) in text.lines().enumerate() {
        let mut rest = line;
        // Comments may speak of variables.
        while let Some((before, after)) = rest.split_once("${").filter(|_| !line.trim_start().starts_with('#')) {
            let unknown = |name: &str| ScenarioError::UnknownVariable { line: at + 1, name: name.to_owned() };
            let (name, after) = after.split_once('}').ok_or_else(|| unknown(after))?;
            let value = values.get(name).ok_or_else(|| unknown(name))?;
            match (before.strip_suffix('"'), after.strip_prefix('"')) {
                // The whole text: the value with its type.
                (Some(before), Some(after)) => {
                    filled += before;
                    filled += &value.to_string();
                    rest = after;
                }
                _ => {
                    filled += before;
                    filled += &value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    rest = after;
                }
            }
        }
        filled += rest;
        filled.push('\n');
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "a = \"${many}\"\nb = \"x/{n % ${many}}/${word}\"\nc = \"${word}\" # ${none\n# ${none}\n[variables]\nmany = 5\nword = \"w\"\nfraction = 0.5\n[x]\n";

    #[test]
    fn values_keep_their_type_alone_and_are_text_inside_a_text() {
        let text = FILE.replace(" # ${none", "");
        let filled = filled(&text, &["many=7".to_owned()]).expect("fills");
        assert!(filled.starts_with("a = 7\nb = \"x/{n % 7}/w\"\nc = \"w\"\n# ${none}\n"), "{filled}");
    }

    #[test]
    fn what_is_unknown_or_of_another_type_is_named() {
        assert_eq!(filled(FILE, &[]), Err(ScenarioError::UnknownVariable { line: 3, name: "none".to_owned() }));
        let error = filled(FILE, &["nothing=1".to_owned()]).expect_err("refused");
        assert_eq!(
            error,
            ScenarioError::UnknownSet { name: "nothing".to_owned(), known: "fraction, many, word".to_owned() }
        );
        for bad in ["many=x", "many=1.5", "fraction=inf", "word=a\"b"] {
            let error = filled(FILE, &[bad.to_owned()]).expect_err("refused");
            assert!(matches!(error, ScenarioError::BadSet { .. }), "{bad}: {error}");
        }
        assert_eq!(filled("", &["many".to_owned()]), Err(ScenarioError::NoAssignment("many".to_owned())));
        assert_eq!(filled("[variables]\nx = [1]\n", &[]), Err(ScenarioError::BadVariable("x".to_owned())));
    }
}
