//! An error with its causes in one line.

use std::error::Error;

/// The error and all its causes, joined by `: `. A cause that its effect already quotes is not repeated.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open `x`")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Transparent(Outer);

    #[test]
    fn every_cause_is_told_once() {
        let error = Transparent(Outer(std::io::Error::other("no space")));
        assert_eq!(error_chain(&error), "open `x`: no space");
    }
}
