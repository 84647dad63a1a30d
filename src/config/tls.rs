//! pure: settings of TLS for one listener: `listener.name.<name>.ssl.*` has precedence over `ssl.*`. Files are not read here.

use std::fmt;
use std::path::PathBuf;

use super::broker::BrokerSettings;
use super::listener::SecurityProtocol;
use super::setting::list;

/// Prefix of a setting for one listener. The listener's name in lower case and a dot follow it.
pub const LISTENER_PREFIX: &str = "listener.name.";

/// Settings that can be changed while the broker runs, all only with a listener's prefix. Kafka's
/// `SslConfigs.RECONFIGURABLE_CONFIGS`.
pub const STORE_SETTINGS: &[&str] = &[
    "ssl.key.password",
    KEYSTORE_CHAIN,
    KEYSTORE_KEY,
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    TRUSTSTORE_CERTIFICATES,
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

pub const CLIENT_AUTH: &str = "ssl.client.auth";
const KEYSTORE_KEY: &str = "ssl.keystore.key";
const KEYSTORE_CHAIN: &str = "ssl.keystore.certificate.chain";
const TRUSTSTORE_CERTIFICATES: &str = "ssl.truststore.certificates";

/// The base setting and the listener (in upper case) of a name like `listener.name.internal.ssl.client.auth`.
pub fn of_one_listener(name: &str) -> Option<(String, &str)> {
    let (listener, setting) = name.strip_prefix(LISTENER_PREFIX)?.split_once('.')?;
    Some((listener.to_ascii_uppercase(), setting))
}

/// A text that `Debug` does not print, so that it does not get into logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Format of a store. JKS and PKCS12 are one kind here: Java reads either under either name, by the content of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Pem,
    Java,
}

/// Location of a store's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// The content is the value of the setting itself.
    Inline(Secret),
}

/// A keystore or truststore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub kind: StoreKind,
    pub source: Source,
    /// Password of the whole store; PEM stores have none.
    pub password: Option<Secret>,
    /// Name of the setting that gives the store, as it was written, for messages.
    pub setting: String,
}

/// Values of `ssl.client.auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Requested,
    Required,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tls12,
    Tls13,
}

/// Settings of TLS for one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub key_store: Store,
    /// Password of the key, if it differs from the store's.
    pub key_password: Option<Secret>,
    pub trust_store: Option<Store>,
    pub client_auth: ClientAuth,
    pub protocols: Vec<Protocol>,
    /// Enabled cipher suites in Java's spelling; empty for all.
    pub cipher_suites: Vec<String>,
}

/// The setting that has a mistake, and the mistake.
pub type TlsFault = (String, String);

impl TlsSettings {
    /// The settings of TLS that apply to a listener.
    ///
    /// Errors: every mistake, with the name of the setting as it was written.
    pub fn of(
        settings: &BrokerSettings,
        listener: &str,
        protocol: SecurityProtocol,
    ) -> Result<Self, Vec<TlsFault>> {
        let mut reader = Reading {
            settings,
            prefix: format!("{LISTENER_PREFIX}{}.", listener.to_ascii_lowercase()),
            faults: Vec::new(),
        };
        let key_store = reader.key_store(listener);
        let trust_store = reader.trust_store();
        // On a SASL listener only the listener's own setting requires certificates, not the general one (KIP-684).
        let client_auth = reader
            .get(CLIENT_AUTH)
            .filter(|_| !protocol.has_sasl() || reader.written(CLIENT_AUTH) != CLIENT_AUTH);
        let client_auth = match client_auth.map(str::to_ascii_lowercase) {
            None => ClientAuth::None,
            Some(word) => match word.as_str() {
                "" | "none" => ClientAuth::None,
                "requested" => ClientAuth::Requested,
                "required" => ClientAuth::Required,
                _ => {
                    reader.fault(CLIENT_AUTH, "it is required, requested or none");
                    ClientAuth::Required
                }
            },
        };
        if client_auth != ClientAuth::None && trust_store.is_none() && reader.is_silent_on_trust() {
            reader.fault(
                CLIENT_AUTH,
                "there is nothing to verify clients with: ssl.truststore.location is not set, and there is no JVM whose own one could be taken",
            );
        }
        let protocols = reader.protocols();
        let cipher_suites = list(reader.get("ssl.cipher.suites").unwrap_or_default())
            .map(str::to_owned)
            .collect();
        if reader
            .get("ssl.engine.factory.class")
            .is_some_and(|class| !class.is_empty())
        {
            reader.fault(
                "ssl.engine.factory.class",
                "classes of Java cannot be loaded: what it would have decided would be decided otherwise",
            );
        }
        match (key_store, reader.faults.is_empty()) {
            (Some(key_store), true) => Ok(Self {
                key_store,
                key_password: reader.secret("ssl.key.password"),
                trust_store,
                client_auth,
                protocols,
                cipher_suites,
            }),
            _ => Err(reader.faults),
        }
    }
}

/// Settings of TLS of a client, under the names of Kafka's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    pub key_store: Option<Store>,
    pub key_password: Option<Secret>,
    pub trust_store: Option<Store>,
    pub protocols: Vec<Protocol>,
    pub cipher_suites: Vec<String>,
    /// Whether the broker's certificate must be issued for the host name that the client connects to.
    pub compare_names: bool,
}

impl ClientTls {
    /// The settings of TLS in a client's settings.
    ///
    /// Errors: every mistake, with the name of the setting.
    pub fn of(settings: &BrokerSettings) -> Result<Self, Vec<TlsFault>> {
        Self::read(settings, String::new())
    }

    /// The settings of TLS with which a node connects to other nodes on a listener: the key and trust stores are the listener's.
    pub fn of_listener(settings: &BrokerSettings, listener: &str) -> Result<Self, Vec<TlsFault>> {
        let prefix = format!("{LISTENER_PREFIX}{}.", listener.to_ascii_lowercase());
        Self::read(settings, prefix)
    }

    fn read(settings: &BrokerSettings, prefix: String) -> Result<Self, Vec<TlsFault>> {
        let mut reader = Reading {
            settings,
            prefix,
            faults: Vec::new(),
        };
        let owns_key = [KEYSTORE_KEY, KEYSTORE_CHAIN, "ssl.keystore.location"]
            .iter()
            .any(|name| reader.given(name));
        let key_store = match owns_key {
            true => reader.key_store(""),
            false => None,
        };
        let trust_store = reader.trust_store();
        let protocols = reader.protocols();
        let name = "ssl.endpoint.identification.algorithm";
        let written = reader.written(name);
        let algorithm = settings.explicit(&written).unwrap_or("https").trim();
        if !algorithm.is_empty() && !algorithm.eq_ignore_ascii_case("https") {
            reader.fault(name, "it is https or empty");
        }
        match reader.faults.is_empty() {
            true => Ok(Self {
                key_store,
                key_password: reader.secret("ssl.key.password"),
                trust_store,
                protocols,
                cipher_suites: list(reader.get("ssl.cipher.suites").unwrap_or_default())
                    .map(str::to_owned)
                    .collect(),
                compare_names: !algorithm.is_empty(),
            }),
            false => Err(reader.faults),
        }
    }
}

struct Reading<'a> {
    settings: &'a BrokerSettings,
    prefix: String,
    faults: Vec<TlsFault>,
}

impl<'a> Reading<'a> {
    /// The name under which a setting was given: with the listener's prefix or without.
    fn written(&self, name: &str) -> String {
        let own = format!("{}{name}", self.prefix);
        match self.settings.explicit(&own) {
            Some(_) => own,
            None => name.to_owned(),
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.settings.get(&self.written(name)).map(str::trim)
    }

    fn given(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_empty())
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name)
            .filter(|text| !text.is_empty())
            .map(Secret::new)
    }

    fn fault(&mut self, name: &str, what: impl fmt::Display) {
        let written = self.written(name);
        self.faults
            .push((written.clone(), format!("{written}: {what}")));
    }

    fn kind(&mut self, name: &str) -> Option<StoreKind> {
        match self
            .get(name)
            .unwrap_or_default()
            .to_ascii_uppercase()
            .as_str()
        {
            "PEM" => Some(StoreKind::Pem),
            "JKS" | "PKCS12" => Some(StoreKind::Java),
            other => {
                self.fault(
                    name,
                    format_args!("{other} is not supported: it is PEM, PKCS12 or JKS"),
                );
                None
            }
        }
    }

    fn key_store(&mut self, listener: &str) -> Option<Store> {
        let (location, password) = ("ssl.keystore.location", "ssl.keystore.password");
        let kind = self.kind("ssl.keystore.type")?;
        if self.given(KEYSTORE_KEY) || self.given(KEYSTORE_CHAIN) {
            for (one, other) in [
                (KEYSTORE_KEY, KEYSTORE_CHAIN),
                (KEYSTORE_CHAIN, KEYSTORE_KEY),
            ] {
                if !self.given(one) {
                    self.fault(one, format_args!("it is not set, but {other} is"));
                    return None;
                }
            }
            if kind != StoreKind::Pem {
                self.fault(
                    KEYSTORE_KEY,
                    "only with ssl.keystore.type=PEM can a key stand in the settings",
                );
                return None;
            }
            for (name, given) in [
                (location, self.given(location)),
                (password, self.given(password)),
            ] {
                if given {
                    self.fault(
                        name,
                        "there is a key in the settings already, which has none",
                    );
                    return None;
                }
            }
            let both =
                [KEYSTORE_KEY, KEYSTORE_CHAIN].map(|name| self.get(name).unwrap_or_default());
            return Some(Store {
                kind,
                source: Source::Inline(Secret(both.join("\n"))),
                password: None,
                setting: self.written(KEYSTORE_KEY),
            });
        }
        if !self.given(location) {
            let wanted = match self.given(password) {
                true => "it is not set, but ssl.keystore.password is".to_owned(),
                false => format!("it is not set, and listener {listener} speaks TLS"),
            };
            self.fault(location, wanted);
            return None;
        }
        self.file(kind, location, password, true)
    }

    fn trust_store(&mut self) -> Option<Store> {
        let (location, password) = ("ssl.truststore.location", "ssl.truststore.password");
        if !self.given(TRUSTSTORE_CERTIFICATES) && !self.given(location) {
            if self.given(password) {
                self.fault(location, "it is not set, but ssl.truststore.password is");
            }
            return None;
        }
        let kind = self.kind("ssl.truststore.type")?;
        if !self.given(TRUSTSTORE_CERTIFICATES) {
            return self.file(kind, location, password, false);
        }
        if kind != StoreKind::Pem {
            self.fault(
                TRUSTSTORE_CERTIFICATES,
                "only with ssl.truststore.type=PEM can certificates stand in the settings",
            );
            return None;
        }
        for name in [location, password] {
            if self.given(name) {
                self.fault(
                    name,
                    "there are certificates in the settings already, which have none",
                );
                return None;
            }
        }
        Some(Store {
            kind,
            source: Source::Inline(self.secret(TRUSTSTORE_CERTIFICATES)?),
            password: None,
            setting: self.written(TRUSTSTORE_CERTIFICATES),
        })
    }

    fn file(
        &mut self,
        kind: StoreKind,
        location: &str,
        password: &str,
        own: bool,
    ) -> Option<Store> {
        match (kind, self.given(password)) {
            (StoreKind::Pem, true) => {
                self.fault(
                    password,
                    "a PEM file has no password; that of its key is ssl.key.password",
                );
                return None;
            }
            (StoreKind::Java, false) if own => {
                self.fault(password, format_args!("it is not set, but {location} is"));
                return None;
            }
            _ => {}
        }
        Some(Store {
            kind,
            source: Source::File(PathBuf::from(self.get(location)?)),
            password: self.secret(password),
            setting: self.written(location),
        })
    }

    fn is_silent_on_trust(&self) -> bool {
        !self
            .faults
            .iter()
            .any(|(name, _)| name.contains("ssl.truststore."))
    }

    fn protocols(&mut self) -> Vec<Protocol> {
        let name = "ssl.enabled.protocols";
        let mut protocols = Vec::new();
        for word in list(self.get(name).unwrap_or_default()) {
            match word {
                "TLSv1.2" => protocols.push(Protocol::Tls12),
                "TLSv1.3" => protocols.push(Protocol::Tls13),
                other => {
                    self.fault(
                        name,
                        format_args!("{other} is not supported: TLSv1.2 and TLSv1.3 are"),
                    );
                }
            }
        }
        if protocols.is_empty() && self.faults.is_empty() {
            self.fault(name, "it names no protocol");
        }
        protocols
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::properties;
    use super::*;

    fn read(text: &str) -> Result<TlsSettings, Vec<String>> {
        let given = properties(text).into_iter();
        let settings = BrokerSettings::new(given.map(|one| (one.key, one.value)).collect());
        TlsSettings::of(&settings, "SAFE", SecurityProtocol::Ssl)
            .map_err(|faults| faults.into_iter().map(|(_, what)| what).collect())
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(read(text).unwrap_err().join("\n"), expected);
    }

    #[test]
    fn a_listeners_own_settings_go_before_those_of_all() {
        let all = "ssl.keystore.location=/a\nssl.keystore.password=x\nssl.client.auth=required\nssl.truststore.location=/t\n";
        let one = format!(
            "{all}listener.name.safe.ssl.keystore.location=/b\nlistener.name.safe.ssl.keystore.type=PKCS12\nlistener.name.other.ssl.client.auth=none\n"
        );
        let settings = read(&one).unwrap();
        assert_eq!(settings.key_store.source, Source::File("/b".into()));
        assert_eq!(settings.client_auth, ClientAuth::Required);
        assert_eq!(settings.protocols, [Protocol::Tls12, Protocol::Tls13]);
        assert_eq!(settings.trust_store.unwrap().password, None);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let text = "ssl.keystore.location=/a\nssl.keystore.password=hush\nssl.key.password=hush\nssl.truststore.type=PEM\nssl.truststore.certificates=hush\n";
        let printed = format!("{:?}", read(text).unwrap());
        assert!(
            !printed.contains("hush") && printed.contains("[hidden]"),
            "{printed}"
        );
    }

    #[test]
    fn mistakes_are_told_by_name() {
        check(
            "",
            "ssl.keystore.location: it is not set, and listener SAFE speaks TLS",
        );
        check(
            "ssl.keystore.location=/a",
            "ssl.keystore.password: it is not set, but ssl.keystore.location is",
        );
        check(
            "ssl.keystore.type=BCFKS",
            "ssl.keystore.type: BCFKS is not supported: it is PEM, PKCS12 or JKS",
        );
        check(
            "listener.name.safe.ssl.keystore.type=PEM\nssl.keystore.location=/a\nssl.keystore.password=x\nssl.enabled.protocols=TLSv1.1,TLSv1.3\nssl.client.auth=required",
            "ssl.keystore.password: a PEM file has no password; that of its key is ssl.key.password\n\
             ssl.client.auth: there is nothing to verify clients with: ssl.truststore.location is not set, and there is no JVM whose own one could be taken\n\
             ssl.enabled.protocols: TLSv1.1 is not supported: TLSv1.2 and TLSv1.3 are",
        );
        check(
            "ssl.keystore.key=k",
            "ssl.keystore.certificate.chain: it is not set, but ssl.keystore.key is",
        );
    }
}
