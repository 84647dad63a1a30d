//! `storage`: formats log directories and shows their identity. Kafka's `StorageTool`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::scram_users;
use crate::base::plain::Plain;
use crate::config::broker::{BrokerConfig, check};
use crate::config::parse::properties;
use crate::host::Host;
use crate::host::chance::Chance;
use crate::metadata::bootstrap::{
    self, DEFAULT_FEATURES, Gaps, METADATA_VERSION, METADATA_VERSION_NAME,
};
use crate::metadata::features;
use crate::metadata::record::Record;

/// Format data directories, and print their identity
#[derive(Args, Debug)]
#[command(after_help = "Example:
  monedula storage format --cluster-id $(monedula storage random-uuid) --config server.properties")]
#[group(skip)]
pub struct Storage {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the identity into data directories
    Format(Format),
    /// Print the identity of data directories
    Info(Config),
    /// Print a new id for a cluster
    RandomUuid,
}

#[derive(Args, Debug)]
#[group(skip)]
struct Config {
    /// Kafka's server.properties
    #[arg(long, short, value_name = "FILE")]
    config: String,
}

/// Write the identity into data directories
#[derive(Args, Debug)]
#[command(after_help = "Example:
  monedula format --cluster-id 5L6g3nShT-eMCtK--X86sw --config server.properties
  monedula format --cluster-id 5L6g3nShT-eMCtK--X86sw --config server.properties \\
    --add-scram 'SCRAM-SHA-512=[name=ann,password=secret]'")]
#[group(skip)]
pub struct Format {
    #[command(flatten)]
    config: Config,
    /// The id of the cluster
    #[arg(long, short = 't', value_name = "ID")]
    cluster_id: String,
    /// Accepted as by Kafka's tool: a directory that has this identity already is never an error
    #[arg(long, short = 'g')]
    ignore_formatted: bool,
    /// Accepted as by Kafka's tool: the quorum is this controller alone in any case
    #[arg(long, short)]
    standalone: bool,
    #[arg(long, hide = true)]
    no_initial_controllers: bool,
    #[arg(long, short = 'I', hide = true)]
    initial_controllers: Option<String>,
    #[arg(long, short, hide = true)]
    release_version: Option<String>,
    #[arg(long, short, hide = true)]
    feature: Vec<String>,
    /// A user of SCRAM that the cluster begins with, as SCRAM-SHA-512=[name=ann,password=secret]; may be given several times
    #[arg(long, short = 'S', value_name = "USER")]
    add_scram: Vec<String>,
}

impl Storage {
    pub fn run(&self) -> ExitCode {
        match &self.action {
            Action::Format(wanted) => wanted.run(),
            Action::Info(config) => print(info(config)),
            Action::RandomUuid => print(
                bootstrap::random_uuid(&Chance::default())
                    .map(|id| id.to_string())
                    .map_err(|error| error.to_string()),
            ),
        }
    }
}

impl Format {
    pub fn run(&self) -> ExitCode {
        print(format(self))
    }
}

fn print(answer: Result<String, String>) -> ExitCode {
    match answer {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn format(options: &Format) -> Result<String, String> {
    check_versions(options.release_version.as_deref(), &options.feature)?;
    let config = read(&options.config)?;
    let users = users(&options.add_scram, &Chance::default())?;
    let dir = &config.metadata_log_dir;
    if !users.is_empty() && dir.join("meta.properties").exists() && !options.ignore_formatted {
        return Err(format!(
            "{} is formatted already: users are added with 'monedula configs' once the broker runs",
            dir.display()
        ));
    }
    let formatted = bootstrap::format_with(
        &Host::default(),
        &config.directories(),
        config.node_id,
        Some(&options.cluster_id),
        Gaps::Fill,
        &with_features(users),
    )
    .map_err(|error| format!("cannot {error}"))?;
    if let Some(error) = formatted.dirs.iter().find_map(|(_, id)| id.as_ref().err()) {
        return Err(format!("cannot {error}"));
    }
    if formatted.filled.is_empty() {
        // Kafka differs: formatting twice with the same id is never an error here, because nothing could be lost.
        return Ok("All of the log directories are already formatted.".to_owned());
    }
    let lines: Vec<String> = formatted
        .dirs
        .iter()
        .enumerate()
        .filter(|(_, (dir, _))| formatted.filled.contains(dir))
        .map(|(index, (dir, _))| {
            let kind = if index == 0 { "metadata" } else { "data" };
            format!(
                "Formatting {kind} directory {} with metadata.version {METADATA_VERSION_NAME}.",
                dir.display()
            )
        })
        .collect();
    Ok(lines.join("\n"))
}

fn users(given: &[String], chance: &Chance) -> Result<Vec<Record>, String> {
    let one = |text: &String| {
        let salt = chance.bytes().map_err(|error| error.to_string())?;
        scram_users::parse(text, salt).map(Record::from)
    };
    given.iter().map(one).collect()
}

/// Records for the first start of a cluster with users: its features and the users. Empty if there are no users.
fn with_features(users: Vec<Record>) -> Vec<Record> {
    if users.is_empty() {
        return users;
    }
    let is_feature = |record: &Record| matches!(record, Record::FeatureLevel(_));
    let mut records = bootstrap::records(false);
    // The other first records are derived from the features when the cluster is started.
    records.retain(is_feature);
    records.extend(users);
    records
}

/// Checks that the versions requested are those of a new cluster. Other versions are refused, because they would give a
/// directory that older brokers cannot open.
fn check_versions(release: Option<&str>, features: &[String]) -> Result<(), String> {
    const INSTEAD: &str = "change features with 'monedula features' once the broker runs";
    if let Some(release) = release
        && features::level(release) != Some(METADATA_VERSION)
    {
        return Err(format!(
            "--release-version {release} is not supported: a new cluster has {METADATA_VERSION_NAME}; {INSTEAD}"
        ));
    }
    // `kraft.version` has no effect on a single node, so all its levels are accepted.
    let quorums = [("kraft.version", 0), ("kraft.version", 1)];
    for feature in features {
        let mut known = DEFAULT_FEATURES.iter().chain(&quorums);
        if !known.any(|(name, level)| *feature == format!("{name}={level}")) {
            return Err(format!(
                "--feature {feature} is not supported for a new cluster; {INSTEAD}"
            ));
        }
    }
    Ok(())
}

fn info(options: &Config) -> Result<String, String> {
    let config = read(options)?;
    let mut lines = vec!["Found log directories:".to_owned()];
    let dirs = config.directories();
    lines.extend(dirs.iter().map(|dir| format!("  {}", dir.display())));
    for dir in dirs {
        match std::fs::read_to_string(dir.join("meta.properties")) {
            Ok(text) => lines.push(format!("{}:\n{}", dir.display(), text.trim_end())),
            Err(_) => return Err(format!("{} is not formatted", dir.display())),
        }
    }
    Ok(lines.join("\n"))
}

fn read(Config { config: path }: &Config) -> Result<BrokerConfig, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {path}: {}", Plain(&error)))?;
    let checked = check(path, &properties(&text)).map_err(|faults| faults.join("\n"))?;
    Ok(checked.config)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::broker::Broker;
    use crate::broker::boot::Options;
    use crate::config::broker::standalone;
    use crate::config::parse::Property;
    use crate::security::scram::ScramMechanism;

    /// Writes a settings file for a node with these directories, the metadata log's first.
    fn write_config(file: &Path, metadata: &str, data: &str) {
        let text = format!(
            "node.id=1\nlisteners=PLAINTEXT://127.0.0.1:0\nmetadata.log.dir={metadata}\nlog.dirs={data}\n"
        );
        std::fs::write(file, text).unwrap();
    }

    /// Options with the user ann.
    fn options(file: &Path, cluster_id: &str, ignore_formatted: bool) -> Format {
        Format {
            config: Config {
                config: file.display().to_string(),
            },
            cluster_id: cluster_id.to_owned(),
            ignore_formatted,
            standalone: false,
            no_initial_controllers: false,
            initial_controllers: None,
            release_version: None,
            feature: Vec::new(),
            add_scram: vec!["SCRAM-SHA-256=[name=ann,password=secret]".to_owned()],
        }
    }

    #[test]
    fn a_formatting_that_is_refused_leaves_no_users() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.properties");
        let [metadata, data] = ["metadata", "data"].map(|name| dir.path().join(name));
        let shown = |path: &Path| path.display().to_string();
        write_config(&file, &shown(&data), &shown(&data));
        format(&options(&file, "5L6g3nShT-eMCtK--X86sw", false)).unwrap();
        write_config(&file, &shown(&metadata), &shown(&data));
        let found = format(&options(&file, "z3S1sZCySgeBhkmxgd6hpg", false)).unwrap_err();
        assert!(found.contains("it belongs to cluster"), "{found}");
        assert!(!metadata.exists());
    }

    #[tokio::test]
    async fn a_cluster_begins_with_the_users_of_its_formatting() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.properties");
        let data = dir.path().join("data").display().to_string();
        write_config(&file, &data, &data);
        let options = |ignore_formatted| options(&file, "5L6g3nShT-eMCtK--X86sw", ignore_formatted);
        format(&options(false)).unwrap();
        let given = [
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("log.dirs", data.as_str()),
        ];
        let given: Vec<_> = given.map(|(key, value)| Property::given(key, value)).into();
        let config = standalone(&given).unwrap().config;
        let broker = Broker::start(config, Options::default()).await.unwrap();
        let kept = |user| {
            broker
                .services()
                .scram_credential(user, ScramMechanism::Sha256)
        };
        assert_eq!(kept("ann").map(|one| one.iterations), Some(4_096));
        assert!(kept("bob").is_none());
        broker.shutdown().await;
        // Users that would have no effect are an error, unless `--ignore-formatted` is given.
        let found = format(&options(false)).unwrap_err();
        assert!(found.contains("is formatted already"), "{found}");
        format(&options(true)).unwrap();
    }

    #[test]
    fn a_version_that_a_new_cluster_cannot_have_is_refused() {
        for (release, feature, good) in [
            (None, None, true),
            (Some("4.4"), None, true),
            (Some("4.4-IV2"), Some("kraft.version=1"), true),
            (None, Some("transaction.version=2"), true),
            (Some("4.3"), None, false),
            (Some("nonsense"), None, false),
            (None, Some("transaction.version=1"), false),
            (None, Some("no.such=1"), false),
        ] {
            let features: Vec<String> = feature.into_iter().map(str::to_owned).collect();
            let found = check_versions(release, &features);
            assert_eq!(found.is_ok(), good, "{release:?} {feature:?}: {found:?}");
        }
    }
}
