//! pure: creation and deletion of topics, addition of partitions, and placement of replicas. Kafka's
//! `ReplicationControlManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;

use super::{Context, Decision, repeated};
use crate::base::ids::{BrokerId, Uuid};
use crate::config::broker::BrokerSettings;
use crate::config::topic::{self, Overrides};
use crate::metadata::image::records::partition_record;
use crate::metadata::image::{Image, Partition, Topic};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{ConfigRecord, RemoveTopicRecord, TopicRecord};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use crate::wire::message::create_topics::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::wire::message::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};

/// Longest name of a topic in bytes.
const TOPIC_NAME_MAX: usize = 249;
/// Limit of the partitions that one request may create: what fits into one atomic batch of the metadata log.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// Limit of the records that one request may make: topics, partitions and settings together.
const RECORDS_PER_REQUEST_MAX: usize = 10_000;

/// Name of the topic whose only partition is the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Reason to refuse a topic or another part of a request.
type Refusal = (ErrorCode, String);

/// Checks that a topic's name has only allowed characters and can be the name of a directory.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > TOPIC_NAME_MAX {
        return Err(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {TOPIC_NAME_MAX}"
        ));
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        return Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// Largest number of new names for which each is compared with the names of all topics; for more, an index is built.
const COMPARED_MAX: usize = 8;

/// Topic names as in metric names, where `.` and `_` are the same: two names that differ only there collide.
struct Shown<'a> {
    image: &'a Image,
    /// Index of names, built if many names have to be looked up.
    names: Option<BTreeMap<Vec<u8>, &'a str>>,
}

fn shown(name: &str) -> impl Iterator<Item = u8> {
    name.bytes()
        .map(|letter| if letter == b'.' { b'_' } else { letter })
}

impl<'a> Shown<'a> {
    /// Prepares the lookup of `count` names.
    fn new(image: &'a Image, count: usize) -> Self {
        let named = |topic: &'a Arc<Topic>| (shown(&topic.name).collect(), &*topic.name);
        let names = (count > COMPARED_MAX).then(|| image.topics.iter().map(named).collect());
        Self { image, names }
    }

    fn collision(&self, name: &str) -> Option<String> {
        if !name.contains(['.', '_']) {
            return None;
        }
        let there = match &self.names {
            Some(names) => names.get(&shown(name).collect::<Vec<u8>>()).copied(),
            None => {
                let mut topics = self.image.topics.iter().map(|topic| &*topic.name);
                topics.find(|other| other.len() == name.len() && shown(other).eq(shown(name)))
            }
        };
        there.map(|there| format!("Topic '{name}' collides with existing topic: {there}"))
    }
}

/// CreateTopics: every topic succeeds or fails on its own. The settings in answers of version 5 and later are not added here:
/// for thousands of topics they are megabytes, and other requests would wait meanwhile.
pub fn create(
    image: &Image,
    request: &CreateTopicsRequest,
    context: &Context<'_>,
) -> Decision<CreateTopicsResponse> {
    let mut ids = context.ids.iter().rev().copied();
    let twice = repeated(request.topics.iter().map(|topic| &*topic.name));
    let mut records = Vec::new();
    let mut results = Vec::new();
    let mut told = BTreeSet::new();
    let shown = Shown::new(image, request.topics.len());
    let broker = context.effective(image);
    let mut made = 0;
    for topic in &request.topics {
        if twice.contains(&*topic.name) {
            if told.insert(&*topic.name) {
                results.push(refused(
                    &topic.name,
                    (
                        ErrorCode::InvalidRequest,
                        "Duplicate topic name.".to_owned(),
                    ),
                ));
            }
            continue;
        }
        match create_one(&shown, topic, &broker, context, &mut ids) {
            Ok((created, result)) => {
                made += created.len();
                if made > RECORDS_PER_REQUEST_MAX {
                    return too_much(request);
                }
                if !request.validate_only {
                    records.extend(created);
                }
                results.push(result);
            }
            Err(refusal) => results.push(refused(&topic.name, refusal)),
        }
    }
    Decision {
        records,
        answer: CreateTopicsResponse {
            topics: results,
            ..Default::default()
        },
    }
}

/// Refusal of a request with too many records in total; nothing of it happens.
fn too_much(request: &CreateTopicsRequest) -> Decision<CreateTopicsResponse> {
    let refusal = |topic: &CreatableTopic| {
        let why = "Unable to perform excessively large batch operation.".to_owned();
        refused(&topic.name, (ErrorCode::PolicyViolation, why))
    };
    let names: BTreeMap<&str, &CreatableTopic> = request
        .topics
        .iter()
        .map(|topic| (&*topic.name, topic))
        .collect();
    Decision {
        records: Vec::new(),
        answer: CreateTopicsResponse {
            topics: names.into_values().map(refusal).collect(),
            ..Default::default()
        },
    }
}

fn refused(name: &ByteString, (code, message): Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code: code.code(),
        error_message: Some(message.into()),
        ..Default::default()
    }
}

fn create_one(
    shown: &Shown<'_>,
    topic: &CreatableTopic,
    broker: &BrokerSettings,
    context: &Context<'_>,
    ids: &mut impl Iterator<Item = Uuid>,
) -> Result<(Vec<Record>, CreatableTopicResult), Refusal> {
    let image = shown.image;
    if *topic.name == *METADATA_TOPIC {
        return Err((
            ErrorCode::InvalidRequest,
            format!("Creation of internal topic {METADATA_TOPIC} is prohibited."),
        ));
    }
    check_name(&topic.name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
    if image.topics.by_name(&topic.name).is_some() {
        return Err((
            ErrorCode::TopicAlreadyExists,
            format!("Topic '{}' already exists.", topic.name),
        ));
    }
    if let Some(why) = shown.collision(&topic.name) {
        return Err((ErrorCode::InvalidTopicException, why));
    }
    let own = own_settings(topic, broker)?;
    let assignment = assign(image, topic, broker, context.clamp_replication)?;
    if assignment.len() > PARTITIONS_PER_REQUEST_MAX {
        return Err((
            ErrorCode::PolicyViolation,
            format!(
                "Unable to perform excessively large batch operation of {} partitions.",
                assignment.len()
            ),
        ));
    }
    let id = ids.next().ok_or_else(|| {
        (
            ErrorCode::UnknownServerError,
            "No topic id is left.".to_owned(),
        )
    })?;
    let mut records = vec![
        TopicRecord {
            name: topic.name.clone(),
            topic_id: id,
        }
        .into(),
    ];
    records.extend(
        own.iter()
            .map(|(name, value)| config_record(&topic.name, name, Some(value))),
    );
    let replication_factor = assignment
        .first()
        .map_or(-1, |replicas| replicas.len() as i16);
    for (index, replicas) in assignment.iter().enumerate() {
        records.push(partition_record(id, index as i32, &new_partition(image, replicas)).into());
    }
    let result = CreatableTopicResult {
        name: topic.name.clone(),
        topic_id: id,
        num_partitions: assignment.len() as i32,
        replication_factor,
        ..Default::default()
    };
    Ok((records, result))
}

fn own_settings(topic: &CreatableTopic, broker: &BrokerSettings) -> Result<Overrides, Refusal> {
    let mut own = Overrides::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            return Err((
                ErrorCode::InvalidConfig,
                format!(
                    "Null value not supported for topic configs: {}",
                    config.name
                ),
            ));
        };
        own.insert(config.name.to_string(), value.to_string());
    }
    topic::check(&own, broker).map_err(|why| (ErrorCode::InvalidConfig, why))?;
    Ok(own)
}

/// Replicas of each partition: from the request, or placed by the controller.
fn assign(
    image: &Image,
    topic: &CreatableTopic,
    broker: &BrokerSettings,
    clamp: bool,
) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    if !topic.assignments.is_empty() {
        if topic.replication_factor != -1 {
            return Err((
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1.".to_owned(),
            ));
        }
        if topic.num_partitions != -1 {
            return Err((
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but numPartitions was not set to -1."
                    .to_owned(),
            ));
        }
        let given: BTreeMap<i32, &Vec<BrokerId>> = topic
            .assignments
            .iter()
            .map(|given| (given.partition_index, &given.broker_ids))
            .collect();
        if given.len() != topic.assignments.len() {
            return Err((
                ErrorCode::InvalidReplicaAssignment,
                "Found multiple manual partition assignments for one partition.".to_owned(),
            ));
        }
        if given.keys().copied().ne(0..given.len() as i32) {
            return Err((
                ErrorCode::InvalidReplicaAssignment,
                "partitions should be a consecutive 0-based integer sequence".to_owned(),
            ));
        }
        let replication = given.values().next().map_or(0, |replicas| replicas.len());
        return given
            .into_values()
            .map(|replicas| {
                check_replicas(image, replicas, Some(replication)).map(|()| replicas.clone())
            })
            .collect();
    }
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return Err((
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.".to_owned(),
        ));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        return Err((
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.".to_owned(),
        ));
    }
    let partitions = if topic.num_partitions == -1 {
        broker.int("num.partitions")
    } else {
        topic.num_partitions
    };
    let factor = if topic.replication_factor == -1 {
        broker.int("default.replication.factor") as i16
    } else {
        topic.replication_factor
    };
    if partitions as usize > PARTITIONS_PER_REQUEST_MAX {
        return Err((
            ErrorCode::PolicyViolation,
            format!(
                "Unable to perform excessively large batch operation of {partitions} partitions."
            ),
        ));
    }
    place(image, 0, partitions, factor, clamp)
}

/// Replicas of partitions `first..first + count`, spread over the live brokers.
fn place(
    image: &Image,
    first: i32,
    count: i32,
    factor: i16,
    clamp: bool,
) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    let live: Vec<BrokerId> = image.live_brokers().map(|broker| broker.id).collect();
    let factor = if clamp {
        (factor as usize).min(live.len().max(1))
    } else {
        factor as usize
    };
    if factor > live.len() {
        return Err((
            ErrorCode::InvalidReplicationFactor,
            format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be reached because only {} broker(s) are registered or some brokers have all their log directories cordoned.",
                live.len()
            ),
        ));
    }
    Ok((first..first + count)
        .map(|partition| {
            (0..factor)
                .map(|replica| live[(partition as usize + replica) % live.len()])
                .collect()
        })
        .collect())
}

fn check_replicas(
    image: &Image,
    replicas: &[BrokerId],
    replication: Option<usize>,
) -> Result<(), Refusal> {
    let refuse = |why: String| Err((ErrorCode::InvalidReplicaAssignment, why));
    if replicas.is_empty() {
        return refuse(
            "The manual partition assignment includes an empty replica list.".to_owned(),
        );
    }
    if replication.is_some_and(|expected| expected != replicas.len()) {
        return refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous partitions, which have {} replica(s).",
            replicas.len(),
            replication.unwrap_or_default()
        ));
    }
    let mut distinct = BTreeSet::new();
    if let Some(id) = replicas.iter().find(|id| !distinct.insert(**id)) {
        return refuse(format!(
            "The manual partition assignment includes the broker {id} more than once."
        ));
    }
    for id in replicas {
        if !image.brokers.contains_key(id) {
            return refuse(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        }
    }
    Ok(())
}

fn new_partition(image: &Image, replicas: &[BrokerId]) -> Partition {
    let alive = |id: &BrokerId| image.is_live(*id);
    let isr: Vec<BrokerId> = replicas.iter().copied().filter(alive).collect();
    // If a broker has one log directory, its replica is in that one; other brokers report the directory later.
    let directory = |id: &BrokerId| match image
        .brokers
        .get(id)
        .map(|broker| broker.log_dirs.as_slice())
    {
        Some([only]) => *only,
        _ => Uuid::UNASSIGNED_DIR,
    };
    Partition {
        directories: replicas.iter().map(directory).collect(),
        replicas: replicas.to_vec(),
        leader: isr.first().copied().unwrap_or(-1),
        isr: if isr.is_empty() {
            replicas.to_vec()
        } else {
            isr
        },
        removing: Vec::new(),
        adding: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader_recovery_state: 0,
        leader_epoch: 0,
        partition_epoch: 0,
    }
}

pub(super) fn config_record(topic: &str, name: &str, value: Option<&String>) -> Record {
    ConfigRecord {
        resource_type: crate::metadata::image::TOPIC_RESOURCE,
        resource_name: topic.into(),
        name: name.into(),
        value: value.map(|value| value.as_str().into()),
    }
    .into()
}

/// DeleteTopics, by name or by id.
pub fn delete(
    image: &Image,
    request: &DeleteTopicsRequest,
    context: &Context<'_>,
) -> Decision<DeleteTopicsResponse> {
    let enabled = context.effective(image).boolean("delete.topic.enable");
    let by_name = request
        .topic_names
        .iter()
        .map(|name| (Some(name.clone()), Uuid::ZERO));
    let by_state = request
        .topics
        .iter()
        .map(|topic| (topic.name.clone(), topic.topic_id));
    let mut seen = BTreeSet::new();
    let mut names = BTreeMap::<ByteString, usize>::new();
    for name in by_name
        .clone()
        .chain(by_state.clone())
        .filter_map(|(name, _)| name)
    {
        *names.entry(name).or_default() += 1;
    }
    let mut records = Vec::new();
    let mut responses = Vec::new();
    for (name, id) in by_name.chain(by_state) {
        // A duplicate name is answered once.
        if let Some(name) = &name
            && let Some(count) = names.get_mut(name)
            && *count != 1
        {
            if *count > 1 {
                *count = 0;
                responses.push(DeletableTopicResult {
                    name: Some(name.clone()),
                    error_code: ErrorCode::InvalidRequest.code(),
                    error_message: Some("Duplicate topic name.".into()),
                    ..Default::default()
                });
            }
            continue;
        }
        let found = match &name {
            Some(name) => image.topics.by_name(name),
            None => image.topics.by_id(id),
        };
        let outcome = check_delete(name.as_deref(), id, found.map(|topic| &**topic), enabled)
            .and_then(|topic| {
                if seen.insert(topic.id) {
                    Ok(topic)
                } else {
                    Err((
                        ErrorCode::InvalidRequest,
                        "The provided topic is named twice, by name and by id.".to_owned(),
                    ))
                }
            });
        responses.push(match outcome {
            Ok(topic) => {
                records.push(RemoveTopicRecord { topic_id: topic.id }.into());
                DeletableTopicResult {
                    name: Some((*topic.name).into()),
                    topic_id: topic.id,
                    ..Default::default()
                }
            }
            Err((code, message)) => DeletableTopicResult {
                name,
                topic_id: id,
                error_code: code.code(),
                error_message: Some(message.into()),
            },
        });
    }
    Decision {
        records,
        answer: DeleteTopicsResponse {
            responses,
            ..Default::default()
        },
    }
}

fn check_delete<'a>(
    name: Option<&str>,
    id: Uuid,
    found: Option<&'a Topic>,
    enabled: bool,
) -> Result<&'a Topic, Refusal> {
    if name.is_some() && !id.is_zero() {
        return Err((
            ErrorCode::InvalidRequest,
            "You may not specify both topic name and topic id.".to_owned(),
        ));
    }
    if name.is_none() && id.is_zero() {
        return Err((
            ErrorCode::InvalidRequest,
            "Neither topic name nor id were specified.".to_owned(),
        ));
    }
    if !enabled {
        return Err((
            ErrorCode::TopicDeletionDisabled,
            "Topic deletion is disabled.".to_owned(),
        ));
    }
    found.ok_or_else(|| match name {
        Some(_) => (
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.".to_owned(),
        ),
        None => (
            ErrorCode::UnknownTopicId,
            "This server does not host this topic ID.".to_owned(),
        ),
    })
}

/// CreatePartitions: the count in a request is the new total.
pub fn create_partitions(
    image: &Image,
    request: &CreatePartitionsRequest,
    context: &Context<'_>,
) -> Decision<CreatePartitionsResponse> {
    let twice = repeated(request.topics.iter().map(|topic| &*topic.name));
    let mut records = Vec::new();
    let mut results: Vec<CreatePartitionsTopicResult> = Vec::new();
    let mut told = BTreeSet::new();
    let mut made = 0;
    for topic in &request.topics {
        let outcome = if twice.contains(&*topic.name) {
            if !told.insert(&*topic.name) {
                continue;
            }
            Err((
                ErrorCode::InvalidRequest,
                "Duplicate topic name.".to_owned(),
            ))
        } else {
            extend(image, topic, context)
        };
        let (code, message) = match outcome {
            Ok(created) => {
                made += created.len();
                if !request.validate_only {
                    records.extend(created);
                }
                (ErrorCode::None, None)
            }
            Err((code, message)) => (code, Some(message.into())),
        };
        results.push(CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code: code.code(),
            error_message: message,
        });
        if made > RECORDS_PER_REQUEST_MAX {
            return too_many_partitions(request);
        }
    }
    Decision {
        records,
        answer: CreatePartitionsResponse {
            results,
            ..Default::default()
        },
    }
}

/// Refusal of a CreatePartitions that would make more than RECORDS_PER_REQUEST_MAX partitions: nothing of it happens.
fn too_many_partitions(request: &CreatePartitionsRequest) -> Decision<CreatePartitionsResponse> {
    let names: BTreeSet<&ByteString> = request.topics.iter().map(|topic| &topic.name).collect();
    let refusal = |name: &ByteString| CreatePartitionsTopicResult {
        name: name.clone(),
        error_code: ErrorCode::PolicyViolation.code(),
        error_message: Some(
            "Excessively large number of additional partitions per request.".into(),
        ),
    };
    Decision::only(CreatePartitionsResponse {
        results: names.into_iter().map(refusal).collect(),
        ..Default::default()
    })
}

fn extend(
    image: &Image,
    request: &CreatePartitionsTopic,
    context: &Context<'_>,
) -> Result<Vec<Record>, Refusal> {
    let topic = image.topics.by_name(&request.name).ok_or_else(|| {
        (
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.".to_owned(),
        )
    })?;
    let current = topic.partitions.len() as i32;
    if topic
        .partitions
        .iter()
        .any(|partition| !partition.adding.is_empty() || !partition.removing.is_empty())
    {
        return Err((
            ErrorCode::ReassignmentInProgress,
            "A partition reassignment is in progress.".to_owned(),
        ));
    }
    if request.count == current {
        return Err((
            ErrorCode::InvalidPartitions,
            format!("Topic already has {current} partition(s)."),
        ));
    }
    if request.count < current {
        return Err((
            ErrorCode::InvalidPartitions,
            format!(
                "The topic {} currently has {current} partition(s); {} would not be an increase.",
                request.name, request.count
            ),
        ));
    }
    let added = request.count - current;
    if added as usize > PARTITIONS_PER_REQUEST_MAX {
        return Err((
            ErrorCode::PolicyViolation,
            format!("Unable to perform excessively large batch operation of {added} partitions."),
        ));
    }
    let factor = topic
        .partitions
        .get(0)
        .map_or(1, |partition| partition.replicas.len());
    let assignment = match &request.assignments {
        Some(given) => {
            if given.len() != added as usize {
                return Err((
                    ErrorCode::InvalidReplicaAssignment,
                    format!(
                        "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                        given.len()
                    ),
                ));
            }
            given
                .iter()
                .map(|given| {
                    check_replicas(image, &given.broker_ids, Some(factor))
                        .map(|()| given.broker_ids.clone())
                })
                .collect::<Result<Vec<_>, _>>()?
        }
        None => place(
            image,
            current,
            added,
            factor as i16,
            context.clamp_replication,
        )?,
    };
    Ok(assignment
        .iter()
        .enumerate()
        .map(|(index, replicas)| {
            let partition = new_partition(image, replicas);
            partition_record(topic.id, current + index as i32, &partition).into()
        })
        .collect())
}
