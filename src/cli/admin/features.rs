//! `kafka-features`. Kafka's `FeatureCommand`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{Cluster, Connection, Failure, WITHIN, run as run_work, text};
use crate::metadata::bootstrap::{self, METADATA_VERSION_MIN};
use crate::metadata::features::{self, METADATA_VERSION};
use crate::wire::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::message::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};

/// Describe and change the features of the cluster, such as metadata.version
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula features --bootstrap-server localhost:9092 describe
  monedula features --bootstrap-server localhost:9092 upgrade --feature transaction.version=2
  monedula features version-mapping --release-version 4.3")]
#[group(skip)]
pub struct Features {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print each feature with the supported versions and the finalized version
    Describe {
        /// Ask this broker
        #[arg(long, value_name = "ID")]
        node_id: Option<i32>,
    },
    /// Raise the versions of features
    Upgrade(Change),
    /// Lower the versions of features
    Downgrade {
        #[command(flatten)]
        change: Change,
        /// Lower the versions even if metadata is lost
        #[arg(long = "unsafe")]
        is_unsafe: bool,
    },
    /// Set features to version 0
    Disable {
        /// A feature; may be given several times
        #[arg(long, value_name = "NAME", required = true)]
        feature: Vec<String>,
        /// Set the versions even if metadata is lost
        #[arg(long = "unsafe")]
        is_unsafe: bool,
        /// Only check whether the change can be made
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the features that a new cluster of a release has; no broker is asked
    VersionMapping {
        /// The release, such as 4.3 or 4.3-IV0; without this option, the newest
        #[arg(long, value_name = "VERSION")]
        release_version: Option<String>,
    },
    /// Print what a version of a feature needs of other features; no broker is asked
    FeatureDependencies {
        /// A feature and its version; may be given several times
        #[arg(long, value_name = "NAME=VERSION", required = true)]
        feature: Vec<String>,
    },
}

#[derive(Args, Debug, Default)]
#[group(skip)]
struct Change {
    /// A feature and its version; may be given several times
    #[arg(long, value_name = "NAME=VERSION")]
    feature: Vec<String>,
    /// A release such as 4.3, or one of its versions such as 4.3-IV0: every feature gets the version of the release
    #[arg(long, value_name = "VERSION")]
    release_version: Option<String>,
    /// The metadata.version, such as 4.3-IV0; deprecated in Kafka's tool
    #[arg(long, value_name = "VERSION")]
    metadata: Option<String>,
    /// Only check whether the change can be made
    #[arg(long)]
    dry_run: bool,
}

/// Types of changes in UpdateFeatures.
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;
const KRAFT_VERSION: &str = "kraft.version";

impl Features {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            match &self.action {
                Action::Describe { node_id } => {
                    let cluster = self.connection.connect().await?;
                    describe(&cluster, *node_id).await
                }
                Action::Upgrade(change) => {
                    let cluster = self.connection.connect().await?;
                    let wanted = change.wanted(true, &supported(&cluster).await?)?;
                    let verbs = ("upgrade", "upgraded");
                    update(&cluster, verbs, UPGRADE, wanted, change.dry_run).await
                }
                Action::Downgrade { change, is_unsafe } => {
                    let cluster = self.connection.connect().await?;
                    let wanted = change.wanted(false, &supported(&cluster).await?)?;
                    let verbs = ("downgrade", "downgraded");
                    update(&cluster, verbs, down(*is_unsafe), wanted, change.dry_run).await
                }
                Action::Disable {
                    feature,
                    is_unsafe,
                    dry_run,
                } => {
                    let cluster = self.connection.connect().await?;
                    let mut wanted = BTreeMap::new();
                    for name in feature {
                        if wanted.insert(name.clone(), 0).is_some() {
                            return Err(twice(name));
                        }
                    }
                    let wanted = wanted.into_iter().collect();
                    let verbs = ("disable", "disabled");
                    update(&cluster, verbs, down(*is_unsafe), wanted, *dry_run).await
                }
                Action::VersionMapping { release_version } => {
                    let lines = mapping(release_version.as_deref())?;
                    lines.iter().for_each(|line| println!("{line}"));
                    Ok(())
                }
                Action::FeatureDependencies { feature } => {
                    let lines = dependencies(feature)?;
                    lines.iter().for_each(|line| println!("{line}"));
                    Ok(())
                }
            }
        })
    }
}

async fn update(
    cluster: &Cluster,
    (verb, done): (&str, &str),
    upgrade_type: i8,
    wanted: Vec<(String, i16)>,
    dry_run: bool,
) -> Result<(), Failure> {
    let request = UpdateFeaturesRequest {
        timeout_ms: WITHIN.as_millis() as i32,
        feature_updates: wanted
            .iter()
            .map(|(name, level)| FeatureUpdateKey {
                feature: name.as_str().into(),
                max_version_level: *level,
                upgrade_type,
                ..Default::default()
            })
            .collect(),
        validate_only: dry_run,
    };
    let answer = cluster.call(&request).await?;
    let fault =
        (answer.error_code != 0).then(|| text(answer.error_code, answer.error_message.as_deref()));
    let mut failed = 0;
    for (name, level) in &wanted {
        let own = answer
            .results
            .iter()
            .find(|result| *result.feature == **name && result.error_code != 0)
            .map(|result| text(result.error_code, result.error_message.as_deref()));
        let to = match verb {
            "disable" => String::new(),
            _ => format!(" to {level}"),
        };
        match own.as_ref().or(fault.as_ref()) {
            Some(why) => {
                let cannot = if dry_run { "Can not" } else { "Could not" };
                println!("{cannot} {verb} {name}{to}. {why}");
                failed += 1;
            }
            None if dry_run => println!("{name} can be {done}{to}."),
            None => println!("{name} was {done}{to}."),
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} out of {} operation(s) failed.", wanted.len()).into()),
    }
}

fn down(is_unsafe: bool) -> i8 {
    match is_unsafe {
        true => UNSAFE_DOWNGRADE,
        false => SAFE_DOWNGRADE,
    }
}

impl Change {
    /// The features to change, with their levels. A release has levels of many features; features that the broker does not
    /// support are left out, and so is `kraft.version`, which monedula's broker cannot raise.
    fn wanted(&self, upgrades: bool, supported: &[String]) -> Result<Vec<(String, i16)>, Failure> {
        let mut wanted = BTreeMap::new();
        if let Some(release) = &self.release_version {
            if self.metadata.is_some() || !self.feature.is_empty() {
                return Err("Can not specify `release-version` with other feature flags.".into());
            }
            let level = known_level(release)?;
            wanted.insert(METADATA_VERSION.to_owned(), level);
            for (feature, level) in features::defaults(level) {
                let known =
                    feature != KRAFT_VERSION && supported.iter().any(|name| name == feature);
                if known && (level > 0 || !upgrades) {
                    wanted.insert(feature.to_owned(), level);
                }
            }
        }
        if let Some(version) = &self.metadata {
            println!(" `metadata` flag is deprecated and may be removed in a future release.");
            wanted.insert(METADATA_VERSION.to_owned(), known_level(version)?);
        }
        for text in &self.feature {
            let (name, level) = name_and_level(text)?;
            if wanted.insert(name.clone(), level).is_some() {
                return Err(twice(&name));
            }
        }
        if wanted.is_empty() {
            let verb = if upgrades { "upgrade" } else { "downgrade" };
            return Err(format!("You must specify at least one feature to {verb}").into());
        }
        Ok(wanted.into_iter().collect())
    }
}

fn twice(feature: &str) -> Failure {
    Failure(format!("Feature {feature} was specified more than once."))
}

fn shown(feature: &str, level: i16) -> String {
    match features::name(level).filter(|_| feature == METADATA_VERSION) {
        Some(name) => name.to_owned(),
        None => level.to_string(),
    }
}

/// Level of `metadata.version` for a release named by the user.
fn known_level(version: &str) -> Result<i16, Failure> {
    let known = METADATA_VERSION_MIN..=bootstrap::METADATA_VERSION;
    let level = features::level(version).filter(|level| known.contains(level));
    level.ok_or_else(|| {
        let names: Vec<&str> = features::names(*known.start(), *known.end()).collect();
        let names = names.join(", ");
        format!("Unknown metadata.version '{version}'. Supported metadata.version are: {names}")
            .into()
    })
}

/// Features of a new cluster of a release.
fn mapping(release: Option<&str>) -> Result<Vec<String>, Failure> {
    let release = release.unwrap_or(bootstrap::METADATA_VERSION_NAME);
    let level = known_level(release)?;
    let defaults = features::defaults(level).into_iter();
    let first = format!("{METADATA_VERSION}={level} ({release})");
    Ok(std::iter::once(first)
        .chain(defaults.map(|(feature, level)| format!("{feature}={level}")))
        .collect())
}

/// Dependencies of the given feature levels.
fn dependencies(asked: &[String]) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for text in asked {
        let (feature, level) = name_and_level(text)?;
        if feature == METADATA_VERSION {
            let name = features::name(level).filter(|_| level >= METADATA_VERSION_MIN);
            let name = name.ok_or_else(|| format!("Unknown metadata.version {level}"))?;
            lines.push(format!("{feature}={level} ({name}) has no dependencies."));
            continue;
        }
        if !features::is_known(&feature) {
            return Err(format!("Unknown feature: {feature}").into());
        }
        let needed = features::needed(&feature, level)
            .ok_or_else(|| format!("No feature:{feature} with feature level {level}"))?;
        match features::name(needed) {
            None => lines.push(format!("{feature}={level} has no dependencies.")),
            Some(name) => {
                lines.push(format!("{feature}={level} requires:"));
                lines.push(format!("    {METADATA_VERSION}={needed} ({name})"));
            }
        }
    }
    Ok(lines)
}

fn name_and_level(text: &str) -> Result<(String, i16), Failure> {
    let (name, level) = text.split_once('=').ok_or_else(|| {
        format!("Can't parse feature=level string {text}: equals sign not found.")
    })?;
    let level = level.trim();
    let level = level.parse().map_err(|_| {
        format!("Can't parse feature=level string {text}: unable to parse {level} as a short.")
    })?;
    Ok((name.trim().to_owned(), level))
}

fn versions_request() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "monedula".into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    }
}

/// Features that the broker allows to change.
async fn supported(cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let answer = cluster.call(&versions_request()).await?;
    let features = answer.supported_features.iter();
    Ok(features.map(|feature| feature.name.to_string()).collect())
}

async fn describe(cluster: &Cluster, node_id: Option<i32>) -> Result<(), Failure> {
    let request = versions_request();
    let answer: ApiVersionsResponse = match node_id {
        None => cluster.call(&request).await?,
        Some(id) => {
            let found = cluster.brokers(Some(&[id])).await?;
            let (_, broker) = found
                .first()
                .ok_or_else(|| format!("broker {id} is not in the cluster"))?;
            broker.call(&request, WITHIN).await?
        }
    };
    let mut supported = answer.supported_features;
    supported.sort_by(|a, b| a.name.cmp(&b.name));
    for feature in supported {
        let name = &*feature.name;
        let finalized = answer
            .finalized_features
            .iter()
            .find(|finalized| *finalized.name == *name)
            .map_or(0, |finalized| finalized.max_version_level);
        println!(
            "Feature: {name:<42}SupportedMinVersion: {:<17}SupportedMaxVersion: {:<17}FinalizedVersionLevel: {:<17}Epoch: {}",
            shown(name, feature.min_version),
            shown(name, feature.max_version),
            shown(name, finalized),
            match answer.finalized_features_epoch {
                -1 => "-".to_owned(),
                epoch => epoch.to_string(),
            }
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: Result<Vec<String>, Failure>) -> String {
        match lines {
            Ok(lines) => lines.join("\n"),
            Err(Failure(text)) => text,
        }
    }

    #[test]
    fn levels_are_printed_by_their_names() {
        assert_eq!(shown(METADATA_VERSION, 30), "4.3-IV0");
        assert_eq!(shown(METADATA_VERSION, 99), "99");
        assert_eq!(shown("group.version", 1), "1");
    }

    #[test]
    fn a_release_is_printed_with_its_features() {
        let expected = "metadata.version=25 (4.0)\nkraft.version=1\ntransaction.version=2\ngroup.version=1\n\
            eligible.leader.replicas.version=0\nshare.version=0\nstreams.version=0";
        assert_eq!(told(mapping(Some("4.0"))), expected);
        assert!(told(mapping(None)).starts_with("metadata.version=33 (4.4-IV2)\n"));
        for unknown in ["9.9", "3.0-IV1", ""] {
            let found = told(mapping(Some(unknown)));
            assert!(
                found.contains("Supported metadata.version are: 3.3-IV3, "),
                "{found}"
            );
            assert!(found.ends_with(", 4.4-IV2"), "{found}");
        }
    }

    #[test]
    fn dependencies_are_printed_as_by_kafkas_tool() {
        for (asked, expected) in [
            ("group.version=1", "group.version=1 has no dependencies."),
            ("group.version=0", "group.version=0 has no dependencies."),
            (
                "eligible.leader.replicas.version=1",
                "eligible.leader.replicas.version=1 requires:\n    metadata.version=23 (4.0-IV1)",
            ),
            (
                "metadata.version=33",
                "metadata.version=33 (4.4-IV2) has no dependencies.",
            ),
            ("metadata.version=99", "Unknown metadata.version 99"),
            ("metadata.version=-1", "Unknown metadata.version -1"),
            ("no.such=1", "Unknown feature: no.such"),
            (
                "group.version=9",
                "No feature:group.version with feature level 9",
            ),
            (
                "group.version",
                "Can't parse feature=level string group.version: equals sign not found.",
            ),
            (
                "group.version=x",
                "Can't parse feature=level string group.version=x: unable to parse x as a short.",
            ),
        ] {
            assert_eq!(told(dependencies(&[asked.to_owned()])), expected, "{asked}");
        }
    }

    #[test]
    fn a_release_changes_what_the_broker_knows() {
        let supported = [METADATA_VERSION, "transaction.version", KRAFT_VERSION];
        let supported: Vec<String> = supported.iter().map(ToString::to_string).collect();
        let told = |change: &Change, upgrades: bool| match change.wanted(upgrades, &supported) {
            Ok(wanted) => wanted
                .iter()
                .map(|(feature, level)| format!("{feature}={level}"))
                .collect::<Vec<_>>()
                .join(" "),
            Err(Failure(text)) => text,
        };
        let release = |version: &str| Change {
            release_version: Some(version.to_owned()),
            ..Change::default()
        };
        assert_eq!(
            told(&release("4.0"), true),
            "metadata.version=25 transaction.version=2"
        );
        assert_eq!(told(&release("3.8"), true), "metadata.version=20");
        assert_eq!(
            told(&release("3.8"), false),
            "metadata.version=20 transaction.version=0"
        );
        let features = |features: &[&str]| Change {
            feature: features.iter().map(ToString::to_string).collect(),
            ..Change::default()
        };
        assert_eq!(told(&features(&["b=1", "a=2"]), true), "a=2 b=1");
        assert_eq!(
            told(&features(&["a=1", "a=2"]), true),
            "Feature a was specified more than once."
        );
        assert_eq!(
            told(&features(&[]), false),
            "You must specify at least one feature to downgrade"
        );
    }
}
