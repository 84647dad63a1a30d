//! `kafka-features`. Kafka calls this `FeatureCommand`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{Cluster, Connection, Failure, WITHIN, run as run_work, text};
use crate::wire::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::message::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};

/// Describe and change the features of the cluster, such as metadata.version
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula features --bootstrap-server localhost:9092 describe
  monedula features --bootstrap-server localhost:9092 upgrade --feature transaction.version=2")]
#[group(skip)]
pub struct Features {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print each feature with the versions that are supported and the one that counts
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
        /// Lower them even if that loses metadata
        #[arg(long = "unsafe")]
        is_unsafe: bool,
    },
    /// Set features to version 0
    Disable {
        /// A feature; may be given several times
        #[arg(long, value_name = "NAME", required = true)]
        feature: Vec<String>,
        /// Set them even if that loses metadata
        #[arg(long = "unsafe")]
        is_unsafe: bool,
        /// Check the change and do not make it
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args, Debug)]
#[group(skip)]
struct Change {
    /// A feature and its version; may be given several times
    #[arg(
        long,
        value_name = "NAME=VERSION",
        required_unless_present = "metadata"
    )]
    feature: Vec<String>,
    /// The metadata.version, such as 4.3-IV0
    #[arg(long, value_name = "VERSION", visible_alias = "release-version")]
    metadata: Option<String>,
    /// Check the change and do not make it
    #[arg(long)]
    dry_run: bool,
}

/// The levels of `metadata.version` from 1 on.
const METADATA_VERSIONS: &[&str] = &[
    "3.0-IV1", "3.1-IV0", "3.2-IV0", "3.3-IV0", "3.3-IV1", "3.3-IV2", "3.3-IV3", "3.4-IV0",
    "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0", "3.7-IV1",
    "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2",
    "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0", "4.4-IV0", "4.4-IV1",
    "4.4-IV2",
];
const METADATA_VERSION: &str = "metadata.version";

/// Kinds of changes, as UpdateFeatures knows them.
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

impl Features {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            match &self.action {
                Action::Describe { node_id } => {
                    let cluster = self.connection.connect().await?;
                    describe(&cluster, *node_id).await
                }
                Action::Upgrade(change) => {
                    self.update(
                        "upgrade",
                        "upgraded",
                        UPGRADE,
                        change.wanted()?,
                        change.dry_run,
                    )
                    .await
                }
                Action::Downgrade { change, is_unsafe } => {
                    let wanted = change.wanted()?;
                    self.update(
                        "downgrade",
                        "downgraded",
                        down(*is_unsafe),
                        wanted,
                        change.dry_run,
                    )
                    .await
                }
                Action::Disable {
                    feature,
                    is_unsafe,
                    dry_run,
                } => {
                    let wanted = feature.iter().map(|name| (name.clone(), 0)).collect();
                    self.update("disable", "disabled", down(*is_unsafe), wanted, *dry_run)
                        .await
                }
            }
        })
    }

    async fn update(
        &self,
        verb: &str,
        done: &str,
        upgrade_type: i8,
        wanted: Vec<(String, i16)>,
        dry_run: bool,
    ) -> Result<(), Failure> {
        let cluster = self.connection.connect().await?;
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
        let fault = (answer.error_code != 0)
            .then(|| text(answer.error_code, answer.error_message.as_deref()));
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
                    println!("Could not {verb} {name}{to}. {why}");
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
}

fn down(is_unsafe: bool) -> i8 {
    match is_unsafe {
        true => UNSAFE_DOWNGRADE,
        false => SAFE_DOWNGRADE,
    }
}

impl Change {
    fn wanted(&self) -> Result<Vec<(String, i16)>, Failure> {
        let mut wanted = Vec::new();
        if let Some(version) = &self.metadata {
            let level =
                level(version).ok_or_else(|| format!("{version} is not a metadata.version"))?;
            wanted.push((METADATA_VERSION.to_owned(), level));
        }
        for text in &self.feature {
            let pair = text.split_once('=');
            let pair = pair.and_then(|(name, level)| {
                Some((name.trim().to_owned(), level.trim().parse().ok()?))
            });
            wanted.push(pair.ok_or_else(|| {
                format!("Can't parse feature=level string {text}: equals sign not found, or no number behind it.")
            })?);
        }
        Ok(wanted)
    }
}

/// The level of a name such as `4.3-IV0`; the last one of a release by `4.3`.
fn level(version: &str) -> Option<i16> {
    let release = format!("{version}-");
    let at = METADATA_VERSIONS
        .iter()
        .rposition(|name| *name == version || name.starts_with(&release))?;
    i16::try_from(at + 1).ok()
}

fn shown(feature: &str, level: i16) -> String {
    let name = usize::try_from(level)
        .ok()
        .and_then(|level| METADATA_VERSIONS.get(level.checked_sub(1)?));
    match name.filter(|_| feature == METADATA_VERSION) {
        Some(name) => (*name).to_owned(),
        None => level.to_string(),
    }
}

async fn describe(cluster: &Cluster, node_id: Option<i32>) -> Result<(), Failure> {
    let request = ApiVersionsRequest {
        client_software_name: "monedula".into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    };
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

    #[test]
    fn levels_of_metadata_have_names() {
        assert_eq!(level("3.3-IV3"), Some(7));
        assert_eq!(level("4.3-IV0"), Some(30));
        assert_eq!(level("4.0"), Some(25));
        assert_eq!(level("9.9"), None);
        assert_eq!(shown(METADATA_VERSION, 30), "4.3-IV0");
        assert_eq!(shown(METADATA_VERSION, 99), "99");
        assert_eq!(shown("group.version", 1), "1");
    }
}
