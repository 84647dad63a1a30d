//! Key set with which a listener verifies tokens. It is read at the start, at regular intervals, and when a token names an
//! unknown key. Kafka's `VerificationKeyResolver` with `RefreshingHttpsJwks`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::jwt::KeySet;
use super::provider::{self, Url};
use crate::base::plain::Plain;
use crate::base::time::{Timestamp, has_passed};
use crate::config::broker::BrokerSettings;
use crate::config::sasl::TokenSettings;
use crate::config::tls::ClientTls;
use crate::host::{Host, given};
use crate::transport::client::{self, Transport};

/// Largest size of a key set file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Shortest interval between reads because of unknown keys or failed reads, in milliseconds. Anyone can make a token with an
/// unknown key.
const WANTED_MS_MIN: i64 = 10_000;

/// A key set with its source. See the module.
pub struct Keys {
    settings: TokenSettings,
    /// Options of the login module, which contain the TLS settings for the provider.
    options: BTreeMap<String, String>,
    source: Source,
    current: ArcSwap<KeySet>,
    state: Mutex<State>,
}

/// The options may contain passwords, so they are not printed.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("settings", &self.settings)
            .field("source", &self.source)
            .field("current", &self.current)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Provider(Url, Transport),
}

#[derive(Debug)]
struct State {
    read_at: Timestamp,
    /// Whether a token had an unknown key, or the last read failed.
    wanted: bool,
    /// Whether a read is in progress.
    is_read: bool,
}

impl Keys {
    /// Opens a key set. A file is read at once; a provider is read later, by [`Self::read_again`].
    ///
    /// Errors: the URL is invalid, the file cannot be read or is not a key set, or the TLS settings are invalid.
    pub fn read(
        settings: &TokenSettings,
        options: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<Self, String> {
        let source = Source::of(&settings.url, options)?;
        let (keys, read_at) = match &source {
            Source::File(path) => (read(path)?, now),
            // The set is empty until the first read, which is due at once.
            Source::Provider(..) => (KeySet::default(), now.saturating_sub(WANTED_MS_MIN)),
        };
        let wanted = read_at < now;
        Ok(Self {
            settings: settings.clone(),
            options: options.clone(),
            source,
            current: ArcSwap::from_pointee(keys),
            state: Mutex::new(State {
                read_at,
                wanted,
                is_read: false,
            }),
        })
    }

    /// Whether the key set has these settings.
    pub fn are_of(&self, settings: &TokenSettings, options: &BTreeMap<String, String>) -> bool {
        self.settings == *settings && self.options == *options
    }

    pub fn current(&self) -> Arc<KeySet> {
        self.current.load_full()
    }

    /// Reports an unknown key.
    pub fn want(&self) {
        self.state.lock().wanted = true;
    }

    /// Whether the key set must be read again. A caller that gets `true` must read it.
    pub fn are_due(&self, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let refresh_ms = self.settings.refresh_ms;
        let after = match state.wanted {
            true => refresh_ms.min(WANTED_MS_MIN),
            false => refresh_ms,
        };
        let due = !state.is_read && has_passed(state.read_at, after, now);
        if due {
            *state = State {
                read_at: now,
                wanted: false,
                is_read: true,
            };
        }
        due
    }

    /// Reads the key set again. After a failure the old keys stay in use.
    pub async fn read_again(self: Arc<Self>, host: Host) {
        let read = match &self.source {
            Source::Provider(url, transport) => {
                let answer = provider::get(&host.network, url, transport).await;
                answer.and_then(|answer| KeySet::parse(&answer))
            }
            Source::File(path) => {
                let path = path.clone();
                host.threads.blocking(move || read(&path)).await
            }
        };
        let mut state = self.state.lock();
        state.is_read = false;
        match read {
            Ok(keys) => self.current.store(Arc::new(keys)),
            Err(what) => {
                state.wanted = true;
                tracing::warn!("the keys for tokens stay as they are: {what}");
            }
        }
    }
}

impl Source {
    fn of(url: &str, options: &BTreeMap<String, String>) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("file:") {
            // The URL may have an empty authority: file:///path.
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self::File(PathBuf::from(path)));
        }
        let url = Url::parse(url)
            .ok_or_else(|| format!("{url} is no address of file:, http: or https:"))?;
        let transport = match url.is_secure() {
            true => trusted(options)?,
            false => Transport::Plain,
        };
        Ok(Self::Provider(url, transport))
    }
}

/// TLS transport with the options of the login module, or else with the system's root certificates.
fn trusted(options: &BTreeMap<String, String>) -> Result<Transport, String> {
    let of_tls = options.iter().filter(|(name, _)| name.starts_with("ssl."));
    let of_tls = of_tls.map(|(name, value)| (name.clone(), value.clone()));
    let settings = BrokerSettings::new(of_tls.collect());
    let joined = |faults: Vec<(String, String)>| {
        let texts: Vec<String> = faults.into_iter().map(|(_, what)| what).collect();
        texts.join("; ")
    };
    let config = client::load(&ClientTls::of(&settings).map_err(joined)?).map_err(joined)?;
    Ok(Transport::Tls(config))
}

fn read(path: &Path) -> Result<KeySet, String> {
    let shown = path.display();
    let bytes = given::read(path, FILE_BYTES_MAX)
        .map_err(|error| format!("{shown} cannot be read: {}", Plain(&error)))?;
    KeySet::parse(&bytes).map_err(|what| format!("{shown}: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::config::sasl::TokenRules;

    fn set(id: &str) -> String {
        // 43 base64 characters encode 32 bytes.
        let number = "A".repeat(43);
        format!(
            "{{\"keys\":[{{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"{id}\",\"x\":\"{number}\",\"y\":\"{number}\"}}]}}"
        )
    }

    fn settings(url: &str) -> TokenSettings {
        TokenSettings {
            url: url.to_owned(),
            url_setting: "url".to_owned(),
            refresh_ms: 100_000,
            rules: TokenRules {
                audience: Vec::new(),
                issuer: None,
                clock_skew_ms: 0,
                subject_claim: "sub".to_owned(),
                scope_claim: "scope".to_owned(),
            },
        }
    }

    fn has(keys: &Keys, id: &str) -> bool {
        format!("{:?}", keys.current()).contains(id)
    }

    async fn pass(keys: &Arc<Keys>, now: Timestamp) {
        if keys.are_due(now) {
            Arc::clone(keys).read_again(Host::default()).await;
        }
    }

    #[tokio::test]
    async fn keys_are_read_again_when_it_is_time() {
        let (dir, none) = (tempfile::tempdir().unwrap(), BTreeMap::new());
        let path = dir.path().join("keys.json");
        let settings = settings(&format!("file://{}", path.display()));
        let gone = Keys::read(&settings, &none, 0).unwrap_err();
        assert!(gone.contains("cannot be read"), "{gone}");
        std::fs::write(&path, set("first")).unwrap();
        let keys = Arc::new(Keys::read(&settings, &none, 0).unwrap());
        assert!(has(&keys, "first") && keys.are_of(&settings, &none));
        std::fs::write(&path, set("second")).unwrap();
        pass(&keys, 99_999).await;
        assert!(has(&keys, "first"));
        pass(&keys, 100_000).await;
        assert!(has(&keys, "second"));
        std::fs::write(&path, set("third")).unwrap();
        // A token with an unknown key causes a read after an interval, not at once.
        keys.want();
        pass(&keys, 109_999).await;
        assert!(has(&keys, "second"));
        pass(&keys, 110_000).await;
        assert!(has(&keys, "third"));
        std::fs::write(&path, "{}").unwrap();
        pass(&keys, 210_000).await;
        assert!(has(&keys, "third"));
        // Only one read at a time.
        assert!(keys.are_due(400_000) && !keys.are_due(900_000));
    }

    #[tokio::test]
    async fn a_provider_may_come_later() {
        let (listener, none) = (
            std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            BTreeMap::new(),
        );
        let address = listener.local_addr().unwrap();
        drop(listener);
        let settings = settings(&format!("http://{address}/keys"));
        let keys = Arc::new(Keys::read(&settings, &none, 0).unwrap());
        assert!(!has(&keys, "late"));
        pass(&keys, 0).await;
        assert!(!has(&keys, "late"));
        let listener = std::net::TcpListener::bind(address).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut some = [0; 1_000];
            let _ = stream.read(&mut some).unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n{}", set("late")).unwrap();
        });
        pass(&keys, 10_000).await;
        server.join().unwrap();
        assert!(has(&keys, "late"));
    }

    #[test]
    fn options_of_the_login_module_are_not_printed() {
        let options = [("clientSecret", "hush"), ("ssl.key.password", "hush")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let keys = Keys::read(&settings("http://h/x"), &options.into(), 0).unwrap();
        let printed = format!("{keys:?}");
        assert!(
            !printed.contains("hush") && printed.contains("http://h/x"),
            "{printed}"
        );
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        let wrong = Keys::read(&settings("ldap://h/x"), &BTreeMap::new(), 0).unwrap_err();
        assert!(wrong.contains("is no address"), "{wrong}");
        let options = [("ssl.truststore.location".to_owned(), "/no/such".to_owned())];
        let wrong = Keys::read(&settings("https://h/x"), &options.into(), 0).unwrap_err();
        assert!(wrong.contains("ssl.truststore.location"), "{wrong}");
    }
}
