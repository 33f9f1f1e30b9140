//! The known name nearest to a mistyped one.

/// How many edits still count as a slip: beyond that a suggestion would mislead.
const EDITS_MAX: usize = 3;

/// The candidate that takes the fewest edits to reach, when few enough; letter case and `-`/`_` are free.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = plain(name);
    candidates
        .into_iter()
        .map(|candidate| (edits(&plain, &self::plain(candidate)), candidate))
        .filter(|(edits, candidate)| *edits <= EDITS_MAX && *edits * 2 < candidate.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate.to_owned())
}

fn plain(name: &str) -> Vec<char> {
    name.to_lowercase().replace('-', "_").chars().collect()
}

/// Levenshtein's distance, one row at a time.
fn edits(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name() {
        let known = ["heartbeat", "max_lifetime", "listen"];
        assert_eq!(nearest("hartbeat", known).as_deref(), Some("heartbeat"));
        assert_eq!(nearest("max-lifetime", known).as_deref(), Some("max_lifetime"));
        assert_eq!(nearest("MAX_LIFETIM", known).as_deref(), Some("max_lifetime"));
        assert_eq!(nearest("something_else", known), None);
    }

    #[test]
    fn a_short_name_is_not_near_everything() {
        assert_eq!(nearest("abc", ["io", "dev"]), None);
    }

    #[test]
    fn edits_are_counted() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(edits(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(edits(&chars(""), &chars("abc")), 3);
        assert_eq!(edits(&chars("abc"), &chars("")), 3);
    }
}
