//! The two brokers, and the comparison of their responses.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytestring::ByteString;
use compat_tests::answers::Masks;
use compat_tests::apache::{Apache, PRESENT, SETTINGS};
use compat_tests::exchange::{Answer, Connection};
use compat_tests::node::{Node, free_port};
use compat_tests::programs::eventually;
use monedula::base::ids::Uuid;
use monedula::wire::message::alter_configs::AlterConfigsRequest;
use monedula::wire::message::alter_partition_reassignments::AlterPartitionReassignmentsRequest;
use monedula::wire::message::create_partitions::CreatePartitionsRequest;
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::delete_topics::DeleteTopicsRequest;
use monedula::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use monedula::wire::message::elect_leaders::ElectLeadersRequest;
use monedula::wire::message::end_txn::EndTxnRequest;
use monedula::wire::message::find_coordinator::FindCoordinatorRequest;
use monedula::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use monedula::wire::message::init_producer_id::InitProducerIdRequest;
use monedula::wire::message::list_groups::ListGroupsRequest;
use monedula::wire::message::list_transactions::ListTransactionsRequest;
use monedula::wire::message::metadata::{MetadataRequest, MetadataRequestTopic};
use monedula::wire::message::update_features::UpdateFeaturesRequest;
use monedula::wire::message::{Message, Request};

/// Time limit for changes that a broker applies only after its response.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Time limit for a response on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time to wait for a response that is not expected.
const SILENCE: Duration = Duration::from_secs(3);
/// APIs whose changes a broker gets from its controller after the response.
const ALTERING: [i16; 8] = [
    CreateTopicsRequest::KEY,
    DeleteTopicsRequest::KEY,
    CreatePartitionsRequest::KEY,
    AlterConfigsRequest::KEY,
    IncrementalAlterConfigsRequest::KEY,
    ElectLeadersRequest::KEY,
    AlterPartitionReassignmentsRequest::KEY,
    UpdateFeaturesRequest::KEY,
];
/// APIs that may end a transaction.
const ENDING: [i16; 2] = [EndTxnRequest::KEY, InitProducerIdRequest::KEY];
/// Topic whose setting is altered to see whether changes have been applied.
const MARK: &str = "mark";
const MARKED: &str = "flush.messages";
const TOPIC: i8 = 2;

/// A broker under comparison.
pub struct Broker {
    address: String,
    connection: Option<Connection>,
    expects_silence: bool,
    /// Oldest and newest version of each API that the broker offers.
    versions: BTreeMap<i16, (i16, i16)>,
}

impl Broker {
    fn new(address: String) -> Result<Self> {
        let versions = Connection::open(&address)?
            .versions()?
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        Ok(Self {
            address,
            connection: None,
            expects_silence: false,
            versions,
        })
    }

    pub fn ask<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<Option<Answer<R::Response>>> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => Connection::open(&self.address)?,
        };
        connection.be_patient(if self.expects_silence {
            SILENCE
        } else {
            PATIENCE
        })?;
        let answer = connection
            .ask(request, version)
            .with_context(|| format!("{} v{version} to {}", R::NAME, self.address))?;
        if !matches!(answer, Some(Answer::Closed | Answer::Silence)) {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    /// Sends a request and returns its response. Errors: there is none.
    pub fn answered<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        match self.ask(request, version)? {
            Some(Answer::Response(response)) => Ok(response),
            other => bail!("{} answers {other:?}", self.address),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Id of a topic; zero if there is no such topic.
    pub fn id(&mut self, topic: &str) -> Uuid {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(topic.into()),
                ..Default::default()
            }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        match self.ask(&request, 12) {
            Ok(Some(Answer::Response(response))) => response
                .topics
                .first()
                .map_or(Uuid::ZERO, |topic| topic.topic_id),
            _ => Uuid::ZERO,
        }
    }
}

/// Two responses that differ.
#[derive(Debug)]
pub struct Difference {
    pub scene: String,
    version: i16,
    ours: String,
    theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Starts a little before the first different character.
        let same = self
            .ours
            .bytes()
            .zip(self.theirs.bytes())
            .take_while(|(ours, theirs)| ours == theirs)
            .count();
        let from = |text: &str| {
            let shown: Vec<char> = text.chars().collect();
            let start = same.saturating_sub(120).min(shown.len());
            let end = (same + 240).min(shown.len());
            shown[start..end].iter().collect::<String>()
        };
        write!(
            f,
            "{} v{}\n  ours:   {}\n  theirs: {}",
            self.scene,
            self.version,
            from(&self.ours),
            from(&self.theirs)
        )
    }
}

/// Both brokers with the differences found so far.
pub struct Pair {
    ours: Broker,
    theirs: Broker,
    masks: Masks,
    pub differences: Vec<Difference>,
    pub scenes: usize,
    pub asked: usize,
    /// Key of the API that was called last.
    before: i16,
    marks: usize,
    node: Node,
    _apache: Apache,
    dir: tempfile::TempDir,
}

impl Pair {
    /// Starts both brokers with further lines in the `server.properties` of both.
    pub fn start_with(further: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let settings = format!("{SETTINGS}{further}");
        let data = dir.path().join("apache");
        let apache = Apache::start_with(PRESENT, &settings, dir.path(), &data)?;
        let settings = settings.replace("{controller}", &free_port()?.to_string());
        let node = Node::with_settings(&settings)?;
        Ok(Self {
            ours: Broker::new(node.address().replace("localhost", "127.0.0.1"))?,
            theirs: Broker::new(apache.address())?,
            masks: Masks::new()?,
            differences: Vec::new(),
            scenes: 0,
            asked: 0,
            before: -1,
            marks: 0,
            node,
            _apache: apache,
            dir,
        })
    }

    /// Makes both brokers create the topics of their coordinators and load them.
    pub fn warm_up(&mut self) -> Result<()> {
        let create = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: MARK.into(),
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            }],
            ..Default::default()
        };
        self.both(7, &create)?;
        for (key_type, key) in [(0, "g"), (1, "tx")] {
            let find = FindCoordinatorRequest {
                key_type,
                coordinator_keys: vec![key.into()],
                ..Default::default()
            };
            self.until(4, &find, |answer| answer.coordinators[0].error_code == 0)?;
        }
        // Waits until all partitions of these topics have a leader, then until all are loaded.
        self.settle()?;
        let groups = ListGroupsRequest::default();
        self.until(5, &groups, |answer| answer.error_code == 0)?;
        let transactions = ListTransactionsRequest::default();
        self.until(2, &transactions, |answer| answer.error_code == 0)
    }

    /// Waits for producer ids, which Kafka has some time after its start.
    pub fn wait_for_producer_ids(&mut self) -> Result<()> {
        let request = InitProducerIdRequest {
            transaction_timeout_ms: 1_000,
            ..Default::default()
        };
        self.until(4, &request, |answer| answer.error_code == 0)
    }

    /// Repeats a request to each broker until the response satisfies `seen`.
    fn until<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        seen: impl Fn(&R::Response) -> bool,
    ) -> Result<()> {
        for broker in [&mut self.ours, &mut self.theirs] {
            let mut last = None;
            let done = eventually(SETTLE_LIMIT, || {
                last = broker.ask(request, version).ok().flatten();
                matches!(&last, Some(Answer::Response(answer)) if seen(answer))
            });
            ensure!(done, "{} waited in vain: {last:?}", broker.address);
        }
        Ok(())
    }

    /// Waits until both brokers have applied all alterations: Kafka's controller responds before its broker has them. A broker
    /// applies changes in order, several at a time. So a broker that shows the second of two further changes has applied
    /// everything before the first.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..2 {
            self.marks += 1;
            let mark: ByteString = self.marks.to_string().into();
            let alter = IncrementalAlterConfigsRequest {
                resources: vec![AlterConfigsResource {
                    resource_type: TOPIC,
                    resource_name: MARK.into(),
                    configs: vec![AlterableConfig {
                        name: MARKED.into(),
                        config_operation: 0,
                        value: Some(mark.clone()),
                    }],
                }],
                validate_only: false,
            };
            self.until(1, &alter, |answer| answer.responses[0].error_code == 0)?;
            let describe = DescribeConfigsRequest {
                resources: vec![DescribeConfigsResource {
                    resource_type: TOPIC,
                    resource_name: MARK.into(),
                    configuration_keys: Some(vec![MARKED.into()]),
                }],
                ..Default::default()
            };
            self.until(4, &describe, |answer| {
                let mut configs = answer.results.iter().flat_map(|one| &one.configs);
                configs.any(|one| one.value.as_ref() == Some(&mark))
            })?;
        }
        Ok(())
    }

    /// Waits for the effects of the previous request, before a request of the API `key` is sent.
    fn rest(&mut self, key: i16) -> Result<()> {
        const CONFIGS: [i16; 2] = [
            AlterConfigsRequest::KEY,
            IncrementalAlterConfigsRequest::KEY,
        ];
        let before = std::mem::replace(&mut self.before, key);
        if ALTERING.contains(&before) {
            // The controller knows its own decisions at once. Requests about settings are also checked by the broker.
            if !ALTERING.contains(&key) || CONFIGS.contains(&key) {
                self.settle()?;
            }
        } else if ENDING.contains(&before) {
            // Transaction markers are written after the response.
            let ending = ListTransactionsRequest {
                state_filters: ["PrepareCommit", "PrepareAbort"].map(Into::into).into(),
                ..Default::default()
            };
            self.until(2, &ending, |answer| {
                answer.error_code == 0 && answer.transaction_states.is_empty()
            })?;
        }
        Ok(())
    }

    /// Compares the newest versions of the APIs that both brokers offer.
    pub fn versions(&mut self) -> Result<()> {
        for (key, (_, ours)) in &self.ours.versions {
            let Some((_, theirs)) = self.theirs.versions.get(key) else {
                bail!("API {key} is offered by us alone");
            };
            if ours != theirs {
                self.differences.push(Difference {
                    scene: format!("ApiVersions, newest version of API {key}"),
                    version: 0,
                    ours: ours.to_string(),
                    theirs: theirs.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Sends a request to both brokers in every version that both offer.
    pub fn scene<R: Request>(
        &mut self,
        name: &str,
        request: impl Fn(&mut Broker) -> R,
    ) -> Result<()> {
        let range = |broker: &Broker| broker.versions.get(&R::KEY).copied();
        let (Some(ours), Some(theirs)) = (range(&self.ours), range(&self.theirs)) else {
            bail!("{} is not offered", R::NAME);
        };
        for version in ours.0.max(theirs.0)..=ours.1.min(theirs.1) {
            self.once(name, version, &request)?;
        }
        self.scenes += 1;
        Ok(())
    }

    /// Sets whether the next requests are ones that Kafka does not answer.
    pub fn expect_silence(&mut self, expects: bool) {
        self.ours.expects_silence = expects;
        self.theirs.expects_silence = expects;
    }

    /// Sends a request to both brokers in one version.
    pub fn once<R: Request>(
        &mut self,
        name: &str,
        version: i16,
        request: impl Fn(&mut Broker) -> R,
    ) -> Result<()> {
        self.rest(R::KEY)?;
        let (to_us, to_them) = (request(&mut self.ours), request(&mut self.theirs));
        self.compare(name, version, &to_us, &to_them)
    }

    /// Sends both brokers a request that changes nothing, without waiting before or after it.
    pub fn validated<R: Request>(&mut self, name: &str, version: i16, request: &R) -> Result<()> {
        self.compare(name, version, request, request)
    }

    fn compare<R: Request>(
        &mut self,
        name: &str,
        version: i16,
        to_us: &R,
        to_them: &R,
    ) -> Result<()> {
        let ours = self.ours.ask(to_us, version)?;
        let theirs = self.theirs.ask(to_them, version)?;
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            return Ok(());
        };
        self.asked += 1;
        let (ours, theirs) = (self.masked(&ours), self.masked(&theirs));
        if ours != theirs {
            let api = R::NAME.trim_end_matches("Request");
            self.differences.push(Difference {
                scene: format!("{api}, {name}"),
                version,
                ours,
                theirs,
            });
        }
        Ok(())
    }

    /// Sends both brokers a request; returns the responses, for scenes that need values of them.
    pub fn both<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<(R::Response, R::Response)> {
        self.rest(R::KEY)?;
        let response = |answer: Option<Answer<R::Response>>| match answer {
            Some(Answer::Response(response)) => Ok(response),
            _ => bail!("{} was not answered", <R as Message>::NAME),
        };
        Ok((
            response(self.ours.ask(request, version)?)?,
            response(self.theirs.ask(request, version)?)?,
        ))
    }

    /// Both brokers, for scenes that need several requests.
    pub fn each(&mut self) -> [&mut Broker; 2] {
        [&mut self.ours, &mut self.theirs]
    }

    /// Data directories of the two brokers.
    pub fn directories(&self) -> [PathBuf; 2] {
        [self.node.dir().to_owned(), self.dir.path().join("apache")]
    }

    /// Repeats a request to each broker until both responses satisfy `seen`.
    pub fn both_until<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        seen: impl Fn(&R::Response) -> bool,
    ) -> Result<()> {
        self.rest(R::KEY)?;
        self.until(version, request, seen)
    }

    /// Masks values that always differ.
    pub fn mask(&self, text: &str) -> String {
        self.masks.mask(text)
    }

    pub fn our_address(&self) -> String {
        self.ours.address.clone()
    }

    fn masked<R: fmt::Debug>(&self, answer: &Answer<R>) -> String {
        self.masks.plain(answer)
    }
}
