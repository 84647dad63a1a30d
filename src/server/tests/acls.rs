//! Tests of a node with an authorizer and several users: which requests are allowed, what a denied client is told, and how soon
//! a change takes effect. The rules are tested in `metadata/authorizer.rs`, and each API against Apache Kafka in
//! `compat-tests`.

use super::*;
use crate::base::ids::Uuid;
use crate::config::authorizer::{AUTHORIZER, STANDARD_AUTHORIZER, SUPER_USERS};
use crate::config::sasl::Mechanism;
use crate::wire::message::create_acls::{AclCreation, CreateAclsRequest};
use crate::wire::message::delete_acls::{DeleteAclsFilter, DeleteAclsRequest};
use crate::wire::message::describe_acls::DescribeAclsRequest;
use crate::wire::message::fetch::FetchResponse;
use crate::wire::message::metadata::MetadataResponse;

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_ann=\"a\" user_root=\"r\";";
const READ: i8 = 3;
const WRITE: i8 = 4;
const DESCRIBE: i8 = 8;
const DENIED: i16 = ErrorCode::TopicAuthorizationFailed.code();

async fn node(more: &[(&str, &str)]) -> Node {
    let base = [
        ("listeners", "SASL_PLAINTEXT://127.0.0.1:0"),
        ("sasl.enabled.mechanisms", "PLAIN"),
        ("listener.name.sasl_plaintext.plain.sasl.jaas.config", PLAIN),
        (AUTHORIZER, STANDARD_AUTHORIZER),
        (SUPER_USERS, "User:root"),
    ];
    let all: Vec<_> = base.iter().chain(more).copied().collect();
    Node::start(&all).await
}

impl Node {
    async fn user(&self, name: &str, password: &str) -> Client {
        let mut client = self.connect().await;
        let entered = client.log_in(Mechanism::Plain, name, password).await;
        assert_eq!(entered, Ok(0));
        client
    }
}

impl Client {
    async fn allow(&mut self, topic: &str, operation: i8) {
        let creations = vec![AclCreation {
            resource_type: 2,
            resource_name: topic.into(),
            resource_pattern_type: 3,
            principal: "User:ann".into(),
            host: "*".into(),
            operation,
            permission_type: 3,
        }];
        let made = self.ask(3, &CreateAclsRequest { creations }).await;
        assert_eq!(made.results[0].error_code, 0);
    }

    /// Deletes all entries. Gives their number.
    async fn forbid_all(&mut self) -> usize {
        let filters = vec![DeleteAclsFilter {
            resource_type_filter: 1,
            pattern_type_filter: 1,
            operation: 1,
            permission_type: 1,
            ..Default::default()
        }];
        let gone = self.ask(3, &DeleteAclsRequest { filters }).await;
        gone.filter_results[0].matching_acls.len()
    }

    async fn writes(&mut self, topic: &str) -> i16 {
        self.send(&frame(1, 7, &produce(topic, -1, b"x"))).await;
        let (_, body) = self.answer().await;
        produced(body).0
    }

    async fn reads(&mut self, topic: &str) -> i16 {
        let answer: FetchResponse = self.ask(4, &fetch(topic, 0, Duration::ZERO)).await;
        answer.responses[0].partitions[0].error_code
    }

    async fn sees(&mut self, topics: Option<&[&str]>) -> Vec<(String, i16, Uuid)> {
        let named = |name: &&str| MetadataRequestTopic {
            name: Some((*name).into()),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: topics.map(|names| names.iter().map(named).collect()),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        let answer: MetadataResponse = self.ask(12, &request).await;
        let topics = answer.topics.into_iter();
        topics
            .map(|one| {
                (
                    one.name.unwrap_or_default().to_string(),
                    one.error_code,
                    one.topic_id,
                )
            })
            .collect()
    }
}

/// Uses connections that stay open: no earlier decision is cached.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_holds_from_the_next_request_on_and_so_does_what_is_not() {
    let node = node(&[]).await;
    let mut root = node.user("root", "r").await;
    root.ask(4, &create(&["t"])).await;
    let mut ann = node.user("ann", "a").await;
    for _ in 0..3 {
        assert_eq!(
            (ann.writes("t").await, ann.reads("t").await),
            (DENIED, DENIED)
        );
        root.allow("t", WRITE).await;
        assert_eq!((ann.writes("t").await, ann.reads("t").await), (0, DENIED));
        root.allow("t", READ).await;
        assert_eq!((ann.writes("t").await, ann.reads("t").await), (0, 0));
        assert_eq!(root.forbid_all().await, 2);
    }
    assert_eq!((root.writes("t").await, root.reads("t").await), (0, 0));
}

/// A session stores its partitions, but not whether its client may read them.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_session_ends_with_the_right_to_read() {
    let node = node(&[]).await;
    let mut root = node.user("root", "r").await;
    root.ask(4, &create(&["t"])).await;
    root.allow("t", READ).await;
    let mut ann = node.user("ann", "a").await;
    let begin = FetchRequest {
        session_epoch: 0,
        ..fetch("t", 0, Duration::ZERO)
    };
    let first = ann.ask(7, &begin).await;
    assert_ne!(first.session_id, 0);
    root.forbid_all().await;
    let again = FetchRequest {
        session_id: first.session_id,
        session_epoch: 1,
        topics: Vec::new(),
        ..fetch("t", 0, Duration::ZERO)
    };
    let denied = ann.ask(7, &again).await;
    assert_eq!(denied.responses[0].partitions[0].error_code, DENIED);
    root.allow("t", READ).await;
    let again = FetchRequest {
        session_epoch: 2,
        ..again
    };
    let allowed = ann.ask(7, &again).await;
    let errors = allowed.responses.iter().flat_map(|topic| &topic.partitions);
    assert!(errors.map(|one| one.error_code).all(|error| error == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_exists_who_may_not_describe_it() {
    let node = node(&[]).await;
    let mut root = node.user("root", "r").await;
    root.ask(4, &create(&["t", "u"])).await;
    let mut ann = node.user("ann", "a").await;
    assert_eq!(ann.sees(None).await, []);
    let nothing = |name: &str| (name.to_owned(), DENIED, Uuid::ZERO);
    assert_eq!(
        ann.sees(Some(&["t", "absent"])).await,
        [nothing("t"), nothing("absent")]
    );
    for topic in ["t", "absent"] {
        assert_eq!(
            (ann.writes(topic).await, ann.reads(topic).await),
            (DENIED, DENIED)
        );
    }
    // The request above did not create the topic, and neither does one of a user who may describe it but not create it.
    root.allow("*", DESCRIBE).await;
    assert_eq!(ann.sees(Some(&["absent"])).await, [nothing("absent")]);
    let all: Vec<_> = ann
        .sees(None)
        .await
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(all, ["t", "u"]);
}

/// With acks=0 there is no answer that could carry the error.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_denied_without_acknowledgement_ends_the_connection() {
    let node = node(&[]).await;
    let mut ann = node.user("ann", "a").await;
    ann.send(&frame(1, 7, &produce("t", 0, b"x"))).await;
    assert!(ann.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_for_whoever_may_alter_the_cluster() {
    let node = node(&[]).await;
    let mut ann = node.user("ann", "a").await;
    let denied = ErrorCode::ClusterAuthorizationFailed.code();
    let creations = vec![AclCreation::default(); 2];
    let made = ann.ask(3, &CreateAclsRequest { creations }).await;
    assert!(made.results.iter().all(|one| one.error_code == denied));
    let filters = vec![DeleteAclsFilter::default()];
    let gone = ann.ask(3, &DeleteAclsRequest { filters }).await;
    assert_eq!(gone.filter_results[0].error_code, denied);
    let shown = ann.ask(3, &DescribeAclsRequest::default()).await;
    assert_eq!((shown.error_code, shown.resources.len()), (denied, 0));
}

/// Kafka closes the connection on enum values that stand for "unknown", too.
#[tokio::test(flavor = "multi_thread")]
async fn words_that_nobody_knows_end_the_connection() {
    let node = node(&[]).await;
    let creations = vec![AclCreation::default()];
    let filters = vec![DeleteAclsFilter::default()];
    for request in [
        frame(1, 3, &CreateAclsRequest { creations }),
        frame(1, 3, &DeleteAclsRequest { filters }),
        frame(1, 3, &DescribeAclsRequest::default()),
    ] {
        let mut root = node.user("root", "r").await;
        root.send(&request).await;
        assert!(root.is_closed().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_is_for_what_has_no_entries() {
    let node = node(&[("allow.everyone.if.no.acl.found", "true")]).await;
    let mut root = node.user("root", "r").await;
    root.ask(4, &create(&["t", "u"])).await;
    let mut ann = node.user("ann", "a").await;
    assert_eq!((ann.writes("t").await, ann.reads("u").await), (0, 0));
    root.allow("t", READ).await;
    assert_eq!((ann.writes("t").await, ann.reads("t").await), (DENIED, 0));
    assert_eq!((ann.writes("u").await, ann.reads("u").await), (0, 0));
}

/// Entries are stored on disk.
#[tokio::test(flavor = "multi_thread")]
async fn entries_survive_a_start() {
    let mut node = node(&[]).await;
    let mut root = node.user("root", "r").await;
    root.ask(4, &create(&["t"])).await;
    root.allow("t", WRITE).await;
    drop(root);
    let Node { broker, _dir: dir } = node;
    broker.shutdown().await;
    let settings = [
        ("listeners", "SASL_PLAINTEXT://127.0.0.1:0"),
        ("sasl.enabled.mechanisms", "PLAIN"),
        ("listener.name.sasl_plaintext.plain.sasl.jaas.config", PLAIN),
        (AUTHORIZER, STANDARD_AUTHORIZER),
    ];
    node = Node::on(dir, &settings).await;
    let mut ann = node.user("ann", "a").await;
    assert_eq!((ann.writes("t").await, ann.reads("t").await), (0, DENIED));
}
