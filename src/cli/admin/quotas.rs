//! Quotas of users, clients and addresses, and credentials of SCRAM users, for `configs`.

use super::client::{Cluster, Failure, WITHIN, accepted, text};
use super::configs::{Change, Entity};
use crate::cli::scram_users;
use crate::config::client_quotas::{
    CLIENT_ID, CONNECTION_CREATION_RATE, CONSUMER_BYTE_RATE, CONTROLLER_MUTATION_RATE, IP,
    PRODUCER_BYTE_RATE, REQUEST_PERCENTAGE, USER,
};
use crate::config::setting::double;
use crate::host::chance::Chance;
use crate::security::scram::{ITERATIONS as HASHED, ScramMechanism};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, EntityData, OpData,
};
use crate::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion,
};
use crate::wire::message::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, EntryData,
};
use crate::wire::message::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, UserName,
};

pub(super) const USERS: &str = "users";
pub(super) const CLIENTS: &str = "clients";
pub(super) const IPS: &str = "ips";

/// Kinds of entities: the plural name in the tool, the name in the protocol, and the singular name in output. In the order in
/// which the kinds of an entity are printed.
const KINDS: &[(&str, &str, &str)] = &[
    (USERS, USER, "user-principal"),
    (CLIENTS, CLIENT_ID, "client-id"),
    (IPS, IP, "ip"),
];
const OF_USERS_AND_CLIENTS: &[&str] = &[
    PRODUCER_BYTE_RATE,
    CONSUMER_BYTE_RATE,
    REQUEST_PERCENTAGE,
    CONTROLLER_MUTATION_RATE,
];
const OF_ADDRESSES: &[&str] = &[CONNECTION_CREATION_RATE];

/// Types of matches in a filter of DescribeClientQuotas.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

/// Default number of hash iterations of a password. The maximum is checked here too: the tool computes the hash, and an
/// unlimited number could take hours.
const ITERATIONS: i32 = *HASHED.start();

/// Changes that `--alter` makes, after a check that the names are valid for the entities.
#[derive(Debug)]
pub(super) enum Alteration {
    Quotas(Vec<Change>),
    Credentials(Credentials),
}

/// Changes of the credentials of one user.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    deletions: Vec<ScramMechanism>,
    upsertions: Vec<(ScramMechanism, i32, String)>,
}

/// Sorts changes into quotas and credentials, and checks that they are valid for the entities. Sends no request.
pub(super) fn alteration(entities: &[Entity], changes: Vec<Change>) -> Result<Alteration, Failure> {
    let strange = |known: &dyn Fn(&str) -> bool| {
        let names = changes.iter().map(|(name, _)| name.as_str());
        let strange: Vec<&str> = names.filter(|name| !known(name)).collect();
        (!strange.is_empty()).then(|| strange.join(","))
    };
    let is_quota = |name: &str| OF_USERS_AND_CLIENTS.contains(&name);
    let is_mechanism = |name: &str| ScramMechanism::named(name).is_some();
    if entities.iter().any(|entity| entity.kind.plural == IPS) {
        return match strange(&|name| OF_ADDRESSES.contains(&name)) {
            Some(names) => Err(format!(
                "Only connection quota configs can be changed for 'ips': connection_creation_rate. Unexpected config names: {names}"
            )
            .into()),
            None => Ok(Alteration::Quotas(changes)),
        };
    }
    if entities.iter().any(|entity| entity.kind.plural == CLIENTS) {
        return match strange(&is_quota) {
            Some(names) => Err(format!(
                "Only quota configs can be changed for 'clients': {}. Unexpected config names: {names}",
                OF_USERS_AND_CLIENTS.join(", ")
            )
            .into()),
            None => Ok(Alteration::Quotas(changes)),
        };
    }
    if let Some(names) = strange(&|name| is_quota(name) || is_mechanism(name)) {
        return Err(format!(
            "Only quota and SCRAM credential configs can be changed for 'users': {}, SCRAM-SHA-256, SCRAM-SHA-512. Unexpected config names: {names}",
            OF_USERS_AND_CLIENTS.join(", ")
        )
        .into());
    }
    if !changes.iter().any(|(name, _)| is_mechanism(name)) {
        return Ok(Alteration::Quotas(changes));
    }
    if entities
        .iter()
        .any(|entity| entity.name.as_deref() == Some(""))
    {
        return Err(
            "SCRAM credentials belong to one user: --entity-default and --user-defaults cannot be used with them"
                .into(),
        );
    }
    if changes.iter().any(|(name, _)| is_quota(name)) {
        return Err("Cannot alter both quota and SCRAM credential configs simultaneously for 'users': use one command for each".into());
    }
    let mut credentials = Credentials::default();
    for (name, value) in changes {
        let Some(mechanism) = ScramMechanism::named(&name) else {
            continue;
        };
        match value {
            None => credentials.deletions.push(mechanism),
            Some(value) => {
                let (iterations, password) = credential(mechanism, &value)?;
                let password = password.to_owned();
                credentials
                    .upsertions
                    .push((mechanism, iterations, password));
            }
        }
    }
    Ok(Alteration::Credentials(credentials))
}

/// Reads `iterations=8192,password=secret`; the iterations may be missing.
fn credential(mechanism: ScramMechanism, value: &str) -> Result<(i32, &str), Failure> {
    let name = mechanism.name();
    // The value is not repeated in the message, because it may contain a password.
    let malformed = || {
        Failure(format!(
            "Invalid credential property {name}: it must be [iterations=NUMBER,password=PASSWORD], of which the iterations may be left out"
        ))
    };
    let (iterations, rest) = match value.strip_prefix("iterations=") {
        None => (ITERATIONS, value),
        Some(rest) => {
            let (number, rest) = rest.split_once(',').ok_or_else(malformed)?;
            match number.parse().map_err(|_| malformed())? {
                -1 => (ITERATIONS, rest),
                number => (number, rest),
            }
        }
    };
    let password = rest.strip_prefix("password=").ok_or_else(malformed)?;
    if iterations < ITERATIONS {
        return Err(format!(
            "Iterations {iterations} is less than the minimum {ITERATIONS} required for {name}"
        )
        .into());
    }
    let most = *HASHED.end();
    if iterations > most {
        return Err(format!(
            "Iterations {iterations} is more than the maximum {most} allowed for {name}"
        )
        .into());
    }
    Ok((iterations, password))
}

/// Changes quotas of one entity.
pub(super) async fn alter_quotas(
    cluster: &Cluster,
    entities: &[Entity],
    changes: Vec<Change>,
) -> Result<(), Failure> {
    let mut ops = Vec::new();
    for (name, value) in &changes {
        let number = value.as_ref().map(|value| {
            value.trim().parse::<f64>().map_err(|_| {
                format!(
                    "Cannot parse quota configuration value for {name}: {value} is not a number"
                )
            })
        });
        ops.push(OpData {
            key: name.as_str().into(),
            value: number.transpose()?.unwrap_or_default(),
            remove: value.is_none(),
        });
    }
    let there = quotas(cluster, entities).await?;
    let is_set = |name: &str| {
        let mut values = there.iter().flat_map(|entry| &entry.values);
        values.any(|value| value.key == name)
    };
    let absent: Vec<&str> = changes
        .iter()
        .filter(|(name, value)| value.is_none() && !is_set(name))
        .map(|(name, _)| name.as_str())
        .collect();
    if !absent.is_empty() {
        return Err(format!("Invalid config(s): {}", absent.join(",")).into());
    }
    let request = AlterClientQuotasRequest {
        entries: vec![AlterClientQuotasRequestEntryData {
            entity: entities
                .iter()
                .map(|entity| EntityData {
                    entity_type: on_the_wire(entity).into(),
                    entity_name: entity
                        .name
                        .as_deref()
                        .filter(|name| !name.is_empty())
                        .map(Into::into),
                })
                .collect(),
            ops,
        }],
        validate_only: false,
    };
    let answers = cluster.call(&request).await?.entries;
    answers
        .iter()
        .try_for_each(|answer| accepted(answer.error_code, answer.error_message.as_deref()))
}

/// Changes the credentials of one user.
pub(super) async fn alter_credentials(
    cluster: &Cluster,
    entities: &[Entity],
    credentials: Credentials,
) -> Result<(), Failure> {
    let user = entities.first().and_then(|entity| entity.name.as_deref());
    let user = user.unwrap_or_default();
    let mut request = AlterUserScramCredentialsRequest::default();
    for mechanism in credentials.deletions {
        request.deletions.push(ScramCredentialDeletion {
            name: user.into(),
            mechanism: mechanism.number(),
        });
    }
    for (mechanism, iterations, password) in credentials.upsertions {
        let salt = Chance::default()
            .bytes()
            .map_err(|error| format!("no salt for the password: {error}"))?;
        let upsertion = scram_users::upsertion(user, mechanism, &password, salt, iterations);
        request.upsertions.push(upsertion);
    }
    let answers = cluster.call(&request).await?.results;
    answers
        .iter()
        .try_for_each(|answer| accepted(answer.error_code, answer.error_message.as_deref()))
}

/// Lines with the quotas of entities. If only users are described, also a line for each user with credentials.
pub(super) async fn describe(
    cluster: &Cluster,
    entities: &[Entity],
) -> Result<Vec<String>, Failure> {
    let mut lines: Vec<String> = quotas(cluster, entities).await?.iter().map(shown).collect();
    let of_users_alone = entities.iter().all(|entity| entity.kind.plural == USERS);
    let named = entities.iter().filter_map(|entity| entity.name.as_deref());
    if of_users_alone && !named.clone().any(str::is_empty) {
        lines.extend(credentials(cluster, named).await?);
    }
    Ok(lines)
}

async fn credentials(
    cluster: &Cluster,
    named: impl Iterator<Item = &str>,
) -> Result<Vec<String>, Failure> {
    let users: Vec<UserName> = named.map(|name| UserName { name: name.into() }).collect();
    let request = DescribeUserScramCredentialsRequest {
        users: (!users.is_empty()).then_some(users),
    };
    let answer = cluster.call(&request).await?;
    accepted(answer.error_code, answer.error_message.as_deref())?;
    let mut lines = Vec::new();
    for result in answer.results {
        let user = &result.user;
        match result.error_code {
            0 => {}
            // A user may have quotas but no credentials.
            code if code == ErrorCode::ResourceNotFound.code() => continue,
            code => {
                let why = text(code, result.error_message.as_deref());
                lines.push(format!(
                    "Error retrieving SCRAM credential configs for user-principal '{user}': {why}"
                ));
                continue;
            }
        }
        let infos = result.credential_infos.iter().map(|info| {
            let name = ScramMechanism::of(info.mechanism).map_or("UNKNOWN", ScramMechanism::name);
            format!("{name}=iterations={}", info.iterations)
        });
        let infos: Vec<String> = infos.collect();
        lines.push(format!(
            "SCRAM credential configs for user-principal '{user}' are {}",
            infos.join(", ")
        ));
    }
    Ok(lines)
}

fn on_the_wire(entity: &Entity) -> &'static str {
    let found = KINDS
        .iter()
        .find(|(plural, ..)| *plural == entity.kind.plural);
    found.map_or("", |(_, kind, _)| kind)
}

/// Quotas of entities with exactly these kinds.
async fn quotas(cluster: &Cluster, entities: &[Entity]) -> Result<Vec<EntryData>, Failure> {
    let components = entities.iter().map(|entity| {
        let (match_type, name) = match entity.name.as_deref() {
            None => (ANY, None),
            Some("") => (DEFAULT, None),
            Some(name) => (EXACT, Some(name)),
        };
        ComponentData {
            entity_type: on_the_wire(entity).into(),
            match_type,
            r#match: name.map(Into::into),
        }
    });
    let request = DescribeClientQuotasRequest {
        components: components.collect(),
        strict: true,
    };
    let answer = cluster.any.call(&request, WITHIN).await?;
    accepted(answer.error_code, answer.error_message.as_deref())?;
    Ok(answer.entries.unwrap_or_default())
}

fn shown(entry: &EntryData) -> String {
    let parts = KINDS.iter().filter_map(|(_, kind, title)| {
        let part = entry.entity.iter().find(|part| part.entity_type == *kind)?;
        Some(match part.entity_name.as_deref() {
            None | Some("") => format!("the default {title}"),
            Some(name) => format!("{title} '{name}'"),
        })
    });
    let parts: Vec<String> = parts.collect();
    let values = entry.values.iter();
    let values: Vec<String> = values
        .map(|value| format!("{}={}", value.key, double(value.value)))
        .collect();
    format!(
        "Quota configs for {} are {}",
        parts.join(", "),
        values.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::configs::tests::{named, split_changes};
    use super::*;
    use crate::broker::temporary::TemporaryBroker;
    use crate::peer::connection::Access;

    async fn alter(cluster: &Cluster, of: &str, changes: &str) -> Result<(), String> {
        let entities = named(of);
        let done = match alteration(&entities, split_changes(changes)) {
            Ok(Alteration::Quotas(changes)) => alter_quotas(cluster, &entities, changes).await,
            Ok(Alteration::Credentials(credentials)) => {
                alter_credentials(cluster, &entities, credentials).await
            }
            Err(refused) => Err(refused),
        };
        done.map_err(|Failure(text)| text)
    }

    #[tokio::test]
    async fn quotas_and_credentials_are_printed_as_by_kafkas_tool() {
        let broker = TemporaryBroker::start(&[]).await.unwrap();
        let servers = broker.bootstrap_servers();
        let access = Access::default();
        let cluster = Cluster::at(&servers, &access, Duration::ZERO);
        let cluster = cluster.await.unwrap();
        for (of, changes) in [
            (
                "users=ann",
                "producer_byte_rate=1024,request_percentage=12.5",
            ),
            ("users=", "consumer_byte_rate=2048"),
            ("users=ann clients=shop", "controller_mutation_rate=5"),
            ("clients=shop", "producer_byte_rate=10000000"),
            ("clients=", "producer_byte_rate=3"),
            ("ips=127.0.0.1", "connection_creation_rate=7"),
            ("users=ann", "SCRAM-SHA-256=iterations=8192,password=a;b"),
            ("users=ann", "SCRAM-SHA-512=password=a"),
            ("users=bob", "SCRAM-SHA-512=password=b"),
            ("users=bob", "-SCRAM-SHA-512"),
            ("users=ann", "-request_percentage"),
        ] {
            assert_eq!(alter(&cluster, of, changes).await, Ok(()), "{of} {changes}");
        }
        let ann = "SCRAM credential configs for user-principal 'ann' are SCRAM-SHA-256=iterations=8192, SCRAM-SHA-512=iterations=4096";
        for (of, expected) in [
            (
                "users",
                &[
                    "Quota configs for the default user-principal are consumer_byte_rate=2048.0",
                    "Quota configs for user-principal 'ann' are producer_byte_rate=1024.0",
                    ann,
                ][..],
            ),
            (
                "users=ann",
                &[
                    "Quota configs for user-principal 'ann' are producer_byte_rate=1024.0",
                    ann,
                ],
            ),
            (
                "users=",
                &["Quota configs for the default user-principal are consumer_byte_rate=2048.0"],
            ),
            (
                "users=ann clients",
                &[
                    "Quota configs for user-principal 'ann', client-id 'shop' are controller_mutation_rate=5.0",
                ],
            ),
            (
                "clients",
                &[
                    "Quota configs for the default client-id are producer_byte_rate=3.0",
                    "Quota configs for client-id 'shop' are producer_byte_rate=1.0E7",
                ],
            ),
            (
                "ips",
                &["Quota configs for ip '127.0.0.1' are connection_creation_rate=7.0"],
            ),
            ("users=nobody", &[]),
        ] {
            let found = describe(&cluster, &named(of)).await.unwrap();
            assert_eq!(found, expected, "{of}");
        }
        for (of, changes, expected) in [
            (
                "users=ann",
                "-request_percentage",
                "Invalid config(s): request_percentage",
            ),
            (
                "users=ann",
                "producer_byte_rate=x",
                "Cannot parse quota configuration value",
            ),
            (
                "users=ann",
                "producer_byte_rate=-1",
                "producer_byte_rate must be greater than 0",
            ),
            (
                "users=ann",
                "retention.ms=1",
                "Unexpected config names: retention.ms",
            ),
            (
                "clients=shop",
                "SCRAM-SHA-256=password=a",
                "Unexpected config names: SCRAM-SHA-256",
            ),
            (
                "ips=127.0.0.1",
                "producer_byte_rate=1",
                "Unexpected config names: producer_byte_rate",
            ),
            (
                "users=",
                "SCRAM-SHA-256=password=a",
                "SCRAM credentials belong to one user",
            ),
            (
                "users=ann",
                "SCRAM-SHA-256=password=a,producer_byte_rate=1",
                "Cannot alter both",
            ),
            ("users=bob", "-SCRAM-SHA-512", "There is no such user"),
        ] {
            let found = alter(&cluster, of, changes).await.unwrap_err();
            assert!(found.contains(expected), "{of} {changes}: {found}");
        }
    }

    #[test]
    fn a_credential_is_read_as_kafkas_tool_reads_it() {
        for (value, expected) in [
            ("password=a", Ok((4_096, "a"))),
            ("password=", Ok((4_096, ""))),
            ("iterations=8192,password=a,b=c", Ok((8_192, "a,b=c"))),
            ("iterations=-1,password=a", Ok((4_096, "a"))),
            ("iterations=4095,password=a", Err("Iterations 4095 is less")),
            ("iterations=-2,password=a", Err("Iterations -2 is less")),
            (
                "iterations=16385,password=a",
                Err("Iterations 16385 is more"),
            ),
            ("iterations=,password=a", Err("Invalid credential")),
            ("iterations=8192", Err("Invalid credential")),
            ("secret", Err("Invalid credential")),
        ] {
            let found = credential(ScramMechanism::Sha256, value);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{value}"),
                (Err(Failure(found)), Err(expected)) => {
                    assert!(found.starts_with(expected), "{value}: {found}");
                    assert!(!found.contains("secret"), "{found}");
                }
                (found, _) => panic!("{value}: {found:?}"),
            }
        }
    }
}
