//! The two brokers, and what is compared of their answers.

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

/// What brokers do some time after they said so is done within this time.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// An answer takes this long at most where much else runs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for an answer that should not come.
const SILENCE: Duration = Duration::from_secs(3);
/// APIs after which a broker hears from its controller.
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
/// A topic whose setting is altered to see whether alterations have arrived.
const MARK: &str = "mark";
const MARKED: &str = "flush.messages";
const TOPIC: i8 = 2;

/// A broker under comparison.
pub struct Broker {
    address: String,
    connection: Option<Connection>,
    expects_silence: bool,
    /// The newest version that it offers of each API, and the oldest.
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

    /// The answer to what must be answered.
    pub fn answered<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        match self.ask(request, version)? {
            Some(Answer::Response(response)) => Ok(response),
            other => bail!("{} answers {other:?}", self.address),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The id of a topic, zero if there is no such topic.
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

/// Two answers that are not the same.
#[derive(Debug)]
pub struct Difference {
    pub scene: String,
    version: i16,
    ours: String,
    theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // From a little before the first differing character on.
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

/// See the module.
pub struct Pair {
    ours: Broker,
    theirs: Broker,
    masks: Masks,
    pub differences: Vec<Difference>,
    pub scenes: usize,
    pub asked: usize,
    /// The API that was asked last.
    before: i16,
    marks: usize,
    node: Node,
    _apache: Apache,
    dir: tempfile::TempDir,
}

impl Pair {
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// The same with further lines in the `server.properties` of both.
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

    /// Lets both make their topics of coordinators and load them.
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
        // All partitions of those topics are led, then all are loaded.
        self.settle()?;
        let groups = ListGroupsRequest::default();
        self.until(5, &groups, |answer| answer.error_code == 0)?;
        let transactions = ListTransactionsRequest::default();
        self.until(2, &transactions, |answer| answer.error_code == 0)
    }

    /// Kafka's first producer ids come a little later.
    pub fn wait_for_producer_ids(&mut self) -> Result<()> {
        let request = InitProducerIdRequest {
            transaction_timeout_ms: 1_000,
            ..Default::default()
        };
        self.until(4, &request, |answer| answer.error_code == 0)
    }

    /// Asks each until it answers so.
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

    /// Lets both brokers apply what was altered: Kafka's controller answers before its broker has heard of it. A broker
    /// applies changes in their order, some at a time, so whoever shows the second of two further ones has applied all that
    /// came before the first.
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

    /// Waits for what the request before has set going, before one of this API is sent.
    fn rest(&mut self, key: i16) -> Result<()> {
        const CONFIGS: [i16; 2] = [
            AlterConfigsRequest::KEY,
            IncrementalAlterConfigsRequest::KEY,
        ];
        let before = std::mem::replace(&mut self.before, key);
        if ALTERING.contains(&before) {
            // Where the controller decides alone it knows; of settings the broker has a say.
            if !ALTERING.contains(&key) || CONFIGS.contains(&key) {
                self.settle()?;
            }
        } else if ENDING.contains(&before) {
            // Its markers are written after the answer.
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

    /// Compares what the two say that they offer: of what both have, the newest version.
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

    /// Asks both in every version that both offer.
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

    /// Whether a request comes that Kafka does not answer.
    pub fn expect_silence(&mut self, expects: bool) {
        self.ours.expects_silence = expects;
        self.theirs.expects_silence = expects;
    }

    /// Asks both in one version.
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

    /// Asks both for what changes nothing: nobody has to rest before or after it.
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

    /// The answers of both, for scenes that need something out of them.
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

    /// Both, for scenes that need more than one request to come about.
    pub fn each(&mut self) -> [&mut Broker; 2] {
        [&mut self.ours, &mut self.theirs]
    }

    /// Where the two keep their data.
    pub fn directories(&self) -> [PathBuf; 2] {
        [self.node.dir().to_owned(), self.dir.path().join("apache")]
    }

    /// Asks each until both answer so.
    pub fn both_until<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        seen: impl Fn(&R::Response) -> bool,
    ) -> Result<()> {
        self.rest(R::KEY)?;
        self.until(version, request, seen)
    }

    /// What is by nature not the same is made equal.
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
