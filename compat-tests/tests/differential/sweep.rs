//! Every setting of topics, groups and brokers with values at and beyond the limits of its type, in requests that only
//! validate. The settings are those of monedula's tables, so that a new row is covered.

use anyhow::Result;
use monedula::config::broker_table::BROKER_SETTINGS;
use monedula::config::group_table::GROUP_SETTINGS;
use monedula::config::setting::{Kind, Scope, Setting};
use monedula::config::topic_table::TOPIC_SETTINGS;
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use super::pair::Pair;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

/// A topic without overrides: those that earlier scenes left would influence the results.
pub const SWEPT: &str = "swept";

/// Settings that are left out: those whose values Apache Kafka loads as Java classes, and key stores, which it opens.
/// `DIFFERENCES.md` describes listeners and flushes.
const LEFT_OUT: &[&str] = &[
    "advertised.listeners",
    "listener.security.protocol.map",
    "listeners",
    "log.flush.interval.ms",
    "principal.builder.class",
];

fn values(setting: &Setting) -> &'static [&'static str] {
    match setting.kind {
        Kind::Boolean => &["true", "TRUE", " true ", "false", "x", "", "1"],
        Kind::Short => &[
            "-32769", "-32768", "-1", "0", "1", "2", "32767", "32768", "x", "",
        ],
        Kind::Int => &[
            "-2147483649",
            "-2147483648",
            "-3",
            "-2",
            "-1",
            "0",
            "1",
            "2",
            "14",
            " 5 ",
            "+5",
            "2147483639",
            "2147483640",
            "2147483647",
            "2147483648",
            "1.5",
            "0x10",
            "x",
            "",
        ],
        Kind::Long => &[
            "-9223372036854775808",
            "-3",
            "-2",
            "-1",
            "0",
            "1",
            "5",
            " 5 ",
            "4096",
            "9223372036854775807",
            "9223372036854775808",
            "1.5",
            "x",
            "",
        ],
        Kind::Double => &[
            "-1", "-0.1", "0", "0.5", "1", "1.1", "NaN", "Infinity", "1e400", "x", "",
        ],
        Kind::List => &[
            "",
            ",",
            "a",
            "a,b",
            "a,a",
            "a,",
            "*",
            "*,0:1",
            "0:1",
            " 0:1",
            "0:1,1:1",
            "0:1,0:1",
            "0:*",
            "0:1:2",
            "-1:1",
            "delete",
            "compact,delete",
            "delete,delete",
            "none",
            "CONSUMER",
        ],
        Kind::String => &[
            "",
            " ",
            "x",
            "a b",
            "0",
            "-1",
            "0:1",
            "*",
            "a,b",
            "PLAINTEXT",
            "earliest",
            "by_duration:P1D",
            "by_duration:-P1D",
            "by_duration:PT1H2M3.5S",
            "by_duration:P",
            "by_duration:1",
            "sticky",
            "gzip",
            "GZIP",
        ],
        Kind::Class | Kind::Password => &[],
    }
}

pub fn play(pair: &mut Pair) -> Result<()> {
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: SWEPT.into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    pair.scene("a topic for the sweep", |_| create.clone())?;
    sweep(pair, TOPIC, SWEPT, TOPIC_SETTINGS)?;
    sweep(pair, GROUP, "swept", GROUP_SETTINGS)?;
    sweep(pair, BROKER, "1", BROKER_SETTINGS)?;
    sweep(pair, BROKER, "", BROKER_SETTINGS)
}

fn sweep(pair: &mut Pair, kind: i8, resource: &str, settings: &[Setting]) -> Result<()> {
    for setting in settings {
        if LEFT_OUT.contains(&setting.name) || setting.name.starts_with("ssl.") {
            continue;
        }
        let mut values = values(setting);
        if kind == BROKER && setting.scope == Scope::ReadOnly {
            // A read-only setting is refused with any value, so one value is enough.
            values = values.get(..1).unwrap_or_default();
        }
        for value in values {
            let name = format!("{kind} {resource:?}, {}={value:?}", setting.name);
            pair.validated(
                &name,
                1,
                &IncrementalAlterConfigsRequest {
                    resources: vec![AlterConfigsResource {
                        resource_type: kind,
                        resource_name: resource.into(),
                        configs: vec![AlterableConfig {
                            name: setting.name.into(),
                            config_operation: 0,
                            value: Some((*value).into()),
                        }],
                    }],
                    validate_only: true,
                },
            )?;
        }
    }
    Ok(())
}
