//! One broker, one group, and clients that act as a story says. The responses that they get are recorded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use bytestring::ByteString;
use compat_tests::admin::{led, load_coordinators};
use compat_tests::exchange::{Answer, Connection};
use compat_tests::programs::eventually;
use monedula::wire::error_code::ErrorCode;
use monedula::wire::message::Request;
use monedula::wire::message::add_offsets_to_txn::AddOffsetsToTxnRequest;
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::delete_groups::DeleteGroupsRequest;
use monedula::wire::message::describe_groups::DescribeGroupsRequest;
use monedula::wire::message::end_txn::EndTxnRequest;
use monedula::wire::message::heartbeat::HeartbeatRequest;
use monedula::wire::message::init_producer_id::InitProducerIdRequest;
use monedula::wire::message::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use monedula::wire::message::leave_group::{LeaveGroupRequest, MemberIdentity};
use monedula::wire::message::list_groups::ListGroupsRequest;
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use monedula::wire::message::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use monedula::wire::message::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use monedula::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};

/// Parameters of a client's JoinGroup.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    pub version: i16,
    pub session_ms: i32,
    pub rebalance_ms: i32,
    pub instance: Option<&'static str>,
    pub protocols: &'static [&'static str],
    pub protocol_type: &'static str,
    /// Content of the metadata beside the protocol's name.
    pub metadata: u8,
    /// Joins without the member id that the client has.
    pub as_new: bool,
}

impl Default for Join {
    fn default() -> Self {
        Self {
            version: 9,
            session_ms: 30_000,
            rebalance_ms: 30_000,
            instance: None,
            protocols: &["range"],
            protocol_type: "consumer",
            metadata: 0,
            as_new: false,
        }
    }
}

/// Owner of an id that a client uses.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    Own,
    Nobody,
    Stranger,
    Of(&'static str),
}

/// Identity that a request claims.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub member: Whose,
    pub instance: Whose,
    /// Number added to the client's own generation; `None` means generation -1.
    pub generation: Option<i32>,
}

impl Identity {
    pub const OWN: Self = Self {
        member: Whose::Own,
        instance: Whose::Own,
        generation: Some(0),
    };

    /// The client's own identity with another generation.
    pub fn off(off: i32) -> Self {
        Self {
            generation: Some(off),
            ..Self::OWN
        }
    }
}

/// An identity with the protocol's values.
struct Spoken {
    member_id: ByteString,
    instance: Option<ByteString>,
    generation: i32,
}

/// Rule for when a step is over.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// After a silence of this length.
    Quiet(Duration),
    /// After this time for every step, so that deadlines pass in the same step with every broker.
    Even(Duration),
}

/// Next action of a client that follows the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Duty {
    #[default]
    Join,
    Sync,
    Beat,
}

/// Time limit for things that end by themselves.
const INSISTENCE: Duration = Duration::from_secs(60);
/// Size of the user data in a subscription, in bytes.
const OWN: usize = 4;

/// A request whose response may come much later.
enum Waiting {
    Join(Connection, i16),
    Sync(Connection, i16),
}

enum Came {
    Join(Answer<JoinGroupResponse>),
    Sync(Answer<SyncGroupResponse>),
}

/// A client: its state in the group, and the responses that it waits for.
#[derive(Default)]
struct Client {
    member_id: ByteString,
    instance: Option<&'static str>,
    generation: i32,
    protocol: Option<ByteString>,
    members: Vec<ByteString>,
    ids: usize,
    duty: Duty,
    /// Waiting requests with numbers: of two responses that have both arrived, that of the older request comes first.
    waiting: Vec<(usize, Waiting)>,
}

/// The broker, the group and the clients, with the transcript.
pub struct Stage {
    address: String,
    group: String,
    control: Connection,
    clients: BTreeMap<&'static str, Client>,
    /// Names of member ids: the client that the id was given to, and the number of the id.
    names: BTreeMap<ByteString, String>,
    pace: Pace,
    /// End of the previous step.
    since: Instant,
    requests: usize,
    pub lines: Vec<String>,
}

fn code(code: i16) -> String {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => "ok".to_owned(),
        Some(error) => format!("{error:?}"),
        None => format!("error {code}"),
    }
}

/// The user data of a subscription.
fn own(metadata: &Bytes) -> Bytes {
    metadata.slice(metadata.len().saturating_sub(OWN)..)
}

impl Stage {
    pub fn new(address: &str, group: &str, pace: Pace) -> Result<Self> {
        Ok(Self {
            address: address.to_owned(),
            group: group.to_owned(),
            control: Connection::open(address)?,
            clients: BTreeMap::new(),
            names: BTreeMap::new(),
            pace,
            since: Instant::now(),
            requests: 0,
            lines: Vec::new(),
        })
    }

    pub fn join(&mut self, who: &'static str, how: Join) -> Result<()> {
        self.lines.push(format!("> {who} joins"));
        let client = self.clients.entry(who).or_default();
        client.instance = how.instance;
        // A subscription to topic t with four bytes of user data. Kafka parses the subscriptions of consumers, and never
        // answers a group in which one cannot be parsed.
        let metadata = |name: &str| {
            let own = format!("{}-{}", &name[..2], how.metadata);
            Bytes::from([b"\0\0\0\0\0\x01\0\x01t\0\0\0\x04", own.as_bytes()].concat())
        };
        let request = JoinGroupRequest {
            group_id: self.group.as_str().into(),
            session_timeout_ms: how.session_ms,
            rebalance_timeout_ms: how.rebalance_ms,
            member_id: if how.as_new {
                ByteString::default()
            } else {
                client.member_id.clone()
            },
            group_instance_id: how.instance.map(Into::into),
            protocol_type: how.protocol_type.into(),
            protocols: how
                .protocols
                .iter()
                .map(|name| JoinGroupRequestProtocol {
                    name: (*name).into(),
                    metadata: metadata(name),
                })
                .collect(),
            reason: None,
        };
        let mut connection = Connection::open(&self.address)?;
        ensure!(connection.send(&request, how.version)?, "{request:?}");
        let waiting = Waiting::Join(connection, how.version);
        client.waiting.push((self.requests, waiting));
        self.requests += 1;
        self.settle()
    }

    /// A client that is the leader sends assignments; the others wait for theirs.
    pub fn sync(&mut self, who: &'static str, version: i16, of: Identity) -> Result<()> {
        self.lines.push(format!("> {who} syncs"));
        let spoken = self.spoken(who, of);
        let names = &self.names;
        let client = self.clients.entry(who).or_default();
        let request = SyncGroupRequest {
            group_id: self.group.as_str().into(),
            generation_id: spoken.generation,
            member_id: spoken.member_id,
            group_instance_id: spoken.instance.filter(|_| version >= 3),
            protocol_type: client.protocol.is_some().then(|| "consumer".into()),
            protocol_name: client.protocol.clone(),
            assignments: client
                .members
                .iter()
                .map(|member| SyncGroupRequestAssignment {
                    member_id: member.clone(),
                    assignment: Bytes::from(format!("for {:?}", names.get(member))),
                })
                .collect(),
        };
        let mut connection = Connection::open(&self.address)?;
        ensure!(connection.send(&request, version)?, "{request:?}");
        let waiting = Waiting::Sync(connection, version);
        client.waiting.push((self.requests, waiting));
        self.requests += 1;
        self.settle()
    }

    /// Waits without any action.
    pub fn wait(&mut self, milliseconds: u64) -> Result<()> {
        self.lines.push(format!("> {milliseconds} ms later"));
        std::thread::sleep(Duration::from_millis(milliseconds));
        self.since = Instant::now();
        self.settle()
    }

    pub fn beat(&mut self, who: &'static str, of: Identity) -> Result<()> {
        let spoken = self.spoken(who, of);
        let version = if spoken.instance.is_some() { 4 } else { 2 };
        let request = HeartbeatRequest {
            group_id: self.group.as_str().into(),
            generation_id: spoken.generation,
            member_id: spoken.member_id,
            group_instance_id: spoken.instance,
        };
        let answer = self.ask(&request, version)?;
        if answer.error_code != 0 {
            self.client(who).duty = Duty::Join;
        }
        if ErrorCode::from_code(answer.error_code) == Some(ErrorCode::UnknownMemberId) {
            self.client(who).member_id = ByteString::new();
        }
        self.did(&format!("{who} beats: {}", code(answer.error_code)))
    }

    /// One step of a client that does what the responses require of it.
    pub fn tend(&mut self, who: &'static str, how: Join) -> Result<()> {
        if self.waits(who) {
            return self.did(&format!("{who} waits"));
        }
        match self.client(who).duty {
            Duty::Join => self.join(who, how),
            Duty::Sync => self.sync(who, 5, Identity::OWN),
            Duty::Beat => self.beat(who, Identity::OWN),
        }
    }

    pub fn leave(&mut self, who: &'static str, version: i16, of: Identity) -> Result<()> {
        let spoken = self.spoken(who, of);
        let mut request = LeaveGroupRequest {
            group_id: self.group.as_str().into(),
            ..Default::default()
        };
        if version < 3 {
            request.member_id = spoken.member_id;
        } else {
            request.members = vec![MemberIdentity {
                member_id: spoken.member_id,
                group_instance_id: spoken.instance,
                reason: None,
            }];
        }
        let answer = self.ask(&request, version)?;
        let members: Vec<String> = answer
            .members
            .iter()
            .map(|member| code(member.error_code))
            .collect();
        let error = code(answer.error_code);
        self.did(&format!("{who} leaves: {error} {members:?}"))
    }

    /// An administrator removes an instance, without knowing its member id.
    pub fn remove(&mut self, instance: &str) -> Result<()> {
        let request = LeaveGroupRequest {
            group_id: self.group.as_str().into(),
            members: vec![MemberIdentity {
                group_instance_id: Some(instance.into()),
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.ask(&request, 5)?;
        let members: Vec<String> = answer
            .members
            .iter()
            .map(|member| code(member.error_code))
            .collect();
        let error = code(answer.error_code);
        self.did(&format!("{instance} is removed: {error} {members:?}"))
    }

    pub fn commit(
        &mut self,
        who: &'static str,
        version: i16,
        of: Identity,
        offset: i64,
    ) -> Result<()> {
        let spoken = self.spoken(who, of);
        let request = OffsetCommitRequest {
            group_id: self.group.as_str().into(),
            generation_id_or_member_epoch: spoken.generation,
            member_id: spoken.member_id,
            group_instance_id: spoken.instance.filter(|_| version >= 7),
            topics: vec![OffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![OffsetCommitRequestPartition {
                    committed_offset: offset,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.ask(&request, version)?;
        let error = answer
            .topics
            .first()
            .and_then(|topic| topic.partitions.first())
            .map_or_else(|| "nothing".to_owned(), |one| code(one.error_code));
        self.did(&format!("{who} commits: {error}"))
    }

    /// Commits an offset in a transaction, which is ended at once.
    pub fn commit_in_transaction(
        &mut self,
        who: &'static str,
        version: i16,
        of: Identity,
        offset: i64,
        committed: bool,
    ) -> Result<()> {
        let id = ByteString::from(format!("{}-{who}", self.group));
        let group_id = ByteString::from(self.group.as_str());
        let init = InitProducerIdRequest {
            transactional_id: Some(id.clone()),
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        // The previous transaction may not have ended completely.
        let producer = self.insist(&init, 4, |answer| answer.error_code)?;
        let (producer_id, producer_epoch) = (producer.producer_id, producer.producer_epoch);
        let add = AddOffsetsToTxnRequest {
            transactional_id: id.clone(),
            producer_id,
            producer_epoch,
            group_id: group_id.clone(),
        };
        self.insist(&add, 3, |answer| answer.error_code)?;
        let spoken = self.spoken(who, of);
        let commit = TxnOffsetCommitRequest {
            transactional_id: id.clone(),
            group_id,
            producer_id,
            producer_epoch,
            generation_id_or_member_epoch: spoken.generation,
            member_id: spoken.member_id,
            group_instance_id: spoken.instance,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    committed_offset: offset,
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let answer = self.ask(&commit, version)?;
        let error = answer
            .topics
            .first()
            .and_then(|topic| topic.partitions.first())
            .map_or_else(|| "nothing".to_owned(), |one| code(one.error_code));
        let end = EndTxnRequest {
            transactional_id: id,
            producer_id,
            producer_epoch,
            committed,
        };
        let ended = code(self.ask(&end, 3)?.error_code);
        self.did(&format!("{who} commits in a transaction: {error}, {ended}"))
    }

    /// The group's committed offset of its partition.
    pub fn fetch_offset(&mut self, version: i16) -> Result<()> {
        let mut request = OffsetFetchRequest {
            require_stable: version >= 7,
            ..Default::default()
        };
        if version < 8 {
            request.group_id = self.group.as_str().into();
            request.topics = None;
        } else {
            request.groups = vec![OffsetFetchRequestGroup {
                group_id: self.group.as_str().into(),
                topics: None,
                ..Default::default()
            }];
        }
        let mut line = String::new();
        // The marker of a transaction is written some time after its end.
        eventually(INSISTENCE, || {
            let Ok(answer) = self.ask(&request, version) else {
                return false;
            };
            line = match answer.groups.first() {
                Some(group) => {
                    let offsets = (group.topics.iter().flat_map(|topic| &topic.partitions))
                        .map(|one| (code(one.error_code), one.committed_offset));
                    format!(
                        "{} {:?}",
                        code(group.error_code),
                        offsets.collect::<Vec<_>>()
                    )
                }
                None => {
                    let offsets = (answer.topics.iter().flat_map(|topic| &topic.partitions))
                        .map(|one| (code(one.error_code), one.committed_offset));
                    format!(
                        "{} {:?}",
                        code(answer.error_code),
                        offsets.collect::<Vec<_>>()
                    )
                }
            };
            !line.contains("UnstableOffsetCommit")
        });
        self.did(&format!("offsets: {line}"))
    }

    /// Describes the group, as an administrator.
    pub fn describe(&mut self) -> Result<()> {
        let request = DescribeGroupsRequest {
            groups: vec![self.group.as_str().into()],
            include_authorized_operations: false,
        };
        let answer = self.ask(&request, 6)?;
        let Some(group) = answer.groups.first() else {
            bail!("no group is described");
        };
        let mut members: Vec<String> = group
            .members
            .iter()
            .map(|member| {
                format!(
                    "{} {:?} {:?} {:?}",
                    self.name(&member.member_id),
                    member.group_instance_id,
                    own(&member.member_metadata),
                    member.member_assignment
                )
            })
            .collect();
        members.sort();
        let mut line = format!(
            "described: {} {} {:?} {:?} {members:?}",
            code(group.error_code),
            group.group_state,
            group.protocol_type,
            group.protocol_data
        );
        let listed = self.ask(&ListGroupsRequest::default(), 5)?;
        for one in listed.groups {
            if *one.group_id == *self.group {
                write!(line, ", listed: {} {}", one.group_state, one.protocol_type)?;
            }
        }
        self.did(&line)
    }

    pub fn delete(&mut self) -> Result<()> {
        let request = DeleteGroupsRequest {
            groups_names: vec![self.group.as_str().into()],
        };
        let answer = self.ask(&request, 2)?;
        let error = answer.results.first().map_or(0, |one| one.error_code);
        self.did(&format!("deleted: {}", code(error)))
    }

    /// Whether a client waits for a response. If a member has two waiting requests, Kafka never answers the first and monedula
    /// refuses it, so random stories have one at a time.
    pub fn waits(&self, who: &str) -> bool {
        (self.clients.get(who)).is_some_and(|client| !client.waiting.is_empty())
    }

    /// Number of waiting JoinGroup requests.
    pub fn joining(&self) -> usize {
        let waiting = self.clients.values().flat_map(|client| &client.waiting);
        waiting
            .filter(|(_, waiting)| matches!(waiting, Waiting::Join(..)))
            .count()
    }

    /// Whether a client, or the owner of an instance, waits for its assignment. If such a member leaves, monedula refuses its
    /// waiting request and Kafka never answers it, so it stays in random stories.
    pub fn waits_to_sync(&self, who: &str) -> bool {
        self.clients.iter().any(|(name, client)| {
            let is_meant = *name == who || client.instance == Some(who);
            let mut waiting = client.waiting.iter().map(|(_, waiting)| waiting);
            is_meant && waiting.any(|waiting| matches!(waiting, Waiting::Sync(..)))
        })
    }

    /// The broker has been restarted, maybe at another address. Waiting requests are forgotten.
    pub fn moves(&mut self, address: &str) -> Result<()> {
        self.address = address.to_owned();
        self.control = Connection::open(address)?;
        for client in self.clients.values_mut() {
            client.waiting.clear();
        }
        self.lines.push("the broker is started again".to_owned());
        self.since = Instant::now();
        Ok(())
    }

    /// A number of hundredths of a step, in milliseconds.
    pub fn hundredths(&self, hundredths: u32) -> i32 {
        let (Pace::Quiet(step) | Pace::Even(step)) = self.pace;
        i32::try_from((step * hundredths / 100).as_millis()).unwrap_or(i32::MAX)
    }

    fn client(&mut self, who: &'static str) -> &mut Client {
        self.clients.entry(who).or_default()
    }

    fn spoken(&mut self, who: &'static str, of: Identity) -> Spoken {
        let own = self.client(who);
        let generation = of.generation.map_or(-1, |off| own.generation + off);
        let known = |whose: Whose| match whose {
            Whose::Own => self.clients.get(who),
            Whose::Of(other) => self.clients.get(other),
            Whose::Nobody | Whose::Stranger => None,
        };
        Spoken {
            member_id: match of.member {
                Whose::Stranger => "stranger".into(),
                whose => known(whose).map_or_else(ByteString::new, |one| one.member_id.clone()),
            },
            instance: match of.instance {
                Whose::Stranger => Some("i-stranger".into()),
                whose => known(whose).and_then(|one| one.instance).map(Into::into),
            },
            generation,
        }
    }

    fn did(&mut self, what: &str) -> Result<()> {
        self.lines.push(format!("> {what}"));
        self.settle()
    }

    fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        match self.control.ask(request, version)? {
            Some(Answer::Response(response)) => Ok(response),
            other => bail!("{} v{version}: {other:?}", R::NAME),
        }
    }

    /// Repeats a request until its response has no error.
    fn insist<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        error: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response> {
        let mut answer = self.ask(request, version)?;
        eventually(INSISTENCE, || {
            if error(&answer) != 0
                && let Ok(next) = self.ask(request, version)
            {
                answer = next;
            }
            error(&answer) == 0
        });
        let last = error(&answer);
        ensure!(last == 0, "{} is answered with {}", R::NAME, code(last));
        Ok(answer)
    }

    fn name(&self, member: &ByteString) -> String {
        match self.names.get(member) {
            Some(name) => name.clone(),
            None if member.is_empty() => "nobody".to_owned(),
            None => "a stranger".to_owned(),
        }
    }

    /// Receives responses until the step is over, and records them in the order of the clients' names.
    fn settle(&mut self) -> Result<()> {
        let mut came = Vec::new();
        let mut until = match self.pace {
            Pace::Quiet(quiet) => Instant::now() + quiet,
            Pace::Even(step) => self.since + step,
        };
        if Instant::now() > until {
            self.lines.push("too late".to_owned());
        }
        while Instant::now() < until {
            let mut any = false;
            for (who, client) in &mut self.clients {
                for (number, waiting) in std::mem::take(&mut client.waiting) {
                    let (Waiting::Join(connection, _) | Waiting::Sync(connection, _)) = &waiting;
                    if !connection.is_answered(Duration::from_millis(2))? {
                        client.waiting.push((number, waiting));
                        continue;
                    }
                    any = true;
                    came.push((
                        *who,
                        number,
                        match waiting {
                            Waiting::Join(mut connection, version) => {
                                Came::Join(connection.receive::<JoinGroupRequest>(version)?)
                            }
                            Waiting::Sync(mut connection, version) => {
                                Came::Sync(connection.receive::<SyncGroupRequest>(version)?)
                            }
                        },
                    ));
                }
            }
            match self.pace {
                Pace::Quiet(quiet) if any => until = Instant::now() + quiet,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        self.since = until;
        came.sort_by_key(|(who, number, _)| (*who, *number));
        for (who, _, what) in &came {
            if let Came::Sync(Answer::Response(answer)) = what {
                self.client(who).duty = match ErrorCode::from_code(answer.error_code) {
                    Some(ErrorCode::None) => Duty::Beat,
                    _ => Duty::Join,
                };
            }
        }
        // Names of member ids are learned before anything is recorded, because a leader's response contains the others' ids.
        for (who, _, what) in &came {
            let Came::Join(Answer::Response(answer)) = what else {
                continue;
            };
            let client = self.clients.entry(who).or_default();
            client.duty = match ErrorCode::from_code(answer.error_code) {
                Some(ErrorCode::None) => Duty::Sync,
                Some(ErrorCode::UnknownMemberId) => {
                    client.member_id = ByteString::new();
                    Duty::Join
                }
                _ => Duty::Join,
            };
            if [ErrorCode::None, ErrorCode::MemberIdRequired].contains(
                &ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError),
            ) {
                client.member_id = answer.member_id.clone();
                client.generation = answer.generation_id;
                client.protocol = answer.protocol_name.clone();
                client.members = answer
                    .members
                    .iter()
                    .map(|member| member.member_id.clone())
                    .collect();
                if !self.names.contains_key(&answer.member_id) {
                    client.ids += 1;
                    let name = format!("{who}{}", client.ids);
                    self.names.insert(answer.member_id.clone(), name);
                }
            }
        }
        for (who, _, what) in came {
            let line = match what {
                Came::Join(Answer::Response(answer)) => self.joined(&answer),
                Came::Sync(Answer::Response(answer)) => format!(
                    "synced: {} {:?} {:?} {:?}",
                    code(answer.error_code),
                    answer.protocol_type,
                    answer.protocol_name,
                    answer.assignment
                ),
                Came::Join(other) => format!("joined: {other:?}"),
                Came::Sync(other) => format!("synced: {other:?}"),
            };
            self.lines.push(format!("  {who} {line}"));
        }
        Ok(())
    }

    fn joined(&self, answer: &JoinGroupResponse) -> String {
        let mut members: Vec<String> = answer
            .members
            .iter()
            .map(|member| {
                let name = self.name(&member.member_id);
                let instance = &member.group_instance_id;
                format!("{name} {instance:?} {:?}", own(&member.metadata))
            })
            .collect();
        members.sort();
        format!(
            "joined: {} as {}, generation {}, {:?} {:?}, led by {}, skip {}, {members:?}",
            code(answer.error_code),
            self.name(&answer.member_id),
            answer.generation_id,
            answer.protocol_type,
            answer.protocol_name,
            self.name(&answer.leader),
            answer.skip_assignment,
        )
    }
}

/// Creates the topic for commits, and makes the broker create those of its coordinators.
pub fn prepare(address: &str) -> Result<()> {
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "t".into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let mut connection = Connection::open(address)?;
    connection.ask(&create, 7)?;
    led(&mut connection, &["t"], 1)?;
    load_coordinators(&mut connection)
}
