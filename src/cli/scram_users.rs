//! pure: SCRAM users: `--add-scram` of `storage format` (Kafka's `ScramParser`), and credentials in requests.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::metadata::record::schema::UserScramCredentialRecord;
use crate::security::scram::{ITERATIONS, ScramMechanism};
use crate::wire::message::alter_user_scram_credentials::ScramCredentialUpsertion;

/// Size of a new salt in bytes.
pub const SALT_BYTES: usize = 16;

const NO_PASSWORD: &str = "The password of --add-scram has no bytes";

/// Reads `SCRAM-SHA-256=[name=ann,password=secret]`. `salt` is used if the text has none.
///
/// Errors: missing, superfluous or unknown parts; the message never contains a password.
pub fn parse(text: &str, salt: [u8; SALT_BYTES]) -> Result<UserScramCredentialRecord, String> {
    let (name, rest) = text
        .trim()
        .split_once('=')
        .ok_or("Failed to find equals sign in the value of --add-scram")?;
    let mechanism = ScramMechanism::named(name)
        .ok_or_else(|| format!("The add-scram mechanism {name} is not supported."))?;
    let inner = rest
        .strip_prefix('[')
        .ok_or("Expected the configuration of --add-scram to start with [")?
        .strip_suffix(']')
        .ok_or("Expected the configuration of --add-scram to end with ]")?;
    let mut parts = parts(inner)?;
    let mut part = |name: &str| parts.remove(name);
    let user = part("name").filter(|name| !name.is_empty());
    let user = user.ok_or("You must supply 'name' to add-scram")?;
    let own_salt = part("salt").map(|salt| binary("salt", &salt)).transpose()?;
    let iterations = match part("iterations") {
        None => *ITERATIONS.start(),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| ITERATIONS.contains(number))
            .ok_or_else(|| {
                format!(
                    "The 'iterations' value must be from {} to {} for add-scram using {name}",
                    ITERATIONS.start(),
                    ITERATIONS.end()
                )
            })?,
    };
    let given = (part("password"), part("saltedpassword"));
    let salt = own_salt
        .clone()
        .unwrap_or_else(|| Bytes::copy_from_slice(&salt));
    let salted = match given {
        (Some(_), Some(_)) => {
            return Err(
                "You must only supply one of 'password' or 'saltedpassword' to add-scram"
                    .to_owned(),
            );
        }
        (None, None) => {
            return Err(
                "You must supply one of 'password' or 'saltedpassword' to add-scram".to_owned(),
            );
        }
        (Some(password), None) if password.is_empty() => return Err(NO_PASSWORD.to_owned()),
        (Some(password), None) => mechanism.salted_password(&password, &salt, iterations),
        (None, Some(_)) if own_salt.is_none() => {
            return Err("You must supply 'salt' with 'saltedpassword' to add-scram".to_owned());
        }
        (None, Some(salted)) => binary("saltedpassword", &salted)?,
    };
    if let Some(strange) = parts.keys().next() {
        return Err(format!(
            "Unknown SCRAM configuration of --add-scram: {strange}"
        ));
    }
    let (stored_key, server_key) = mechanism.keys(&salted).ok_or(NO_PASSWORD)?;
    Ok(UserScramCredentialRecord {
        name: user.as_str().into(),
        mechanism: mechanism.number(),
        salt,
        stored_key,
        server_key,
        iterations,
    })
}

/// The credential of a password, as AlterUserScramCredentials has it. Takes milliseconds: see
/// [`ScramMechanism::salted_password`].
pub fn upsertion(
    user: &str,
    mechanism: ScramMechanism,
    password: &str,
    salt: [u8; SALT_BYTES],
    iterations: i32,
) -> ScramCredentialUpsertion {
    ScramCredentialUpsertion {
        name: user.into(),
        mechanism: mechanism.number(),
        iterations,
        salted_password: mechanism.salted_password(password, &salt, iterations),
        salt: Bytes::copy_from_slice(&salt),
    }
}

fn binary(name: &str, text: &str) -> Result<Bytes, String> {
    let bytes = STANDARD.decode(text);
    bytes
        .map(Bytes::from)
        .map_err(|_| format!("The '{name}' value of --add-scram is not in Base64"))
}

/// Splits `name=value` parts at commas; a value that begins with a quote extends to the next quote.
fn parts(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut parts = BTreeMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, behind) = rest
            .split_once('=')
            .ok_or("A part of --add-scram has no equals sign")?;
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => {
                let (value, behind) = quoted
                    .split_once('"')
                    .ok_or("A quote of --add-scram has no end")?;
                let behind = behind.trim_start();
                if !behind.is_empty() && !behind.starts_with(',') {
                    return Err("A comma is expected behind a quote of --add-scram".to_owned());
                }
                (value, behind.trim_start_matches(','))
            }
            None => behind.split_once(',').unwrap_or((behind, "")),
        };
        let name = name.trim();
        if parts.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("'{name}' is there twice in --add-scram"));
        }
        rest = behind.trim_start();
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; SALT_BYTES] = [1; SALT_BYTES];

    #[test]
    fn users_are_read_as_kafka_reads_them() {
        let mechanism = ScramMechanism::Sha256;
        let salt = STANDARD.encode(SALT);
        let salted = STANDARD.encode(mechanism.salted_password("p", &SALT, 4_096));
        for text in [
            "SCRAM-SHA-256=[name=ann,password=p]".to_owned(),
            " SCRAM-SHA-256=[name=\"ann\", password=\"p\" ,iterations=4096]".to_owned(),
            format!("SCRAM-SHA-256=[salt={salt},password=p,name=ann]"),
            format!("SCRAM-SHA-256=[name=ann,salt=\"{salt}\",saltedpassword=\"{salted}\"]"),
        ] {
            let found = parse(&text, SALT).unwrap();
            let (stored, server) = mechanism
                .keys(&mechanism.salted_password("p", &SALT, 4_096))
                .unwrap();
            assert_eq!(
                (&*found.name, found.mechanism, found.iterations),
                ("ann", 1, 4_096),
                "{text}"
            );
            assert_eq!(
                (found.stored_key, found.server_key),
                (stored, server),
                "{text}"
            );
            assert_eq!(found.salt, SALT[..]);
        }
        let found = parse(
            "SCRAM-SHA-512=[name=a=b,password=\"x,]=[\",iterations=16384]",
            SALT,
        )
        .unwrap();
        assert_eq!(
            (&*found.name, found.mechanism, found.iterations),
            ("a=b", 2, 16_384)
        );
        assert_eq!(found.stored_key.len(), 64);
    }

    #[test]
    fn each_mistake_is_named_and_no_password() {
        for (text, expected) in [
            ("x", "Failed to find equals sign"),
            (
                "SCRAM-SHA-1=[name=a,password=secret]",
                "The add-scram mechanism SCRAM-SHA-1 is not supported.",
            ),
            ("SCRAM-SHA-256=name=a,password=secret", "to start with ["),
            ("SCRAM-SHA-256=[name=a,password=secret", "to end with ]"),
            ("SCRAM-SHA-256=[password=secret]", "You must supply 'name'"),
            (
                "SCRAM-SHA-256=[name=,password=secret]",
                "You must supply 'name'",
            ),
            ("SCRAM-SHA-256=[name=a]", "You must supply one of"),
            (
                "SCRAM-SHA-256=[name=a,password=secret,saltedpassword=secret]",
                "You must only supply one of",
            ),
            (
                "SCRAM-SHA-256=[name=a,saltedpassword=secret]",
                "You must supply 'salt' with",
            ),
            (
                "SCRAM-SHA-256=[name=a,salt=!,password=secret]",
                "The 'salt' value of --add-scram is not in Base64",
            ),
            (
                "SCRAM-SHA-256=[name=a,iterations=1,password=secret]",
                "must be from 4096 to 16384",
            ),
            (
                "SCRAM-SHA-256=[name=a,iterations=x,password=secret]",
                "must be from 4096 to 16384",
            ),
            (
                "SCRAM-SHA-256=[name=a,password=secret,x=y]",
                "Unknown SCRAM configuration of --add-scram: x",
            ),
            (
                "SCRAM-SHA-256=[name=a,password=secret,name=b]",
                "'name' is there twice",
            ),
            (
                "SCRAM-SHA-256=[name=a,password=\"secret]",
                "A quote of --add-scram has no end",
            ),
            (
                "SCRAM-SHA-256=[name=a,password=\"secret\"x]",
                "A comma is expected",
            ),
            ("SCRAM-SHA-256=[name]", "has no equals sign"),
            (
                "SCRAM-SHA-256=[name=a,password=]",
                "The password of --add-scram has no bytes",
            ),
        ] {
            let found = parse(text, SALT).unwrap_err();
            assert!(found.contains(expected), "{text}: {found}");
            assert!(!found.contains("secret"), "{found}");
        }
    }
}
