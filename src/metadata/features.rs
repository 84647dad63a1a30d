//! pure: features of a cluster, and the levels of each release. Kafka's `MetadataVersion` and `Feature`.

/// Name of the feature that determines the format of records in the metadata log.
pub const METADATA_VERSION: &str = "metadata.version";

/// Names of the levels of `metadata.version`, from level 1 on.
const METADATA_VERSIONS: &[&str] = &[
    "3.0-IV1", "3.1-IV0", "3.2-IV0", "3.3-IV0", "3.3-IV1", "3.3-IV2", "3.3-IV3", "3.4-IV0",
    "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0", "3.7-IV1",
    "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2",
    "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0", "4.4-IV0", "4.4-IV1",
    "4.4-IV2",
];

/// A level of another feature.
struct Level {
    feature: &'static str,
    level: i16,
    /// Level of `metadata.version` from which on new clusters have this level.
    since: i16,
    /// Level of `metadata.version` that this level depends on; 0 for none.
    needs: i16,
}

/// Levels in the order in which Kafka's tools print features, and ascending within a feature.
const LEVELS: &[Level] = &[
    level_of("kraft.version", 1, 21, 0),
    level_of("transaction.version", 1, 24, 0),
    level_of("transaction.version", 2, 24, 0),
    level_of("group.version", 1, 22, 0),
    level_of(ELIGIBLE_LEADER_REPLICAS, 1, 26, 23),
    level_of("share.version", 1, 28, 0),
    level_of("share.version", 2, 31, 0),
    level_of("streams.version", 1, 29, 0),
];
pub const ELIGIBLE_LEADER_REPLICAS: &str = "eligible.leader.replicas.version";

const fn level_of(feature: &'static str, level: i16, since: i16, needs: i16) -> Level {
    Level {
        feature,
        level,
        since,
        needs,
    }
}

/// Features other than `metadata.version`, with their levels in a new cluster of this `metadata.version`.
pub fn defaults(metadata_version: i16) -> Vec<(&'static str, i16)> {
    let mut found: Vec<(&'static str, i16)> = Vec::new();
    for one in LEVELS {
        let level = match one.since <= metadata_version {
            true => one.level,
            false => 0,
        };
        match found.last_mut() {
            Some((feature, newest)) if *feature == one.feature => *newest = level.max(*newest),
            _ => found.push((one.feature, level)),
        }
    }
    found
}

/// Level of `metadata.version` that a level of another feature depends on, 0 for none; `None` if the feature has no such level.
pub fn needed(feature: &str, level: i16) -> Option<i16> {
    let mut levels = LEVELS.iter().filter(|one| one.feature == feature);
    match level {
        0 => levels.next().map(|_| 0),
        _ => levels.find(|one| one.level == level).map(|one| one.needs),
    }
}

/// Levels of `metadata.version` that added records or fields: a downgrade below one of them may lose metadata.
const CHANGES_OF_RECORDS: &[i16] = &[8, 11, 13, 14, 15, 17, 23, 30, 32, 33];

/// Whether a downgrade of `metadata.version` from one level to another may lose metadata.
pub fn loses_metadata(from: i16, to: i16) -> bool {
    let mut changes = CHANGES_OF_RECORDS.iter();
    changes.any(|level| to < *level && *level <= from)
}

/// Whether there is a feature of this name other than `metadata.version`.
pub fn is_known(feature: &str) -> bool {
    LEVELS.iter().any(|one| one.feature == feature)
}

/// Level of a `metadata.version` such as `4.3-IV0`, or the last level of a release such as `4.3`.
pub fn level(version: &str) -> Option<i16> {
    let release = format!("{version}-");
    let at = METADATA_VERSIONS
        .iter()
        .rposition(|name| *name == version || name.starts_with(&release))?;
    i16::try_from(at + 1).ok()
}

/// The name of a level of `metadata.version`.
pub fn name(level: i16) -> Option<&'static str> {
    let at = usize::try_from(level).ok()?.checked_sub(1)?;
    METADATA_VERSIONS.get(at).copied()
}

/// The names of the levels from `first` to `last`.
pub fn names(first: i16, last: i16) -> impl Iterator<Item = &'static str> {
    (first..=last).filter_map(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::bootstrap;

    #[test]
    fn levels_of_metadata_have_names() {
        assert_eq!(level("3.3-IV3"), Some(bootstrap::METADATA_VERSION_MIN));
        assert_eq!(level("4.3-IV0"), Some(30));
        assert_eq!(level("4.0"), Some(25));
        assert_eq!(level("9.9"), None);
        assert_eq!(name(30), Some("4.3-IV0"));
        assert_eq!((name(0), name(99), name(-1)), (None, None, None));
        let newest = bootstrap::METADATA_VERSION;
        assert_eq!(name(newest), Some(bootstrap::METADATA_VERSION_NAME));
    }

    #[test]
    fn a_release_has_the_features_that_it_has_with_kafka() {
        let told = |release: &str| {
            let defaults = defaults(level(release).unwrap());
            let shown: Vec<String> = defaults
                .iter()
                .map(|(feature, level)| {
                    let short = feature.split('.').next().unwrap_or_default();
                    format!("{short}={level}")
                })
                .collect();
            shown.join(" ")
        };
        assert_eq!(
            told("3.8"),
            "kraft=0 transaction=0 group=0 eligible=0 share=0 streams=0"
        );
        assert_eq!(
            told("4.0"),
            "kraft=1 transaction=2 group=1 eligible=0 share=0 streams=0"
        );
        assert_eq!(
            told("4.2-IV0"),
            "kraft=1 transaction=2 group=1 eligible=1 share=1 streams=0"
        );
        assert_eq!(
            told("4.4"),
            "kraft=1 transaction=2 group=1 eligible=1 share=2 streams=1"
        );
    }

    #[test]
    fn going_down_past_new_records_loses_metadata() {
        for (from, to, loses) in [
            ("4.4-IV2", "4.4-IV1", true),
            ("4.4-IV0", "4.3-IV0", false),
            ("4.3-IV0", "4.2-IV1", true),
            ("4.2-IV1", "4.0-IV1", false),
            ("4.2-IV1", "4.0-IV0", true),
            ("3.9-IV0", "3.7-IV2", false),
        ] {
            let found = loses_metadata(level(from).unwrap(), level(to).unwrap());
            assert_eq!(found, loses, "{from} to {to}");
        }
    }

    #[test]
    fn what_a_new_cluster_has_is_what_its_release_has() {
        let defaults = defaults(bootstrap::METADATA_VERSION);
        for (feature, level) in bootstrap::DEFAULT_FEATURES {
            let found = defaults.iter().find(|(name, _)| name == feature);
            let expected = (*feature, *level);
            assert!(
                *feature == METADATA_VERSION || found == Some(&expected),
                "{feature}: {found:?}"
            );
        }
        for (feature, min, max) in bootstrap::SUPPORTED_FEATURES {
            assert_eq!(is_known(feature), *feature != METADATA_VERSION, "{feature}");
            for level in (*min..=*max).filter(|_| is_known(feature)) {
                assert!(needed(feature, level).is_some(), "{feature}={level}");
            }
            assert_eq!(needed(feature, max + 1), None);
        }
    }
}
