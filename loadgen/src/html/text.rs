//! Text on a page.

use std::fmt::{self, Write};

/// A text that shows as what it is, in an element or in a quoted attribute.
pub(super) struct Escaped<'a>(&'a str);

/// Escapes whatever HTML would take for itself. Characters a page may not hold are replaced.
pub(super) fn escaped(text: &str) -> Escaped<'_> {
    Escaped(text)
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => to.write_str("&amp;")?,
                '<' => to.write_str("&lt;")?,
                '>' => to.write_str("&gt;")?,
                '"' => to.write_str("&quot;")?,
                '\'' => to.write_str("&#39;")?,
                '\n' | '\t' => to.write_char(c)?,
                // Control characters, and those that turn the direction of what follows.
                c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                    to.write_char('\u{fffd}')?;
                }
                c => to.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_html_takes_for_itself_is_escaped() {
        let text = escaped("<script>alert('1 & 2')</script> \"x\"\0\u{202e}").to_string();
        let wanted = "&lt;script&gt;alert(&#39;1 &amp; 2&#39;)&lt;/script&gt; &quot;x&quot;\u{fffd}\u{fffd}";
        assert_eq!(text, wanted);
    }

    proptest! {
        #[test]
        fn nothing_escapes(text in any::<String>()) {
            let escaped = escaped(&text).to_string();
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            let entities = escaped.matches(['&']).count();
            let known: usize = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().map(|e| escaped.matches(e).count()).sum();
            prop_assert_eq!(entities, known);
        }
    }
}
