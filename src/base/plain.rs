//! pure: system errors in words for users.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// System error as a user reads it: `connection refused` instead of `Connection refused (os error 111)`.
#[derive(Debug)]
pub struct Plain<'a>(pub &'a io::Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = without_number(&text);
        let mut letters = text.chars();
        match letters.next() {
            // An abbreviation keeps its capital letters.
            Some(first) if !letters.as_str().starts_with(char::is_uppercase) => {
                write!(f, "{}{}", first.to_lowercase(), letters.as_str())
            }
            _ => f.write_str(&text),
        }
    }
}

/// Text without ` (os error N)`. The part behind it, such as advice, is kept.
fn without_number(text: &str) -> Cow<'_, str> {
    const NUMBER: &str = " (os error ";
    match text.split_once(NUMBER) {
        Some((before, rest)) => {
            let after = rest.split_once(')').map_or("", |(_, after)| after);
            Cow::Owned(format!("{before}{after}"))
        }
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_system_are_left_out() {
        let check = |error: io::Error, expected: &str| {
            assert_eq!(Plain(&error).to_string(), expected);
        };
        check(io::Error::from_raw_os_error(2), "no such file or directory");
        check(io::Error::from_raw_os_error(111), "connection refused");
        check(io::Error::other("EOF came early"), "EOF came early");
        check(io::Error::other(""), "");
        check(
            io::Error::other("Read-only file system (os error 30); mount it for writing"),
            "read-only file system; mount it for writing",
        );
    }
}
