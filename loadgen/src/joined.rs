//! The result of a thread that may have panicked: a run that goes on without it would judge what nobody looked at.

use std::any::Any;

use anyhow::anyhow;

/// What the thread answered, or an error with what it said when it panicked.
pub(crate) fn joined<T>(result: std::thread::Result<T>, who: &str) -> anyhow::Result<T> {
    result.map_err(|panic| anyhow!("{who} panicked: {}", words(&*panic)))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it didn't say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_words() {
        let thread = |panics: bool| std::thread::spawn(move || assert!(!panics, "out of {}", "luck")).join();
        assert!(joined(thread(false), "it").is_ok());
        assert_eq!(
            joined(thread(true), "a thread").expect_err("panicked").to_string(),
            "a thread panicked: out of luck"
        );
    }
}
