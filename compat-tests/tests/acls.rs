//! Authorization is decided as by Apache Kafka, and a client without a right gets the same response.
//!
//! The scenes follow the broker's own table of rights. Each API is called by users who have no right, all rights, one right
//! alone, all rights but one, and exactly the rights of the table, for resources that exist and for others. Responses are
//! compared field by field. Further tests use Kafka's own tools and clients with ACLs.

use std::collections::BTreeSet;
use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use compat_tests::answers::Masks;
use compat_tests::apache::{self, Apache, PRESENT, SETTINGS};
use compat_tests::exchange::{Answer, Connection, produce};
use compat_tests::node::{Node, binary, free_port};
use compat_tests::programs::{eventually, run};
use monedula::api::rights::{self, RIGHTS, Right};
use monedula::base::ids::Uuid;
use monedula::security::acl::{
    CLUSTER_NAME, EVERYTHING, Operation, PatternType, Permission, ResourceType,
};
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::message::Request;
use monedula::wire::message::add_offsets_to_txn::AddOffsetsToTxnRequest;
use monedula::wire::message::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use monedula::wire::message::alter_client_quotas::{
    self, AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, OpData,
};
use monedula::wire::message::alter_configs::{self, AlterConfigsRequest};
use monedula::wire::message::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use monedula::wire::message::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use monedula::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion,
};
use monedula::wire::message::create_acls::{AclCreation, CreateAclsRequest};
use monedula::wire::message::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::delete_acls::{DeleteAclsFilter, DeleteAclsRequest};
use monedula::wire::message::delete_groups::DeleteGroupsRequest;
use monedula::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use monedula::wire::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use monedula::wire::message::describe_acls::DescribeAclsRequest;
use monedula::wire::message::describe_client_quotas::DescribeClientQuotasRequest;
use monedula::wire::message::describe_cluster::DescribeClusterRequest;
use monedula::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use monedula::wire::message::describe_groups::DescribeGroupsRequest;
use monedula::wire::message::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use monedula::wire::message::describe_producers::{self, DescribeProducersRequest};
use monedula::wire::message::describe_quorum::{self, DescribeQuorumRequest};
use monedula::wire::message::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, TopicRequest,
};
use monedula::wire::message::describe_transactions::DescribeTransactionsRequest;
use monedula::wire::message::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, UserName,
};
use monedula::wire::message::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use monedula::wire::message::end_txn::EndTxnRequest;
use monedula::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use monedula::wire::message::find_coordinator::FindCoordinatorRequest;
use monedula::wire::message::heartbeat::HeartbeatRequest;
use monedula::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use monedula::wire::message::init_producer_id::InitProducerIdRequest;
use monedula::wire::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use monedula::wire::message::leave_group::{LeaveGroupRequest, MemberIdentity};
use monedula::wire::message::list_config_resources::ListConfigResourcesRequest;
use monedula::wire::message::list_groups::ListGroupsRequest;
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use monedula::wire::message::list_partition_reassignments::ListPartitionReassignmentsRequest;
use monedula::wire::message::list_transactions::ListTransactionsRequest;
use monedula::wire::message::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use monedula::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use monedula::wire::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use monedula::wire::message::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use monedula::wire::message::produce::ProduceRequest;
use monedula::wire::message::sasl_authenticate::SaslAuthenticateRequest;
use monedula::wire::message::sasl_handshake::SaslHandshakeRequest;
use monedula::wire::message::sync_group::SyncGroupRequest;
use monedula::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use monedula::wire::message::unregister_broker::UnregisterBrokerRequest;
use monedula::wire::message::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use monedula::wire::message::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use regex::Regex;

/// A listener for super users, and one with authentication for other users.
const LISTENERS: &str = "\
listeners=PLAINTEXT://127.0.0.1:{port},SAFE://127.0.0.1:{safe},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SAFE:SASL_PLAINTEXT
listener.name.safe.sasl.enabled.mechanisms=PLAIN
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:root
";
const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";
const PASSWORD: &str = "secret";

/// Time limit for changes that a broker applies only after its response.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Time limit for a response, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(safe: u16, users: impl IntoIterator<Item = String>) -> String {
    let own = ["listeners=", "listener.security.protocol.map="];
    let base = SETTINGS
        .lines()
        .filter(|line| !own.iter().any(|own| line.starts_with(own)));
    let mut text: String = base.map(|line| format!("{line}\n")).collect();
    text += &LISTENERS.replace("{safe}", &safe.to_string());
    let users = users
        .into_iter()
        .map(|user| format!(" user_{user}=\"{PASSWORD}\""));
    let users: String = users.collect();
    text + &format!("listener.name.safe.plain.sasl.jaas.config={PLAIN}{users};\n")
}

/// One of the two brokers.
struct Broker {
    /// Address of the listener for super users.
    open: String,
    /// Port of the listener with authentication.
    safe: u16,
}

impl Broker {
    fn admin(&self) -> Result<Connection> {
        let mut connection = Connection::open(&self.open)?;
        connection.be_patient(PATIENCE)?;
        Ok(connection)
    }

    fn user(&self, name: &str) -> Result<Connection> {
        let mut connection = Connection::open(&format!("127.0.0.1:{}", self.safe))?;
        connection.be_patient(PATIENCE)?;
        let mechanism = "PLAIN".into();
        let hello = connection.answered(&SaslHandshakeRequest { mechanism }, 1)?;
        ensure!(hello.error_code == 0, "{hello:?}");
        let auth_bytes = Bytes::from(format!("\0{name}\0{PASSWORD}"));
        let entered = connection.answered(&SaslAuthenticateRequest { auth_bytes }, 1)?;
        ensure!(entered.error_code == 0, "{name}: {entered:?}");
        Ok(connection)
    }

    fn topic_id(&self, topic: &str) -> Result<Uuid> {
        let topics = Some(vec![MetadataRequestTopic {
            name: Some(topic.into()),
            ..Default::default()
        }]);
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let answer = self.admin()?.answered(&request, 12)?;
        let topic = answer.topics.first().context("no topic")?;
        let led = topic.partitions.iter().all(|one| one.leader_id >= 0);
        Ok(match topic.error_code == 0 && led {
            true => topic.topic_id,
            false => Uuid::ZERO,
        })
    }

    /// Creates topics with one partition and waits until the broker lists them.
    fn create(&self, topics: &[&str]) -> Result<()> {
        let made = topics.iter().map(|name| CreatableTopic {
            name: (*name).into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        });
        let request = CreateTopicsRequest {
            topics: made.collect(),
            ..Default::default()
        };
        let answer = self.admin()?.answered(&request, 7)?;
        ensure!(
            answer.topics.iter().all(|one| one.error_code == 0),
            "{answer:?}"
        );
        for topic in topics {
            let there = || self.topic_id(topic).is_ok_and(|id| !id.is_zero());
            ensure!(eventually(SETTLE_LIMIT, there), "{topic} is not shown");
        }
        Ok(())
    }

    /// Repeats a request until its response satisfies `seen`.
    fn until<R: Request>(
        &self,
        request: &R,
        version: i16,
        seen: impl Fn(&R::Response) -> bool,
    ) -> Result<()> {
        let mut last = None;
        let done = eventually(SETTLE_LIMIT, || {
            let answer = self
                .admin()
                .and_then(|mut open| open.answered(request, version));
            let good = answer.as_ref().is_ok_and(&seen);
            last = Some(answer);
            good
        });
        ensure!(done, "{} waited in vain: {last:?}", self.open);
        Ok(())
    }

    fn add_acls(&self, acls: Vec<AclCreation>) -> Result<()> {
        let request = CreateAclsRequest { creations: acls };
        let answer = self.admin()?.answered(&request, 3)?;
        let good = answer.results.iter().all(|one| one.error_code == 0);
        ensure!(good, "{answer:?}");
        // Kafka's broker applies the change some time after its controller has responded.
        let wanted: Vec<_> = request.creations.iter().map(said).collect();
        let all = DescribeAclsRequest {
            resource_type_filter: ResourceType::Any.code(),
            pattern_type_filter: PatternType::Any.code(),
            operation: Operation::Any.code(),
            permission_type: Permission::Any.code(),
            ..Default::default()
        };
        self.until(&all, 3, |answer| {
            let shown: BTreeSet<String> = answer
                .resources
                .iter()
                .flat_map(|resource| {
                    resource.acls.iter().map(|acl| {
                        said(&AclCreation {
                            resource_type: resource.resource_type,
                            resource_name: resource.resource_name.clone(),
                            resource_pattern_type: resource.pattern_type,
                            principal: acl.principal.clone(),
                            host: acl.host.clone(),
                            operation: acl.operation,
                            permission_type: acl.permission_type,
                        })
                    })
                })
                .collect();
            wanted.iter().all(|one| shown.contains(one))
        })
    }
}

fn said(acl: &AclCreation) -> String {
    format!("{acl:?}")
}

/// Both brokers with the same users.
struct Pair {
    ours: Broker,
    theirs: Broker,
    _node: Node,
    _apache: Apache,
    _dir: tempfile::TempDir,
}

impl Pair {
    fn start(users: &[String]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let safe = free_port()?;
        let text = settings(safe, users.iter().cloned());
        let data = dir.path().join("data");
        let apache = Apache::start_with(PRESENT, &text, dir.path(), &data)?;
        let theirs = Broker {
            open: apache.address(),
            safe,
        };
        let (node, ours) = ours(users)?;
        Ok(Self {
            ours,
            theirs,
            _node: node,
            _apache: apache,
            _dir: dir,
        })
    }

    fn both(&self) -> [&Broker; 2] {
        [&self.ours, &self.theirs]
    }
}

fn ours(users: &[String]) -> Result<(Node, Broker)> {
    let safe = free_port()?;
    let text = settings(safe, users.iter().cloned());
    let text = text.replace("{controller}", &free_port()?.to_string());
    let node = Node::with_settings(&text)?;
    let open = node.address().replace("localhost", "127.0.0.1");
    Ok((node, Broker { open, safe }))
}

fn acl(
    permission: Permission,
    user: &str,
    (operation, resource): Right,
    (pattern, name): (PatternType, &str),
) -> AclCreation {
    AclCreation {
        resource_type: resource.code(),
        resource_name: name.into(),
        resource_pattern_type: pattern.code(),
        principal: format!("User:{user}").into(),
        host: EVERYTHING.into(),
        operation: operation.code(),
        permission_type: permission.code(),
    }
}

/// An ACL for all resources of the right's type.
fn acl_of_all(permission: Permission, user: &str, right: Right) -> AclCreation {
    let name = match right.1 {
        ResourceType::Cluster => CLUSTER_NAME,
        _ => EVERYTHING,
    };
    acl(permission, user, right, (PatternType::Literal, name))
}

/// Resource types of the table of rights.
const RESOURCES: [ResourceType; 4] = [
    ResourceType::Topic,
    ResourceType::Group,
    ResourceType::Cluster,
    ResourceType::TransactionalId,
];

const NOBODY: &str = "none";
const ALMIGHTY: &str = "all";

fn only((operation, resource): Right) -> String {
    format!("only_{}_{}", operation.name(), resource.title())
}

fn all_but((operation, resource): Right) -> String {
    format!("but_{}_{}", operation.name(), resource.title())
}

fn just(key: i16) -> String {
    format!("just_{key}")
}

/// All rights that any API asks for.
fn all_rights() -> BTreeSet<Right> {
    RIGHTS
        .iter()
        .flat_map(|(_, rights)| *rights)
        .copied()
        .collect()
}

fn users() -> Vec<String> {
    let rights = all_rights().into_iter();
    let mut users: Vec<String> = rights
        .flat_map(|right| [only(right), all_but(right)])
        .collect();
    users.extend(RIGHTS.iter().map(|(key, _)| just(*key)));
    users.extend([NOBODY.to_owned(), ALMIGHTY.to_owned()]);
    users
}

fn acls() -> Vec<AclCreation> {
    use Permission::{Allow, Deny};
    let everything = |user: &str| -> Vec<AclCreation> {
        let each = RESOURCES.iter();
        each.map(|resource| acl_of_all(Allow, user, (Operation::All, *resource)))
            .collect()
    };
    let mut acls = everything(ALMIGHTY);
    for right in all_rights() {
        acls.push(acl_of_all(Allow, &only(right), right));
        acls.extend(everything(&all_but(right)));
        acls.push(acl_of_all(Deny, &all_but(right), right));
    }
    for (key, rights) in RIGHTS {
        let rights = rights.iter();
        acls.extend(rights.map(|right| acl_of_all(Allow, &just(*key), *right)));
    }
    acls
}

/// Parameters of a scene on one of the brokers.
struct Names {
    version: i16,
    topic: &'static str,
    id: Uuid,
    /// A topic that is created for this request alone.
    own: String,
    own_id: Uuid,
    /// A name that no topic has had yet.
    fresh: String,
}

type Ask = Box<dyn Fn(&mut Connection, i16, &Names, &Masks) -> Result<Option<String>>>;

/// A request that names an existing topic or one that does not exist.
struct Scene {
    name: String,
    key: i16,
    topic: &'static str,
    has_own: bool,
    newest: i16,
    oldest: i16,
    ask: Ask,
}

const THERE: &str = "there";
const ABSENT: &str = "absent";

/// All scenes, as they are added.
#[derive(Default)]
struct Scenes(Vec<Scene>);

impl Scenes {
    /// Adds a scene with a topic that exists, and one with a topic that does not.
    fn topic<R: Request + 'static>(
        &mut self,
        name: &str,
        request: impl Fn(&Names) -> R + Clone + 'static,
    ) where
        R::Response: fmt::Debug,
    {
        for topic in [THERE, ABSENT] {
            self.add(&format!("{name}, {topic}"), topic, request.clone());
        }
    }

    fn other<R: Request + 'static>(&mut self, name: &str, request: impl Fn(&Names) -> R + 'static)
    where
        R::Response: fmt::Debug,
    {
        self.add(name, THERE, request);
    }

    fn add<R: Request + 'static>(
        &mut self,
        name: &str,
        topic: &'static str,
        request: impl Fn(&Names) -> R + 'static,
    ) where
        R::Response: fmt::Debug,
    {
        let whole = |answer: &R::Response, masks: &Masks| masks.plain(answer);
        self.add_told(name, topic, request, whole);
    }

    /// Adds a scene in which only a part of the response is compared.
    fn add_told<R: Request + 'static>(
        &mut self,
        name: &str,
        topic: &'static str,
        request: impl Fn(&Names) -> R + 'static,
        told: fn(&R::Response, &Masks) -> String,
    ) {
        self.0.push(Scene {
            name: format!("{} {name}", R::NAME.trim_end_matches("Request")),
            key: R::KEY,
            topic,
            has_own: false,
            newest: *R::VERSIONS.end(),
            oldest: *R::VERSIONS.start(),
            ask: Box::new(move |connection, version, names, masks| {
                let answer = connection.ask(&request(names), version)?;
                Ok(answer.map(|answer| match answer {
                    Answer::Response(answer) => told(&answer, masks),
                    other => format!("{other:?}"),
                }))
            }),
        });
    }

    /// Gives the last scene a topic of its own.
    fn with_own_topic(&mut self) {
        if let Some(last) = self.0.last_mut() {
            last.has_own = true;
        }
    }
}

fn batch() -> Bytes {
    let mut batch = BatchBuilder::default();
    batch.push(1_700_000_000_000, None, Some(b"x"));
    batch.build()
}

fn scenes() -> Vec<Scene> {
    let mut scenes = Scenes::default();
    of_records(&mut scenes);
    of_topics(&mut scenes);
    of_groups(&mut scenes);
    of_transactions(&mut scenes);
    of_settings(&mut scenes);
    of_the_cluster(&mut scenes);
    scenes.0
}

fn of_records(scenes: &mut Scenes) {
    scenes.topic("one record", |names| {
        let mut request = produce(names.topic, 0, batch());
        request.topic_data[0].topic_id = names.id;
        request
    });
    scenes.topic("a transactional record", |names| {
        let mut batch = BatchBuilder::default().producer(77, 0, 0).transactional();
        batch.push(1_700_000_000_000, None, Some(b"x"));
        let mut request = produce(names.topic, 0, batch.build());
        request.topic_data[0].topic_id = names.id;
        request.transactional_id = Some("tx".into());
        request
    });
    for replica in [-1, 9] {
        scenes.topic(&format!("as {replica}"), move |names| {
            let mut request = FetchRequest {
                replica_id: if names.version < 15 { replica } else { -1 },
                max_bytes: 1 << 20,
                session_epoch: -1,
                topics: vec![FetchTopic {
                    topic: names.topic.into(),
                    topic_id: names.id,
                    partitions: vec![FetchPartition {
                        // The records differ, because they depend on which users before could write.
                        fetch_offset: 1_000_000,
                        partition_max_bytes: 1,
                        ..Default::default()
                    }],
                }],
                ..Default::default()
            };
            if names.version >= 15 {
                request.replica_state.replica_id = replica;
            }
            request
        });
    }
    scenes.topic("the beginning", |names| ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: names.topic.into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: -2,
                max_num_offsets: 1,
                ..Default::default()
            }],
        }],
        ..Default::default()
    });
    scenes.topic("an epoch", |names| OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic {
            topic: names.topic.into(),
            partitions: vec![OffsetForLeaderPartition {
                leader_epoch: 99,
                ..Default::default()
            }],
        }],
    });
    scenes.topic("before 0", |names| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: names.topic.into(),
            partitions: vec![DeleteRecordsPartition::default()],
        }],
        timeout_ms: 30_000,
    });
    scenes.topic("producers", |names| DescribeProducersRequest {
        topics: vec![describe_producers::TopicRequest {
            name: names.topic.into(),
            partition_indexes: vec![0],
        }],
    });
}

fn of_topics(scenes: &mut Scenes) {
    let by_name = |name: &str| MetadataRequestTopic {
        name: Some(name.into()),
        ..Default::default()
    };
    for operations in [false, true] {
        scenes.topic(&format!("by name, operations {operations}"), move |names| {
            MetadataRequest {
                topics: Some(vec![by_name(names.topic)]),
                allow_auto_topic_creation: false,
                include_topic_authorized_operations: operations && names.version >= 8,
                include_cluster_authorized_operations: operations
                    && (8..=10).contains(&names.version),
            }
        });
        scenes.other(&format!("all, operations {operations}"), move |names| {
            MetadataRequest {
                topics: None,
                include_topic_authorized_operations: operations && names.version >= 8,
                include_cluster_authorized_operations: operations
                    && (8..=10).contains(&names.version),
                ..Default::default()
            }
        });
        scenes.other(&format!("operations {operations}"), move |_| {
            DescribeClusterRequest {
                include_cluster_authorized_operations: operations,
                endpoint_type: 1,
                ..Default::default()
            }
        });
    }
    scenes.topic("by id", |names| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: None,
            topic_id: match names.id.is_zero() {
                true => Uuid([7; 16]),
                false => names.id,
            },
        }]),
        include_topic_authorized_operations: true,
        ..Default::default()
    });
    // For a topic that has just been created, Kafka first answers that it has no leader.
    let told = |answer: &MetadataResponse, _: &Masks| {
        let denied = answer.topics.iter().map(|topic| topic.error_code == 29);
        format!("{:?}", denied.collect::<Vec<_>>())
    };
    let makes = |names: &Names| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(names.fresh.as_str().into()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    scenes.add_told("a new one", ABSENT, makes, told);
    scenes.topic("by name", |names| DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest {
            name: names.topic.into(),
        }],
        response_partition_limit: 100,
        ..Default::default()
    });
    scenes.other("all", |_| DescribeTopicPartitionsRequest {
        response_partition_limit: 100,
        ..Default::default()
    });
    scenes.other("a new one", |names| CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: names.fresh.as_str().into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        validate_only: true,
        timeout_ms: 30_000,
    });
    scenes.other("one that is there", |names| CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: names.topic.into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        validate_only: true,
        timeout_ms: 30_000,
    });
    scenes.other("one that is there, by name", |names| {
        by_its_name(names, &names.own)
    });
    scenes.with_own_topic();
    scenes.other("one that is there, by id", |names| DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: None,
            topic_id: names.own_id,
        }],
        timeout_ms: 30_000,
        ..Default::default()
    });
    scenes.with_own_topic();
    scenes.other("one that is not there, by name", |names| {
        by_its_name(names, ABSENT)
    });
    scenes.other("one that is not there, by id", |_| DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: None,
            topic_id: Uuid([7; 16]),
        }],
        timeout_ms: 30_000,
        ..Default::default()
    });
    scenes.topic("five", |names| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: names.topic.into(),
            count: 5,
            assignments: None,
        }],
        timeout_ms: 30_000,
        validate_only: true,
    });
}

/// A DeleteTopics request. Its field for names is another one in the versions that have topic ids.
fn by_its_name(names: &Names, topic: &str) -> DeleteTopicsRequest {
    let state = DeleteTopicState {
        name: Some(topic.into()),
        ..Default::default()
    };
    let has_ids = names.version >= 6;
    DeleteTopicsRequest {
        topic_names: (!has_ids).then(|| topic.into()).into_iter().collect(),
        topics: has_ids.then_some(state).into_iter().collect(),
        timeout_ms: 30_000,
    }
}

fn of_groups(scenes: &mut Scenes) {
    for group in ["there", "absent"] {
        scenes.other(&format!("group {group}"), move |names| {
            DescribeGroupsRequest {
                groups: vec![group.into()],
                include_authorized_operations: names.version >= 3,
            }
        });
        scenes.other(&format!("group {group}"), move |_| JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: 1,
            rebalance_timeout_ms: 1,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                ..Default::default()
            }],
            ..Default::default()
        });
        scenes.other(&format!("group {group}"), move |_| SyncGroupRequest {
            group_id: group.into(),
            member_id: "m".into(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            ..Default::default()
        });
        scenes.other(&format!("group {group}"), move |_| HeartbeatRequest {
            group_id: group.into(),
            member_id: "m".into(),
            ..Default::default()
        });
        scenes.other(&format!("group {group}"), move |names| {
            let many = names.version >= 3;
            let member = MemberIdentity {
                member_id: "m".into(),
                ..Default::default()
            };
            LeaveGroupRequest {
                group_id: group.into(),
                member_id: if many { "" } else { "m" }.into(),
                members: many.then_some(member).into_iter().collect(),
            }
        });
        scenes.topic(&format!("group {group}"), move |names| {
            let topics = OffsetFetchRequestTopics {
                name: names.topic.into(),
                topic_id: names.id,
                partition_indexes: vec![0],
            };
            fetched(names, group, Some(topics))
        });
        scenes.other(&format!("group {group}, all"), move |names| {
            fetched(names, group, None)
        });
    }
    scenes.other("all", |_| ListGroupsRequest::default());
    scenes.topic("an offset", |names| OffsetCommitRequest {
        group_id: "there".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: names.topic.into(),
            topic_id: names.id,
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 5,
                ..Default::default()
            }],
        }],
        ..Default::default()
    });
    scenes.topic("an offset that nobody committed", |names| {
        OffsetDeleteRequest {
            group_id: "kept".into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: names.topic.into(),
                partitions: vec![OffsetDeleteRequestPartition::default()],
            }],
        }
    });
    scenes.other("one that is not there", |_| DeleteGroupsRequest {
        groups_names: vec!["absent".into()],
    });
    for (kind, key) in [(0, "there"), (1, "tx")] {
        scenes.other(&format!("of kind {kind}"), move |names| {
            let many = names.version >= 4;
            FindCoordinatorRequest {
                key: if many { "" } else { key }.into(),
                key_type: kind,
                coordinator_keys: many.then(|| key.into()).into_iter().collect(),
            }
        });
    }
}

/// An OffsetFetch request. Its field for groups is another one in the versions with several groups.
fn fetched(
    names: &Names,
    group: &str,
    topics: Option<OffsetFetchRequestTopics>,
) -> OffsetFetchRequest {
    if names.version < 8 {
        let of_one = |one: &OffsetFetchRequestTopics| OffsetFetchRequestTopic {
            name: one.name.clone(),
            partition_indexes: one.partition_indexes.clone(),
        };
        return OffsetFetchRequest {
            group_id: group.into(),
            topics: topics.as_ref().map(|one| vec![of_one(one)]),
            ..Default::default()
        };
    }
    OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            member_epoch: -1,
            topics: topics.map(|one| vec![one]),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn of_transactions(scenes: &mut Scenes) {
    scenes.other("without transactions", |_| InitProducerIdRequest {
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    });
    scenes.other("of a stranger", |_| InitProducerIdRequest {
        transactional_id: Some("tx".into()),
        transaction_timeout_ms: 60_000,
        producer_id: 999_999,
        producer_epoch: 5,
        ..Default::default()
    });
    scenes.topic("of a stranger", |names| added(names, &[names.topic]));
    scenes.other("of a stranger, two topics", |names| {
        added(names, &[THERE, ABSENT])
    });
    scenes.other("of a stranger", |_| AddOffsetsToTxnRequest {
        transactional_id: "tx".into(),
        producer_id: 999_999,
        group_id: "there".into(),
        ..Default::default()
    });
    scenes.other("of a stranger", |_| EndTxnRequest {
        transactional_id: "tx".into(),
        producer_id: 999_999,
        ..Default::default()
    });
    scenes.topic("of a stranger", |names| TxnOffsetCommitRequest {
        transactional_id: "tx".into(),
        group_id: "there".into(),
        producer_id: 999_999,
        generation_id_or_member_epoch: -1,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: names.topic.into(),
            topic_id: names.id,
            partitions: vec![TxnOffsetCommitRequestPartition::default()],
        }],
        ..Default::default()
    });
    scenes.other("for a topic that is not there", |_| {
        WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: 77,
                topics: vec![WritableTxnMarkerTopic {
                    name: ABSENT.into(),
                    partition_indexes: vec![0],
                }],
                ..Default::default()
            }],
        }
    });
    for id in ["tx", "absent"] {
        scenes.other(id, move |_| DescribeTransactionsRequest {
            transactional_ids: vec![id.into()],
        });
    }
    scenes.other("all", |_| ListTransactionsRequest {
        duration_filter: -1,
        ..Default::default()
    });
}

/// An AddPartitionsToTxn request. Its field for transactions is another one in the versions for brokers.
fn added(names: &Names, topics: &[&str]) -> AddPartitionsToTxnRequest {
    let topics: Vec<_> = topics
        .iter()
        .map(|name| AddPartitionsToTxnTopic {
            name: (*name).into(),
            partitions: vec![0],
        })
        .collect();
    if names.version < 4 {
        return AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: "tx".into(),
            v3_and_below_producer_id: 999_999,
            v3_and_below_topics: topics,
            ..Default::default()
        };
    }
    AddPartitionsToTxnRequest {
        transactions: vec![AddPartitionsToTxnTransaction {
            transactional_id: "tx".into(),
            producer_id: 999_999,
            topics,
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Types and names of config resources with one setting each. A topic has an empty name here, for the topic of the scene.
const CONFIGURED: &[(i8, &str, &str)] = &[
    (2, "", "retention.ms"),
    (4, "1", "log.retention.ms"),
    (4, "", "log.retention.ms"),
    (16, "metrics", "interval.ms"),
    (32, "there", "consumer.session.timeout.ms"),
];

fn of_settings(scenes: &mut Scenes) {
    for (kind, name, key) in CONFIGURED.iter().copied() {
        let named = move |names: &Names| match kind {
            2 => names.topic,
            _ => name,
        };
        let title = format!("{kind} {name}");
        scenes.topic(&title, move |names| DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: kind,
                resource_name: named(names).into(),
                configuration_keys: Some(vec![key.into()]),
            }],
            ..Default::default()
        });
        scenes.topic(&title, move |names| AlterConfigsRequest {
            resources: vec![alter_configs::AlterConfigsResource {
                resource_type: kind,
                resource_name: named(names).into(),
                configs: vec![alter_configs::AlterableConfig {
                    name: key.into(),
                    value: Some("50000".into()),
                }],
            }],
            validate_only: true,
        });
        scenes.topic(&title, move |names| IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: kind,
                resource_name: named(names).into(),
                configs: vec![AlterableConfig {
                    name: key.into(),
                    config_operation: 0,
                    value: Some("50000".into()),
                }],
            }],
            validate_only: true,
        });
    }
    scenes.other("of groups", |names| ListConfigResourcesRequest {
        resource_types: (names.version > 0).then_some(32).into_iter().collect(),
    });
    scenes.other("all", |_| DescribeClientQuotasRequest::default());
    scenes.other("of a user", |_| AlterClientQuotasRequest {
        entries: vec![AlterClientQuotasRequestEntryData {
            entity: vec![alter_client_quotas::EntityData {
                entity_type: "user".into(),
                entity_name: Some("u".into()),
            }],
            ops: vec![OpData {
                key: "producer_byte_rate".into(),
                value: 1e6,
                remove: false,
            }],
        }],
        validate_only: true,
    });
    scenes.other("of nobody", |_| DescribeUserScramCredentialsRequest {
        users: Some(vec![UserName {
            name: "nobody".into(),
        }]),
    });
    scenes.other("of nobody", |_| AlterUserScramCredentialsRequest {
        deletions: vec![ScramCredentialDeletion {
            name: "nobody".into(),
            mechanism: 1,
        }],
        ..Default::default()
    });
}

fn of_the_cluster(scenes: &mut Scenes) {
    let nobody = |text: &'static str| Some(text.into());
    scenes.other("of nobody", move |_| DescribeAclsRequest {
        resource_type_filter: ResourceType::Any.code(),
        pattern_type_filter: PatternType::Literal.code(),
        principal_filter: nobody("User:nobody"),
        operation: Operation::Any.code(),
        permission_type: Permission::Any.code(),
        ..Default::default()
    });
    scenes.other("one that is not good", |_| CreateAclsRequest {
        creations: vec![acl(
            Permission::Allow,
            "x",
            (Operation::Read, ResourceType::Topic),
            (PatternType::Literal, ""),
        )],
    });
    scenes.other("of nobody", move |_| DeleteAclsRequest {
        filters: vec![DeleteAclsFilter {
            resource_type_filter: ResourceType::Any.code(),
            pattern_type_filter: PatternType::Literal.code(),
            principal_filter: nobody("User:nobody"),
            operation: Operation::Any.code(),
            permission_type: Permission::Any.code(),
            ..Default::default()
        }],
    });
    scenes.topic("to nowhere", |names| AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir {
            path: "/nowhere".into(),
            topics: vec![AlterReplicaLogDirTopic {
                name: names.topic.into(),
                partitions: vec![0],
            }],
        }],
    });
    scenes.other("of nothing", |_| DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic {
            topic: ABSENT.into(),
            partitions: vec![0],
        }]),
    });
    scenes.topic("the first", |names| ElectLeadersRequest {
        topic_partitions: Some(vec![TopicPartitions {
            topic: names.topic.into(),
            partitions: vec![0],
        }]),
        ..Default::default()
    });
    scenes.topic("the same", |names| AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic {
            name: names.topic.into(),
            partitions: vec![ReassignablePartition {
                partition_index: 0,
                replicas: None,
            }],
        }],
        ..Default::default()
    });
    scenes.other("all", |_| ListPartitionReassignmentsRequest::default());
    scenes.other("the metadata", |_| DescribeQuorumRequest {
        topics: vec![describe_quorum::DescribeQuorumRequestTopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![describe_quorum::DescribeQuorumRequestPartitionData::default()],
        }],
    });
    scenes.other("of an unknown feature", |names| UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: "unknown".into(),
            max_version_level: 1,
            upgrade_type: 1,
            ..Default::default()
        }],
        validate_only: names.version > 0,
        ..Default::default()
    });
    scenes.other("one that is not there", |_| UnregisterBrokerRequest {
        broker_id: 99,
    });
}

/// APIs of the table without a scene: those without rights, and those of the consumer protocol and of share groups.
const UNSEEN: &[i16] = &[
    17, 18, 36, 38, 39, 40, 41, 68, 69, 76, 77, 78, 79, 83, 84, 85, 86, 87, 90, 91, 92,
];

/// Further values that differ between two brokers in the same state: offsets and epochs of the metadata and of the log.
const FURTHER_MASKS: &[(&str, &str)] = &[
    (
        r"(high_watermark|last_stable_offset|log_end_offset|leader_epoch|base_offset|last_\w+_timestamp|transaction_start_time_ms): -?\d+",
        "$1: _",
    ),
    (r#"member_id: "[^"]+""#, "member_id: _"),
];

/// Users whose rights matter for an API.
fn askers(key: i16) -> Vec<String> {
    let rights = rights::of(key).iter();
    let mut users: Vec<String> = rights
        .flat_map(|right| [only(*right), all_but(*right)])
        .collect();
    users.extend([NOBODY.to_owned(), ALMIGHTY.to_owned(), just(key)]);
    users
}

fn warm_up(broker: &Broker) -> Result<()> {
    broker.create(&[THERE, "other"])?;
    for (key_type, key) in [(0, "there"), (1, "tx")] {
        let find = FindCoordinatorRequest {
            key_type,
            coordinator_keys: vec![key.into()],
            ..Default::default()
        };
        broker.until(&find, 4, |answer| answer.coordinators[0].error_code == 0)?;
    }
    broker.until(&ListGroupsRequest::default(), 4, |answer| {
        answer.error_code == 0
    })?;
    let transactions = ListTransactionsRequest {
        duration_filter: -1,
        ..Default::default()
    };
    broker.until(&transactions, 1, |answer| answer.error_code == 0)?;
    for (group, topic) in [("there", THERE), ("kept", "other")] {
        let commit = OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: -1,
            topics: vec![OffsetCommitRequestTopic {
                name: topic.into(),
                partitions: vec![OffsetCommitRequestPartition {
                    committed_offset: 5,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        broker.until(&commit, 8, |answer| {
            answer.topics[0].partitions[0].error_code == 0
        })?;
    }
    let init = InitProducerIdRequest {
        transactional_id: Some("tx".into()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    broker.until(&init, 4, |answer| answer.error_code == 0)
}

/// Response of one broker as a text.
fn asked(
    broker: &Broker,
    scene: &Scene,
    user: &str,
    version: i16,
    number: usize,
    masks: &(Masks, Vec<(Regex, &'static str)>),
) -> Result<Option<String>> {
    let own = format!("own-{number}");
    if scene.has_own {
        broker.create(&[&own])?;
    }
    let names = Names {
        version,
        topic: scene.topic,
        id: broker.topic_id(scene.topic)?,
        own_id: match scene.has_own {
            true => broker.topic_id(&own)?,
            false => Uuid::ZERO,
        },
        own: own.clone(),
        fresh: format!("fresh-{number}"),
    };
    let mut connection = broker.user(user)?;
    let mut answer = (scene.ask)(&mut connection, version, &names, &masks.0)?;
    for (mask, name) in &masks.1 {
        answer = answer.map(|text| mask.replace_all(&text, *name).into_owned());
    }
    if scene.has_own {
        let gone = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: Some(own.as_str().into()),
                ..Default::default()
            }],
            timeout_ms: 30_000,
            ..Default::default()
        };
        broker.admin()?.answered(&gone, 6)?;
        let is_gone = || broker.topic_id(&own).is_ok_and(|id| id.is_zero());
        ensure!(eventually(SETTLE_LIMIT, is_gone), "{own} is still there");
    }
    Ok(answer)
}

/// Scenes in which all users get the same response, because the cluster's operations are not asked for or an id has no topic.
const DEAF: &[&str] = &[
    "DescribeCluster operations false",
    "Metadata by id, absent",
    "DeleteTopics one that is not there, by id",
];

#[test]
#[ignore = "needs Java"]
fn every_right_of_the_table_is_asked_for_as_by_apache_kafka() -> Result<()> {
    let scenes = scenes();
    let seen: BTreeSet<i16> = scenes.iter().map(|scene| scene.key).collect();
    let listed = RIGHTS.iter().map(|(key, _)| *key);
    let unseen: Vec<i16> = listed.filter(|key| !seen.contains(key)).collect();
    ensure!(unseen == UNSEEN, "without a scene: {unseen:?}");

    let pair = Pair::start(&users())?;
    for broker in pair.both() {
        warm_up(broker)?;
        broker.add_acls(acls())?;
    }
    let offered = |broker: &Broker| broker.admin()?.versions();
    let offers = [offered(&pair.ours)?, offered(&pair.theirs)?];
    let range = |key: i16| {
        let of = |keys: &monedula::wire::message::api_versions::ApiVersionsResponse| {
            let found = keys.api_keys.iter().find(|one| one.api_key == key);
            found.map(|one| (one.min_version, one.max_version))
        };
        Some((of(&offers[0])?, of(&offers[1])?))
    };
    let further = FURTHER_MASKS.iter();
    let further = further.map(|(mask, name)| Ok((Regex::new(mask)?, *name)));
    let masks = (Masks::new()?, further.collect::<Result<Vec<_>>>()?);
    let (mut faults, mut number, mut deaf) = (Vec::new(), 0, Vec::new());
    for scene in &scenes {
        let (ours, theirs) = range(scene.key).with_context(|| format!("API {}", scene.key))?;
        // Kafka lists the oldest versions of Produce, but serves none of them.
        let served = if scene.key == ProduceRequest::KEY {
            3
        } else {
            0
        };
        let oldest = ours.0.max(theirs.0).max(scene.oldest).max(served);
        let newest = ours.1.min(theirs.1).min(scene.newest);
        let mut tells = false;
        for version in oldest..=newest {
            let mut told = BTreeSet::new();
            for user in askers(scene.key) {
                number += 1;
                let ask = |broker| asked(broker, scene, &user, version, number, &masks);
                let title = || format!("{} v{version} by {user}", scene.name);
                let ours = ask(&pair.ours).with_context(title)?;
                let theirs = ask(&pair.theirs).with_context(title)?;
                // The request cannot be encoded in this version.
                let (Some(ours), Some(theirs)) = (ours, theirs) else {
                    break;
                };
                if ours != theirs {
                    faults.push(format!("{}\n  ours   {ours}\n  theirs {theirs}", title()));
                }
                told.insert(ours);
            }
            tells |= told.len() > 1;
        }
        if !tells {
            deaf.push(scene.name.as_str());
        }
    }
    println!("{number} answers compared");
    ensure!(deaf == DEAF, "the same for everybody: {deaf:?}");
    ensure!(
        faults.is_empty(),
        "{} differ\n{}",
        faults.len(),
        faults.join("\n")
    );
    Ok(())
}

const ACLS: &str = "org.apache.kafka.tools.AclCommand";

/// Arguments of `kafka-acls`, run in this order; at the end no ACLs are left.
const SCRIPT: &[&str] = &[
    "--list",
    "--add --allow-principal User:ann --producer --topic t",
    "--add --allow-principal User:bob --allow-host 1.2.3.4 --deny-principal User:cid --operation Read --operation Write --topic t --topic u",
    "--add --allow-principal User:bob --consumer --topic p- --group g --resource-pattern-type prefixed",
    "--add --allow-principal User:ann --cluster --operation Alter",
    "--add --allow-principal User:ann --idempotent --producer --transactional-id x --topic t",
    "--add --allow-principal User:* --operation DescribeConfigs --topic *",
    "--add --allow-principal User:dan --user-principal User:ann --operation CreateTokens",
    "--list",
    "--list --topic t",
    "--list --topic t --resource-pattern-type match",
    "--list --topic p-x --resource-pattern-type match",
    "--list --topic p- --resource-pattern-type any",
    "--list --principal User:bob",
    "--list --principal User:bob --principal User:ann --topic t",
    "--list --topic nope",
    "--add --allow-principal User:a",
    "--add --topic t",
    "--add --allow-principal a --topic t",
    "--add --allow-principal User:a --group g --operation Write",
    "--add --allow-principal User:a --topic t --resource-pattern-type any",
    "--add --allow-principal User:a --topic t --producer --operation Read",
    "--add --list",
    "--remove --force --allow-principal User:ann --operation Write --topic t",
    "--remove --force --topic u",
    "--remove --force --group g --resource-pattern-type any",
    "--remove --force --topic t",
    "--remove --force --topic * --cluster --transactional-id x --user-principal User:ann",
    "--remove --force --topic p- --resource-pattern-type prefixed",
    "--list",
];

/// The output with its lines sorted, because Kafka's tool prints them in the order of its hash tables.
fn in_order(page: &str) -> String {
    let mut lines: Vec<&str> = page
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
#[ignore = "needs Java"]
fn kafka_acls_prints_the_same() -> Result<()> {
    let pair = Pair::start(&[NOBODY.to_owned()])?;
    let pages = |broker: &Broker| -> Result<Vec<(String, i32)>> {
        let runs: Vec<apache::Run<'_>> = SCRIPT
            .iter()
            .map(|words| {
                let mut line = vec!["--bootstrap-server", broker.open.as_str()];
                line.extend(words.split(' '));
                (ACLS, line, "n\n")
            })
            .collect();
        apache::tools(&runs)
    };
    let theirs = pages(&pair.theirs)?;
    let ours = pages(&pair.ours)?;
    let mut faults = Vec::new();
    for (number, words) in SCRIPT.iter().enumerate() {
        let mut command = Command::new(binary());
        command.args(["acls", "--bootstrap-server", &pair.ours.open]);
        let finished = run(command.args(words.split(' ')), "n\n", PATIENCE)?;
        let (expected, code) = &theirs[number];
        let shown = |what: &str, page: &str, code: i32| {
            format!("{words} ({what}): {code}\n{}\n", in_order(page))
        };
        // For wrong options, our tool has error messages of its own.
        let of_tool = match code {
            0 => shown("tool", &finished.stdout, i32::from(!finished.success)),
            _ => shown("tool", expected, i32::from(!finished.success)),
        };
        if of_tool != shown("tool", expected, *code) {
            faults.push(format!("{of_tool}{}", shown("theirs", expected, *code)));
        }
        let of_broker = shown("broker", &ours[number].0, ours[number].1);
        if of_broker != shown("broker", expected, *code) {
            faults.push(format!("{of_broker}{}", shown("theirs", expected, *code)));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Options with which kcat authenticates.
fn login(user: &str) -> Vec<String> {
    let settings = [
        "security.protocol=SASL_PLAINTEXT".to_owned(),
        "sasl.mechanism=PLAIN".to_owned(),
        format!("sasl.username={user}"),
        format!("sasl.password={PASSWORD}"),
    ];
    settings
        .iter()
        .flat_map(|one| ["-X".to_owned(), one.clone()])
        .collect()
}

/// Runs kcat; returns whether it succeeded, and its output.
fn said_by_kcat(
    broker: &Broker,
    user: &str,
    words: &[&str],
    input: &str,
) -> Result<(bool, String)> {
    let mut command = Command::new("kcat");
    command.args(["-b", &format!("127.0.0.1:{}", broker.safe)]);
    let finished = run(command.args(login(user)).args(words), input, PATIENCE)?;
    Ok((finished.success, finished.stdout + &finished.stderr))
}

/// Clients of librdkafka with the least rights that they need, and with one right less.
#[test]
#[ignore = "needs kcat"]
fn librdkafka_needs_what_kafka_says_it_needs() -> Result<()> {
    use Operation::{Describe, Read, Write};
    use Permission::Allow;
    use ResourceType::{Group, Topic};
    let users = ["writer", "prefixed", "reader", "watcher", NOBODY].map(str::to_owned);
    let (node, broker) = ours(&users)?;
    broker.create(&["t", "u", "pt"])?;
    let literal = |name| (PatternType::Literal, name);
    let prefixed = |name| (PatternType::Prefixed, name);
    broker.add_acls(vec![
        acl(Allow, "writer", (Write, Topic), literal("t")),
        acl(Allow, "prefixed", (Operation::All, Topic), prefixed("p")),
        acl(Allow, "reader", (Read, Topic), literal("t")),
        acl(Allow, "reader", (Read, Group), literal("g")),
        acl(Allow, "watcher", (Describe, Topic), literal("*")),
        acl(Allow, "watcher", (Describe, Group), literal("*")),
    ])?;
    let kcat = |user: &str, words: &[&str], input: &str| said_by_kcat(&broker, user, words, input);
    // An idempotent producer needs only the right to write to some topic, by name or by prefix.
    let idempotent = ["-X", "enable.idempotence=true"];
    for (user, topic, good) in [
        ("writer", "t", true),
        ("prefixed", "pt", true),
        ("writer", "u", false),
        ("reader", "t", false),
        (NOBODY, "t", false),
    ] {
        for more in [&idempotent[..], &[]] {
            let words = [&["-P", "-t", topic], more].concat();
            let words = [&words[..], &["-X", "message.timeout.ms=5000"]].concat();
            let (success, said) = kcat(user, &words, "one\n")?;
            // kcat may exit successfully although the producer was refused: it exits as soon as it is told.
            let told = said.to_lowercase().contains("authorization failed");
            ensure!(
                if good { success && !told } else { told },
                "{user} to {topic}: {said}"
            );
        }
    }
    // The log has the text of Kafka's authorizer, with the name of its logger.
    let told = "Principal = User:none is Denied operation = DESCRIBE from host = 127.0.0.1 on resource = Topic:LITERAL:t for request = Metadata based on rule DefaultDeny";
    let log = node.log()?;
    let is_told =
        |line: &&String| line.contains(told) && line.ends_with("(kafka.authorizer.logger)");
    // Equal denials of one client within some seconds are only counted.
    let times = log.iter().filter(is_told).count();
    ensure!((1..=3).contains(&times), "{log:#?}");
    // A subscription by pattern finds the topics that its user may read, and ignores all others.
    let words = [
        "-G",
        "g",
        "-e",
        "-q",
        "-X",
        "auto.offset.reset=earliest",
        "^.*",
    ];
    let (success, said) = kcat("reader", &words, "")?;
    ensure!(success && said.contains("one"), "{said}");
    // A prefix of topics covers neither groups nor transactional ids.
    let (success, said) = kcat("prefixed", &["-G", "pg", "-e", "pt"], "")?;
    let plain = said.to_lowercase().replace('_', " ");
    ensure!(
        !success && plain.contains("group authorization failed"),
        "{said}"
    );
    // A user with Describe sees names and offsets, but no records.
    let (success, said) = kcat("watcher", &["-L"], "")?;
    ensure!(success && said.contains("\"u\""), "{said}");
    let (success, said) = kcat("watcher", &["-Q", "-t", "t:0:-1"], "")?;
    ensure!(success && said.contains("offset 2"), "{said}");
    let (success, said) = kcat("watcher", &["-C", "-e", "-o", "beginning", "-t", "t"], "")?;
    ensure!(!success || !said.contains("one\n"), "{said}");
    let (_, said) = kcat(NOBODY, &["-L"], "")?;
    ensure!(!said.contains("\"t\"") && !said.contains("\"u\""), "{said}");
    Ok(())
}

/// Kafka's own tools with the least rights that they need, and with one right less.
#[test]
#[ignore = "needs Java"]
fn tools_of_apache_kafka_need_what_they_need_there() -> Result<()> {
    let users = ["ann", "bob", NOBODY].map(str::to_owned);
    let pair = Pair::start(&users)?;
    let dir = tempfile::tempdir()?;
    let file = |user: &str| -> Result<String> {
        let path = dir.path().join(user);
        let module = format!("{PLAIN} username=\"{user}\" password=\"{PASSWORD}\";");
        let text = format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={module}\n"
        );
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let files: Vec<(String, String)> = users
        .iter()
        .map(|user| Ok((user.clone(), file(user)?)))
        .collect::<Result<_>>()?;
    let config = |user: &str| {
        let found = files.iter().find(|(name, _)| name == user);
        found.map_or("", |(_, file)| file.as_str())
    };
    const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
    const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
    const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let play = |broker: &Broker| -> Result<Vec<(String, i32)>> {
        broker.create(&["t", "u"])?;
        let safe = format!("127.0.0.1:{}", broker.safe);
        let as_admin = |words: &'static str| {
            let words = words.split(' ');
            let line = ["--bootstrap-server", broker.open.as_str()];
            (ACLS, line.into_iter().chain(words).collect::<Vec<_>>(), "")
        };
        let by = |user: &str, class: &'static str, words: &'static str, input: &'static str| {
            let mut line = vec![
                "--bootstrap-server",
                safe.as_str(),
                "--command-config",
                config(user),
            ];
            line.extend(words.split(' '));
            (class, line, input)
        };
        let read = "--topic t --from-beginning --max-messages 1 --timeout-ms 20000 --group g";
        let runs = [
            as_admin("--add --allow-principal User:ann --producer --topic t"),
            as_admin("--add --allow-principal User:bob --consumer --topic t --group g"),
            by("ann", PRODUCER, "--topic t --sync", "one\n"),
            by("ann", TOPICS, "--list", ""),
            by("ann", TOPICS, "--describe --topic u", ""),
            by("ann", TOPICS, "--delete --topic t", ""),
            by("ann", TOPICS, "--create --topic v", ""),
            by("bob", CONSUMER, read, ""),
            by("bob", GROUPS, "--list", ""),
            by("bob", GROUPS, "--describe --group g", ""),
            by("bob", GROUPS, "--delete --group g", ""),
            by("bob", ACLS, "--list", ""),
            by(NOBODY, TOPICS, "--list", ""),
            by(NOBODY, GROUPS, "--list", ""),
            as_admin("--remove --force --allow-principal User:ann --operation Write --topic t"),
            as_admin("--add --deny-principal User:bob --operation Read --topic * "),
            by("bob", TOPICS, "--list", ""),
        ];
        apache::tools(&runs)
    };
    let (theirs, ours) = (play(&pair.theirs)?, play(&pair.ours)?);
    let changing = Regex::new(r"[A-Za-z0-9_-]{22}|\d{13}|/127[\d.:]*")?;
    // Kafka's message quotes the request.
    let quoted = Regex::new(r"Request Request\(.*\) needs \w+ permission\.")?;
    let plain = |page: &str| {
        let page = quoted.replace_all(page, "Cluster authorization failed.");
        changing.replace_all(&in_order(&page), "_").into_owned()
    };
    for (number, ((ours, our_code), (theirs, their_code))) in ours.iter().zip(&theirs).enumerate() {
        ensure!(
            our_code == their_code && plain(ours) == plain(theirs),
            "run {number}\n ours {our_code}: {ours}\n theirs {their_code}: {theirs}"
        );
    }
    Ok(())
}
