//! pure: settings of SASL for one listener: `listener.name.<name>.<mechanism>.*` has precedence over `listener.name.<name>.*`,
//! and both over the setting without a prefix. Files are not read here.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::broker::{BrokerSettings, Listener};
use super::broker_table::BROKER_SETTINGS;
use super::jaas::{self, LoginModule};
use super::setting::{Setting, find, list};
use super::tls::{LISTENER_PREFIX, Secret, of_one_listener};
use crate::base::time::millis;

/// Path of the file with JAAS sections. In Kafka it is a property of the JVM, given in `KAFKA_OPTS`; here that variable is
/// translated to this setting.
pub const JAAS_FILE: &str = "java.security.auth.login.config";

const ENABLED: &str = "sasl.enabled.mechanisms";
const JAAS: &str = "sasl.jaas.config";
const REAUTH: &str = "connections.max.reauth.ms";
const RECEIVE_MAX: &str = "sasl.server.max.receive.size";
const FAILURE_DELAY: &str = "connection.failed.authentication.delay.ms";
const SERVER_HANDLER: &str = "sasl.server.callback.handler.class";

/// URL of the keys that verify OAUTHBEARER tokens.
const JWKS_URL: &str = "sasl.oauthbearer.jwks.endpoint.url";

/// Settings that name Java classes which would decide about logins. Values other than Kafka's defaults are refused.
const CLASSES: &[&str] = &[SERVER_HANDLER, LOGIN_HANDLER, LOGIN];
/// Kafka's callback handlers that verify tokens with a set of keys, which this program does itself.
const VALIDATORS: &[&str] = &[
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerValidatorCallbackHandler",
];
const LOGIN_HANDLER: &str = "sasl.login.callback.handler.class";
const LOGIN: &str = "sasl.login.class";

/// SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OAuthBearer,
}

/// A mechanism, its name, and the login module that belongs to it.
struct Row {
    mechanism: Mechanism,
    name: &'static str,
    module: &'static str,
}

/// All supported mechanisms.
const MECHANISMS: &[Row] = &[
    Row {
        mechanism: Mechanism::Plain,
        name: "PLAIN",
        module: "org.apache.kafka.common.security.plain.PlainLoginModule",
    },
    Row {
        mechanism: Mechanism::ScramSha256,
        name: "SCRAM-SHA-256",
        module: "org.apache.kafka.common.security.scram.ScramLoginModule",
    },
    Row {
        mechanism: Mechanism::ScramSha512,
        name: "SCRAM-SHA-512",
        module: "org.apache.kafka.common.security.scram.ScramLoginModule",
    },
    Row {
        mechanism: Mechanism::OAuthBearer,
        name: "OAUTHBEARER",
        module: "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
    },
];

impl Mechanism {
    /// The mechanism of this name; names are case-sensitive.
    pub fn named(name: &str) -> Option<Self> {
        let found = MECHANISMS.iter().find(|row| row.name == name);
        found.map(|row| row.mechanism)
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Class name of the mechanism's login module.
    fn module(self) -> &'static str {
        self.row().module
    }

    fn row(self) -> &'static Row {
        let found = MECHANISMS.iter().find(|row| row.mechanism == self);
        found.unwrap_or(&MECHANISMS[0])
    }
}

/// Names of all mechanisms, for messages.
fn known() -> String {
    let names: Vec<&str> = MECHANISMS.iter().map(|row| row.name).collect();
    names.join(", ")
}

/// Settings of SASL for one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaslSettings {
    /// Enabled mechanisms in the order of `sasl.enabled.mechanisms`.
    pub mechanisms: Vec<MechanismSettings>,
    /// Path of the JAAS file, for login modules that are not in the settings.
    pub jaas_file: Option<PathBuf>,
    /// `sasl.server.max.receive.size`: limit of a frame's size during authentication, in bytes.
    pub receive_bytes_max: usize,
    /// `connection.failed.authentication.delay.ms`.
    pub failure_delay: Duration,
}

/// Settings of one mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MechanismSettings {
    pub mechanism: Mechanism,
    /// Login module in the setting [`MechanismSettings::jaas_setting`]; `None` if it is in the JAAS file.
    pub module: Option<LoginModule>,
    pub jaas_setting: String,
    /// `connections.max.reauth.ms`: time after which a client must authenticate again.
    pub session_max: Option<Duration>,
    /// How tokens of OAUTHBEARER are verified; `None` if unsigned tokens are accepted.
    pub tokens: Option<TokenSettings>,
}

/// Settings for the verification of signed tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// URL of the keys: `file:`, `http:` or `https:`.
    pub url: String,
    /// Name of the setting that gives `url`.
    pub url_setting: String,
    pub refresh_ms: i64,
    pub rules: TokenRules,
}

/// Requirements for the claims of a signed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// Accepted audiences, one of which the token must have; if empty, no audience is required.
    pub audience: Vec<String>,
    pub issuer: Option<String>,
    pub clock_skew_ms: i64,
    pub subject_claim: String,
    pub scope_claim: String,
}

/// The setting that has a mistake, and the mistake.
pub type SaslFault = (String, String);

impl SaslSettings {
    /// The settings of SASL that apply to a listener.
    ///
    /// Errors: every mistake, with the name of the setting as it was written.
    pub fn of(settings: &BrokerSettings, listener: &str) -> Result<Self, Vec<SaslFault>> {
        let mut reader = Reading {
            settings,
            prefix: format!("{LISTENER_PREFIX}{}.", listener.to_ascii_lowercase()),
            faults: Vec::new(),
        };
        let mechanisms = reader.mechanisms(listener);
        let jaas_file = settings.explicit(JAAS_FILE).map(str::trim);
        let jaas_file = jaas_file.filter(|path| !path.is_empty()).map(PathBuf::from);
        if !reader.faults.is_empty() {
            return Err(reader.faults);
        }
        Ok(Self {
            mechanisms,
            jaas_file,
            receive_bytes_max: settings.int(RECEIVE_MAX).max(0) as usize,
            failure_delay: millis(settings.long(FAILURE_DELAY)),
        })
    }
}

/// Mechanism, user name and password of a client, from `sasl.mechanism` and `sasl.jaas.config` of Kafka's clients.
///
/// Errors: what is wrong, with the name of the setting.
pub fn of_client(settings: &BrokerSettings) -> Result<(Mechanism, String, Secret), SaslFault> {
    const MECHANISM: &str = "sasl.mechanism";
    let mechanism = client_mechanism(MECHANISM, settings.explicit(MECHANISM))?;
    user_in(settings, JAAS, mechanism)
}

/// Settings with the mechanism for connections to other brokers, and to controllers.
pub const BETWEEN_BROKERS: &str = "sasl.mechanism.inter.broker.protocol";
pub const TO_CONTROLLERS: &str = "sasl.mechanism.controller.protocol";

/// Mechanism, user name and password with which a node connects to other nodes on a listener. User name and password are those
/// of the listener's login module. `mechanism_setting` is [`BETWEEN_BROKERS`] or [`TO_CONTROLLERS`].
///
/// Errors: what is wrong, with the name of the setting.
pub fn of_peer(
    settings: &BrokerSettings,
    listener: &str,
    mechanism_setting: &str,
) -> Result<(Mechanism, String, Secret), SaslFault> {
    let mechanism = client_mechanism(mechanism_setting, settings.get(mechanism_setting))?;
    let setting = format!(
        "{LISTENER_PREFIX}{}.{}.{JAAS}",
        listener.to_ascii_lowercase(),
        mechanism.name().to_ascii_lowercase()
    );
    user_in(settings, &setting, mechanism)
}

/// The mechanism that a setting names for a client, whose default is GSSAPI.
fn client_mechanism(setting: &str, value: Option<&str>) -> Result<Mechanism, SaslFault> {
    let name = value.unwrap_or("GSSAPI").trim();
    let mechanism = Mechanism::named(name).filter(|one| *one != Mechanism::OAuthBearer);
    mechanism.ok_or_else(|| {
        let what =
            format!("{name} is not supported; these are: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512");
        fault(setting, what)
    })
}

/// The mechanism, with user name and password of its login module in a setting.
fn user_in(
    settings: &BrokerSettings,
    setting: &str,
    mechanism: Mechanism,
) -> Result<(Mechanism, String, Secret), SaslFault> {
    let text = settings.explicit(setting).unwrap_or_default();
    let mut module = one_module(text)
        .and_then(|module| fitting(mechanism, module))
        .map_err(|what| fault(setting, what))?;
    let mut option = |name: &str| {
        let value = module.options.remove(name);
        value.ok_or_else(|| fault(setting, format!("the login module has no {name}")))
    };
    let (user, password) = (option("username")?, option("password")?);
    Ok((mechanism, user, Secret::new(&password)))
}

fn fault(setting: &str, what: impl fmt::Display) -> SaslFault {
    (setting.to_owned(), format!("{setting}: {what}"))
}

/// The table row of a setting of TLS or SASL that has the prefix of a listener, and optionally of a mechanism.
pub fn of_listener(name: &str) -> Option<&'static Setting> {
    let (_, base) = of_one_listener(name)?;
    let of_mechanism = |row: &Row| {
        base.strip_prefix(&row.name.to_ascii_lowercase())?
            .strip_prefix('.')
    };
    let base = MECHANISMS.iter().find_map(of_mechanism).unwrap_or(base);
    let serves = base.starts_with("ssl.") || base.starts_with("sasl.") || base == REAUTH;
    find(BROKER_SETTINGS, base).filter(|_| serves)
}

/// Warnings about the settings of SASL on these listeners.
pub fn warnings(settings: &BrokerSettings, listeners: &[Listener]) -> Vec<String> {
    let mut found = Vec::new();
    for listener in listeners.iter().filter(|one| one.protocol.has_sasl()) {
        let name = &listener.endpoint.name;
        let mechanisms = SaslSettings::of(settings, name).map(|sasl| sasl.mechanisms);
        let mut mechanisms = mechanisms.into_iter().flatten();
        let unsigned = |one: &MechanismSettings| {
            one.mechanism == Mechanism::OAuthBearer && one.tokens.is_none()
        };
        if mechanisms.any(|one| unsigned(&one)) {
            found.push(format!(
                "listener {name} takes tokens of OAUTHBEARER that nobody signed, as Kafka does by default: whoever can connect gets in under any name"
            ));
        }
    }
    if settings.explicit(JAAS).is_some() {
        found.push(format!(
            "{JAAS} without a listener and a mechanism in front is ignored, as by Kafka: write {LISTENER_PREFIX}LISTENER.MECHANISM.{JAAS}"
        ));
    }
    found
}

struct Reading<'a> {
    settings: &'a BrokerSettings,
    prefix: String,
    faults: Vec<SaslFault>,
}

impl<'a> Reading<'a> {
    fn fault(&mut self, setting: &str, what: &str) {
        self.faults.push(fault(setting, what));
    }

    /// Name and value of a setting: of the names under which it may be set, the most specific that is.
    fn get(&self, mechanism: &str, name: &str) -> Option<(String, &'a str)> {
        let names = [
            format!("{}{}.{name}", self.prefix, mechanism.to_ascii_lowercase()),
            format!("{}{name}", self.prefix),
            name.to_owned(),
        ];
        names.into_iter().find_map(|name| {
            let value = self.settings.explicit(&name)?;
            Some((name, value.trim()))
        })
    }

    fn mechanisms(&mut self, listener: &str) -> Vec<MechanismSettings> {
        let own = format!("{}{ENABLED}", self.prefix);
        let (setting, value) = match self.settings.explicit(&own) {
            Some(value) => (own, value),
            None => match self.settings.explicit(ENABLED) {
                Some(value) => (ENABLED.to_owned(), value),
                None => {
                    let what = format!(
                        "it is not set, and listener {listener} needs it: its default, GSSAPI, is not supported; these are: {}",
                        known()
                    );
                    self.fault(ENABLED, &what);
                    return Vec::new();
                }
            },
        };
        let mut found: Vec<MechanismSettings> = Vec::new();
        for name in list(value) {
            let Some(mechanism) = Mechanism::named(name) else {
                let what = format!("{name} is not supported; these are: {}", known());
                self.fault(&setting, &what);
                continue;
            };
            if found.iter().all(|one| one.mechanism != mechanism) {
                let one = self.mechanism(mechanism);
                found.push(one);
            }
        }
        if found.is_empty() && self.faults.is_empty() {
            let what = format!("it names no mechanism, and listener {listener} needs one");
            self.fault(&setting, &what);
        }
        found
    }

    fn mechanism(&mut self, mechanism: Mechanism) -> MechanismSettings {
        let name = mechanism.name();
        let is_oauth = mechanism == Mechanism::OAuthBearer;
        for class in CLASSES {
            // For OAUTHBEARER the classes by which Kafka's broker gets a token of its own do not affect clients.
            if is_oauth && *class != SERVER_HANDLER {
                continue;
            }
            if let Some((setting, value)) = self.get(name, class)
                && !value.is_empty()
                && !(is_oauth && VALIDATORS.contains(&value))
            {
                self.fault(
                    &setting,
                    "classes of Java cannot be loaded: whom it would let in cannot be known",
                );
            }
        }
        let jaas_setting = format!("{}{}.{JAAS}", self.prefix, name.to_ascii_lowercase());
        let module = self.settings.explicit(&jaas_setting).and_then(|text| {
            let one = one_module(text).and_then(|one| fitting(mechanism, one));
            one.map_err(|what| self.fault(&jaas_setting, &what)).ok()
        });
        let session_max = self.get(name, REAUTH).and_then(|(setting, value)| {
            let parsed = value.parse::<i64>();
            if parsed.is_err() {
                self.fault(&setting, "it is no number of milliseconds");
            }
            parsed.ok().filter(|ms| *ms > 0)
        });
        MechanismSettings {
            mechanism,
            module,
            jaas_setting,
            session_max: session_max.map(millis),
            tokens: match is_oauth {
                true => self.tokens(name),
                false => None,
            },
        }
    }

    /// Settings for the verification of tokens. Kafka differs: it ignores a set of keys if no validator class is set, and
    /// accepts forged tokens.
    fn tokens(&mut self, mechanism: &str) -> Option<TokenSettings> {
        let setting = |name: &str| format!("sasl.oauthbearer.{name}");
        let (url_setting, url) = self.get(mechanism, JWKS_URL).unwrap_or_default();
        if url.is_empty() {
            if let Some((setting, value)) = self.get(mechanism, SERVER_HANDLER)
                && VALIDATORS.contains(&value)
            {
                self.fault(
                    &setting,
                    &format!("{JWKS_URL} is not set: there is nothing to verify tokens with"),
                );
            }
            return None;
        }
        let value = |name: &str| {
            let name = setting(name);
            let found = self.get(mechanism, &name).map(|(_, value)| value);
            found.or_else(|| find(BROKER_SETTINGS, &name)?.default)
        };
        let text = |name: &str| value(name).unwrap_or_default().to_owned();
        let number = |name: &str| value(name).and_then(|value| value.parse::<i64>().ok());
        let allowed =
            |name: &str| value(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let mut open = Vec::new();
        for name in ["audience", "issuer"] {
            if text(&format!("expected.{name}")).is_empty()
                && !allowed(&format!("allow.unverified.{name}"))
            {
                open.push(name);
            }
        }
        let tokens = TokenSettings {
            url: url.to_owned(),
            url_setting,
            refresh_ms: number("jwks.endpoint.refresh.ms").unwrap_or(0).max(1),
            rules: TokenRules {
                audience: list(&text("expected.audience"))
                    .map(str::to_owned)
                    .collect(),
                issuer: Some(text("expected.issuer")).filter(|issuer| !issuer.is_empty()),
                clock_skew_ms: number("clock.skew.seconds")
                    .unwrap_or(0)
                    .saturating_mul(1_000),
                subject_claim: text("sub.claim.name"),
                scope_claim: text("scope.claim.name"),
            },
        };
        for name in open {
            let what = format!(
                "it is not set, so tokens with any {name} would be taken; sasl.oauthbearer.allow.unverified.{name}=true allows that"
            );
            self.fault(&setting(&format!("expected.{name}")), &what);
        }
        Some(tokens)
    }
}

fn one_module(text: &str) -> Result<LoginModule, String> {
    match <[LoginModule; 1]>::try_from(jaas::modules(text)?) {
        Ok([one]) => Ok(one),
        Err(all) => Err(format!(
            "JAAS config property contains {} login modules, should be 1 module",
            all.len()
        )),
    }
}

/// The login module, if it is the one of the mechanism. Kafka differs: it accepts any module that the JVM can load, and fails
/// at the first login.
///
/// Errors: a message that names both classes.
pub fn fitting(mechanism: Mechanism, module: LoginModule) -> Result<LoginModule, String> {
    match module.class == mechanism.module() {
        true => Ok(module),
        false => Err(format!(
            "the login module of {} is {}, not {}",
            mechanism.name(),
            mechanism.module(),
            module.class
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::properties;
    use super::*;

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

    fn read(text: &str) -> Result<SaslSettings, String> {
        let given = properties(text).into_iter();
        let settings = BrokerSettings::new(given.map(|one| (one.key, one.value)).collect());
        SaslSettings::of(&settings, "SAFE").map_err(|faults| {
            let texts: Vec<String> = faults.into_iter().map(|(_, what)| what).collect();
            texts.join("\n")
        })
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(read(text).unwrap_err(), expected, "{text}");
    }

    #[test]
    fn a_listener_has_mechanisms_with_their_own_settings() {
        let settings = read(&format!(
            "sasl.enabled.mechanisms=GSSAPI\n\
             listener.name.safe.sasl.enabled.mechanisms=SCRAM-SHA-512, PLAIN\n\
             listener.name.safe.plain.sasl.jaas.config={PLAIN} user_a=\"b\";\n\
             java.security.auth.login.config=/jaas\n\
             connections.max.reauth.ms=5000\n\
             listener.name.safe.plain.connections.max.reauth.ms=0\n\
             sasl.server.max.receive.size=1000\n"
        ))
        .unwrap();
        let [scram, plain] = &settings.mechanisms[..] else {
            panic!("{settings:?}")
        };
        assert_eq!(scram.mechanism, Mechanism::ScramSha512);
        assert_eq!(
            (scram.module.as_ref(), scram.session_max),
            (None, Some(Duration::from_secs(5)))
        );
        assert_eq!(plain.module.as_ref().unwrap().options["user_a"], "b");
        assert_eq!(plain.session_max, None);
        assert_eq!(settings.jaas_file, Some("/jaas".into()));
        assert_eq!(settings.receive_bytes_max, 1_000);
        assert_eq!(settings.failure_delay, Duration::from_millis(100));
    }

    #[test]
    fn each_mistake_is_told() {
        check(
            "",
            "sasl.enabled.mechanisms: it is not set, and listener SAFE needs it: its default, GSSAPI, is not supported; these are: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER",
        );
        check(
            "sasl.enabled.mechanisms=GSSAPI,plain",
            "sasl.enabled.mechanisms: GSSAPI is not supported; these are: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER\n\
             sasl.enabled.mechanisms: plain is not supported; these are: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER",
        );
        check(
            "listener.name.safe.sasl.enabled.mechanisms=",
            "listener.name.safe.sasl.enabled.mechanisms: it names no mechanism, and listener SAFE needs one",
        );
        let plain = "sasl.enabled.mechanisms=PLAIN\n";
        let jaas = "listener.name.safe.plain.sasl.jaas.config";
        for (value, expected) in [
            (
                format!("{PLAIN}; {PLAIN};"),
                "JAAS config property contains 2 login modules, should be 1 module",
            ),
            (
                PLAIN.to_owned(),
                "JAAS config entry not terminated by semi-colon",
            ),
            (
                "a.B required;".to_owned(),
                "the login module of PLAIN is org.apache.kafka.common.security.plain.PlainLoginModule, not a.B",
            ),
        ] {
            let found = read(&format!("{plain}{jaas}={value}\n")).unwrap_err();
            assert!(found.starts_with(&format!("{jaas}: {expected}")), "{found}");
        }
        let found = read(&format!(
            "{plain}{jaas}={PLAIN};\nlistener.name.safe.plain.sasl.server.callback.handler.class=a.B\n"
        ));
        let found = found.unwrap_err();
        assert!(
            found.contains("handler.class: classes of Java cannot be loaded"),
            "{found}"
        );
    }

    #[test]
    fn tokens_are_verified_where_there_are_keys() {
        const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer";
        let base = format!(
            "sasl.enabled.mechanisms=OAUTHBEARER\n\
             listener.name.safe.oauthbearer.sasl.jaas.config={OAUTH}.OAuthBearerLoginModule required;\n\
             listener.name.safe.oauthbearer.sasl.login.callback.handler.class=any.Class\n"
        );
        let tokens = |more: &str| {
            let settings = read(&format!("{base}{more}"))?;
            Ok::<_, String>(settings.mechanisms[0].tokens.clone())
        };
        assert_eq!(tokens(""), Ok(None));
        let url = "sasl.oauthbearer.jwks.endpoint.url=file:///keys\n";
        let both = "sasl.oauthbearer.expected.issuer=i\nsasl.oauthbearer.expected.audience=a, b\n";
        let found = tokens(&format!(
            "{url}{both}listener.name.safe.sasl.oauthbearer.clock.skew.seconds=5\n"
        ));
        let expected = TokenSettings {
            url: "file:///keys".to_owned(),
            url_setting: "sasl.oauthbearer.jwks.endpoint.url".to_owned(),
            refresh_ms: 3_600_000,
            rules: TokenRules {
                audience: vec!["a".to_owned(), "b".to_owned()],
                issuer: Some("i".to_owned()),
                clock_skew_ms: 5_000,
                subject_claim: "sub".to_owned(),
                scope_claim: "scope".to_owned(),
            },
        };
        assert_eq!(found, Ok(Some(expected)));
        let handler = format!(
            "listener.name.safe.oauthbearer.sasl.server.callback.handler.class={OAUTH}.OAuthBearerValidatorCallbackHandler\n"
        );
        assert!(tokens(&format!("{handler}{url}{both}")).is_ok());
        for (more, expected) in [
            (handler.clone(), "nothing to verify tokens with"),
            (
                handler.replace(OAUTH, "a"),
                "classes of Java cannot be loaded",
            ),
            (url.to_owned(), "tokens with any audience would be taken"),
            (url.to_owned(), "tokens with any issuer would be taken"),
        ] {
            let found = tokens(&more).unwrap_err();
            assert!(found.contains(expected), "{more}: {found}");
        }
        let open = both.replace("expected.audience=a, b", "allow.unverified.audience=true");
        assert!(tokens(&format!("{url}{open}")).is_ok());
    }

    #[test]
    fn settings_of_one_listener_are_known_by_their_last_part() {
        let name = |text: &str| of_listener(text).map(|setting| setting.name);
        for (text, expected) in [
            (
                "listener.name.a.plain.sasl.jaas.config",
                Some("sasl.jaas.config"),
            ),
            (
                "listener.name.a.scram-sha-256.connections.max.reauth.ms",
                Some(REAUTH),
            ),
            ("listener.name.a.sasl.enabled.mechanisms", Some(ENABLED)),
            ("listener.name.a.ssl.client.auth", Some("ssl.client.auth")),
            ("listener.name.a.num.partitions", None),
            ("listener.name.a.nothing.sasl.jaas.config", None),
            ("sasl.jaas.config", None),
        ] {
            assert_eq!(name(text), expected, "{text}");
        }
    }
}
