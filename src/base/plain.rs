//! pure: errors of the system in words for users.

use std::fmt;
use std::io;

/// An error of the system as a user reads it: `connection refused`, not `Connection refused (os error 111)`.
#[derive(Debug)]
pub struct Plain<'a>(pub &'a io::Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error ").next().unwrap_or(&text);
        let mut letters = text.chars();
        match letters.next() {
            // An abbreviation keeps its capitals.
            Some(first) if !letters.as_str().starts_with(char::is_uppercase) => {
                write!(f, "{}{}", first.to_lowercase(), letters.as_str())
            }
            _ => f.write_str(text),
        }
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
    }
}
