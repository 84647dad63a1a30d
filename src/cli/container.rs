//! `container`: entry point of the image. Reads settings from `KAFKA_` variables or a mounted file, by the rules of the images
//! of Apache Kafka and Confluent, and then runs the broker in this process.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::dev_security::{DEFAULT_PORT, DevSecurity};
use super::start::{self, Extra, Given};
use crate::base::plain::Plain;
use crate::config::broker::{ADMIN_LISTENER, check};
use crate::config::listener::SecurityProtocol;
use crate::config::parse::properties;
use crate::host::Host;
use crate::metadata::bootstrap::{self, Gaps};
use crate::wire::message::create_topics::{CreatableTopic, CreatableTopicConfig};

/// Settings file that users can mount. It replaces the image's own settings; variables have precedence over it.
const MOUNTED: &str = "/mnt/shared/config/server.properties";
const WRITTEN: &str = "/opt/kafka/config/server.properties";
/// Folder of files that variables name without a path.
const SECRETS: &str = "/etc/kafka/secrets";
const DATA_DIR: &str = "/var/lib/kafka/data";
/// Folder of the volume in Bitnami's image.
const BITNAMI: &str = "/bitnami/kafka";
/// First line of a settings file that was written from variables. A file without this line belongs to the image or the user.
const MARK: &str = "# from the environment, at the start of this container\n";
/// Variable with topics to create at start, in the format of the image that introduced it:
/// `name:partitions:replicas[:policy],…`
const CREATE_TOPICS: &str = "KAFKA_CREATE_TOPICS";
/// Variable with characters that separate these topics, in addition to commas and line ends. Bash's spelling of a line end is
/// common.
const CREATE_TOPICS_SEPARATOR: &str = "KAFKA_CREATE_TOPICS_SEPARATOR";
const LINE_END_OF_BASH: &str = "$'\\n'";

/// Variable that is `start --dev-security`: `true`, or further names of the container, separated by commas.
const DEV_SECURITY: &str = "MONEDULA_DEV_SECURITY";
/// Folder for what [`DEV_SECURITY`] makes.
const SECURITY_FOLDER: &str = "/var/lib/kafka/security";

/// Variables that look like settings but are not.
const NO_SETTINGS: &[&str] = &[
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_VERSION",
    "KAFKA_HOME",
    "KAFKA_DEBUG",
    // Variables of other images, and variables that are read here.
    "KAFKA_ENABLE_KRAFT",
    "KAFKA_KRAFT_CLUSTER_ID",
    CREATE_TOPICS,
    CREATE_TOPICS_SEPARATOR,
    // Set by platforms for another container or service named kafka.
    "KAFKA_NAME",
];
const NO_SETTINGS_PREFIXES: &[&str] = &[
    "KAFKA_JMX_",
    "KAFKA_LOG4J_",
    "KAFKA_LOG4J2_",
    "KAFKA_TOOLS_LOG4J_",
    "KAFKA_REST_",
    "KAFKA_CONFLUENT_",
    "KAFKA_SERVICE_",
    "KAFKA_PORT_",
];

/// Path of the settings file in the layout of Confluent's images.
const WRITTEN_BY_CONFIGURE: &str = "/etc/kafka/kafka.properties";

/// Defaults for a node that is used in tests; settings from variables have precedence.
const COMFORTS: &[(&str, &str)] = &[
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("listeners", "PLAINTEXT://0.0.0.0:9092"),
    ("log.dirs", DATA_DIR),
    (ADMIN_LISTENER, "HTTP://0.0.0.0:9644"),
];

/// Run the broker as the image does, with settings from KAFKA_ variables
#[derive(Args, Debug)]
#[group(skip)]
pub struct Container {
    /// NAME=value, which goes over the environment; or `configure FILE`, which only writes the settings
    arguments: Vec<String>,
}

impl Container {
    pub fn run(&self) -> ExitCode {
        run(&self.arguments)
    }
}

fn run(arguments: &[String]) -> ExitCode {
    let mut variables: BTreeMap<String, String> = std::env::vars().collect();
    if let [command, path] = arguments
        && command == "configure"
    {
        if let Err(fault) = secrets(&mut variables, |path| fs::read_to_string(path)) {
            return failed(&fault);
        }
        let text = settings("", &variables);
        if let Err(faults) = accepted(&text) {
            return failed(&faults);
        }
        return match fs::write(path, text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("cannot write {path}: {}", Plain(&error))),
        };
    }
    for argument in arguments {
        match argument.split_once('=') {
            Some((name, value)) => {
                variables.insert(name.to_owned(), value.to_owned());
            }
            None => return failed(&format!("{argument}: expected NAME=value")),
        }
    }
    if let Err(fault) = secrets(&mut variables, |path| fs::read_to_string(path)) {
        return failed(&fault);
    }
    let mounted = fs::read_to_string(MOUNTED).unwrap_or_default();
    let security = match dev_security(&mut variables) {
        Ok(security) => security,
        Err(fault) => return failed(&fault),
    };
    let text = settings(&mounted, &variables);
    if let Err(faults) = accepted(&text) {
        return failed(&faults);
    }
    let value = |name: &str| variables.get(name).map_or("", String::as_str);
    let topics = match topics(value(CREATE_TOPICS), value(CREATE_TOPICS_SEPARATOR)) {
        Ok(topics) => topics,
        Err(fault) => return failed(&format!("{CREATE_TOPICS}: {fault}")),
    };
    if fs::exists(BITNAMI).unwrap_or_default() && !text.contains(BITNAMI) {
        eprintln!(
            "monedula: WARNING: a volume is mounted at {BITNAMI}, and the data goes to log.dirs: mount the volume at {DATA_DIR}, or set KAFKA_LOG_DIRS"
        );
    }
    // The copy is for users who look into the container, and for `ready`. Writing may fail: the root file system may be
    // read-only, and the container may run as any user.
    if let Err(error) = fs::write(WRITTEN, format!("{MARK}{text}")) {
        eprintln!(
            "monedula: cannot write a copy of the settings to {WRITTEN}: {}; the broker starts without the copy",
            Plain(&error)
        );
    }
    let id = ["CLUSTER_ID", "KAFKA_KRAFT_CLUSTER_ID"]
        .into_iter()
        .find_map(|name| variables.get(name).filter(|id| !id.is_empty()));
    if let Some(id) = id
        && let Ok(checked) = check(WRITTEN, &properties(&text))
    {
        let dirs = checked.config.directories();
        if let Err(error) = bootstrap::format(
            &Host::default(),
            &dirs,
            checked.config.node_id,
            Some(id),
            Gaps::Fill,
        ) {
            return failed(&format!("cannot {error}"));
        }
    }
    let extra = Extra {
        lenient: mounted.is_empty(),
        topics,
        security,
    };
    start::run(Given::Text(WRITTEN, &text), &[], extra)
}

/// Adds the settings of [`DEV_SECURITY`] to the variables, without those that the user gave.
fn dev_security(variables: &mut BTreeMap<String, String>) -> Result<Option<DevSecurity>, String> {
    let wish = variables.get(DEV_SECURITY).map_or("", |wish| wish.trim());
    if wish.is_empty() || wish.eq_ignore_ascii_case("false") {
        return Ok(None);
    }
    if let Some(name) = variables
        .keys()
        .find(|name| setting(name).is_some_and(|name| name == "listeners"))
    {
        return Err(format!(
            "{DEV_SECURITY} opens listeners of its own: remove it, or {name}"
        ));
    }
    let names: Vec<String> = wish
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.eq_ignore_ascii_case("true"))
        .collect();
    let security = DevSecurity::prepare(Path::new(SECURITY_FOLDER), &Host::default(), &names)?;
    for line in security.settings("0.0.0.0", DEFAULT_PORT) {
        if let Some((name, value)) = line.split_once('=') {
            let name = variable(name);
            variables.entry(name).or_insert_with(|| value.to_owned());
        }
    }
    Ok(Some(security))
}

/// Replaces variables that name files with stores and passwords by the settings that the files stand for, as in the images of
/// Apache Kafka and Confluent.
fn secrets(
    variables: &mut BTreeMap<String, String>,
    read: impl Fn(&str) -> std::io::Result<String>,
) -> Result<(), String> {
    for store in ["KEYSTORE", "TRUSTSTORE"] {
        if let Some(name) = variables.remove(&format!("KAFKA_SSL_{store}_FILENAME")) {
            variables.insert(
                format!("KAFKA_SSL_{store}_LOCATION"),
                format!("{SECRETS}/{name}"),
            );
        }
    }
    for (file, password) in [
        (
            "KAFKA_SSL_KEYSTORE_CREDENTIALS",
            "KAFKA_SSL_KEYSTORE_PASSWORD",
        ),
        ("KAFKA_SSL_KEY_CREDENTIALS", "KAFKA_SSL_KEY_PASSWORD"),
        (
            "KAFKA_SSL_TRUSTSTORE_CREDENTIALS",
            "KAFKA_SSL_TRUSTSTORE_PASSWORD",
        ),
    ] {
        if let Some(name) = variables.remove(file) {
            let path = format!("{SECRETS}/{name}");
            let text = read(&path)
                .map_err(|error| format!("{file}: cannot read {path}: {}", Plain(&error)))?;
            variables.insert(
                password.to_owned(),
                text.trim_end_matches(['\r', '\n']).to_owned(),
            );
        }
    }
    Ok(())
}

/// Topics from text of the form `name:partitions:replicas[:policy]`, separated by commas, line ends or other separators.
fn topics(text: &str, separators: &str) -> Result<Vec<CreatableTopic>, String> {
    let others = match separators == LINE_END_OF_BASH {
        true => "",
        false => separators,
    };
    let separates = |letter: char| [',', '\n'].contains(&letter) || others.contains(letter);
    let described = text.split(separates).map(str::trim);
    let described = described.filter(|one| !one.is_empty());
    described
        .map(|one| {
            let mut parts = one.split(':').map(str::trim);
            let name = parts.next().filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| format!("'{one}' names no topic"))?;
            let mut number = |what: &str| match parts.next() {
                None | Some("") => Ok(-1),
                Some(text) => match text.parse::<i16>() {
                    Ok(number) if number > 0 => Ok(number),
                    _ => Err(format!("'{text}' in '{one}' is not a number of {what}")),
                },
            };
            let (partitions, replicas) = (number("partitions")?, number("replicas")?);
            let policy = parts.next().map(|policy| CreatableTopicConfig {
                name: "cleanup.policy".into(),
                value: Some(policy.into()),
            });
            Ok(CreatableTopic {
                name: name.into(),
                num_partitions: partitions.into(),
                replication_factor: replicas,
                configs: policy.into_iter().collect(),
                ..Default::default()
            })
        })
        .collect()
}

/// Addresses of the client listeners of this container's broker, from the settings that it was started with; otherwise the
/// default port.
pub(super) fn own_addresses() -> Vec<String> {
    let newest = [WRITTEN, WRITTEN_BY_CONFIGURE]
        .into_iter()
        .filter_map(|path| {
            let changed = fs::metadata(path)
                .ok()
                .filter(|meta| meta.len() > 0)?
                .modified()
                .ok()?;
            Some((changed, path))
        })
        .max();
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let written = newest.and_then(|(_, path)| fs::read_to_string(path).ok());
    let checked = told(written, &variables).and_then(|text| check("", &properties(&text)).ok());
    let Some(checked) = checked else {
        return vec!["localhost:9092".to_owned()];
    };
    // The caller does not use TLS, so listeners without TLS come first. Checking that the broker is there does not need a
    // login.
    let mut listeners = checked.config.listeners;
    let asks = |protocol: SecurityProtocol| (protocol.has_tls(), protocol.has_sasl());
    listeners.sort_by_key(|listener| asks(listener.protocol));
    let listeners = listeners.into_iter().map(|listener| {
        let host = if listener.endpoint.is_wildcard() {
            "localhost"
        } else {
            &listener.endpoint.host
        };
        format!("{host}:{}", listener.endpoint.port)
    });
    listeners.collect()
}

/// The settings file that was written at start, or the settings of the variables if it could not be written.
fn told(written: Option<String>, variables: &BTreeMap<String, String>) -> Option<String> {
    const LISTENING: &[&str] = &["listeners", "advertised.listeners", "port"];
    let said = variables
        .keys()
        .filter_map(|name| setting(name))
        .any(|name| LISTENING.contains(&name.as_str()));
    match written {
        Some(text) if text.starts_with(MARK) || !said => Some(text),
        _ => Some(settings("", variables)),
    }
}

/// Checks that a broker would accept the settings. Errors name the variable that gives the wrong setting.
fn accepted(text: &str) -> Result<(), String> {
    let Err(faults) = check("", &properties(text)) else {
        return Ok(());
    };
    let told = faults.iter().map(|fault| {
        let at = fault
            .strip_prefix(':')
            .and_then(|rest| rest.split_once(": "));
        let line = at.and_then(|(line, _)| {
            text.lines()
                .nth(line.parse::<usize>().ok()?.checked_sub(1)?)
        });
        match (line.and_then(|line| line.split_once('=')), at) {
            (Some((name, _)), Some((_, what))) => format!("{}: {what}", variable(name)),
            _ => fault.trim_start_matches(": ").to_owned(),
        }
    });
    Err(told.collect::<Vec<_>>().join("\nmonedula: "))
}

/// The variable for a setting.
fn variable(setting: &str) -> String {
    let name = setting
        .replace('_', "__")
        .replace('-', "___")
        .replace('.', "_");
    format!("KAFKA_{}", name.to_ascii_uppercase())
}

fn failed(text: &str) -> ExitCode {
    eprintln!("monedula: {text}");
    ExitCode::FAILURE
}

/// Text of the settings file: the defaults or the mounted file, followed by the settings of variables.
fn settings(mounted: &str, variables: &BTreeMap<String, String>) -> String {
    let mut given: BTreeMap<String, &str> = variables
        .iter()
        // Kubernetes sets KAFKA_PORT for a service named kafka; such a value is not a port of this broker.
        .filter(|(name, value)| *name != "KAFKA_PORT" || !value.starts_with("tcp://"))
        .filter_map(|(name, value)| Some((setting(name)?, value.as_str())))
        .collect();
    let derived = given
        .get("advertised.listeners")
        .and_then(|advertised| everywhere(advertised));
    if let Some(derived) = &derived
        && mounted.is_empty()
        && !given.contains_key("listeners")
    {
        given.insert("listeners".to_owned(), derived);
    }
    let mut text = String::new();
    if mounted.is_empty() {
        for (name, value) in COMFORTS {
            // Old names with the same meaning would be overruled by the new ones.
            let said = given.contains_key(*name)
                || *name == "log.dirs" && given.contains_key("log.dir")
                || *name == "listeners" && given.contains_key("port");
            if !said {
                text += &format!("{name}={value}\n");
            }
        }
    } else {
        text += mounted.trim_end();
        text += "\n";
    }
    for (name, value) in given {
        text += &format!(
            "{name}={}\n",
            value.replace("\\\n", "\n").replace('\n', "\\\n")
        );
    }
    text
}

/// The setting for a variable: `KAFKA_A_B` is `a.b`, `__` is an underscore, `___` is a dash. Names of listeners in
/// `KAFKA_LISTENER_NAME_…` follow the same rule.
fn setting(variable: &str) -> Option<String> {
    // Bitnami's image uses this prefix.
    let name = variable
        .strip_prefix("KAFKA_CFG_")
        .or_else(|| variable.strip_prefix("KAFKA_"))
        .filter(|name| !name.is_empty())?;
    if NO_SETTINGS.contains(&variable)
        || NO_SETTINGS_PREFIXES
            .iter()
            .any(|prefix| variable.starts_with(prefix))
    {
        return None;
    }
    Some(
        name.to_ascii_lowercase()
            .replace("___", "-")
            .replace("__", "\u{1}")
            .replace('_', ".")
            .replace('\u{1}', "_"),
    )
}

/// Listeners on all addresses, with the names and ports of the advertised listeners. Confluent's image does the same if no
/// listeners are given. `None` if an advertised listener is malformed.
fn everywhere(advertised: &str) -> Option<String> {
    let endpoints: Option<Vec<String>> = advertised
        .split(',')
        .map(|endpoint| {
            let (name, address) = endpoint.split_once("://")?;
            let port: u16 = address.rsplit_once(':')?.1.trim().parse().ok()?;
            Some(format!("{}://0.0.0.0:{port}", name.trim()))
        })
        .collect();
    Some(endpoints?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_passwords_may_be_files_in_a_folder() {
        let mut variables: BTreeMap<String, String> = [
            ("KAFKA_SSL_KEYSTORE_FILENAME", "own.p12"),
            ("KAFKA_SSL_KEYSTORE_CREDENTIALS", "own.txt"),
            ("KAFKA_SSL_CLIENT_AUTH", "required"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let read = |path: &str| match path {
            "/etc/kafka/secrets/own.txt" => Ok("secret\n".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        secrets(&mut variables, read).unwrap();
        let told = settings("", &variables);
        assert!(
            told.contains("ssl.keystore.location=/etc/kafka/secrets/own.p12\n"),
            "{told}"
        );
        assert!(told.contains("ssl.keystore.password=secret\n"), "{told}");
        assert!(
            !told.contains("filename") && !told.contains("credentials"),
            "{told}"
        );
        variables.insert(
            "KAFKA_SSL_KEY_CREDENTIALS".to_owned(),
            "gone.txt".to_owned(),
        );
        let fault = secrets(&mut variables, read).unwrap_err();
        assert!(fault.contains("/etc/kafka/secrets/gone.txt"), "{fault}");
    }

    fn check(mounted: &str, variables: &[(&str, &str)], expected: &str) {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let text = settings(mounted, &variables);
        let found: Vec<&str> = text
            .lines()
            .filter(|line| {
                !line.contains("replication.factor=1")
                    && !line.contains("min.isr=1")
                    && !line.starts_with(ADMIN_LISTENER)
            })
            .collect();
        assert_eq!(found.join("\n"), expected);
    }

    #[test]
    fn nothing_said_is_a_node_for_tests() {
        check(
            "",
            &[
                ("PATH", "x"),
                ("KAFKA_HEAP_OPTS", "-Xmx1G"),
                ("KAFKA_JMX_PORT", "1"),
            ],
            "group.initial.rebalance.delay.ms=0\nlisteners=PLAINTEXT://0.0.0.0:9092\nlog.dirs=/var/lib/kafka/data",
        );
    }

    #[test]
    fn variables_become_settings() {
        check(
            "",
            &[
                ("KAFKA_LISTENERS", "A://:1"),
                ("KAFKA_LOG_DIR", "/d"),
                ("KAFKA_CFG_GROUP_INITIAL_REBALANCE_DELAY_MS", "3000"),
                ("KAFKA_LISTENER_NAME_A_SCRAM___SHA___512_X__Y", "z"),
            ],
            "group.initial.rebalance.delay.ms=3000\nlistener.name.a.scram-sha-512.x_y=z\nlisteners=A://:1\nlog.dir=/d",
        );
    }

    #[test]
    fn what_cannot_be_is_told_by_the_name_of_its_variable() {
        let variables = BTreeMap::from([
            ("KAFKA_NUM_PARTITIONS".to_owned(), "many".to_owned()),
            ("KAFKA_LISTENERS".to_owned(), "here".to_owned()),
        ]);
        let faults = accepted(&settings("", &variables)).unwrap_err();
        let mut names: Vec<&str> = faults
            .lines()
            .map(|line| {
                line.trim_start_matches("monedula: ")
                    .split(": ")
                    .next()
                    .unwrap()
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names,
            ["KAFKA_LISTENERS", "KAFKA_NUM_PARTITIONS"],
            "{faults}"
        );
    }

    #[test]
    fn what_cannot_be_advertised_is_one_mistake() {
        for value in ["127.0.0.1", "\"PLAINTEXT://localhost:9092\""] {
            let variables =
                BTreeMap::from([("KAFKA_ADVERTISED_LISTENERS".to_owned(), value.to_owned())]);
            let faults = accepted(&settings("", &variables)).unwrap_err();
            assert!(!faults.contains('\n'), "{faults}");
            assert!(faults.starts_with("KAFKA_ADVERTISED_LISTENERS"), "{faults}");
        }
    }

    /// Variables for a Kubernetes service named kafka, or for a link to such a container, are not settings.
    #[test]
    fn what_a_platform_says_of_a_neighbour_is_no_setting() {
        check(
            "",
            &[
                ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
                ("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
                ("KAFKA_SERVICE_HOST", "10.0.0.1"),
                ("KAFKA_SERVICE_PORT_CLIENT", "9092"),
                ("KAFKA_ENABLE_KRAFT", "yes"),
                ("KAFKA_KRAFT_CLUSTER_ID", "5L6g3nShT-eMCtK--X86sw"),
                ("KAFKA_CREATE_TOPICS", "a:1:1"),
            ],
            "group.initial.rebalance.delay.ms=0\nlisteners=PLAINTEXT://0.0.0.0:9092\nlog.dirs=/var/lib/kafka/data",
        );
    }

    #[test]
    fn topics_to_make_are_named_with_what_they_have() {
        let shown = |text: &str| match topics(text, "") {
            Ok(topics) => topics
                .iter()
                .map(|topic| {
                    let policy = topic.configs.first().and_then(|one| one.value.as_deref());
                    format!(
                        "{} {} {} {}",
                        topic.name,
                        topic.num_partitions,
                        topic.replication_factor,
                        policy.unwrap_or("-")
                    )
                })
                .collect::<Vec<_>>()
                .join(", "),
            Err(fault) => fault,
        };
        assert_eq!(shown(""), "");
        assert_eq!(
            shown("a:3:2, b:1:1:compact,\n c,"),
            "a 3 2 -, b 1 1 compact, c -1 -1 -"
        );
        assert_eq!(
            shown("a:many:1"),
            "'many' in 'a:many:1' is not a number of partitions"
        );
        assert_eq!(shown(":1:1"), "':1:1' names no topic");
        let names = |text: &str, separators: &str| {
            let topics = topics(text, separators).unwrap().into_iter();
            topics
                .map(|topic| topic.name.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(names("a:1:1,\nb:2:1\n", "$'\\n'"), "a b");
        assert_eq!(names("news:1:1\nb", "\n"), "news b");
        assert_eq!(names("a:1:1;b c", "; "), "a b c");
    }

    #[test]
    fn where_nothing_could_be_written_the_variables_tell() {
        let variables = BTreeMap::from([("KAFKA_LISTENERS".to_owned(), "A://:7".to_owned())]);
        let by_file = Some("listeners=A://:1\n".to_owned());
        let marked = Some(format!("{MARK}listeners=A://:2\n"));
        let port = |written, variables| {
            let text: String = told(written, variables).unwrap();
            let line = text
                .lines()
                .find(|line| line.starts_with("listeners="))
                .unwrap();
            line.rsplit_once(':').unwrap().1.to_owned()
        };
        assert_eq!(port(None, &variables), "7");
        assert_eq!(port(by_file.clone(), &variables), "7");
        assert_eq!(port(marked, &variables), "2");
        assert_eq!(port(by_file, &BTreeMap::new()), "1");
    }

    #[test]
    fn a_mounted_file_has_no_comforts_and_variables_go_over_it() {
        check(
            "node.id=4\nlog.dirs=/x\n",
            &[("KAFKA_NODE_ID", "5")],
            "node.id=4\nlog.dirs=/x\nnode.id=5",
        );
    }

    #[test]
    fn who_only_advertises_listens_everywhere_on_those_ports() {
        check(
            "",
            &[
                (
                    "KAFKA_ADVERTISED_LISTENERS",
                    "IN://kafka:29092,OUT://localhost:9092",
                ),
                ("KAFKA_LOG_DIRS", "/d"),
            ],
            "group.initial.rebalance.delay.ms=0\nadvertised.listeners=IN://kafka:29092,OUT://localhost:9092\n\
             listeners=IN://0.0.0.0:29092,OUT://0.0.0.0:9092\nlog.dirs=/d",
        );
    }
}
