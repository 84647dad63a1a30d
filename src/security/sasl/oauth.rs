//! pure: OAUTHBEARER (RFC 7628): a client presents a token that someone else issued. Kafka's `OAuthBearerSaslServer` with
//! `OAuthBearerUnsecuredValidatorCallbackHandler`.
//!
//! By default, unsigned tokens are accepted, as in Kafka. This is meant for tests, and a start logs a warning about it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::{Map, Value};

use super::{Proven, Refusal, Step};
use crate::base::time::Timestamp;

/// Separator of the parts of a client message. A message of just the separator acknowledges the error that the server sent.
const SEPARATOR: char = '\u{1}';

/// URL-safe base64 of tokens. Padding is not required, but accepted.
pub(super) const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) type Claims = Map<String, Value>;

/// Rules for unsigned tokens, from the options of the login module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsecured {
    /// Claim with the name of the client.
    principal_claim: String,
    scope_claim: String,
    required_scope: Vec<String>,
    clock_skew_ms: i64,
}

impl Unsecured {
    /// Reads the rules.
    ///
    /// Errors: an invalid option.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let option = |name: &str| {
            let value = options.get(&format!("unsecuredValidator{name}"));
            value
                .map(|value| value.trim())
                .filter(|value| !value.is_empty())
        };
        let skew = option("AllowableClockSkewMs");
        let clock_skew_ms = match skew.map(str::parse::<i32>) {
            None => 0,
            Some(Ok(ms)) if ms >= 0 => i64::from(ms),
            Some(_) => {
                return Err(
                    "unsecuredValidatorAllowableClockSkewMs is no number of milliseconds"
                        .to_owned(),
                );
            }
        };
        let scope = option("RequiredScope").unwrap_or_default();
        Ok(Self {
            principal_claim: option("PrincipalClaimName").unwrap_or("sub").to_owned(),
            scope_claim: option("ScopeClaimName").unwrap_or("scope").to_owned(),
            required_scope: scope.split_whitespace().map(str::to_owned).collect(),
            clock_skew_ms,
        })
    }

    /// Principal and expiry of a token.
    pub fn validate(&self, token: &str, now: Timestamp) -> Result<Proven, Invalid> {
        let parts: Vec<&str> = token.split('.').collect();
        let (header, claims) = match parts[..] {
            [header, claims] | [header, claims, ""] => (object(header)?, object(claims)?),
            _ => return Err(Invalid::Token("it is not of the form HEADER.CLAIMS.")),
        };
        if header.get("alg").and_then(Value::as_str) != Some("none") {
            return Err(Invalid::Token("its algorithm is not none"));
        }
        let name = claims.get(&self.principal_claim).and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty());
        let name = name.ok_or(Invalid::Token("it names nobody"))?;
        let until = milliseconds(&claims, "exp")?;
        let until = until.ok_or(Invalid::Token("it does not say until when it is good"))?;
        let since = milliseconds(&claims, "iat")?;
        if since.is_some_and(|since| since > now.saturating_add(self.clock_skew_ms)) {
            return Err(Invalid::Token("it is of a later time"));
        }
        if now.saturating_sub(self.clock_skew_ms) >= until {
            return Err(Invalid::Token("its time is over"));
        }
        if since.is_some_and(|since| until <= since) {
            return Err(Invalid::Token("it ends before it begins"));
        }
        let scope = scope(&claims, &self.scope_claim)?;
        if !self.required_scope.iter().all(|one| scope.contains(one)) {
            return Err(Invalid::Scope(format!(
                "[{}]",
                self.required_scope.join(", ")
            )));
        }
        Ok(Proven {
            name: name.into(),
            until: Some(until),
        })
    }
}

/// Reason why a token is not valid.
#[derive(Debug, PartialEq, Eq)]
pub enum Invalid {
    Token(&'static str),
    /// The scope is insufficient; the required scope.
    Scope(String),
}

/// State of an exchange.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Error that was sent to the client and that the client must acknowledge.
    told: Option<String>,
}

impl Exchange {
    /// Processes a message of the client: `n,[a=id],^Aauth=Bearer token^A[name=value^A]*^A`. `validate` checks the token.
    ///
    /// Errors: the reason why the login fails.
    pub fn step(
        &mut self,
        validate: impl FnOnce(&str) -> Result<Proven, Invalid>,
        message: &[u8],
    ) -> Result<Step, Refusal> {
        if let Some(told) = self.told.take()
            && message == [SEPARATOR as u8]
        {
            return Err(Refusal::Told(told));
        }
        let (id, token) = opened(message)?;
        match validate(token) {
            Ok(proven) if !id.is_empty() && id != proven.name => Err(Refusal::Told(format!(
                "Authentication failed: Client requested an authorization id ({id}) that is different from the token's principal name ({})",
                proven.name
            ))),
            Ok(proven) => Ok(Step::Done(Bytes::new(), proven)),
            Err(invalid) => {
                let told = match invalid {
                    Invalid::Token(_) => "{\"status\":\"invalid_token\"}".to_owned(),
                    Invalid::Scope(scope) => {
                        format!("{{\"status\":\"insufficient_scope\",\"scope\":\"{scope}\"}}")
                    }
                };
                self.told = Some(told.clone());
                Ok(Step::Challenge(told.into()))
            }
        }
    }
}

/// Authorization id and token of a client message.
fn opened(message: &[u8]) -> Result<(ByteString, &str), Refusal> {
    let invalid = || Refusal::hidden("Invalid OAUTHBEARER client first message");
    let text = std::str::from_utf8(message).map_err(|_| invalid())?;
    let (head, pairs) = text.split_once(SEPARATOR).ok_or_else(invalid)?;
    let id = head
        .strip_prefix("n,")
        .and_then(|rest| rest.strip_suffix(','))
        .ok_or_else(invalid)?;
    let id = match id {
        "" => ByteString::new(),
        id => {
            let name = id.strip_prefix("a=").filter(|name| !name.is_empty());
            name.filter(|name| !name.contains(','))
                .ok_or_else(invalid)?
                .into()
        }
    };
    // A separator follows each pair, and one more ends the message.
    let pairs = pairs.strip_suffix(SEPARATOR).ok_or_else(invalid)?;
    if !(pairs.is_empty() || pairs.ends_with(SEPARATOR)) {
        return Err(invalid());
    }
    let mut auth = None;
    for pair in pairs.split_terminator(SEPARATOR) {
        let (name, value) = pair.split_once('=').ok_or_else(invalid)?;
        let letters = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        let printable = |byte: u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        if !letters || value.is_empty() || !value.bytes().all(printable) {
            return Err(invalid());
        }
        if name == "auth" {
            auth = Some(value);
        }
    }
    let auth = auth.ok_or_else(|| {
        Refusal::hidden("Invalid OAUTHBEARER client first message: 'auth' not specified")
    })?;
    let (scheme, token) = auth.split_once(' ').ok_or_else(|| {
        Refusal::hidden("Invalid OAUTHBEARER client first message: invalid 'auth' format")
    })?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::hidden(
            "Invalid scheme in OAUTHBEARER client first message",
        ));
    }
    let token = token.trim_start_matches(' ');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match !token.is_empty() && token.bytes().all(allowed) {
        true => Ok((id, token)),
        false => Err(Refusal::hidden(
            "Invalid OAUTHBEARER client first message: invalid 'auth' format",
        )),
    }
}

/// JSON object in a part of a token.
pub(super) fn object(part: &str) -> Result<Claims, Invalid> {
    let bytes = URL_SAFE
        .decode(part)
        .map_err(|_| Invalid::Token("it is not in Base64"))?;
    serde_json::from_slice(&bytes).map_err(|_| Invalid::Token("it is not in JSON"))
}

/// Time claim, which tokens have in seconds, possibly with a fraction.
pub(super) fn milliseconds(claims: &Claims, name: &str) -> Result<Option<Timestamp>, Invalid> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let seconds = value
                .as_f64()
                .ok_or(Invalid::Token("a time is no number"))?;
            // The cast saturates.
            Ok(Some((seconds * 1_000.0) as Timestamp))
        }
    }
}

/// Scope claim: a text with words separated by spaces, or a list of words.
pub(super) fn scope(claims: &Claims, name: &str) -> Result<Vec<String>, Invalid> {
    let wrong = Invalid::Token("its scope is neither a text nor a list of texts");
    match claims.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        Some(Value::Array(words)) => {
            let words = words
                .iter()
                .map(|word| word.as_str().map(|word| word.trim().to_owned()));
            words.collect::<Option<Vec<String>>>().ok_or(wrong)
        }
        Some(_) => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const NOW: Timestamp = 1_000_000;

    fn unsecured(options: &[(&str, &str)]) -> Unsecured {
        let options = options.iter();
        let options =
            options.map(|(name, value)| (format!("unsecuredValidator{name}"), (*value).to_owned()));
        Unsecured::of(&options.collect()).unwrap()
    }

    fn token(header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.", part(header), part(claims))
    }

    const NONE: &str = "{\"alg\":\"none\"}";

    fn outcome(step: Result<Step, Refusal>) -> String {
        match step {
            Ok(Step::Challenge(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            Ok(Step::Done(_, proven)) => format!("{} {:?}", proven.name, proven.until),
            Err(Refusal::Told(text)) => format!("told: {text}"),
            Err(Refusal::Hidden(text)) => format!("hidden: {text}"),
        }
    }

    fn login(unsecured: &Unsecured, message: &str) -> String {
        let validate = |token: &str| unsecured.validate(token, NOW);
        outcome(Exchange::default().step(validate, message.as_bytes()))
    }

    fn with_claims(options: &[(&str, &str)], claims: &str) -> String {
        let token = token(NONE, claims);
        login(
            &unsecured(options),
            &format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}"),
        )
    }

    const INVALID: &str = "{\"status\":\"invalid_token\"}";

    #[test]
    fn claims_decide_as_with_kafka() {
        for (claims, expected) in [
            ("{\"sub\":\"ann\",\"exp\":1001}", "ann Some(1001000)"),
            ("{\"sub\":\"ann\",\"exp\":1000.5}", "ann Some(1000500)"),
            (
                "{\"sub\":\"ann\",\"exp\":1001,\"iat\":1000}",
                "ann Some(1001000)",
            ),
            (
                "{\"sub\":\"ann\",\"exp\":1e30}",
                "ann Some(9223372036854775807)",
            ),
            ("{\"sub\":\"ann\",\"exp\":1000}", INVALID),
            ("{\"sub\":\"ann\",\"exp\":1001,\"iat\":1000.1}", INVALID),
            ("{\"sub\":\"ann\"}", INVALID),
            ("{\"sub\":\"ann\",\"exp\":\"1001\"}", INVALID),
            ("{\"sub\":\"\",\"exp\":1001}", INVALID),
            ("{\"sub\":1,\"exp\":1001}", INVALID),
            ("{\"exp\":1001}", INVALID),
            ("[]", INVALID),
            ("{", INVALID),
            ("{\"sub\":\"ann\",\"exp\":1001,\"scope\":1}", INVALID),
        ] {
            assert_eq!(with_claims(&[], claims), expected, "{claims}");
        }
        let skew = [("AllowableClockSkewMs", "1000")];
        assert!(with_claims(&skew, "{\"sub\":\"ann\",\"exp\":999.5}").starts_with("ann"));
        let scope = [
            ("RequiredScope", "a b"),
            ("PrincipalClaimName", "me"),
            ("ScopeClaimName", "s"),
        ];
        let claims = |scope: &str| format!("{{\"me\":\"ann\",\"exp\":1001,\"s\":{scope}}}");
        for (given, good) in [
            ("\"b c a\"", true),
            ("[\"a\",\"b\"]", true),
            ("\"a\"", false),
            ("null", false),
        ] {
            let found = with_claims(&scope, &claims(given));
            let expected = match good {
                true => "ann Some(1001000)",
                false => "{\"status\":\"insufficient_scope\",\"scope\":\"[a, b]\"}",
            };
            assert_eq!(found, expected, "{given}");
        }
    }

    #[test]
    fn a_token_of_another_form_is_invalid() {
        let good = "{\"sub\":\"ann\",\"exp\":1001}";
        let unsecured = unsecured(&[]);
        for token in [
            token("{\"alg\":\"HS256\"}", good),
            token("{}", good),
            format!("{}c2ln", token(NONE, good)),
            format!("{}.", token(NONE, good)),
            token(NONE, good).replace('.', ""),
            "a".to_owned(),
            "..".to_owned(),
        ] {
            let message = format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}");
            assert_eq!(login(&unsecured, &message), INVALID, "{token}");
        }
        let without_dot = token(NONE, good).trim_end_matches('.').to_owned();
        let message = format!("n,,\u{1}auth=bearer   {without_dot}\u{1}x=y z\u{1}\u{1}");
        assert_eq!(login(&unsecured, &message), "ann Some(1001000)");
        let id = "told: Authentication failed: Client requested an authorization id (zed) that is different from the token's principal name (ann)";
        assert_eq!(login(&unsecured, &message.replace("n,,", "n,a=zed,")), id);
        assert_eq!(
            login(&unsecured, &message.replace("n,,", "n,a=ann,")),
            "ann Some(1001000)"
        );
    }

    #[test]
    fn messages_of_another_form_are_refused() {
        let unsecured = unsecured(&[]);
        for message in [
            "",
            "\u{1}",
            "n,,",
            "n,,\u{1}",
            "n,,\u{1}\u{1}",
            "n,,\u{1}auth=Bearer a.b\u{1}",
            "y,,\u{1}auth=Bearer a.b\u{1}\u{1}",
            "n,,\u{1}auth=Basic a.b\u{1}\u{1}",
            "n,,\u{1}auth=Bearer\u{1}\u{1}",
            "n,,\u{1}auth=Bearer a b\u{1}\u{1}",
            "n,,\u{1}auth=Bearer a!b\u{1}\u{1}",
            "n,,\u{1}a1=b\u{1}auth=Bearer a.b\u{1}\u{1}",
            "n,,\u{1}ä=b\u{1}auth=Bearer a.b\u{1}\u{1}",
        ] {
            let found = login(&unsecured, message);
            assert!(found.starts_with("hidden: Invalid"), "{message:?}: {found}");
        }
    }

    #[test]
    fn whoever_is_refused_says_that_it_has_read_why() {
        let unsecured = unsecured(&[]);
        let mut exchange = Exchange::default();
        let mut step = |message: &str| {
            let validate = |token: &str| unsecured.validate(token, NOW);
            outcome(exchange.step(validate, message.as_bytes()))
        };
        assert_eq!(step("n,,\u{1}auth=Bearer a.b\u{1}\u{1}"), INVALID);
        assert_eq!(step("\u{1}"), format!("told: {INVALID}"));
        assert!(step("\u{1}").starts_with("hidden"));
    }
}
