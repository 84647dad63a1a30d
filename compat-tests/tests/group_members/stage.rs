//! One broker, one group, and clients of it that each do as they are told. What they see is written down.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use bytestring::ByteString;
use compat_tests::exchange::{Answer, Connection};
use monedula::wire::error_code::ErrorCode;
use monedula::wire::message::Request;
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::delete_groups::DeleteGroupsRequest;
use monedula::wire::message::describe_groups::DescribeGroupsRequest;
use monedula::wire::message::find_coordinator::FindCoordinatorRequest;
use monedula::wire::message::heartbeat::HeartbeatRequest;
use monedula::wire::message::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use monedula::wire::message::leave_group::{LeaveGroupRequest, MemberIdentity};
use monedula::wire::message::list_groups::ListGroupsRequest;
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use monedula::wire::message::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};

/// How a client joins.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    pub version: i16,
    pub session_ms: i32,
    pub rebalance_ms: i32,
    pub instance: Option<&'static str>,
    pub protocols: &'static [&'static str],
    pub protocol_type: &'static str,
    /// What is in the metadata beside the name of the protocol.
    pub metadata: u8,
    /// Comes without the id that it was given.
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

/// The bytes of the assignor's own in a subscription.
const OWN: usize = 4;

/// A request whose answer may come much later.
enum Waiting {
    Join(Connection, i16),
    Sync(Connection, i16),
}

enum Came {
    Join(Answer<JoinGroupResponse>),
    Sync(Answer<SyncGroupResponse>),
}

/// A client: what it knows of the group, and what it waits for.
#[derive(Default)]
struct Client {
    member_id: ByteString,
    instance: Option<&'static str>,
    generation: i32,
    protocol: Option<ByteString>,
    members: Vec<ByteString>,
    ids: usize,
    waiting: Vec<Waiting>,
}

/// See the module.
pub struct Stage {
    address: String,
    group: String,
    control: Connection,
    clients: BTreeMap<&'static str, Client>,
    /// What member ids are called: the client that was given it, and which one of its ids it is.
    names: BTreeMap<ByteString, String>,
    /// Silence of this length says that nothing more is going to happen.
    quiet: Duration,
    pub lines: Vec<String>,
}

fn code(code: i16) -> String {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => "ok".to_owned(),
        Some(error) => format!("{error:?}"),
        None => format!("error {code}"),
    }
}

/// What a subscription holds beside the topic.
fn own(metadata: &Bytes) -> Bytes {
    metadata.slice(metadata.len().saturating_sub(OWN)..)
}

impl Stage {
    pub fn new(address: &str, group: &str, quiet: Duration) -> Result<Self> {
        Ok(Self {
            address: address.to_owned(),
            group: group.to_owned(),
            control: Connection::open(address)?,
            clients: BTreeMap::new(),
            names: BTreeMap::new(),
            quiet,
            lines: Vec::new(),
        })
    }

    pub fn join(&mut self, who: &'static str, how: Join) -> Result<()> {
        self.lines.push(format!("> {who} joins"));
        let client = self.clients.entry(who).or_default();
        client.instance = how.instance;
        // A subscription of topic t with four bytes of the assignor's own. Kafka reads those of consumers, and never
        // answers a group in which one cannot be read.
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
        client.waiting.push(Waiting::Join(connection, how.version));
        self.settle()
    }

    /// Everybody who was told to be a leader hands out; others wait to be given. A generation other than its own can be
    /// told by `off`.
    pub fn sync(&mut self, who: &'static str, version: i16, off: i32) -> Result<()> {
        self.lines.push(format!("> {who} syncs"));
        let names = &self.names;
        let client = self.clients.entry(who).or_default();
        let request = SyncGroupRequest {
            group_id: self.group.as_str().into(),
            generation_id: client.generation + off,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance.filter(|_| version >= 3).map(Into::into),
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
        client.waiting.push(Waiting::Sync(connection, version));
        self.settle()
    }

    /// Nothing is done for some time.
    pub fn wait(&mut self, milliseconds: u64) -> Result<()> {
        self.lines.push(format!("> {milliseconds} ms later"));
        std::thread::sleep(Duration::from_millis(milliseconds));
        self.settle()
    }

    pub fn beat(&mut self, who: &'static str, off: i32) -> Result<()> {
        let client = self.clients.entry(who).or_default();
        let request = HeartbeatRequest {
            group_id: self.group.as_str().into(),
            generation_id: client.generation + off,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance.map(Into::into),
        };
        let version = if client.instance.is_some() { 4 } else { 2 };
        let answer = self.ask(&request, version)?;
        self.did(&format!("{who} beats: {}", code(answer.error_code)))
    }

    pub fn leave(&mut self, who: &'static str, version: i16) -> Result<()> {
        let client = self.clients.entry(who).or_default();
        let member_id = client.member_id.clone();
        let mut request = LeaveGroupRequest {
            group_id: self.group.as_str().into(),
            ..Default::default()
        };
        if version < 3 {
            request.member_id = member_id;
        } else {
            request.members = vec![MemberIdentity {
                member_id,
                group_instance_id: client.instance.map(Into::into),
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

    /// An administrator puts an instance out, without knowing its member id.
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

    pub fn commit(&mut self, who: &'static str, off: i32, offset: i64) -> Result<()> {
        let client = self.clients.entry(who).or_default();
        let request = OffsetCommitRequest {
            group_id: self.group.as_str().into(),
            generation_id_or_member_epoch: client.generation + off,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance.map(Into::into),
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
        let answer = self.ask(&request, 9)?;
        let error = answer
            .topics
            .first()
            .and_then(|topic| topic.partitions.first())
            .map_or_else(|| "nothing".to_owned(), |one| code(one.error_code));
        self.did(&format!("{who} commits: {error}"))
    }

    /// What an administrator is shown.
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

    /// Whether an answer is still to come. Kafka forgets to answer the first of two requests of a member that wait at once,
    /// and we refuse it, so that stories at random have one at a time.
    pub fn waits(&self, who: &str) -> bool {
        (self.clients.get(who)).is_some_and(|client| !client.waiting.is_empty())
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

    fn name(&self, member: &ByteString) -> String {
        match self.names.get(member) {
            Some(name) => name.clone(),
            None if member.is_empty() => "nobody".to_owned(),
            None => "a stranger".to_owned(),
        }
    }

    /// Takes what comes until nothing more does, and writes it down in the order of the clients' names.
    fn settle(&mut self) -> Result<()> {
        let mut came = Vec::new();
        let mut until = std::time::Instant::now() + self.quiet;
        while std::time::Instant::now() < until {
            let mut any = false;
            for (who, client) in &mut self.clients {
                for waiting in std::mem::take(&mut client.waiting) {
                    let (Waiting::Join(connection, _) | Waiting::Sync(connection, _)) = &waiting;
                    if !connection.is_answered(Duration::from_millis(2))? {
                        client.waiting.push(waiting);
                        continue;
                    }
                    any = true;
                    came.push((
                        *who,
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
            if any {
                until = std::time::Instant::now() + self.quiet;
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        came.sort_by_key(|(who, _)| *who);
        // Who is who is known before anything is written: a leader's answer names the others.
        for (who, what) in &came {
            let Came::Join(Answer::Response(answer)) = what else {
                continue;
            };
            let client = self.clients.entry(who).or_default();
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
        for (who, what) in came {
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

/// Makes the topic that is committed, and lets the broker make the topic of the groups.
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
    let find = FindCoordinatorRequest {
        coordinator_keys: vec!["g".into()],
        ..Default::default()
    };
    for _ in 0..100 {
        if let Some(Answer::Response(found)) = connection.ask(&find, 4)?
            && found.coordinators.iter().all(|one| one.error_code == 0)
        {
            // The other partitions of its topic come a little later.
            std::thread::sleep(Duration::from_secs(1));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("{address} has no coordinator");
}
