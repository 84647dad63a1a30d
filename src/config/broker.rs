//! pure: settings of the broker: defaults, the file and overrides become typed values; all mistakes are reported at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::authorizer::{ALLOW_WITHOUT_ACLS, AuthorizerSettings, SUPER_USERS};
use super::broker_table::BROKER_SETTINGS;
use super::controllers::Controllers;
use super::listener::{Endpoint, SecurityProtocol};
use super::parse::Property;
use super::sasl::{self, JAAS_FILE, SaslSettings};
use super::setting::{Setting, Support, find, list};
use super::tls::{CLIENT_AUTH, LISTENER_PREFIX, TlsSettings, of_one_listener};

/// Address of the admin listener, `HTTP://host:port`; empty by default. Kafka has no such setting.
pub const ADMIN_LISTENER: &str = "monedula.admin.listener";
/// Host names, separated by commas, that the admin listener accepts in addition to those that it knows. Kafka has no such
/// setting.
pub const ADMIN_ALLOWED_HOSTS: &str = "monedula.admin.allowed.hosts";

/// Whether `POST /reset` of the admin listener works while an authorizer is on; `false` by default, because the admin listener
/// does not authenticate its clients. Kafka has no such setting.
pub const ADMIN_RESET: &str = "monedula.admin.reset.with.authorizer";

/// Interval of heartbeats of members of a group of the consumer protocol while the group is not stable, with its default in
/// milliseconds. Kafka has no such setting: its interval is always `group.consumer.heartbeat.interval.ms`.
pub const UNSETTLED_HEARTBEAT: (&str, i32) = (
    "monedula.group.consumer.unsettled.heartbeat.interval.ms",
    100,
);

/// Interval after which the topics that match regular expressions of subscriptions are looked up again, with its default in
/// milliseconds. The setting is internal to Kafka.
pub const REGEX_REFRESH: (&str, i32) = ("group.consumer.regex.refresh.interval.ms", 600_000);

/// Data directory of a node that has no settings file.
pub const DEFAULT_DATA_DIR: &str = "./monedula-data";
const DEFAULT_PORT: u16 = 9092;
const DEFAULT_CONTROLLER_PORT: u16 = 9093;

/// Names of settings removed by Kafka 4.0 (or 3.0) that are still understood here, each with the setting that replaced it.
const OLD_NAMES: &[(&str, &str)] = &[
    ("host.name", "listeners"),
    ("port", "listeners"),
    ("advertised.host.name", "advertised.listeners"),
    ("advertised.port", "advertised.listeners"),
];

/// Interval of the search for expired producers, with its default in milliseconds. Kafka reads the setting from its file, but
/// does not show it.
pub const PRODUCER_EXPIRATION_INTERVAL: (&str, i64) =
    ("producer.id.expiration.check.interval.ms", 600_000);

/// Delay after a start until retention checks the logs for the first time, with its default in milliseconds. Kafka reads the
/// setting from its file, but does not show it.
pub const INITIAL_TASK_DELAY: (&str, i64) = ("log.initial.task.delay.ms", 30_000);

/// Names of settings removed by Kafka that can be ignored without a change for the user.
const DROPPED_NAMES: &[&str] = &[
    "alter.config.policy.kraft.compatibility.enable",
    "auto.include.jmx.reporter",
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "controlled.shutdown.max.retries",
    "controlled.shutdown.retry.backoff.ms",
    "group.coordinator.new.enable",
    "inter.broker.protocol.version",
    "leader.imbalance.per.broker.percentage",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "reserved.broker.max.id",
];

/// Settings for the interval between two assignments of a group, each with the settings that bound the group's own value.
const ASSIGNMENT_INTERVALS: &[(&str, &str, &str)] = &[
    (
        "group.consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    ),
    (
        "group.share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    ),
    (
        "group.streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    ),
];

/// Values of `broker.id` that suggest that a broker was the only one of its ZooKeeper; -1 stands for a generated id.
const OF_ONE_BROKER: &[&str] = &["-1", "0", "1"];

/// Settings that set the same value under several names or in several units. The first name that is set wins.
const SPELLINGS: &[&[&str]] = &[
    &[
        "log.retention.ms",
        "log.retention.minutes",
        "log.retention.hours",
    ],
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
];

/// All names under which the value of a setting can be set, in order of precedence; for most settings the only name is its own.
pub fn spellings(setting: &'static Setting) -> &'static [&'static str] {
    let found = SPELLINGS.iter().find(|names| names.contains(&setting.name));
    match found {
        Some(names) => names,
        None => std::slice::from_ref(&setting.name),
    }
}

/// Message to the user about a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub warning: bool,
    pub text: String,
}

/// Settings of a broker by name: explicit values over Kafka's defaults.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BrokerSettings {
    explicit: BTreeMap<String, String>,
}

/// Passwords are not printed.
impl fmt::Debug for BrokerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .explicit
            .iter()
            .map(|(name, value)| match is_sensitive(name) {
                true => (name, "[hidden]"),
                false => (name, value.as_str()),
            });
        f.debug_map().entries(shown).finish()
    }
}

/// Whether the value of a setting must not be shown. `name` may have the prefix of a listener or a mechanism, and may be
/// unknown.
pub fn is_sensitive(name: &str) -> bool {
    let base = of_one_listener(name).map_or(name, |(_, base)| base);
    let known = sasl::of_listener(name).or_else(|| find(BROKER_SETTINGS, base));
    known.map_or_else(
        || base.contains("password") || base.contains("jaas"),
        Setting::is_sensitive,
    )
}

impl BrokerSettings {
    /// Settings with these explicit values, unchecked.
    pub fn new(explicit: BTreeMap<String, String>) -> Self {
        Self { explicit }
    }

    /// The value that the file, an override or the cluster's metadata sets explicitly.
    pub fn explicit(&self, name: &str) -> Option<&str> {
        self.explicit.get(name).map(String::as_str)
    }

    /// The settings with overrides. An override of a setting removes the setting's other spellings, such as
    /// `log.retention.hours` beside `log.retention.ms`.
    pub fn with(&self, over: &BTreeMap<String, String>) -> Self {
        let mut explicit = self.explicit.clone();
        for setting in over.keys().filter_map(|name| find(BROKER_SETTINGS, name)) {
            for name in spellings(setting) {
                explicit.remove(*name);
            }
        }
        explicit.extend(
            over.iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        Self { explicit }
    }

    /// The value in force.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.explicit(name)
            .or_else(|| find(BROKER_SETTINGS, name)?.default)
    }

    pub fn long(&self, name: &str) -> i64 {
        long(self.get(name))
    }

    pub fn int(&self, name: &str) -> i32 {
        self.long(name)
            .clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
    }

    pub fn boolean(&self, name: &str) -> bool {
        boolean(self.get(name))
    }

    /// The value of `log.retention.ms`, else `log.retention.minutes`, else `log.retention.hours`, in milliseconds; -1 is
    /// unlimited.
    pub fn retention_ms(&self) -> i64 {
        let explicit = |name: &str| {
            self.explicit(name)
                .and_then(|value| value.trim().parse::<i64>().ok())
        };
        let scaled = |value: i64, unit: i64| {
            if value < 0 {
                -1
            } else {
                value.saturating_mul(unit)
            }
        };
        explicit("log.retention.ms")
            .map(|ms| if ms < 0 { -1 } else { ms })
            .or_else(|| explicit("log.retention.minutes").map(|minutes| scaled(minutes, 60_000)))
            .unwrap_or_else(|| scaled(self.long("log.retention.hours"), 3_600_000))
    }

    /// The value of `log.roll.ms`, else `log.roll.hours`, in milliseconds.
    pub fn roll_ms(&self) -> i64 {
        match self.explicit("log.roll.ms") {
            Some(_) => self.long("log.roll.ms"),
            None => self.long("log.roll.hours").saturating_mul(3_600_000),
        }
    }

    /// The value of `log.flush.interval.ms`, else `log.flush.scheduler.interval.ms`.
    pub fn flush_ms(&self) -> i64 {
        match self.explicit("log.flush.interval.ms") {
            Some(_) => self.long("log.flush.interval.ms"),
            None => self.long("log.flush.scheduler.interval.ms"),
        }
    }

    /// The value of `log.roll.jitter.ms`, else `log.roll.jitter.hours`, in milliseconds.
    pub fn roll_jitter_ms(&self) -> i64 {
        match self.explicit("log.roll.jitter.ms") {
            Some(_) => self.long("log.roll.jitter.ms"),
            None => self.long("log.roll.jitter.hours").saturating_mul(3_600_000),
        }
    }
}

/// Faults of values that are valid one by one but not together, each with the name of a setting. Both a file and the settings
/// of a running broker are checked with this.
pub fn together(settings: &BrokerSettings) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if settings.retention_ms() == 0 {
        let why = "log.retention.ms must be unlimited (-1) or, greater than or equal to 1";
        found.push(("log.retention.ms", why.to_owned()));
    }
    if settings.roll_ms() < 1 {
        let why = "log.roll.ms must be greater than or equal to 1";
        found.push(("log.roll.ms", why.to_owned()));
    }
    if settings.roll_jitter_ms() < 0 {
        let why = "log.roll.jitter.ms must be greater than or equal to 0";
        found.push(("log.roll.jitter.ms", why.to_owned()));
    }
    // Kafka differs: a running broker accepts a negative value, and then refuses each change of a topic.
    if settings.flush_ms() < 0 {
        let why = "log.flush.interval.ms must be greater than or equal to 0";
        found.push(("log.flush.interval.ms", why.to_owned()));
    }
    if let Err(why) = cleaner_buffer(settings) {
        found.push((DEDUPE_BUFFER, why));
    }
    for (name, least, most) in ASSIGNMENT_INTERVALS {
        let interval = settings.long(name);
        if interval < settings.long(least) || interval > settings.long(most) {
            found.push((name, format!("{name} must be between {least} and {most}")));
        }
    }
    found
}

/// Checks that the limits of what stays on the broker's own disk do not exceed the limits of the whole log. As in Apache Kafka,
/// the check applies when settings of logs change, not at a start.
pub fn kept_locally(settings: &BrokerSettings) -> Result<(), String> {
    let kinds = [
        (
            "log.local.retention.ms",
            settings.retention_ms(),
            "log.remote.copy.lag.ms",
        ),
        (
            "log.local.retention.bytes",
            settings.long("log.retention.bytes"),
            "log.remote.copy.lag.bytes",
        ),
    ];
    for (name, whole, lag) in kinds {
        let local = settings.long(name);
        if local != -2 && whole >= 0 && (local == -1 || local > whole) {
            return Err(format!("{name} is {local}, of {whole} in all"));
        }
        let kept = if local == -2 { whole } else { local };
        let behind = settings.long(lag);
        if kept >= 0 && behind > kept {
            return Err(format!("{lag} is {behind}, of {kept} that stay"));
        }
    }
    Ok(())
}

/// The settings in force on a running broker, borrowed from the metadata image and the file, to look up single values.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    /// Overrides of this broker (`own`) and of all brokers (`cluster`) in the cluster's metadata.
    pub own: Option<&'a BTreeMap<String, String>>,
    pub cluster: Option<&'a BTreeMap<String, String>>,
    pub file: &'a BrokerSettings,
}

impl<'a> InForce<'a> {
    pub fn get(&self, name: &str) -> Option<&'a str> {
        [self.own, self.cluster]
            .into_iter()
            .flatten()
            .find_map(|settings| settings.get(name))
            .map(String::as_str)
            .or_else(|| self.file.get(name))
    }

    pub fn long(&self, name: &str) -> i64 {
        long(self.get(name))
    }

    pub fn double(&self, name: &str) -> f64 {
        self.get(name)
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0.0)
    }

    pub fn boolean(&self, name: &str) -> bool {
        boolean(self.get(name))
    }
}

fn long(value: Option<&str>) -> i64 {
    value
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

fn boolean(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// A listener that the broker opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub endpoint: Endpoint,
    pub protocol: SecurityProtocol,
    /// Address that clients are told; `None` if each client is told the address that it connected to.
    pub advertised: Option<Endpoint>,
}

/// The settings of a node, checked and typed.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    pub node_id: i32,
    pub listeners: Vec<Listener>,
    pub inter_broker_listener: String,
    pub log_dirs: Vec<PathBuf>,
    pub metadata_log_dir: PathBuf,
    pub rack: Option<String>,
    /// The controller's listener as configured. It is never opened: a quorum of one node has no peers.
    pub controller: Endpoint,
    /// The controllers of the cluster; `None` if this node is the only one, and controller too.
    pub controllers: Option<Controllers>,
    /// Address of the plain HTTP listener for operation and tests, [`ADMIN_LISTENER`].
    pub admin: Option<Endpoint>,
    /// [`ADMIN_ALLOWED_HOSTS`].
    pub admin_hosts: Vec<String>,
    /// [`ADMIN_RESET`].
    pub admin_reset: bool,
    /// `None` if no authorizer is configured, so that everybody may do everything.
    pub authorizer: Option<AuthorizerSettings>,
    /// All other settings, by name.
    pub settings: BrokerSettings,
}

impl BrokerConfig {
    /// Every directory that carries the node's identity, that of the metadata log first.
    pub fn directories(&self) -> Vec<PathBuf> {
        let others = self
            .log_dirs
            .iter()
            .filter(|dir| **dir != self.metadata_log_dir);
        std::iter::once(&self.metadata_log_dir)
            .chain(others)
            .cloned()
            .collect()
    }
}

/// Result of a check of properties.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    pub config: BrokerConfig,
    /// Messages for the log, in order.
    pub notes: Vec<Note>,
}

/// Settings of a node that is started without a file: it listens on the loopback address and keeps its data in
/// [`DEFAULT_DATA_DIR`].
pub fn standalone(overrides: &[Property]) -> Result<Checked, Vec<String>> {
    let preset = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("listeners", "PLAINTEXT://localhost:9092"),
        ("controller.listener.names", "CONTROLLER"),
        ("log.dirs", DEFAULT_DATA_DIR),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let mut properties: Vec<_> = preset
        .iter()
        .map(|(key, value)| Property::given(key, value))
        .collect();
    properties.extend_from_slice(overrides);
    check("the command line", &properties)
}

/// Checks properties and converts them to typed values. `source` names the origin of the properties in messages.
///
/// Errors: every mistake, one line each, with its line number in the source if there is one.
pub fn check(source: &str, properties: &[Property]) -> Result<Checked, Vec<String>> {
    let mut explicit = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for property in properties {
        explicit.insert(property.key.clone(), property.value.clone());
        lines.insert(property.key.clone(), property.line);
    }
    let mut faults = Faults {
        source,
        lines,
        found: Vec::new(),
    };
    let mut notes = Vec::new();
    translate_old_names(&mut explicit, &mut notes);
    let admin = explicit.remove(ADMIN_LISTENER);
    let admin = admin
        .filter(|text| !text.trim().is_empty())
        .and_then(|text| {
            Endpoint::parse(text.trim())
                .map_err(|fault| faults.add(ADMIN_LISTENER, format!("{ADMIN_LISTENER}: {fault}")))
                .ok()
        });
    let hosts = explicit.remove(ADMIN_ALLOWED_HOSTS).unwrap_or_default();
    let mut switch = |name: &str| {
        let value = explicit.remove(name).unwrap_or_default();
        match value.trim() {
            "true" => true,
            "" | "false" => false,
            other => {
                faults.add(
                    name,
                    format_args!("{name}: {other} is neither true nor false"),
                );
                false
            }
        }
    };
    let reset = switch(ADMIN_RESET);
    for (name, value) in &explicit {
        match find(BROKER_SETTINGS, name) {
            Some(setting) => {
                if let Err(fault) = setting.check(value) {
                    faults.add(name, fault);
                } else {
                    notes.extend(note_on(setting, value));
                }
            }
            None if [PRODUCER_EXPIRATION_INTERVAL.0, UNSETTLED_HEARTBEAT.0, REGEX_REFRESH.0].contains(&&**name) => {
                if !value.trim().parse().is_ok_and(|ms: i32| ms >= 1) {
                    faults.add(
                        name,
                        format!("{name}: {value} is no number of milliseconds"),
                    );
                }
            }
            None if name == INITIAL_TASK_DELAY.0 => {
                if !value.trim().parse().is_ok_and(|ms: i64| ms >= 0) {
                    faults.add(
                        name,
                        format!("{name}: {value} is no number of milliseconds"),
                    );
                }
            }
            // The value is a path; it is checked when the file is read.
            None if name == JAAS_FILE => {}
            // These values are checked together with the authorizer's class.
            None if [SUPER_USERS, ALLOW_WITHOUT_ACLS].contains(&name.as_str()) => {}
            None if DROPPED_NAMES.contains(&name.as_str()) => notes.push(Note {
                warning: true,
                text: format!("{name} means nothing since Kafka 4.0 and is ignored"),
            }),
            None if name.starts_with(LISTENER_PREFIX) => match sasl::of_listener(name) {
                Some(setting) => match setting.check(value) {
                    Err(fault) => faults.add(name, format!("{name}: {fault}")),
                    Ok(()) => notes.extend(note_on(setting, value)),
                },
                None => notes.push(Note {
                    warning: true,
                    text: match of_one_listener(name) {
                        Some((_, base)) if find(BROKER_SETTINGS, base).is_some() => format!(
                            "{name} is not supported yet: of one listener's settings, those of ssl and sasl are"
                        ),
                        _ => unknown(name),
                    },
                }),
            },
            None => notes.push(Note {
                warning: true,
                text: unknown(name),
            }),
        }
    }
    let settings = BrokerSettings { explicit };
    let config = BrokerConfig {
        admin,
        admin_hosts: list(&hosts).map(str::to_owned).collect(),
        admin_reset: reset,
        ..typed(settings, &mut faults)
    };
    let mut warnings = sasl::warnings(&config.settings, &config.listeners);
    warnings.extend(AuthorizerSettings::warnings(&config.settings));
    notes.extend(warnings.into_iter().map(|text| Note {
        warning: true,
        text,
    }));
    let asks = config
        .settings
        .explicit(CLIENT_AUTH)
        .is_some_and(|value| !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "none"));
    let sasl_ssl = SecurityProtocol::SaslSsl;
    if asks && config.listeners.iter().any(|one| one.protocol == sasl_ssl) {
        notes.push(Note {
            warning: true,
            text: format!(
                "{CLIENT_AUTH} does not count for listeners of protocol SASL_SSL, as with Kafka: {LISTENER_PREFIX}LISTENER.{CLIENT_AUTH} does"
            ),
        });
    }
    if faults.found.is_empty() {
        Ok(Checked { config, notes })
    } else {
        Err(faults.found)
    }
}

struct Faults<'a> {
    source: &'a str,
    lines: BTreeMap<String, usize>,
    found: Vec<String>,
}

impl Faults<'_> {
    fn add(&mut self, name: &str, what: impl fmt::Display) {
        let place = match self.lines.get(name) {
            Some(line) if *line > 0 => format!("{}:{line}: ", self.source),
            Some(_) if !self.source.is_empty() => "the command line: ".to_owned(),
            _ if self.source.is_empty() => String::new(),
            _ => format!("{}: ", self.source),
        };
        self.found.push(format!("{place}{what}"));
    }
}

/// Least similarity, of 1.0, at which an unknown name is taken for a misspelt name of a setting: about one or two letters
/// added, missing or exchanged.
const ALIKE: f64 = 0.85;

/// Warning about a name that no setting has, with a suggestion if the name is similar to that of a setting.
fn unknown(name: &str) -> String {
    let (prefix, base) = match of_one_listener(name) {
        Some((_, base)) => name.split_at(name.len() - base.len()),
        None => ("", name),
    };
    let likeness = |setting: &Setting| strsim::normalized_damerau_levenshtein(setting.name, base);
    let meant = BROKER_SETTINGS
        .iter()
        .map(|setting| (likeness(setting), setting.name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match meant {
        Some((_, setting)) => {
            format!("{name} is not a known setting and is ignored; did you mean {prefix}{setting}?")
        }
        None => format!("{name} is not a known setting and is ignored"),
    }
}

/// Warning about a setting that has no effect yet and is not at its default.
fn note_on(setting: &Setting, value: &str) -> Option<Note> {
    let untouched = setting.default == Some(value.trim());
    // No warning for these settings: each file of a combined node has them, and they do not matter for a single node.
    let formal = setting.name.starts_with("controller.quorum.")
        || setting.name.starts_with("share.coordinator.state.topic.");
    (setting.support == Support::Later && !untouched && !formal).then(|| Note {
        warning: true,
        text: format!("{} is accepted but has no effect yet", setting.name),
    })
}

/// Translates settings of Kafka with ZooKeeper: host and port become listeners, and a file without `process.roles` becomes that
/// of a single combined node.
fn translate_old_names(explicit: &mut BTreeMap<String, String>, notes: &mut Vec<Note>) {
    let zookeeper: Vec<String> = explicit
        .keys()
        .filter(|name| name.starts_with("zookeeper."))
        .cloned()
        .collect();
    for name in &zookeeper {
        explicit.remove(name);
    }
    if !explicit.contains_key("process.roles") {
        explicit.insert("process.roles".to_owned(), "broker,controller".to_owned());
        explicit
            .entry("controller.listener.names".to_owned())
            .or_insert_with(|| "CONTROLLER".to_owned());
        if zookeeper.is_empty() {
            notes.push(Note {
                warning: false,
                text: "process.roles is not set: running as a single node, broker and controller"
                    .to_owned(),
            });
        }
    }
    if !zookeeper.is_empty() {
        notes.push(Note {
            warning: false,
            text: "zookeeper.connect is set, but no ZooKeeper is needed: metadata is kept in this node's own log"
                .to_owned(),
        });
        let id = ["node.id", "broker.id"]
            .iter()
            .find_map(|name| explicit.get(*name));
        if let Some(id) = id
            .map(|id| id.trim())
            .filter(|id| !OF_ONE_BROKER.contains(id))
        {
            notes.push(Note {
                warning: true,
                text: format!(
                    "this is broker {id} of a ZooKeeper: if it has others, each of them is a cluster of its own here, \
                     and the topics of one are unknown to the others"
                ),
            });
        }
    }
    let mut old = |host: &str, port: &str, target: &str, default_host: &str| {
        let (host, port) = (explicit.remove(host), explicit.remove(port));
        if (host.is_some() || port.is_some()) && !explicit.contains_key(target) {
            let host = host.unwrap_or_else(|| default_host.to_owned());
            let port = port.unwrap_or_else(|| DEFAULT_PORT.to_string());
            explicit.insert(target.to_owned(), format!("PLAINTEXT://{host}:{port}"));
        }
    };
    old("host.name", "port", "listeners", "");
    old(
        "advertised.host.name",
        "advertised.port",
        "advertised.listeners",
        "localhost",
    );
    debug_assert!(
        OLD_NAMES
            .iter()
            .all(|(name, _)| !explicit.contains_key(*name))
    );
}

fn typed(mut settings: BrokerSettings, faults: &mut Faults<'_>) -> BrokerConfig {
    let node_id = node_id(&settings, faults);
    let roles: Vec<&str> = list(settings.get("process.roles").unwrap_or_default()).collect();
    let has_role = |role| roles.contains(&role);
    let is_alone = has_role("controller");
    if !has_role("broker") || roles.len() > 1 + usize::from(is_alone) {
        faults.add(
            "process.roles",
            "process.roles must be broker,controller for a cluster of one node, or broker: a node that is only a controller is not supported yet",
        );
    }
    let controllers = match is_alone {
        true => None,
        false => {
            if settings.explicit("node.id").is_none() && settings.explicit("broker.id").is_none() {
                let what = "Missing required configuration \"node.id\" which has no default value.";
                faults.add("node.id", what);
            }
            match Controllers::of(&settings, node_id) {
                Ok(controllers) => Some(controllers),
                Err(found) => {
                    for (name, what) in found {
                        faults.add(name, what);
                    }
                    None
                }
            }
        }
    };
    // Several nodes would each be a cluster of its own, and clients would find the records of only one of them.
    let voters = list(settings.get("controller.quorum.voters").unwrap_or_default()).count();
    if voters > 1 && is_alone {
        faults.add(
            "controller.quorum.voters",
            format_args!(
                "controller.quorum.voters names {voters} nodes: a cluster of several is not supported yet, name this one alone"
            ),
        );
    }
    let listeners = listeners(&settings, &controller_names(&settings), faults);
    let inter_broker_listener = inter_broker(&settings, &listeners, faults);
    let dirs = settings
        .explicit("log.dirs")
        .or_else(|| settings.explicit("log.dir"));
    let dirs = dirs
        .or_else(|| settings.get("log.dir"))
        .unwrap_or(DEFAULT_DATA_DIR);
    let log_dirs: Vec<PathBuf> = list(dirs).map(PathBuf::from).collect();
    if log_dirs.is_empty() {
        faults.add("log.dirs", "log.dirs names no directory");
    }
    // Kafka differs: with an empty `metadata.log.dir` its metadata log is in the root directory.
    if (settings.explicit("metadata.log.dir")).is_some_and(|dir| dir.trim().is_empty()) {
        faults.add(
            "metadata.log.dir",
            "metadata.log.dir is empty: name a directory, or leave the setting out for the first of log.dirs",
        );
    }
    let metadata_log_dir = settings
        .explicit("metadata.log.dir")
        .map(PathBuf::from)
        .or_else(|| log_dirs.first().cloned())
        .unwrap_or_default();
    let overrides = "max.connections.per.ip.overrides";
    if let Err(reason) = connections_per_ip(settings.get(overrides).unwrap_or_default()) {
        faults.add(overrides, format_args!("{overrides}: {reason}"));
    }
    for (name, reason) in together(&settings) {
        faults.add(name, reason);
    }
    let lag = |name: &str| settings.long(&format!("log.cleaner.{name}.compaction.lag.ms"));
    let (min, max) = (lag("min"), lag("max"));
    if min > max {
        let name = "log.cleaner.min.compaction.lag.ms";
        faults.add(
            name,
            format_args!("{name} ({min}) > log.cleaner.max.compaction.lag.ms ({max})"),
        );
    }
    let authorizer = AuthorizerSettings::of(&settings).unwrap_or_else(|(name, why)| {
        faults.add(name, why);
        None
    });
    // Whichever of the two names was used, tools ask for both.
    for name in ["broker.id", "node.id"] {
        settings
            .explicit
            .insert(name.to_owned(), node_id.to_string());
    }
    let rack = settings.explicit("broker.rack").map(str::to_owned);
    let controller = controller(&settings, node_id);
    BrokerConfig {
        node_id,
        listeners,
        inter_broker_listener,
        log_dirs,
        metadata_log_dir,
        rack,
        controller,
        controllers,
        admin: None,
        admin_hosts: Vec::new(),
        admin_reset: false,
        authorizer,
        settings,
    }
}

/// The listeners that a running broker is to open with these settings.
///
/// Errors: all mistakes, in one line.
pub fn running_listeners(settings: &BrokerSettings) -> Result<Vec<Listener>, String> {
    let mut faults = Faults {
        source: "",
        lines: BTreeMap::new(),
        found: Vec::new(),
    };
    let listeners = listeners(settings, &controller_names(settings), &mut faults);
    inter_broker(settings, &listeners, &mut faults);
    match faults.found.is_empty() {
        true => Ok(listeners),
        false => Err(faults.found.join("; ")),
    }
}

/// The setting with the names of the controllers' listeners.
pub(super) const CONTROLLER_NAMES: &str = "controller.listener.names";

/// The names in [`CONTROLLER_NAMES`], in upper case.
pub(super) fn controller_names(settings: &BrokerSettings) -> Vec<String> {
    list(settings.get(CONTROLLER_NAMES).unwrap_or_default())
        .map(str::to_ascii_uppercase)
        .collect()
}

pub const DEDUPE_BUFFER: &str = "log.cleaner.dedupe.buffer.size";
/// Bytes of the buffer that each cleaner thread must exceed.
const DEDUPE_BUFFER_MIN: i64 = 1 << 20;

/// Checks that the cleaner's buffer is large enough for compaction to make progress. Like Kafka, checks it even if no topic is
/// compacted.
///
/// Errors: what is wrong, with the setting's name.
pub fn cleaner_buffer(settings: &BrokerSettings) -> Result<(), String> {
    let threads = settings.long("log.cleaner.threads");
    if threads > 0 && settings.long(DEDUPE_BUFFER) / threads > DEDUPE_BUFFER_MIN {
        return Ok(());
    }
    Err(format!(
        "{DEDUPE_BUFFER} must be more than 1 MB for each of log.cleaner.threads"
    ))
}

/// Setting with the limits of the number of connections of single hosts.
pub const CONNECTIONS_PER_IP: &str = "max.connections.per.ip.overrides";

/// Reads `max.connections.per.ip.overrides`: hosts, each with its limit of connections.
pub fn connections_per_ip(value: &str) -> Result<Vec<(&str, usize)>, String> {
    list(value)
        .map(|one| {
            // An IPv6 address contains colons itself, so the last colon separates the number.
            let (host, most) = one.rsplit_once(':').unwrap_or((one, ""));
            match most.trim().parse() {
                Ok(most) if !host.is_empty() => Ok((host.trim(), most)),
                _ => Err(format!("{one} is not HOST:NUMBER")),
            }
        })
        .collect()
}

fn node_id(settings: &BrokerSettings, faults: &mut Faults<'_>) -> i32 {
    let number = |name: &str| {
        settings
            .explicit(name)
            .and_then(|value| value.trim().parse::<i32>().ok())
    };
    let (node, broker) = (number("node.id"), number("broker.id").filter(|id| *id >= 0));
    if let (Some(node), Some(broker)) = (node, broker)
        && node != broker
    {
        faults.add(
            "broker.id",
            format!("broker.id {broker} and node.id {node} must be the same"),
        );
    }
    let id = node.or(broker).unwrap_or(1);
    if id < 0 {
        faults.add("node.id", format!("node.id {id} is negative"));
    }
    id
}

/// The setting that maps listeners to security protocols. If it is not set, a listener named like a protocol has that protocol;
/// if it is set, it has to name every listener.
pub(super) const MAP: &str = "listener.security.protocol.map";

fn without_protocol(listener: &str) -> String {
    format!("{MAP}: No security protocol defined for listener {listener}")
}

fn listeners(
    settings: &BrokerSettings,
    controller_names: &[String],
    faults: &mut Faults<'_>,
) -> Vec<Listener> {
    let mut endpoints = |name: &str| {
        let mut endpoints = Vec::new();
        for text in list(settings.get(name).unwrap_or_default()) {
            match Endpoint::parse(text) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(fault) => faults.add(name, format!("{name}: {fault}")),
            }
        }
        endpoints
    };
    let listening = endpoints("listeners");
    let advertised = endpoints("advertised.listeners");
    let pairs = || list(settings.get(MAP).unwrap_or_default());
    for pair in pairs() {
        let protocol = pair.split_once(':').map(|(_, protocol)| protocol.trim());
        if protocol.and_then(SecurityProtocol::parse).is_none() {
            faults.add(MAP, format!("{MAP}: '{pair}' is not LISTENER:PROTOCOL"));
        }
    }
    let protocols: BTreeMap<String, &str> = pairs()
        .filter_map(|pair| pair.split_once(':'))
        .map(|(name, protocol)| (name.trim().to_ascii_uppercase(), protocol.trim()))
        .collect();

    let mut result: Vec<Listener> = Vec::new();
    for endpoint in listening {
        let protocol = protocols.get(&endpoint.name).copied();
        if controller_names.contains(&endpoint.name) {
            // The controller's listener is never opened, but Apache Kafka would not start with a file that gives it no
            // protocol.
            if protocol.is_none() && settings.explicit(MAP).is_some() {
                faults.add(MAP, without_protocol(&endpoint.name));
            }
            continue;
        }
        if result
            .iter()
            .any(|other| other.endpoint.name == endpoint.name)
        {
            faults.add(
                "listeners",
                format!("listeners: {} is named twice", endpoint.name),
            );
            continue;
        }
        if endpoint.port != 0
            && result
                .iter()
                .any(|other| other.endpoint.port == endpoint.port)
        {
            faults.add(
                "listeners",
                format!("listeners: port {} is used twice", endpoint.port),
            );
        }
        let Some(protocol) = protocol else {
            faults.add(MAP, without_protocol(&endpoint.name));
            continue;
        };
        // An unknown protocol was reported above.
        let Some(protocol) = SecurityProtocol::parse(protocol) else {
            continue;
        };
        let (mut found, name) = (Vec::new(), &endpoint.name);
        if protocol.has_sasl() {
            found.extend(SaslSettings::of(settings, name).err().into_iter().flatten());
        }
        if protocol.has_tls() {
            let tls = TlsSettings::of(settings, name, protocol);
            found.extend(tls.err().into_iter().flatten());
        }
        if protocol != SecurityProtocol::Plaintext {
            found.extend(foreign_builder(settings));
        }
        for (name, what) in found {
            faults.add(&name, what);
        }
        let advertised = advertised
            .iter()
            .find(|other| other.name == endpoint.name)
            .cloned();
        result.push(Listener {
            endpoint,
            protocol,
            advertised,
        });
    }
    for endpoint in &advertised {
        if !endpoint.is_advertisable() {
            faults.add(
                "advertised.listeners",
                format!("advertised.listeners: a client cannot connect to {endpoint}"),
            );
        }
        if !result
            .iter()
            .any(|listener| listener.endpoint.name == endpoint.name)
        {
            faults.add(
                "advertised.listeners",
                format!(
                    "advertised.listeners: {} is not in listeners",
                    endpoint.name
                ),
            );
        }
    }
    if result.is_empty() {
        faults.add("listeners", "listeners: none of them serves clients");
    }
    result
}

/// Fault of a principal builder other than the default: a Java class, which could give clients other principals than this
/// program does.
fn foreign_builder(settings: &BrokerSettings) -> Option<(String, String)> {
    const BUILDER: &str = "principal.builder.class";
    let class = settings.get(BUILDER).map(str::trim);
    let own = find(BROKER_SETTINGS, BUILDER).and_then(|setting| setting.default);
    let foreign = class.is_some_and(|class| !class.is_empty()) && class != own;
    let what = format!(
        "{BUILDER}: classes of Java cannot be loaded: as whom it would take clients cannot be known"
    );
    foreign.then(|| (BUILDER.to_owned(), what))
}

fn inter_broker(
    settings: &BrokerSettings,
    listeners: &[Listener],
    faults: &mut Faults<'_>,
) -> String {
    if let Some(name) = settings.explicit("inter.broker.listener.name") {
        let name = name.to_ascii_uppercase();
        if !listeners
            .iter()
            .any(|listener| listener.endpoint.name == name)
        {
            faults.add(
                "inter.broker.listener.name",
                format!("inter.broker.listener.name: {name} is not in listeners"),
            );
        }
        return name;
    }
    listeners
        .first()
        .map(|listener| listener.endpoint.name.clone())
        .unwrap_or_default()
}

/// The controller's endpoint in `advertised.listeners` or `listeners`, else the address of this node in
/// `controller.quorum.voters`.
fn controller(settings: &BrokerSettings, node_id: i32) -> Endpoint {
    let names = controller_names(settings);
    let listed = |name: &str| {
        let listed = list(settings.get(name).unwrap_or_default());
        listed
            .filter_map(|text| Endpoint::parse(text).ok())
            .find(|endpoint| names.contains(&endpoint.name))
    };
    let name = names.first().map_or("CONTROLLER", |name| name);
    let voter = || {
        let voters = list(settings.get("controller.quorum.voters").unwrap_or_default());
        let of_this = voters.filter_map(|voter| voter.split_once('@'));
        let (_, address) = of_this
            .into_iter()
            .find(|(id, _)| id.trim().parse() == Ok(node_id))?;
        Endpoint::parse(&format!("{name}://{address}")).ok()
    };
    let found = ["advertised.listeners", "listeners"].iter();
    let mut endpoint = found
        .filter_map(|setting| listed(setting))
        .next()
        .or_else(voter)
        .unwrap_or_else(|| Endpoint {
            name: name.to_owned(),
            host: String::new(),
            port: DEFAULT_CONTROLLER_PORT,
        });
    if endpoint.is_wildcard() {
        endpoint.host = "localhost".to_owned();
    }
    endpoint
}

#[cfg(test)]
mod tests {
    use super::super::parse::properties;
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        check("f", &properties(text)).err().unwrap_or_default()
    }

    fn notes(text: &str) -> String {
        let checked = check("f", &properties(text)).unwrap();
        checked
            .notes
            .iter()
            .map(|note| note.text.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn kafkas_own_sample_is_accepted() {
        let text = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
            listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
            advertised.listeners=PLAINTEXT://localhost:9092\ncontroller.listener.names=CONTROLLER\n\
            listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\nnum.network.threads=3\n\
            log.dirs=/tmp/x\nlog.retention.hours=168\n";
        let checked = check("f", &properties(text)).unwrap();
        assert_eq!(checked.notes, []);
        assert_eq!(checked.config.listeners.len(), 1);
        assert_eq!(
            checked.config.listeners[0]
                .advertised
                .as_ref()
                .unwrap()
                .host,
            "localhost"
        );
    }

    #[test]
    fn a_quorum_of_several_nodes_is_refused() {
        let found = faults("controller.quorum.voters=1@a:9093,2@b:9093,3@c:9093\n");
        assert!(found.concat().contains("names 3 nodes"), "{found:?}");
        assert_eq!(
            faults("controller.quorum.voters=1@localhost:9093\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_broker_of_a_cluster_is_told_that_it_stays_fenced() {
        let text = "process.roles=broker\nnode.id=5\ncontroller.listener.names=CONTROLLER\n\
            controller.quorum.bootstrap.servers=c:9093\nlisteners=PLAINTEXT://:9092\nlog.dirs=/tmp/x\n";
        let config = check("f", &properties(text)).unwrap().config;
        assert_eq!(config.controllers.unwrap().bootstrap, ["c:9093"]);
        let found = faults(&text.replace("node.id=5", "")).join("\n");
        assert!(
            found.contains("Missing required configuration \"node.id\""),
            "{found}"
        );
        for (roles, refused) in [("controller", true), ("broker,x", true), ("broker", false)] {
            let found =
                faults(&text.replace("process.roles=broker", &format!("process.roles={roles}")));
            assert_eq!(!found.is_empty(), refused, "{roles}: {found:?}");
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let found =
            faults("node.id=1\nnum.partitions=0\nlisteners=X\nlog.retention.ms=a\nbroker.id=2\n");
        assert!(
            found.iter().any(|fault| fault.starts_with("f:2: ")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|fault| fault.starts_with("f:3: ")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|fault| fault.starts_with("f:4: ")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|fault| fault.starts_with("f:5: ")),
            "{found:?}"
        );
    }

    #[test]
    fn a_cleaner_that_would_not_get_on_is_refused() {
        for (text, refused) in [
            ("log.cleaner.dedupe.buffer.size=1048576", true),
            ("log.cleaner.dedupe.buffer.size=1048577", false),
            (
                "log.cleaner.dedupe.buffer.size=4000000\nlog.cleaner.threads=4",
                true,
            ),
            (
                "log.cleaner.dedupe.buffer.size=1\nlog.cleaner.enable=false",
                true,
            ),
            ("log.cleaner.threads=0", true),
        ] {
            let found = faults(&format!("node.id=1\n{text}"));
            assert_eq!(!found.is_empty(), refused, "{text}: {found:?}");
        }
    }

    #[test]
    fn of_several_spellings_the_nearest_counts() {
        let settings = |text: &str| check("f", &properties(text)).map(|it| it.config.settings);
        for (text, retention, roll, flush) in [
            (
                "log.retention.hours=2\nlog.roll.hours=1",
                7_200_000,
                3_600_000,
                i64::MAX,
            ),
            (
                "log.retention.minutes=3\nlog.retention.hours=0",
                180_000,
                604_800_000,
                i64::MAX,
            ),
            (
                "log.retention.ms=-5\nlog.retention.minutes=3",
                -1,
                604_800_000,
                i64::MAX,
            ),
            ("log.roll.ms=4\nlog.roll.hours=1", 604_800_000, 4, i64::MAX),
            (
                "log.flush.scheduler.interval.ms=5",
                604_800_000,
                604_800_000,
                5,
            ),
            (
                "log.flush.scheduler.interval.ms=5\nlog.flush.interval.ms=6",
                604_800_000,
                604_800_000,
                6,
            ),
        ] {
            let said = settings(text).unwrap();
            let found = (said.retention_ms(), said.roll_ms(), said.flush_ms());
            assert_eq!(found, (retention, roll, flush), "{text}");
        }
        let over = BTreeMap::from([("log.retention.ms".to_owned(), "9".to_owned())]);
        let said = settings("log.retention.minutes=3").unwrap().with(&over);
        assert_eq!(
            (said.retention_ms(), said.get("log.retention.minutes")),
            (9, None)
        );
        for text in [
            "log.retention.ms=0",
            "log.retention.minutes=0",
            "log.roll.ms=0",
            "log.roll.jitter.ms=-1",
            "log.flush.interval.ms=-1",
            "log.flush.scheduler.interval.ms=-1",
            "log.cleaner.min.compaction.lag.ms=6\nlog.cleaner.max.compaction.lag.ms=5",
        ] {
            assert!(settings(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_stays_on_the_own_disk_is_no_more_than_all() {
        for (text, good) in [
            ("log.local.retention.ms=5\nlog.retention.ms=5", true),
            ("log.local.retention.ms=6\nlog.retention.ms=5", false),
            ("log.local.retention.ms=-1\nlog.retention.ms=5", false),
            ("log.local.retention.ms=6\nlog.retention.ms=-1", true),
            ("log.local.retention.bytes=6\nlog.retention.bytes=5", false),
            ("log.local.retention.bytes=6\nlog.retention.bytes=-2", true),
            ("log.retention.bytes=5", true),
            ("log.remote.copy.lag.ms=6\nlog.retention.ms=5", false),
            (
                "log.remote.copy.lag.ms=6\nlog.retention.ms=7\nlog.local.retention.ms=5",
                false,
            ),
            ("log.remote.copy.lag.ms=5\nlog.retention.ms=5", true),
            ("log.remote.copy.lag.bytes=5", true),
        ] {
            let settings = check("f", &properties(text)).unwrap().config.settings;
            assert_eq!(kept_locally(&settings).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_file_of_the_zookeeper_era_starts_a_node() {
        let text = "broker.id=0\nzookeeper.connect=zk:2181\nport=9099\nlog.dir=/tmp/y\nlog.retention.minutes=5\n";
        let checked = check("f", &properties(text)).unwrap();
        assert_eq!(checked.config.node_id, 0);
        assert_eq!(checked.config.listeners[0].endpoint.port, 9099);
        assert_eq!(checked.config.settings.retention_ms(), 300_000);
        assert!(notes(text).contains("no ZooKeeper is needed"));
    }

    #[test]
    fn a_running_broker_listens_and_advertises_as_it_is_told() {
        let said = |change: &str| {
            let text =
                "listeners=A://:1,B://:2\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT\n";
            let settings = check("f", &properties(text)).unwrap().config.settings;
            let change = properties(change).into_iter();
            let over = change.map(|one| (one.key, one.value)).collect();
            match running_listeners(&settings.with(&over)) {
                Ok(listeners) => listeners
                    .iter()
                    .map(|listener| match &listener.advertised {
                        Some(told) => format!("{} as {told}", listener.endpoint),
                        None => listener.endpoint.to_string(),
                    })
                    .collect::<Vec<_>>()
                    .join(","),
                Err(faults) => faults,
            }
        };
        assert_eq!(
            said("advertised.listeners=A://h:5,b://[::1]:6"),
            "A://:1 as A://h:5,B://:2 as B://[::1]:6"
        );
        assert_eq!(
            said("advertised.listeners=C://h:5"),
            "advertised.listeners: C is not in listeners"
        );
        assert_eq!(
            said("advertised.listeners=A://0.0.0.0:5"),
            "advertised.listeners: a client cannot connect to A://0.0.0.0:5"
        );
        assert_eq!(
            said("advertised.listeners=A"),
            "advertised.listeners: 'A' is not of the form NAME://host:port"
        );
        assert_eq!(said("listeners=B://h:3"), "B://h:3");
        assert_eq!(
            said("listeners=A://:1,C://:3"),
            "listener.security.protocol.map: No security protocol defined for listener C"
        );
        assert_eq!(
            said("listeners=A://:1,B://:1"),
            "listeners: port 1 is used twice"
        );
        assert_eq!(
            said("listeners=A://:1\nlistener.security.protocol.map=A:SSL"),
            "ssl.keystore.location: it is not set, and listener A speaks TLS"
        );
        assert_eq!(
            said("listeners=A://:1\nlistener.security.protocol.map=A:SASL_PLAINTEXT"),
            "sasl.enabled.mechanisms: it is not set, and listener A needs it: its default, GSSAPI, is not supported; these are: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"
        );
    }

    #[test]
    fn a_protocol_that_is_none_is_refused_whoever_listens() {
        for (map, good) in [
            ("A:PLAINTEXT,B:SASL_SSL", true),
            ("A:PLAINTEXT,B", false),
            ("A:PLAINTEXT,B:TLS", false),
            ("a:plaintext", true),
        ] {
            let text = format!("listeners=A://:1\nlistener.security.protocol.map={map}");
            assert_eq!(faults(&text).is_empty(), good, "{map}");
        }
    }

    /// The expectations are the answers of a real Apache Kafka 4.4.0.
    #[test]
    fn a_listener_has_a_protocol_by_its_name_only_where_no_map_is_given() {
        let controller = "controller.listener.names=CONTROLLER";
        for (listeners, map, missing) in [
            ("PLAINTEXT://:1,CONTROLLER://:2", None, None),
            ("plaintext://:1", None, None),
            ("A://:1", None, Some("A")),
            (
                "PLAINTEXT://:1,CONTROLLER://:2",
                Some("CONTROLLER:PLAINTEXT"),
                Some("PLAINTEXT"),
            ),
            (
                "PLAINTEXT://:1,CONTROLLER://:2",
                Some("PLAINTEXT:PLAINTEXT"),
                Some("CONTROLLER"),
            ),
            ("PLAINTEXT://:1", Some(""), Some("PLAINTEXT")),
            ("PLAINTEXT://:1", Some("PLAINTEXT:PLAINTEXT"), None),
        ] {
            let map = map.map_or_else(String::new, |map| format!("{MAP}={map}\n"));
            let found = faults(&format!("listeners={listeners}\n{map}{controller}\n"));
            let named = |listener| {
                let all = found.iter();
                let missing = without_protocol(listener);
                all.clone().any(|fault| fault.ends_with(&missing))
            };
            match missing {
                Some(listener) => assert!(named(listener), "{listeners} {map}: {found:?}"),
                None => assert!(found.is_empty(), "{listeners} {map}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_controller_is_where_the_file_has_it() {
        for (text, expected) in [
            ("node.id=1", "CONTROLLER://localhost:9093"),
            (
                "listeners=PLAINTEXT://:1,CTL://127.0.0.1:22101\ncontroller.listener.names=CTL",
                "CTL://127.0.0.1:22101",
            ),
            (
                "listeners=PLAINTEXT://:1,CONTROLLER://:22101\ncontroller.listener.names=CONTROLLER",
                "CONTROLLER://localhost:22101",
            ),
            (
                "node.id=3\ncontroller.quorum.voters=3@c:5\ncontroller.listener.names=CONTROLLER",
                "CONTROLLER://c:5",
            ),
        ] {
            let config = check("f", &properties(text)).unwrap().config;
            assert_eq!(config.controller.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn brokers_that_shared_a_zookeeper_are_told_that_they_are_alone() {
        for (id, warned) in [
            ("broker.id=2", true),
            ("broker.id=1", false),
            ("broker.id=-1", false),
            ("", false),
        ] {
            let said = notes(&format!("zookeeper.connect=zk:2181\n{id}\n"));
            assert_eq!(
                said.contains("a cluster of its own"),
                warned,
                "{id}: {said}"
            );
        }
    }

    #[test]
    fn what_clients_are_told_has_a_host_of_kafkas_letters_or_none() {
        let given = "listeners=PLAINTEXT://:1\nadvertised.listeners=PLAINTEXT://";
        for (address, good) in [
            ("h:5", true),
            (":5", true),
            ("[fe80::1%eth0]:5", true),
            ("0.0.0.0:5", false),
            ("${DOCKER_HOST_IP:-127.0.0.1}:5", false),
            ("_{HOSTNAME_COMMAND}:5", false),
        ] {
            let found = faults(&format!("{given}{address}\n"));
            assert_eq!(found.is_empty(), good, "{address}: {found:?}");
        }
    }

    #[test]
    fn secrets_are_known_by_each_of_their_names() {
        for (name, secret) in [
            ("ssl.key.password", true),
            ("listener.name.x.ssl.key.password", true),
            ("listener.name.x.ssl.keystore.key", true),
            ("listener.name.x.plain.sasl.jaas.config", true),
            (
                "listener.name.x.sasl.oauthbearer.client.credentials.client.secret",
                true,
            ),
            (
                "listener.name.x.oauthbearer.sasl.oauthbearer.client.credentials.client.secret",
                true,
            ),
            ("no.such.password", true),
            ("listener.name.x.sasl.enabled.mechanisms", false),
            ("listener.name.x.plain.connections.max.reauth.ms", false),
            ("listener.name.x.num.partitions", false),
            ("no.such.setting", false),
        ] {
            assert_eq!(is_sensitive(name), secret, "{name}");
            let settings = BrokerSettings::new([(name.to_owned(), "hush".to_owned())].into());
            assert_eq!(format!("{settings:?}").contains("hush"), !secret, "{name}");
        }
    }

    #[test]
    fn of_one_setting_the_nearest_word_counts() {
        let said = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let (name, default) = ("log.cleaner.threads", 1);
        let file = BrokerSettings::new(said(name, "2"));
        let (cluster, own) = (said(name, "3"), said(name, "4"));
        let other = said("auto.create.topics.enable", "FALSE ");
        let in_force = InForce {
            own: Some(&own),
            cluster: Some(&cluster),
            file: &file,
        };
        assert_eq!(in_force.long(name), 4);
        let in_force = InForce {
            own: Some(&other),
            ..in_force
        };
        assert_eq!(in_force.long(name), 3);
        assert!(!in_force.boolean("auto.create.topics.enable"));
        let in_force = InForce {
            own: None,
            cluster: Some(&other),
            file: &file,
        };
        assert_eq!(in_force.long(name), 2);
        let file = BrokerSettings::default();
        let in_force = InForce {
            own: None,
            cluster: None,
            file: &file,
        };
        assert_eq!(in_force.long(name), default);
        assert!(in_force.boolean("auto.create.topics.enable"));
    }

    #[test]
    fn unknown_and_unsupported_settings_are_named() {
        let said = notes(
            "node.id=1\nlog.dirs=/tmp/x\nfoo.bar=1\nerrors.deadletterqueue.auto.create.topics.enable=true\nreplica.lag.time.max.ms=30000\n",
        );
        assert!(said.contains("foo.bar is not a known setting"));
        assert!(said.contains(
            "errors.deadletterqueue.auto.create.topics.enable is accepted but has no effect yet"
        ));
        assert!(!said.contains("replica.lag"));
        let said = faults("metadata.log.dir=\n").join("\n");
        assert!(said.contains("metadata.log.dir is empty"), "{said}");
        let said = faults(
            "authorizer.class.name=com.example.Mine\nmonedula.admin.reset.with.authorizer=yes\n",
        );
        let said = said.join("\n");
        assert!(said.contains("com.example.Mine is not known"), "{said}");
        assert!(said.contains("yes is neither true nor false"), "{said}");
        for (name, meant) in [
            ("num.partitons", "num.partitions"),
            ("listener", "listeners"),
            (
                "listener.name.safe.ssl.keystore.locaton",
                "listener.name.safe.ssl.keystore.location",
            ),
        ] {
            let said = notes(&format!("node.id=1\nlog.dirs=/tmp/x\n{name}=1\n"));
            assert!(said.contains(&format!("did you mean {meant}?")), "{said}");
        }
        assert!(!notes("node.id=1\nlog.dirs=/tmp/x\nwithout.any.likeness=1\n").contains("mean"));
    }

    #[test]
    fn mistakes_of_the_command_line_are_not_the_files() {
        let mut given = properties("node.id=1\nlog.dirs=/tmp/x\nnum.io.threads=y\n");
        given.push(Property::given("num.partitions", "abc"));
        let faults = check("a.properties", &given).unwrap_err();
        assert!(
            faults
                .iter()
                .any(|fault| fault.starts_with("the command line: Invalid value abc")),
            "{faults:?}"
        );
        assert!(
            faults
                .iter()
                .any(|fault| fault.starts_with("a.properties:3: ")),
            "{faults:?}"
        );
    }
}
