//! pure: client's side of SASL for connections that this process opens: PLAIN, SCRAM and OAUTHBEARER.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use subtle::ConstantTimeEq as _;

use super::scram::escaped;
use crate::config::sasl::Mechanism;
use crate::config::tls::Secret;
use crate::security::scram::ScramMechanism;

/// Mechanism, user and password of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub mechanism: Mechanism,
    user: String,
    password: Secret,
}

impl Credentials {
    pub fn new(mechanism: Mechanism, user: &str, password: &str) -> Self {
        Self {
            mechanism,
            user: user.to_owned(),
            password: Secret::new(password),
        }
    }
}

/// Login in progress.
#[derive(Debug)]
pub struct Client {
    password: Secret,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The next message of the broker confirms the login.
    Last,
    First {
        mechanism: ScramMechanism,
        bare: String,
        nonce: String,
    },
    /// Expected signature of the broker, which proves that it knows the password, too.
    Signature(Bytes),
}

/// Limit on the iterations that a broker may ask for. More would keep a thread busy for too long.
const ITERATIONS_MAX: i32 = 1_000_000;

impl Client {
    /// Starts a login. Gives its state and the first message. Each login needs a fresh nonce.
    pub fn new(credentials: &Credentials, nonce: &str) -> (Self, Bytes) {
        let (user, password) = (&credentials.user, credentials.password.reveal());
        let scram = |mechanism| {
            let bare = format!("n={},r={nonce}", escaped(user));
            let first = Bytes::from(format!("n,,{bare}"));
            let state = State::First {
                mechanism,
                bare,
                nonce: nonce.to_owned(),
            };
            (state, first)
        };
        let (state, first) = match credentials.mechanism {
            Mechanism::Plain => (State::Last, format!("\0{user}\0{password}").into()),
            Mechanism::ScramSha256 => scram(ScramMechanism::Sha256),
            Mechanism::ScramSha512 => scram(ScramMechanism::Sha512),
            // The password is the token.
            Mechanism::OAuthBearer => {
                let first = format!("n,,\u{1}auth=Bearer {password}\u{1}\u{1}");
                (State::Last, first.into())
            }
        };
        let password = credentials.password.clone();
        (Self { password, state }, first)
    }

    /// Processes a message of the broker. Gives the next message, or `None` when the login is complete. The call takes as long
    /// as hashing a password.
    ///
    /// Errors: the message is invalid, or the broker does not know the password.
    pub fn step(&mut self, message: &[u8]) -> Result<Option<Bytes>, String> {
        match std::mem::replace(&mut self.state, State::Last) {
            State::Last => Ok(None),
            State::First {
                mechanism,
                bare,
                nonce,
            } => {
                let (signature, last) = self.prove(mechanism, &bare, &nonce, message)?;
                self.state = State::Signature(signature);
                Ok(Some(last))
            }
            State::Signature(expected) => {
                let found = message.strip_prefix(b"v=");
                let found = found.and_then(|text| STANDARD.decode(text).ok());
                let found = found.unwrap_or_default();
                match bool::from(found[..].ct_eq(&expected)) {
                    true => Ok(None),
                    false => Err("the broker does not prove that it knows the password".to_owned()),
                }
            }
        }
    }

    /// Expected signature of the broker, and the client's message with its proof.
    fn prove(
        &self,
        mechanism: ScramMechanism,
        bare: &str,
        nonce: &str,
        message: &[u8],
    ) -> Result<(Bytes, Bytes), String> {
        let unreadable = || "the broker's message is none of SCRAM".to_owned();
        let text = std::str::from_utf8(message).map_err(|_| unreadable())?;
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let both = part("r=").filter(|both| both.len() > nonce.len() && both.starts_with(nonce));
        let both = both.ok_or_else(unreadable)?;
        let salt = part("s=").and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.ok_or_else(unreadable)?;
        let iterations = part("i=").and_then(|number| number.parse::<i32>().ok());
        let iterations = iterations
            .filter(|number| (1..=ITERATIONS_MAX).contains(number))
            .ok_or_else(unreadable)?;
        let salted = mechanism.salted_password(self.password.reveal(), &salt, iterations);
        let without_proof = format!("c={},r={both}", STANDARD.encode("n,,"));
        let messages = format!("{bare},{text},{without_proof}");
        let proof = mechanism.proof(&salted, &[messages.as_bytes()]);
        let server_key = mechanism.mac(&salted, &[b"Server Key"]);
        let signature = mechanism.mac(&server_key, &[messages.as_bytes()]);
        let last = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((signature, last.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_exchange_is_that_of_the_rfc() {
        let credentials = Credentials::new(Mechanism::ScramSha256, "user", "pencil");
        let (mut client, first) = Client::new(&credentials, "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let answer = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = client.step(answer.as_bytes()).unwrap().unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let done = client.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(done, Ok(None));
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_found_out() {
        let credentials = Credentials::new(Mechanism::ScramSha256, "user", "pencil");
        for answer in [
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=",
            "v=",
            "",
            "e=no",
        ] {
            let (mut client, _) = Client::new(&credentials, "abc");
            client.step(b"r=abcd,s=QQ==,i=4096").unwrap();
            assert!(client.step(answer.as_bytes()).is_err(), "{answer}");
        }
        for challenge in [
            "",
            "r=abc,s=QQ==,i=1",
            "r=abd1,s=QQ==,i=1",
            "r=abcd,s=!,i=1",
            "r=abcd,s=QQ==,i=99999999",
        ] {
            let (mut client, _) = Client::new(&credentials, "abc");
            assert!(client.step(challenge.as_bytes()).is_err(), "{challenge}");
        }
    }

    #[test]
    fn plain_is_one_message() {
        let credentials = Credentials::new(Mechanism::Plain, "ann", "p,=");
        let (mut client, first) = Client::new(&credentials, "abc");
        assert_eq!(first, "\0ann\0p,=");
        assert_eq!(client.step(b""), Ok(None));
        assert!(!format!("{credentials:?} {client:?}").contains("p,="));
    }
}
