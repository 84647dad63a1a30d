//! Authentication of each listener: none, client certificates, or SASL. SASL uses the login modules of the settings and of the
//! JAAS file. A running broker keeps the newest configuration of each listener. Kafka's `ChannelBuilders`, `LoginManager` and
//! `JaasContext`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::mapping_rules::MappingRules;
use super::sasl::Proven;
use super::sasl::jwt::Unverified;
use super::sasl::keys::Keys;
use super::sasl::oauth::{Invalid, Unsecured};
use super::sasl::plain::Users;
use super::scram::ScramMechanism;
use crate::base::plain::Plain;
use crate::base::time::Timestamp;
use crate::config::broker::{BrokerSettings, Listener};
use crate::config::jaas::{self, LoginModule};
use crate::config::listener::SecurityProtocol;
use crate::config::sasl::{
    JAAS_FILE, Mechanism, MechanismSettings, SaslFault, SaslSettings, TokenRules, fitting,
};
use crate::config::tls::LISTENER_PREFIX;
use crate::host::given;

/// Largest size of a JAAS file, in bytes. Such a file has a line for each user.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Section of the JAAS file for all listeners. The section of a single listener has its name and a dot in front.
const SECTION: &str = "KafkaServer";

/// Newest authentication of each listener, by the listener's name in upper case. Acceptors read it for each connection.
#[derive(Debug, Default)]
pub struct Entries {
    current: Mutex<Loaded>,
}

/// Authentication by listener name.
pub type Loaded = BTreeMap<String, Entry>;

/// Authentication of a listener.
#[derive(Clone, Debug)]
pub enum Entry {
    /// No authentication: all clients are anonymous.
    Free,
    /// A client with a certificate has the principal that the rules derive from its subject. Other clients are anonymous.
    Certificate(Arc<MappingRules>),
    Sasl(Arc<SaslListener>),
}

/// SASL configuration of a listener.
#[derive(Debug)]
pub struct SaslListener {
    /// Mechanisms in the order of the setting.
    pub served: Vec<Served>,
    /// Largest frame during a login, in bytes (`sasl.server.max.receive.size`).
    pub receive_bytes_max: usize,
    /// Delay of the answer to a failed login (`connection.failed.authentication.delay.ms`).
    pub failure_delay: Duration,
}

impl SaslListener {
    /// Key sets with which tokens are verified.
    fn keys(&self) -> impl Iterator<Item = &Arc<Keys>> {
        self.served.iter().filter_map(|served| match &served.proof {
            Proof::Token(Tokens::Signed(_, keys)) => Some(keys),
            _ => None,
        })
    }
}

/// SASL mechanism of a listener.
#[derive(Clone, Debug)]
pub struct Served {
    pub mechanism: Mechanism,
    /// Longest session of a client before it must log in again; `None` for no limit.
    pub session_max: Option<Duration>,
    pub proof: Proof,
}

/// Evidence that a client must present.
#[derive(Clone, Debug)]
pub enum Proof {
    /// The password of one of these users.
    Password(Users),
    /// A proof of knowing the password of a user whose SCRAM credential is in the cluster's metadata.
    Scram(ScramMechanism),
    /// A token that is valid by these rules.
    Token(Tokens),
}

/// Rules for tokens.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// Unsigned tokens are accepted.
    Unsecured(Unsecured),
    /// Tokens must be signed with one of these keys.
    Signed(TokenRules, Arc<Keys>),
}

impl Tokens {
    /// Principal and expiry of a valid token.
    pub fn validate(&self, token: &str, now: Timestamp) -> Result<Proven, Invalid> {
        match self {
            Self::Unsecured(rules) => rules.validate(token, now),
            Self::Signed(rules, keys) => {
                keys.current()
                    .validate(rules, token, now)
                    .map_err(|unverified| match unverified {
                        Unverified::Invalid(invalid) => invalid,
                        // The provider may have begun to sign with a new key.
                        Unverified::UnknownKey(_) => {
                            keys.want();
                            Invalid::Token("its key is not known")
                        }
                    })
            }
        }
    }
}

impl Entries {
    /// Key sets that are due to be read again. The caller must call [`Keys::read_again`] for each.
    pub fn due(&self, now: Timestamp) -> Vec<Arc<Keys>> {
        let mut due = Vec::new();
        let entries: Vec<Entry> = self.current.lock().values().cloned().collect();
        for entry in entries {
            let Entry::Sasl(listener) = entry else {
                continue;
            };
            due.extend(listener.keys().filter(|keys| keys.are_due(now)).cloned());
        }
        due
    }

    /// Authentication for the next connection of a listener.
    pub fn of(&self, listener: &str) -> Option<Entry> {
        self.current.lock().get(listener).cloned()
    }

    pub fn install(&self, loaded: Loaded) {
        *self.current.lock() = loaded;
    }

    /// Authentication of the listeners of a running broker.
    ///
    /// Reads files, as [`Self::load`] does.
    ///
    /// Errors: every mistake, in one line.
    pub fn prepare(
        &self,
        listeners: &[Listener],
        settings: &BrokerSettings,
        now: Timestamp,
    ) -> Result<Loaded, String> {
        self.load(listeners, settings, now).map_err(|faults| {
            let texts: Vec<_> = faults.into_iter().map(|(_, what)| what).collect();
            texts.join("; ")
        })
    }

    /// Loads the authentication of the given listeners.
    ///
    /// Reads files, so the call may block.
    ///
    /// Errors: every mistake, with the name of its setting.
    pub fn load(
        &self,
        listeners: &[Listener],
        settings: &BrokerSettings,
        now: Timestamp,
    ) -> Result<Loaded, Vec<SaslFault>> {
        let before = self.current.lock().clone();
        let (mut loaded, mut faults) = (Loaded::new(), Vec::new());
        for listener in listeners {
            let name = &listener.endpoint.name;
            let kept = match before.get(name) {
                Some(Entry::Sasl(before)) => before.keys().cloned().collect(),
                _ => Vec::new(),
            };
            let entry = match listener.protocol {
                SecurityProtocol::Plaintext => Ok(Entry::Free),
                SecurityProtocol::Ssl => rules(settings, name).map(Entry::Certificate),
                SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => {
                    SaslSettings::of(settings, name)
                        .and_then(|settings| of_one(name, settings, &kept, now))
                        .map(|one| Entry::Sasl(Arc::new(one)))
                }
            };
            match entry {
                Ok(entry) => drop(loaded.insert(name.clone(), entry)),
                Err(found) => faults.extend(found),
            }
        }
        faults.sort();
        faults.dedup();
        match faults.is_empty() {
            true => Ok(loaded),
            false => Err(faults),
        }
    }
}

/// Rules of `ssl.principal.mapping.rules` for a listener.
fn rules(settings: &BrokerSettings, listener: &str) -> Result<Arc<MappingRules>, Vec<SaslFault>> {
    const RULES: &str = "ssl.principal.mapping.rules";
    let own = format!("{LISTENER_PREFIX}{}.{RULES}", listener.to_ascii_lowercase());
    let (name, text) = match settings.explicit(&own) {
        Some(text) => (own, text),
        None => (RULES.to_owned(), settings.get(RULES).unwrap_or_default()),
    };
    let parsed = MappingRules::parse(text);
    parsed
        .map(Arc::new)
        .map_err(|what| vec![(name.clone(), format!("{name}: {what}"))])
}

fn of_one(
    listener: &str,
    settings: SaslSettings,
    kept: &[Arc<Keys>],
    now: Timestamp,
) -> Result<SaslListener, Vec<SaslFault>> {
    let mut from_file = settings
        .mechanisms
        .iter()
        .filter(|one| one.module.is_none());
    let section = match (from_file.next(), &settings.jaas_file) {
        (None, _) => Vec::new(),
        (Some(_), Some(path)) => {
            let read = section(listener, path);
            read.map_err(|what| vec![(JAAS_FILE.to_owned(), format!("{JAAS_FILE}: {what}"))])?
        }
        // Only now is a missing file an error. As in Kafka, a directory can be formatted without it.
        (Some(one), None) => {
            let setting = one.jaas_setting.clone();
            let what = format!(
                "{setting}: it is not set, and KAFKA_OPTS names no file by -D{JAAS_FILE}=FILE"
            );
            return Err(vec![(setting, what)]);
        }
    };
    let (mut served, mut faults) = (Vec::new(), Vec::new());
    for one in settings.mechanisms {
        match module(&one, &section) {
            Ok(module) => match proof(&one, &module, kept, now) {
                Ok(proof) => served.push(Served {
                    mechanism: one.mechanism,
                    session_max: one.session_max,
                    proof,
                }),
                Err((setting, what)) => {
                    let fault = format!("{setting}: {what}");
                    faults.push((setting, fault));
                }
            },
            Err(what) => faults.push((JAAS_FILE.to_owned(), format!("{JAAS_FILE}: {what}"))),
        }
    }
    match faults.is_empty() {
        true => Ok(SaslListener {
            served,
            receive_bytes_max: settings.receive_bytes_max,
            failure_delay: settings.failure_delay,
        }),
        false => Err(faults),
    }
}

/// Evidence that a mechanism asks for. `kept` are the listener's current key sets. A key set with unchanged settings is used
/// again and not read anew.
///
/// Errors: the invalid setting and the reason.
fn proof(
    one: &MechanismSettings,
    module: &LoginModule,
    kept: &[Arc<Keys>],
    now: Timestamp,
) -> Result<Proof, SaslFault> {
    Ok(match one.mechanism {
        Mechanism::Plain => Proof::Password(Users::of(&module.options)),
        Mechanism::ScramSha256 => Proof::Scram(ScramMechanism::Sha256),
        Mechanism::ScramSha512 => Proof::Scram(ScramMechanism::Sha512),
        Mechanism::OAuthBearer => Proof::Token(match &one.tokens {
            None => {
                let rules = Unsecured::of(&module.options);
                Tokens::Unsecured(rules.map_err(|what| (one.jaas_setting.clone(), what))?)
            }
            Some(tokens) => {
                let same = kept
                    .iter()
                    .find(|keys| keys.are_of(tokens, &module.options));
                let keys = match same {
                    Some(keys) => Arc::clone(keys),
                    None => {
                        let read = Keys::read(tokens, &module.options, now);
                        Arc::new(read.map_err(|what| (tokens.url_setting.clone(), what))?)
                    }
                };
                Tokens::Signed(tokens.rules.clone(), keys)
            }
        }),
    })
}

/// Login module of a mechanism: from the settings, or else the fitting module of the file's section.
fn module(one: &MechanismSettings, section: &[LoginModule]) -> Result<LoginModule, String> {
    if let Some(module) = &one.module {
        return Ok(module.clone());
    }
    let found = section
        .iter()
        .map(|module| fitting(one.mechanism, module.clone()));
    let mut found = found.peekable();
    let first = found.peek().cloned();
    let none = || Err("the section for the listener has no login module".to_owned());
    found.find(Result::is_ok).or(first).unwrap_or_else(none)
}

/// Login modules of a listener in a JAAS file.
fn section(listener: &str, path: &Path) -> Result<Vec<LoginModule>, String> {
    let own = format!("{}.{SECTION}", listener.to_ascii_lowercase());
    let shown = path.display();
    let bytes = given::read(path, FILE_BYTES_MAX)
        .map_err(|error| format!("{shown} cannot be read: {}", Plain(&error)))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is no text in UTF-8"))?;
    let mut sections = jaas::sections(&text).map_err(|what| format!("{shown}: {what}"))?;
    let found = sections.remove(&own).or_else(|| sections.remove(SECTION));
    found.ok_or_else(|| {
        format!("Could not find a '{SECTION}' or '{own}' entry in the JAAS configuration {shown}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::broker::standalone;
    use crate::config::parse::Property;

    fn listener(settings: &[(&str, &str)]) -> Result<Arc<SaslListener>, String> {
        let base = [
            ("listeners", "SAFE://127.0.0.1:0"),
            (
                "listener.security.protocol.map",
                "SAFE:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            ),
        ];
        let given = base.iter().chain(settings);
        let given: Vec<_> = given
            .map(|(key, value)| Property::given(key, value))
            .collect();
        let config = standalone(&given)
            .map_err(|faults| faults.join("\n"))?
            .config;
        let loaded = Entries::default().load(&config.listeners, &config.settings, 0);
        let loaded = loaded.map_err(|faults| {
            let texts: Vec<_> = faults.into_iter().map(|(_, what)| what).collect();
            texts.join("\n")
        })?;
        match &loaded["SAFE"] {
            Entry::Sasl(found) => Ok(Arc::clone(found)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_of_jaas_has_what_the_settings_leave_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jaas.conf");
        let shown = path.display().to_string();
        let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required";
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required";
        let settings = [
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256"),
            ("java.security.auth.login.config", shown.as_str()),
        ];
        let found = listener(&settings).unwrap_err();
        assert!(found.contains("cannot be read: no such file"), "{found}");
        for (text, expected) in [
            (
                format!("KafkaServer {{ {scram}; {plain} user_a=\"b\"; }};"),
                Ok(()),
            ),
            (
                format!(
                    "KafkaServer {{ }}; safe.KafkaServer {{ {scram}; {plain} user_a=\"b\"; }};"
                ),
                Ok(()),
            ),
            (
                "KafkaClient { };".to_owned(),
                Err("Could not find a 'KafkaServer' or 'safe.KafkaServer' entry"),
            ),
            (
                format!("KafkaServer {{ {plain}; }};"),
                Err("the login module of SCRAM-SHA-256 is"),
            ),
            ("KafkaServer { };".to_owned(), Err("has no login module")),
            ("KafkaServer {".to_owned(), Err("'}' is missing")),
        ] {
            std::fs::write(&path, &text).unwrap();
            match (listener(&settings), expected) {
                (Ok(found), Ok(())) => {
                    let users = [("user_a".to_owned(), "b".to_owned())];
                    let Proof::Password(found_users) = &found.served[0].proof else {
                        panic!("{found:?}")
                    };
                    assert_eq!(*found_users, Users::of(&users.into()), "{text}");
                    assert_eq!(found.served[1].mechanism, Mechanism::ScramSha256);
                }
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}: {found}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        let found = listener(&settings[..1]).unwrap_err();
        assert_eq!(
            found,
            "listener.name.safe.plain.sasl.jaas.config: it is not set, and KAFKA_OPTS names no file by -Djava.security.auth.login.config=FILE"
        );
        // Settings take precedence over the file, which may then be missing.
        std::fs::remove_file(&path).unwrap();
        let own = format!("{plain} user_c=\"d\";");
        let settings = [
            ("sasl.enabled.mechanisms", "PLAIN"),
            ("listener.name.safe.plain.sasl.jaas.config", own.as_str()),
            ("java.security.auth.login.config", shown.as_str()),
        ];
        assert_eq!(listener(&settings).unwrap().served.len(), 1);
    }
}
