//! pure: quotas of users, clients and addresses. Kafka's `ClientQuotaControlManager` and `ClientQuotasImage`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Decision, repeated};
use crate::config::client_quotas::{
    CLIENT_ID, CONNECTION_CREATION_RATE, CONSUMER_BYTE_RATE, CONTROLLER_MUTATION_RATE, IP,
    PRODUCER_BYTE_RATE, REQUEST_PERCENTAGE, USER,
};
use crate::metadata::image::records::entity_data;
use crate::metadata::image::{Image, QuotaEntity};
use crate::metadata::record::Record;
use crate::metadata::record::schema::ClientQuotaRecord;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, AlterClientQuotasResponseEntryData,
    EntityData as AlteredEntity, OpData,
};
use crate::wire::message::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData,
    EntryData, ValueData,
};

type Refusal = (ErrorCode, String);

/// Limit of the changes in one request. Each is a record, and Kafka's controller also writes at most this number for one
/// request.
const CHANGES_MAX: usize = 10_000;
/// Largest difference from a whole number that is accepted as a rounding error of floating-point arithmetic.
const WHOLE_WITHIN: f64 = 1e-6;

/// Type of a quota's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Int,
    Long,
    Double,
}

const OF_USERS_AND_CLIENTS: &[(&str, Number)] = &[
    (PRODUCER_BYTE_RATE, Number::Long),
    (CONSUMER_BYTE_RATE, Number::Long),
    (REQUEST_PERCENTAGE, Number::Double),
    (CONTROLLER_MUTATION_RATE, Number::Double),
];
const OF_ADDRESSES: &[(&str, Number)] = &[(CONNECTION_CREATION_RATE, Number::Int)];

/// AlterClientQuotas: each entity succeeds or fails as a whole.
pub fn alter(
    image: &Image,
    request: &AlterClientQuotasRequest,
) -> Decision<AlterClientQuotasResponse> {
    let changes: usize = request.entries.iter().map(|entry| entry.ops.len()).sum();
    let too_many = changes > CHANGES_MAX || request.entries.len() > CHANGES_MAX;
    let mut records = Vec::new();
    let mut results: BTreeMap<QuotaEntity, Option<Refusal>> = BTreeMap::new();
    for entry in &request.entries {
        let entity = entity_of(&entry.entity);
        let twice = !repeated(entry.ops.iter().map(|op| &*op.key)).is_empty();
        let outcome = if too_many {
            let why = format!("A request may change at most {CHANGES_MAX} quotas.");
            Err((ErrorCode::PolicyViolation, why))
        } else if twice || results.contains_key(&entity) {
            // As in Kafka, an earlier change of the same entity stays.
            let why = "An entity, or a key of an entity, is named twice.".to_owned();
            Err((ErrorCode::InvalidRequest, why))
        } else {
            changed(image, &entity, &entry.ops).map(|changed| records.extend(changed))
        };
        results.insert(entity, outcome.err());
    }
    if request.validate_only {
        records.clear();
    }
    let entries = results.into_iter().map(|(entity, refusal)| {
        let (code, message) = match refusal {
            Some((code, message)) => (code, Some(message.into())),
            None => (ErrorCode::None, None),
        };
        AlterClientQuotasResponseEntryData {
            error_code: code.code(),
            error_message: message,
            entity: entity
                .iter()
                .map(|(kind, name)| AlteredEntity {
                    entity_type: (**kind).into(),
                    entity_name: name.as_deref().map(Into::into),
                })
                .collect(),
        }
    });
    let answer = AlterClientQuotasResponse {
        entries: entries.collect(),
        ..Default::default()
    };
    Decision { records, answer }
}

/// The entity with its kinds sorted; of duplicate kinds the last one counts.
fn entity_of(parts: &[AlteredEntity]) -> QuotaEntity {
    let by_kind: BTreeMap<Arc<str>, Option<Arc<str>>> = parts
        .iter()
        .map(|part| {
            let name = part.entity_name.as_deref().map(Arc::from);
            (Arc::from(&*part.entity_type), name)
        })
        .collect();
    by_kind.into_iter().collect()
}

fn changed(image: &Image, entity: &QuotaEntity, ops: &[OpData]) -> Result<Vec<Record>, Refusal> {
    let invalid = |why: String| (ErrorCode::InvalidRequest, why);
    let valid_keys = keys_of(entity).map_err(invalid)?;
    let mut records = Vec::new();
    for op in ops {
        let current = image
            .quotas
            .get(&(entity.clone(), Arc::from(&*op.key)))
            .map(|bits| f64::from_bits(*bits));
        let changes = match op.remove {
            true => current.is_some(),
            false => {
                check(valid_keys, &op.key, op.value).map_err(invalid)?;
                current != Some(op.value)
            }
        };
        if changes {
            let record = ClientQuotaRecord {
                entity: entity_data(entity),
                key: op.key.clone(),
                value: if op.remove { 0.0 } else { op.value },
                remove: op.remove,
            };
            records.push(record.into());
        }
    }
    Ok(records)
}

/// The quota keys that are valid for an entity.
///
/// Errors: the entity itself is invalid.
fn keys_of(entity: &QuotaEntity) -> Result<&'static [(&'static str, Number)], String> {
    if entity.is_empty() {
        return Err("A quota needs an entity.".to_owned());
    }
    for (kind, name) in entity {
        if ![USER, CLIENT_ID, IP].contains(&&**kind) {
            return Err(format!("There are no quotas of {kind}."));
        }
        if name.as_deref() == Some("") {
            return Err(format!("The name of {kind} is empty."));
        }
    }
    let Some((_, address)) = entity.iter().find(|(kind, _)| &**kind == IP) else {
        return Ok(OF_USERS_AND_CLIENTS);
    };
    if entity.len() > 1 {
        return Err("ip cannot be combined with user or client-id.".to_owned());
    }
    match address {
        // Kafka differs: it resolves host names and waits for the result.
        Some(address) if address.parse::<IpAddr>().is_err() => {
            Err(format!("{address} is not an IP address."))
        }
        _ => Ok(OF_ADDRESSES),
    }
}

fn check(valid: &[(&str, Number)], key: &str, value: f64) -> Result<(), String> {
    let Some((_, number)) = valid.iter().find(|(name, _)| *name == key) else {
        return Err(format!("{key} is not a quota of this entity."));
    };
    if !value.is_finite() {
        return Err(format!("{key} must be a finite number."));
    }
    if value <= 0.0 {
        return Err(format!("{key} must be greater than 0."));
    }
    let most = match number {
        Number::Int => f64::from(i32::MAX),
        Number::Long => i64::MAX as f64,
        Number::Double => return Ok(()),
    };
    if value > most {
        return Err(format!("{value} is too large for {key}."));
    }
    if value.fract() > WHOLE_WITHIN {
        return Err(format!("{key} must be a whole number."));
    }
    Ok(())
}

/// DescribeClientQuotas: the quotas of the entities that match the filter.
pub fn describe(
    image: &Image,
    request: &DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let wanted = match filter(&request.components) {
        Ok(wanted) => wanted,
        Err((code, why)) => {
            return DescribeClientQuotasResponse {
                error_code: code.code(),
                error_message: Some(why.into()),
                entries: None,
                ..Default::default()
            };
        }
    };
    let matches = |entity: &QuotaEntity| {
        (!request.strict || entity.len() == wanted.len())
            && wanted.iter().all(|(kind, name)| {
                let part = entity.iter().find(|(of, _)| **of == **kind);
                part.is_some_and(|(_, own)| match name {
                    Some(name) => own.as_deref() == *name,
                    None => true,
                })
            })
    };
    let mut entries: Vec<EntryData> = Vec::new();
    let mut last = None;
    for ((entity, key), value) in &image.quotas {
        if !matches(entity) {
            continue;
        }
        if last != Some(entity) {
            last = Some(entity);
            entries.push(EntryData {
                entity: entity
                    .iter()
                    .map(|(kind, name)| EntityData {
                        entity_type: (**kind).into(),
                        entity_name: name.as_deref().map(Into::into),
                    })
                    .collect(),
                values: Vec::new(),
            });
        }
        if let Some(entry) = entries.last_mut() {
            entry.values.push(ValueData {
                key: (**key).into(),
                value: f64::from_bits(*value),
            });
        }
    }
    DescribeClientQuotasResponse {
        entries: Some(entries),
        ..Default::default()
    }
}

/// Filter of entities: the kinds that an entity must have, each with the name to match (inner `None`: the default entity); an
/// outer `None` matches any name.
type Filter<'a> = BTreeMap<&'a str, Option<Option<&'a str>>>;

fn filter(components: &[ComponentData]) -> Result<Filter<'_>, Refusal> {
    const EXACT: i8 = 0;
    const DEFAULT: i8 = 1;
    const SPECIFIED: i8 = 2;
    let invalid = |why: String| (ErrorCode::InvalidRequest, why);
    let mut wanted = Filter::new();
    for component in components {
        let kind = &*component.entity_type;
        if kind.is_empty() {
            return Err(invalid("A kind of entity is empty.".to_owned()));
        }
        if wanted.contains_key(kind) {
            return Err(invalid(format!("{kind} is named twice.")));
        }
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            let why = format!("There are no quotas of {kind}.");
            return Err((ErrorCode::UnsupportedVersion, why));
        }
        let name = match (component.match_type, component.r#match.as_deref()) {
            (EXACT, Some(name)) => Some(Some(name)),
            (DEFAULT, None) => Some(None),
            (SPECIFIED, None) => None,
            (EXACT..=SPECIFIED, _) => {
                let why = "A name is given where none belongs, or missing where one does.";
                return Err(invalid(why.to_owned()));
            }
            (other, _) => return Err(invalid(format!("Match type {other} is unknown."))),
        };
        wanted.insert(kind, name);
    }
    if wanted.contains_key(IP) && wanted.len() > 1 {
        let why = "ip cannot be combined with user or client-id.";
        return Err(invalid(why.to_owned()));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::image::Delta;
    use crate::metadata::image::records::records_of;
    use crate::wire::message::alter_client_quotas::AlterClientQuotasRequestEntryData;

    const RATE: &str = "producer_byte_rate";

    fn apply(image: &mut Image, records: &[Record]) {
        for record in records {
            image.apply(record, image.offset + 1, &mut Delta::default());
        }
    }

    /// An entity from text: `kind=name`, or `kind` for the default, separated by commas.
    fn entity(text: &str) -> Vec<AlteredEntity> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts
            .map(|part| match part.split_once('=') {
                Some((kind, name)) => (kind, Some(name)),
                None => (part, None),
            })
            .map(|(kind, name)| AlteredEntity {
                entity_type: kind.into(),
                entity_name: name.map(Into::into),
            })
            .collect()
    }

    fn op(key: &str, value: Option<f64>) -> OpData {
        OpData {
            key: key.into(),
            value: value.unwrap_or_default(),
            remove: value.is_none(),
        }
    }

    type Op<'a> = (&'a str, Option<f64>);

    /// Applies changes; returns the error codes in the order of entities.
    fn change(image: &mut Image, entries: &[(&str, &[Op<'_>])]) -> Vec<i16> {
        let request = AlterClientQuotasRequest {
            entries: entries
                .iter()
                .map(|(of, ops)| AlterClientQuotasRequestEntryData {
                    entity: entity(of),
                    ops: ops.iter().map(|(key, value)| op(key, *value)).collect(),
                })
                .collect(),
            validate_only: false,
        };
        let decision = alter(image, &request);
        apply(image, &decision.records);
        let entries = decision.answer.entries;
        entries.iter().map(|entry| entry.error_code).collect()
    }

    fn set(image: &mut Image, of: &str, key: &str, value: f64) -> i16 {
        change(image, &[(of, &[(key, Some(value))])])[0]
    }

    /// Quotas that match components of the form `kind:match:name`.
    fn shown(image: &Image, components: &str, strict: bool) -> String {
        let components = components.split_whitespace().map(|text| {
            let mut parts = text.split(':');
            ComponentData {
                entity_type: parts.next().unwrap().into(),
                match_type: parts.next().unwrap().parse().unwrap(),
                r#match: parts.next().map(Into::into),
            }
        });
        let request = DescribeClientQuotasRequest {
            components: components.collect(),
            strict,
        };
        let answer = describe(image, &request);
        let Some(entries) = answer.entries else {
            return format!("error {}", answer.error_code);
        };
        let entries = entries.iter().map(|entry| {
            let parts = entry.entity.iter().map(|part| match &part.entity_name {
                Some(name) => format!("{}={name}", part.entity_type),
                None => part.entity_type.to_string(),
            });
            let values = entry.values.iter();
            let values = values.map(|value| format!("{}={}", value.key, value.value));
            let parts: Vec<_> = parts.chain(values).collect();
            parts.join(",")
        });
        entries.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn quotas_are_set_shown_and_removed() {
        let mut image = Image::empty();
        set(&mut image, "user=a", RATE, 5.0);
        set(&mut image, "user,client-id", "request_percentage", 5.5);
        set(&mut image, "client-id=c,user=a", RATE, 6.0);
        // The same entity with its kinds in another order.
        set(&mut image, "user=a,client-id=c", RATE, 7.0);
        set(&mut image, "ip=127.0.0.1", "connection_creation_rate", 8.0);
        let of_users =
            "client-id,user,request_percentage=5.5; client-id=c,user=a,producer_byte_rate=7";
        let of_a = "user=a,producer_byte_rate=5";
        assert_eq!(
            shown(&image, "user:2", false),
            format!("{of_users}; {of_a}")
        );
        assert_eq!(shown(&image, "user:2", true), of_a);
        assert_eq!(
            shown(&image, "user:0:a client-id:2", true),
            "client-id=c,user=a,producer_byte_rate=7"
        );
        assert_eq!(
            shown(&image, "user:1", false),
            "client-id,user,request_percentage=5.5"
        );
        assert_eq!(shown(&image, "", true), "");
        assert_eq!(
            shown(&image, "ip:2", false),
            "ip=127.0.0.1,connection_creation_rate=8"
        );
        let mut again = Image::empty();
        apply(&mut again, &records_of(&image));
        assert_eq!(shown(&again, "", false), shown(&image, "", false));
        assert_eq!(change(&mut image, &[("user=a", &[(RATE, None)])]), [0]);
        assert_eq!(shown(&image, "user:0:a", true), "");
    }

    #[test]
    fn each_mistake_has_kafkas_error() {
        let mut image = Image::empty();
        let ip_rate = "connection_creation_rate";
        for (of, key, value, expected) in [
            ("", RATE, 1.0, 42),
            ("x=a", RATE, 1.0, 42),
            ("user=", RATE, 1.0, 42),
            ("user=a,ip=::1", RATE, 1.0, 42),
            ("ip=nowhere", ip_rate, 1.0, 42),
            ("ip=::1", RATE, 1.0, 42),
            ("ip=::1", ip_rate, 3e9, 42),
            ("ip=::1", ip_rate, 1.0, 0),
            ("ip", ip_rate, 1.0, 0),
            ("user=b", "x", 1.0, 42),
            ("user=b", RATE, 0.0, 42),
            ("user=b", RATE, -1.0, 42),
            ("user=b", RATE, f64::NAN, 42),
            ("user=b", RATE, f64::INFINITY, 42),
            ("user=b", RATE, 1.5, 42),
            ("user=b", RATE, 1e30, 42),
            ("user=b", RATE, 1.000_000_1, 0),
            ("user=b", "request_percentage", f64::NAN, 42),
            ("user=b", "controller_mutation_rate", 0.1, 0),
        ] {
            assert_eq!(
                set(&mut image, of, key, value),
                expected,
                "{of} {key} {value}"
            );
        }
        // Kafka does not check the key of a quota that is removed.
        assert_eq!(change(&mut image, &[("user=b", &[("x", None)])]), [0]);
        let twice: &[Op<'_>] = &[(RATE, Some(1.0)), (RATE, Some(2.0))];
        assert_eq!(change(&mut image, &[("user=c", twice)]), [42]);
        let once: &[Op<'_>] = &[(RATE, Some(3.0))];
        assert_eq!(
            change(&mut image, &[("user=d", once), ("user=d", twice)]),
            [42]
        );
        assert_eq!(shown(&image, "user:0:c", true), "");
        for (components, expected) in [
            ("user:0", "error 42"),
            ("user:1:a", "error 42"),
            ("user:2:a", "error 42"),
            ("user:9", "error 42"),
            (":2", "error 42"),
            ("x:2", "error 35"),
            ("user:2 user:1", "error 42"),
            ("user:2 ip:2", "error 42"),
        ] {
            assert_eq!(shown(&image, components, false), expected, "{components}");
        }
    }

    #[test]
    fn a_request_has_a_limit() {
        let names: Vec<String> = (0..=CHANGES_MAX)
            .map(|number| format!("user={number}"))
            .collect();
        let ops: &[Op<'_>] = &[(RATE, Some(1.0))];
        let entries: Vec<_> = names.iter().map(|name| (name.as_str(), ops)).collect();
        let mut image = Image::empty();
        assert_eq!(change(&mut image, &entries)[0], 44);
        assert!(image.quotas.is_empty());
    }
}
