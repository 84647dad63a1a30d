//! pure: PLAIN (RFC 4616): user name and password in one message. Kafka's `PlainSaslServer`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{OTHER_ID, Proven, Refusal, Step};
use crate::config::tls::Secret;

/// Prefix of user names in the options of a login module.
const USER_OPTION: &str = "user_";

/// Users and their passwords. Clones share the map, because there may be many users and each login holds a clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(Arc<BTreeMap<String, Secret>>);

impl Users {
    /// Users in the options of a login module. The options `username` and `password` are not among them: they are for the
    /// broker's own connections to other brokers.
    pub fn of(options: &BTreeMap<String, String>) -> Self {
        let users = options.iter();
        let users = users.filter_map(|(key, password)| {
            Some((
                key.strip_prefix(USER_OPTION)?.to_owned(),
                Secret::new(password),
            ))
        });
        Self(Arc::new(users.collect()))
    }

    /// Whether the password is right. Takes the same time for unknown users.
    fn know(&self, name: &str, password: &str) -> bool {
        let expected = self.0.get(name);
        let wanted = Sha256::digest(expected.map_or("", Secret::reveal));
        let same = wanted[..].ct_eq(&Sha256::digest(password)[..]);
        bool::from(same) && expected.is_some()
    }
}

/// Processes the only message: authorization id, user name and password, separated by zero bytes.
///
/// Errors: with Kafka's messages.
pub fn step(users: &Users, message: &[u8]) -> Result<Step, Refusal> {
    let text = String::from_utf8_lossy(message);
    // Kafka counts at most four parts.
    let parts: Vec<&str> = text.splitn(5, '\0').take(4).collect();
    let [id, name, password] = parts[..] else {
        return Err(Refusal::Told(format!(
            "Invalid SASL/PLAIN response: expected 3 tokens, got {}",
            parts.len()
        )));
    };
    if name.is_empty() {
        return Err(Refusal::told(
            "Authentication failed: username not specified",
        ));
    }
    if password.is_empty() {
        return Err(Refusal::told(
            "Authentication failed: password not specified",
        ));
    }
    if !users.know(name, password) {
        return Err(Refusal::told(
            "Authentication failed: Invalid username or password",
        ));
    }
    if !id.is_empty() && id != name {
        return Err(Refusal::told(OTHER_ID));
    }
    let proven = Proven {
        name: name.into(),
        until: None,
    };
    Ok(Step::Done(Bytes::new(), proven))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        let options = [
            ("user_ann", "pa=,ss"),
            ("user_", "x"),
            ("username", "bob"),
            ("password", "b"),
        ];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let found = match step(&Users::of(&options.into()), message.as_bytes()) {
            Ok(Step::Done(last, proven)) if last.is_empty() => proven.name.to_string(),
            Ok(other) => format!("{other:?}"),
            Err(Refusal::Told(text)) => text,
            Err(Refusal::Hidden(text)) => format!("hidden: {text}"),
        };
        assert_eq!(found, expected, "{message:?}");
    }

    #[test]
    fn each_message_is_answered_as_by_kafka() {
        check("\0ann\0pa=,ss", "ann");
        check("ann\0ann\0pa=,ss", "ann");
        let wrong = "Authentication failed: Invalid username or password";
        check("\0ann\0pa=,s", wrong);
        check("\0ann\0pa=,ss ", wrong);
        check("\0bob\0b", wrong);
        check("\0nobody\0pa=,ss", wrong);
        check("eve\0ann\0wrong", wrong);
        check("eve\0ann\0pa=,ss", OTHER_ID);
        check("\0\0x", "Authentication failed: username not specified");
        check("\0ann\0", "Authentication failed: password not specified");
        let count = |count| format!("Invalid SASL/PLAIN response: expected 3 tokens, got {count}");
        check("", &count(1));
        check("\0ann", &count(2));
        check("\0ann\0a\0", &count(4));
        check("\0\0\0\0\0\0\0", &count(4));
    }
}
