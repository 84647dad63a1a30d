//! pure: signed tokens (RFC 7515, RFC 7517, RFC 7519) and the keys that verify them. Kafka's `BrokerJwtValidator`.
//!
//! The key determines which algorithms are possible, not the token alone. `none` and algorithms with a shared secret are never
//! possible.

use base64::Engine as _;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::Value;

use super::Proven;
use super::oauth::{Claims, Invalid, URL_SAFE, milliseconds, object, scope};
use crate::base::time::Timestamp;
use crate::config::sasl::TokenRules;

/// Limit on the keys of a set. Providers publish two or three: the current one, its predecessor and its successor.
const KEYS_MAX: usize = 100;

/// Keys as a provider publishes them.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that the key may be used with, if the set names one.
    algorithm: Option<String>,
    public: Public,
}

#[derive(Clone, Debug)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Point on the curve, as encoded by SEC 1.
    P256(Vec<u8>),
    P384(Vec<u8>),
}

impl KeySet {
    /// Parses a key set. Keys of unknown types, and keys for other uses, are ignored.
    ///
    /// Errors: the text is not a key set, or has no usable key.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let set: Value =
            serde_json::from_slice(text).map_err(|error| format!("it is no JSON: {error}"))?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("it is no set of keys")?;
        let keys: Vec<Key> = keys.iter().filter_map(Key::read).take(KEYS_MAX).collect();
        match keys.is_empty() {
            true => Err("there is no key in it that can be used: RSA from 2048 bits on, P-256 and P-384 can".to_owned()),
            false => Ok(Self { keys }),
        }
    }

    /// Keys that may have signed a token; all keys if the token names none.
    fn of<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        let fits = move |key: &&Key| id.is_none_or(|id| key.id.as_deref() == Some(id));
        self.keys.iter().filter(fits)
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let binary = |name: &str| URL_SAFE.decode(text(name)?).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let point = |size: usize| {
            let (x, y) = (binary("x")?, binary("y")?);
            let whole = x.len() == size && y.len() == size;
            whole.then(|| [&[4][..], &x, &y].concat())
        };
        let public = match (text("kty")?, text("crv")) {
            ("RSA", _) => Public::Rsa {
                n: without_zeros(binary("n")?),
                e: without_zeros(binary("e")?),
            },
            ("EC", Some("P-256")) => Public::P256(point(32)?),
            ("EC", Some("P-384")) => Public::P384(point(48)?),
            _ => return None,
        };
        Some(Self {
            id: text("kid").map(str::to_owned),
            algorithm: text("alg").map(str::to_owned),
            public,
        })
    }

    fn has_signed(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        if self
            .algorithm
            .as_deref()
            .is_some_and(|own| own != algorithm)
        {
            return false;
        }
        let verified = match (&self.public, algorithm) {
            (Public::Rsa { n, e }, _) => rsa(algorithm).map(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }),
            (Public::P256(point), "ES256") => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                Some(key.verify(message, signature))
            }
            (Public::P384(point), "ES384") => {
                let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
                Some(key.verify(message, signature))
            }
            _ => None,
        };
        matches!(verified, Some(Ok(())))
    }
}

/// Number without leading zero bytes, which `ring` does not accept.
fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// Reason why a signed token is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Unverified {
    Invalid(Invalid),
    /// The set has no such key, but a newer set may.
    UnknownKey(String),
}

impl From<Invalid> for Unverified {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl KeySet {
    /// Principal and expiry of a token.
    pub fn validate(
        &self,
        rules: &TokenRules,
        token: &str,
        now: Timestamp,
    ) -> Result<Proven, Unverified> {
        let (message, signature) = token.rsplit_once('.').ok_or(Invalid::Token(
            "it is not of the form HEADER.CLAIMS.SIGNATURE",
        ))?;
        let (header, claims) = message.split_once('.').ok_or(Invalid::Token(
            "it is not of the form HEADER.CLAIMS.SIGNATURE",
        ))?;
        let header = object(header)?;
        let word = |name: &str| header.get(name).and_then(Value::as_str);
        let algorithm = word("alg").ok_or(Invalid::Token("it names no algorithm"))?;
        // `crit` names header fields that a verifier must understand. None are supported.
        if header.contains_key("crit") {
            return Err(Invalid::Token("its header asks for more than is known").into());
        }
        let signature = URL_SAFE
            .decode(signature)
            .map_err(|_| Invalid::Token("its signature is not in Base64"))?;
        let mut known = self.of(word("kid")).peekable();
        if let (None, Some(id)) = (known.peek(), word("kid")) {
            return Err(Unverified::UnknownKey(id.to_owned()));
        }
        if !known.any(|key| key.has_signed(algorithm, message.as_bytes(), &signature)) {
            return Err(Invalid::Token("none of the keys has signed it").into());
        }
        let claims = object(claims)?;
        let until = milliseconds(&claims, "exp")?;
        let until = until.ok_or(Invalid::Token("it does not say until when it is good"))?;
        if milliseconds(&claims, "iat")?.is_none() {
            return Err(Invalid::Token("it does not say since when it is good").into());
        }
        if now.saturating_sub(rules.clock_skew_ms) >= until {
            return Err(Invalid::Token("its time is over").into());
        }
        let begins = milliseconds(&claims, "nbf")?;
        if begins.is_some_and(|begins| begins > now.saturating_add(rules.clock_skew_ms)) {
            return Err(Invalid::Token("its time has not come").into());
        }
        let issuer = claims.get("iss").and_then(Value::as_str);
        if rules.issuer.is_some() && issuer != rules.issuer.as_deref() {
            return Err(Invalid::Token("it is of another issuer").into());
        }
        if !rules.audience.is_empty() && !is_for_us(rules, &claims) {
            return Err(Invalid::Token("it is for another audience").into());
        }
        let mut words = scope(&claims, &rules.scope_claim)?;
        words.sort();
        if words.windows(2).any(|two| two[0] == two[1]) {
            return Err(Invalid::Token("its scope has a word twice").into());
        }
        let name = claims.get(&rules.subject_claim).and_then(Value::as_str);
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        Ok(Proven {
            name: name.ok_or(Invalid::Token("it names nobody"))?.into(),
            until: Some(until),
        })
    }
}

fn is_for_us(rules: &TokenRules, claims: &Claims) -> bool {
    let ours = |one: &str| rules.audience.iter().any(|own| own == one);
    let wanted = |one: &Value| one.as_str().is_some_and(ours);
    match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(wanted),
        Some(one) => wanted(one),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;

    const NOW: Timestamp = 1_000_000;

    /// Issuer of tokens that are signed with ES256.
    struct Issuer {
        id: &'static str,
        key: EcdsaKeyPair,
    }

    fn issuer(id: &'static str) -> Issuer {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random);
        Issuer {
            id,
            key: key.unwrap(),
        }
    }

    impl Issuer {
        fn published(&self, more: &str) -> String {
            let point = self.key.public_key().as_ref();
            let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
            format!(
                "{{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"{}\",\"x\":\"{x}\",\"y\":\"{y}\"{more}}}",
                self.id
            )
        }

        fn token(&self, header: &str, claims: &str) -> String {
            let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
            let signature = self
                .key
                .sign(&SystemRandom::new(), message.as_bytes())
                .unwrap();
            format!("{message}.{}", BASE64.encode(signature))
        }
    }

    fn set(keys: &[String]) -> KeySet {
        KeySet::parse(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes()).unwrap()
    }

    fn rules() -> TokenRules {
        TokenRules {
            audience: vec!["kafka".to_owned(), "other".to_owned()],
            issuer: Some("https://i".to_owned()),
            clock_skew_ms: 30_000,
            subject_claim: "sub".to_owned(),
            scope_claim: "scope".to_owned(),
        }
    }

    const HEADER: &str = "{\"alg\":\"ES256\",\"kid\":\"k\"}";
    const CLAIMS: &str =
        "{\"sub\":\"ann\",\"exp\":1001,\"iat\":1,\"iss\":\"https://i\",\"aud\":[\"kafka\"]}";

    fn outcome(token: &str, keys: &KeySet) -> String {
        match keys.validate(&rules(), token, NOW) {
            Ok(proven) => format!("{} {:?}", proven.name, proven.until),
            Err(Unverified::Invalid(Invalid::Token(why))) => why.to_owned(),
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn a_token_counts_with_a_signature_of_a_known_key() {
        let (own, thief) = (issuer("k"), issuer("k"));
        let keys = set(&[own.published("")]);
        let good = own.token(HEADER, CLAIMS);
        assert_eq!(outcome(&good, &keys), "ann Some(1001000)");
        let unsigned = "none of the keys has signed it";
        assert_eq!(outcome(&thief.token(HEADER, CLAIMS), &keys), unsigned);
        let other = own.token(HEADER, &CLAIMS.replace("ann", "eve"));
        let mixed = format!(
            "{}.{}",
            other.rsplit_once('.').unwrap().0,
            good.rsplit_once('.').unwrap().1
        );
        assert_eq!(outcome(&mixed, &keys), unsigned);
        for algorithm in ["none", "HS256", "RS256", "ES384", "es256", ""] {
            let header = HEADER.replace("ES256", algorithm);
            assert_eq!(
                outcome(&own.token(&header, CLAIMS), &keys),
                unsigned,
                "{algorithm}"
            );
        }
        // A token without a key id may be signed with any key. A token with an unknown key id causes the set to be read again.
        let anyones = own.token("{\"alg\":\"ES256\"}", CLAIMS);
        assert_eq!(
            outcome(&anyones, &set(&[thief.published(""), own.published("")])),
            "ann Some(1001000)"
        );
        let unknown = own.token(&HEADER.replace("\"k\"", "\"x\""), CLAIMS);
        assert_eq!(outcome(&unknown, &keys), "UnknownKey(\"x\")");
        let critical = own.token(
            "{\"alg\":\"ES256\",\"kid\":\"k\",\"crit\":[\"b64\"]}",
            CLAIMS,
        );
        assert_eq!(
            outcome(&critical, &keys),
            "its header asks for more than is known"
        );
        // A key that is meant for another algorithm verifies no token.
        let others = set(&[own.published(",\"alg\":\"ES384\"")]);
        assert_eq!(outcome(&good, &others), unsigned);
        for token in ["", "a", "a.b", "..", "a.b.c", "e30.e30.e30"] {
            assert!(!outcome(token, &keys).starts_with("ann"), "{token}");
        }
    }

    #[test]
    fn claims_decide() {
        let own = issuer("k");
        let keys = set(&[own.published("")]);
        for (from, to, expected) in [
            ("1001", "970.5", "ann Some(970500)"),
            ("1001", "970", "its time is over"),
            ("\"exp\":1001,", "", "it does not say until when it is good"),
            ("\"iat\":1,", "", "it does not say since when it is good"),
            (
                "\"iat\":1",
                "\"iat\":1,\"nbf\":1031",
                "its time has not come",
            ),
            ("\"iat\":1", "\"iat\":1,\"nbf\":1030", "ann Some(1001000)"),
            ("https://i", "https://j", "it is of another issuer"),
            ("[\"kafka\"]", "\"other\"", "ann Some(1001000)"),
            ("[\"kafka\"]", "[\"x\",\"y\"]", "it is for another audience"),
            (",\"aud\":[\"kafka\"]", "", "it is for another audience"),
            ("\"ann\"", "\" \"", "it names nobody"),
            ("\"ann\"", "7", "it names nobody"),
            (
                "\"iat\":1",
                "\"iat\":1,\"scope\":\"a b\"",
                "ann Some(1001000)",
            ),
            (
                "\"iat\":1",
                "\"iat\":1,\"scope\":[\"a\",\"a\"]",
                "its scope has a word twice",
            ),
        ] {
            let claims = CLAIMS.replace(from, to);
            assert_eq!(
                outcome(&own.token(HEADER, &claims), &keys),
                expected,
                "{claims}"
            );
        }
    }

    #[test]
    fn of_a_set_the_keys_that_can_be_used_are_kept() {
        let own = issuer("k").published("");
        for text in [
            "",
            "{}",
            "{\"keys\":[]}",
            "{\"keys\":[1,{},{\"kty\":\"oct\",\"k\":\"AA\"},{\"kty\":\"EC\",\"crv\":\"P-521\"}]}",
            "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}",
        ] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
        let encrypting = own.replacen('{', "{\"use\":\"enc\",", 1);
        let signing = own.replacen('{', "{\"use\":\"sig\",", 1);
        assert!(KeySet::parse(format!("{{\"keys\":[{encrypting}]}}").as_bytes()).is_err());
        let both = format!("{{\"keys\":[{encrypting},{signing}]}}");
        assert_eq!(KeySet::parse(both.as_bytes()).unwrap().keys.len(), 1);
        let many = vec![own; KEYS_MAX + 1].join(",");
        let many = KeySet::parse(format!("{{\"keys\":[{many}]}}").as_bytes()).unwrap();
        assert_eq!(many.keys.len(), KEYS_MAX);
    }

    /// The example of RFC 7515, appendix A.2.
    #[test]
    fn the_signature_of_the_rfc_is_good() {
        let key = "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}";
        let message = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let keys = set(&[key.to_owned()]);
        let signature = BASE64.decode(signature).unwrap();
        assert!(keys.keys[0].has_signed("RS256", message.as_bytes(), &signature));
        assert!(!keys.keys[0].has_signed("RS512", message.as_bytes(), &signature));
        assert!(!keys.keys[0].has_signed("RS256", &message.as_bytes()[1..], &signature));
    }
}
