//! pure: server's side of SCRAM (RFC 5802), without channel binding. Kafka's `ScramSaslServer`.
//!
//! Kafka differs: it refuses an unknown user one message earlier than a known user with a wrong password, so user names can be
//! discovered. Here an unknown user gets a constant fake salt and fails at the proof, like any other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;

use super::{Facts, OTHER_ID, Proven, Refusal, Step};
use crate::security::scram::{Credential, ITERATIONS, ScramMechanism};

/// Secret from which salts of unknown users are derived. It never leaves this node and does not change, so that such a salt is
/// constant.
#[derive(Clone)]
pub struct SaltSecret(Bytes);

impl std::fmt::Debug for SaltSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

impl SaltSecret {
    pub fn new(secret: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(secret))
    }

    /// Credential that no password matches. It has the iterations that Kafka's tools use, and a salt of the usual length.
    fn of_nobody(&self, name: &str, mechanism: ScramMechanism) -> Credential {
        const SALT_BYTES: usize = 16;
        let made = |what: &str| mechanism.mac(&self.0, &[what.as_bytes(), name.as_bytes()]);
        Credential {
            salt: made("salt ").slice(..SALT_BYTES),
            iterations: *ITERATIONS.start(),
            stored_key: made("stored key "),
            server_key: made("server key "),
        }
    }
}

/// State of an exchange.
#[derive(Debug)]
pub enum Exchange {
    First,
    Final(Expected),
    Over,
}

/// Expected content of the client's second message.
#[derive(Debug)]
pub struct Expected {
    user: ByteString,
    credential: Credential,
    /// Whether the user exists.
    known: bool,
    nonce: String,
    /// Both first messages with a comma behind each. The proofs of both sides cover them.
    messages: String,
}

impl Exchange {
    /// Processes the next message of the client.
    ///
    /// Errors: the reason why the login fails. The exchange is over then.
    pub fn step(
        &mut self,
        mechanism: ScramMechanism,
        facts: &Facts<'_>,
        message: &[u8],
    ) -> Result<Step, Refusal> {
        let text = std::str::from_utf8(message)
            .map_err(|_| Refusal::hidden("Invalid SCRAM message: it is no UTF-8"))?;
        match std::mem::replace(self, Self::Over) {
            Self::First => {
                let (expected, answer) = first(mechanism, facts, text)?;
                *self = Self::Final(expected);
                Ok(Step::Challenge(answer))
            }
            Self::Final(expected) => last(mechanism, expected, text),
            Self::Over => Err(Refusal::hidden(
                "Unexpected message in a SCRAM exchange that is over",
            )),
        }
    }
}

/// Processes the first message: `n,[a=id],[m=...,]n=user,r=nonce[,name=value]*`.
fn first(
    mechanism: ScramMechanism,
    facts: &Facts<'_>,
    text: &str,
) -> Result<(Expected, Bytes), Refusal> {
    let invalid = || Refusal::hidden("Invalid SCRAM client first message format");
    // `y` and `p` announce channel binding, which is not supported.
    let rest = text.strip_prefix("n,").ok_or_else(invalid)?;
    let (id, bare) = rest.split_once(',').ok_or_else(invalid)?;
    let id = match id {
        "" => ByteString::new(),
        id => name(id.strip_prefix("a=").ok_or_else(invalid)?).ok_or_else(invalid)?,
    };
    let mut parts = bare.split(',').peekable();
    parts.next_if(|part| {
        part.strip_prefix("m=")
            .is_some_and(|value| !value.is_empty())
    });
    let user = parts.next().and_then(|part| name(part.strip_prefix("n=")?));
    let user = user.ok_or_else(invalid)?;
    let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
    let nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or_else(invalid)?;
    if !parts.all(is_extension) {
        return Err(invalid());
    }
    // Checked before the lookup of the user, so that the result does not depend on whether the user exists.
    if !id.is_empty() && id != user {
        return Err(Refusal::told(OTHER_ID));
    }
    let found = (facts.credential)(&user, mechanism);
    let known = found.is_some();
    let credential = found.unwrap_or_else(|| facts.salts.of_nobody(&user, mechanism));
    if credential.iterations < *ITERATIONS.start() {
        return Err(Refusal::Hidden(format!(
            "Iterations {} is less than the minimum {} for {}",
            credential.iterations,
            ITERATIONS.start(),
            mechanism.name()
        )));
    }
    let random = (facts.random)().ok_or_else(|| Refusal::hidden("there are no random numbers"))?;
    let nonce = format!("{nonce}{}", STANDARD.encode(random));
    let answer = format!(
        "r={nonce},s={},i={}",
        STANDARD.encode(&credential.salt),
        credential.iterations
    );
    // The client's part is kept as received, because its proof also covers reserved attributes.
    let messages = format!("{bare},{answer},");
    let expected = Expected {
        user,
        credential,
        known,
        nonce,
        messages,
    };
    Ok((expected, answer.into()))
}

/// Processes the second message: `c=binding,r=nonce[,name=value]*,p=proof`.
fn last(mechanism: ScramMechanism, expected: Expected, text: &str) -> Result<Step, Refusal> {
    let invalid = || Refusal::hidden("Invalid SCRAM client final message format");
    let (without_proof, proof) = text.rsplit_once(",p=").ok_or_else(invalid)?;
    let mut parts = without_proof.split(',');
    let binding = parts.next().and_then(|part| part.strip_prefix("c="));
    let binding = binding.ok_or_else(invalid)?;
    let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
    let nonce = nonce.ok_or_else(invalid)?;
    let proof = STANDARD.decode(proof).map_err(|_| invalid())?;
    if STANDARD.decode(binding).is_err() || !parts.all(is_extension) {
        return Err(invalid());
    }
    // librdkafka repeats its own part in front of the nonce, which Kafka accepts. The proof covers this text.
    if !nonce.ends_with(&expected.nonce) {
        return Err(Refusal::hidden(
            "Invalid client nonce in the final client message",
        ));
    }
    let messages = [expected.messages.as_bytes(), without_proof.as_bytes()];
    let credential = &expected.credential;
    let proves = mechanism.is_proof(credential, &messages, &proof);
    if !(proves && expected.known) {
        return Err(Refusal::hidden("Invalid client credentials"));
    }
    let signature = mechanism.mac(&credential.server_key, &messages);
    let answer = format!("v={}", STANDARD.encode(signature));
    let proven = Proven {
        name: expected.user,
        until: None,
    };
    Ok(Step::Done(answer.into(), proven))
}

/// User name with its escapes for commas and equals signs decoded.
///
/// Kafka differs: it refuses names with characters outside of ASCII.
fn name(text: &str) -> Option<ByteString> {
    let mut name = String::with_capacity(text.len());
    let mut parts = text.split('=');
    name.push_str(parts.next()?);
    for part in parts {
        let (letter, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return None,
        };
        name.push(letter);
        name.push_str(rest);
    }
    (!name.is_empty() && !name.contains('\0')).then(|| name.into())
}

fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An attribute `name=value`. Its meaning is ignored.
fn is_extension(part: &str) -> bool {
    part.split_once('=').is_some_and(|(name, value)| {
        let letters = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic());
        !name.is_empty() && letters(name) && !value.is_empty() && !value.contains('\0')
    })
}

/// User name with commas and equals signs escaped.
pub(super) fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    use super::super::NONCE_BYTES;
    use super::*;

    const MECHANISM: ScramMechanism = ScramMechanism::Sha256;

    /// The only user: `a=n,n` with the password `secret`.
    fn ann(name: &str, mechanism: ScramMechanism) -> Option<Credential> {
        if name != "a=n,n" {
            return None;
        }
        let salted = mechanism.salted_password("secret", b"salt", 4_096);
        let (stored_key, server_key) = mechanism.keys(&salted)?;
        Some(Credential {
            salt: Bytes::from_static(b"salt"),
            iterations: 4_096,
            stored_key,
            server_key,
        })
    }

    fn facts(salts: &SaltSecret) -> Facts<'_> {
        Facts {
            salts,
            wall: 0,
            random: &|| Some([7; NONCE_BYTES]),
            credential: &ann,
        }
    }

    fn secret() -> SaltSecret {
        SaltSecret::new(b"node")
    }

    fn begun(message: &str) -> (Exchange, Result<String, String>) {
        let mut exchange = Exchange::First;
        let answer = exchange.step(MECHANISM, &facts(&secret()), message.as_bytes());
        (exchange, shown(answer))
    }

    fn shown(answer: Result<Step, Refusal>) -> Result<String, String> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        match answer {
            Ok(Step::Challenge(bytes)) => Ok(text(&bytes)),
            Ok(Step::Done(bytes, proven)) => Ok(format!("{} {}", text(&bytes), proven.name)),
            Err(Refusal::Told(what)) => Err(format!("told: {what}")),
            Err(Refusal::Hidden(what)) => Err(what),
        }
    }

    /// Second message of a client with this password.
    fn answered(bare: &str, challenge: &str, password: &str, more: &str) -> String {
        let mut parts = challenge.split(',').map(|part| &part[2..]);
        let (nonce, salt) = (parts.next().unwrap(), parts.next().unwrap());
        let salt = STANDARD.decode(salt).unwrap();
        let salted = MECHANISM.salted_password(password, &salt, 4_096);
        let last = format!("c=biws,r={nonce}{more}");
        let messages = format!("{bare},{challenge},{last}");
        let proof = MECHANISM.proof(&salted, &[messages.as_bytes()]);
        format!("{last},p={}", STANDARD.encode(proof))
    }

    /// Result of the second message of a complete login.
    fn login(bare: &str, password: &str, more: &str) -> Result<String, String> {
        let (mut exchange, challenge) = begun(&format!("n,,{bare}"));
        let last = answered(bare, &challenge?, password, more);
        shown(exchange.step(MECHANISM, &facts(&secret()), last.as_bytes()))
    }

    const NAME: &str = "n=a=3Dn=2Cn,r=abc";

    #[test]
    fn a_nonce_of_librdkafka_is_taken() {
        let (mut exchange, challenge) = begun(&format!("n,,{NAME}"));
        let challenge = challenge.unwrap();
        let nonce = challenge.split(',').next().unwrap();
        let again = challenge.replacen(nonce, &nonce.replacen("r=", "r=abc", 1), 1);
        let salted = MECHANISM.salted_password("secret", b"salt", 4_096);
        let last = format!("c=biws,{}", again.split(',').next().unwrap());
        let messages = format!("{NAME},{challenge},{last}");
        let proof = MECHANISM.proof(&salted, &[messages.as_bytes()]);
        let last = format!("{last},p={}", STANDARD.encode(proof));
        let step = exchange.step(MECHANISM, &facts(&secret()), last.as_bytes());
        assert!(shown(step).unwrap().ends_with(" a=n,n"));
    }

    #[test]
    fn whoever_knows_the_password_comes_in() {
        let last = login(NAME, "secret", "").unwrap();
        assert!(last.starts_with("v=") && last.ends_with(" a=n,n"), "{last}");
        // Extensions are allowed and have no effect.
        login(
            &format!("m=x,{NAME},tokenauth=false,x=y"),
            "secret",
            ",ext=val=ue",
        )
        .unwrap();
        assert_eq!(
            login(NAME, "secre", "").unwrap_err(),
            "Invalid client credentials"
        );
    }

    #[test]
    fn a_user_who_is_not_there_looks_like_any_other() {
        let (_, first) = begun("n,,n=nobody,r=abc");
        let (_, again) = begun("n,,n=nobody,r=abc");
        let (_, other) = begun("n,,n=nobody2,r=abc");
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert!(first.unwrap().ends_with(",i=4096"));
        assert_eq!(
            login("n=nobody,r=abc", "secret", "").unwrap_err(),
            "Invalid client credentials"
        );
    }

    #[test]
    fn messages_of_another_form_are_refused() {
        for message in [
            "",
            "n",
            "n,",
            "n,,",
            "y,,n=a,r=b",
            "p=tls-unique,,n=a,r=b",
            "n,b=a,n=a,r=b",
            "n,,n=,r=b",
            "n,,n=a=2c,r=b",
            "n,,n=a=,r=b",
            "n,,r=b,n=a",
            "n,,n=a",
            "n,,n=a,r=",
            "n,,n=a,r=\u{e4}",
            "n,,n=a,r=b,",
            "n,,n=a,r=b,1=2",
            "n,,m=,n=a,r=b",
        ] {
            let (_, found) = begun(message);
            assert_eq!(
                found.unwrap_err(),
                "Invalid SCRAM client first message format",
                "{message}"
            );
        }
        assert_eq!(
            begun("n,a=eve,n=nobody,r=b").1.unwrap_err(),
            format!("told: {OTHER_ID}")
        );
        assert!(begun("n,a=nobody,n=nobody,r=b").1.is_ok());
        let first = format!("n,,{NAME}");
        let (_, challenge) = begun(&first);
        let good = answered(NAME, &challenge.unwrap(), "secret", "");
        for (message, expected) in [
            (String::new(), "Invalid SCRAM client final message format"),
            (
                good.replace(",p=", ",q="),
                "Invalid SCRAM client final message format",
            ),
            (
                good.replace("c=biws", "c=!"),
                "Invalid SCRAM client final message format",
            ),
            (
                good.replace("r=abc", "r=abd"),
                "Invalid client nonce in the final client message",
            ),
            (
                format!("{good}="),
                "Invalid SCRAM client final message format",
            ),
            (good.replace(",p=", ",x=y,p="), "Invalid client credentials"),
        ] {
            let (mut exchange, _) = begun(&first);
            let found = exchange.step(MECHANISM, &facts(&secret()), message.as_bytes());
            assert_eq!(shown(found).unwrap_err(), expected, "{message}");
            // The exchange is over, so there is no second attempt.
            let again = exchange.step(MECHANISM, &facts(&secret()), good.as_bytes());
            assert!(shown(again).unwrap_err().contains("is over"));
        }
        let bytes = Exchange::First.step(MECHANISM, &facts(&secret()), b"\xff");
        assert_eq!(
            shown(bytes).unwrap_err(),
            "Invalid SCRAM message: it is no UTF-8"
        );
    }
}
