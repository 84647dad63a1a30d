//! Tests of the group shard. Each is a script of requests and of time that passes, with the expected answers.
//!
//! ```text
//! join id=… inst=… v=… type=… p=range:meta,rr:meta s=… r=…     sync ID GENERATION [inst=…] [a=ID:x,ID:y]
//! beat ID GENERATION [inst=…]   leave ID… (or /INSTANCE)   commit t-0=5,t-1=6 [id=…] [gen=…] [keep=…] [meta=…]
//! txn PRODUCER t-0=5 [late]   end PRODUCER commit|abort [late]   fetch t-0,t-1 (or *) [stable]   forget t-0   drop t
//! hb ID EPOCH [t=t+u|none] [re=EXPRESSION] [own=t-0,t-1|none] [inst=…] [by=ASSIGNOR] [r=…] [host=…]   consumer
//! shb ID EPOCH [t=t+u|none]   initialised|failed t-0,t-1   share   begin t-0=5   forget-share t [done]   of the share protocol
//! raise t-0=5   describe   list [state=…] [type=…]   delete   max MEMBERS   topics t:4,u:2   +MS   crash
//! ```
//! Random ids are printed as `prefix#n`. An answer is printed below the request that caused it, as `[n]` with the number of the
//! request that it answers.

mod assignments;
mod consumers;
mod consumers_property;
mod costs;
mod expiry;
mod joining;
mod migration;
mod offsets;
mod property;
mod rebalances;
mod restarts;
mod shares;
mod silence;
mod static_members;
mod transactions;

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::any::Group;
use super::request::{
    Commit, ConsumerHeartbeat, GroupAnswer, GroupRequest, Join, LogStarts, ShareHeartbeat,
    ShareStart,
};
use super::settings::GroupSettings;
use super::shard::GroupShard;
use crate::base::ids::Uuid;
use crate::base::memory::Memory;
use crate::coordinator::runtime::shard::{
    Marker, Moment, Origin, Output, RawRecord, Shard, Ticket,
};
use crate::log::producer_state::{Admission, MarkerRules};
use crate::metadata::image::{Delta, Image, Topic};
use crate::metadata::record::schema::{PartitionRecord, TopicRecord};
use crate::wire::codec::{Reader, Writer};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Message;
use crate::wire::message::consumer_group_describe::Assignment as DescribedAssignment;
use crate::wire::message::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, TopicPartitions,
};
use crate::wire::message::embedded::{ConsumerProtocolAssignment, ConsumerTopicPartition};
use crate::wire::message::heartbeat::HeartbeatRequest;
use crate::wire::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use crate::wire::message::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::wire::message::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::wire::message::share_group_heartbeat::ShareGroupHeartbeatRequest;
use crate::wire::message::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use crate::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};

/// One record or marker of the stage's log.
#[derive(Clone, Debug)]
pub enum Logged {
    Record(Origin, RawRecord),
    Marker(Marker),
}

/// A shard with its log and its clock.
pub struct Stage {
    pub shard: GroupShard,
    pub settings: GroupSettings,
    pub log: Vec<Logged>,
    pub now: i64,
    pub tickets: u64,
    pub fresh: u8,
    pub image: Arc<Image>,
}

/// Time at which tests start.
const START: i64 = 1_000_000;

impl Stage {
    pub fn new(settings: GroupSettings) -> Self {
        let mut stage = Self {
            shard: GroupShard::new(settings.clone()),
            settings,
            log: Vec::new(),
            now: START,
            tickets: 0,
            fresh: 0,
            image: Arc::new(image_of("", 0)),
        };
        stage.crash();
        stage
    }

    pub fn moment(&self) -> Moment {
        Moment {
            wall: self.now,
            steady: self.now,
        }
    }

    pub fn ask(&mut self, request: GroupRequest) -> Vec<(Ticket, GroupAnswer)> {
        self.ask_if(request, Ok(()))
    }

    /// Sends a request. `met` is the log's decision about the request's condition.
    pub fn ask_if(
        &mut self,
        request: GroupRequest,
        met: Result<(), ErrorCode>,
    ) -> Vec<(Ticket, GroupAnswer)> {
        self.tickets += 1;
        let mut out = Output::new(100_000);
        self.shard
            .handle(self.moment(), Ticket(self.tickets), request, met, &mut out);
        self.take(out)
    }

    pub fn advance(&mut self, ms: i64) -> Vec<(Ticket, GroupAnswer)> {
        let until = self.now + ms;
        let mut answers = Vec::new();
        while let Some(at) = self.shard.next_wake().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let mut out = Output::new(100_000);
            self.shard.wake(self.moment(), &mut out);
            answers.extend(self.take(out));
        }
        self.now = until;
        answers
    }

    fn take(&mut self, out: Output<GroupAnswer>) -> Vec<(Ticket, GroupAnswer)> {
        let origin = out
            .producer
            .map_or(Origin::Plain, |(id, _)| Origin::Transaction(id));
        self.log.extend(
            out.records
                .into_iter()
                .map(|raw| Logged::Record(origin, raw)),
        );
        self.log.extend(out.marker.map(Logged::Marker));
        for group in self.shard.groups().values() {
            match group {
                Group::Classic(group) => group.check_invariants(),
                Group::Consumer(group) => group.check_invariants(),
                Group::Share(_) | Group::Streams(_) => {}
            }
        }
        out.answers
    }

    /// A new shard with the content of the log.
    pub fn replayed(&self) -> GroupShard {
        let mut shard = GroupShard::new(self.settings.clone());
        for logged in &self.log {
            match logged {
                Logged::Record(origin, raw) => {
                    let record = GroupShard::decode(raw.clone())
                        .expect("we wrote it")
                        .expect("we know it");
                    shard.apply(*origin, &record);
                }
                Logged::Marker(marker) => shard.apply_marker(*marker),
            }
        }
        shard
    }

    /// Sets the topics of the cluster, with their numbers of partitions: `t:4,u:2`.
    pub fn topics(&mut self, text: &str) -> Vec<(Ticket, GroupAnswer)> {
        let before = Arc::clone(&self.image);
        let image = Arc::new(image_of(text, before.offset + 1));
        let differs = |topic: &&Arc<Topic>| before.topics.by_name(&topic.name) != Some(*topic);
        let delta = Delta {
            topics: image
                .topics
                .iter()
                .filter(differs)
                .map(|topic| topic.id)
                .collect(),
            removed_topics: (before.topics.iter())
                .filter(|topic| image.topics.by_name(&topic.name).is_none())
                .cloned()
                .collect(),
            ..Delta::default()
        };
        self.image = image;
        self.shard.on_image(&self.image, &delta);
        Vec::new()
    }

    pub fn crash(&mut self) {
        self.shard = self.replayed();
        self.shard.on_image(&self.image, &Delta::default());
        let mut out = Output::new(100_000);
        self.shard.loaded(self.moment(), &mut out);
        self.take(out);
    }
}

fn topic_id(name: &str) -> Uuid {
    let mut id = [7; 16];
    for (place, byte) in id.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    Uuid(id)
}

fn image_of(text: &str, offset: i64) -> Image {
    let mut image = Image::empty();
    let mut delta = Delta::default();
    for one in text.split(',').filter(|one| !one.is_empty()) {
        let (name, count) = one.split_once(':').expect("name:partitions");
        let topic_id = topic_id(name);
        let topic = TopicRecord {
            name: name.to_owned().into(),
            topic_id,
        };
        image.apply(&topic.into(), offset, &mut delta);
        for partition_id in 0..count.parse().expect("a number") {
            let partition = PartitionRecord {
                partition_id,
                topic_id,
                ..PartitionRecord::default()
            };
            image.apply(&partition.into(), offset, &mut delta);
        }
    }
    image.features.insert("group.version".into(), 1);
    image.features.insert("share.version".into(), 2);
    image.offset = offset;
    image
}

fn check(script: &str, expected: expect_test::Expect) {
    check_with(GroupSettings::default(), script, expected);
}

fn check_with(settings: GroupSettings, script: &str, expected: expect_test::Expect) {
    let mut stage = Stage::new(settings);
    let mut told = String::new();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let before = stage.tickets;
        let answers = act(&mut stage, line);
        let number = if stage.tickets > before {
            format!("{} ", stage.tickets)
        } else {
            String::new()
        };
        let _ = writeln!(told, "{number}{line}");
        for (Ticket(ticket), answer) in answers {
            let _ = writeln!(told, "    [{ticket}] {}", short_ids(&describe(&answer)));
        }
    }
    expected.assert_eq(&told);
}

fn uuid(n: u8) -> String {
    let h = format!("{n:02x}");
    let v = format!("{:02x}", (n & 0x0f) | 0x40);
    let w = format!("{:02x}", (n & 0x3f) | 0x80);
    format!("-{h}{h}{h}{h}-{h}{h}-{v}{h}-{w}{h}-{h}{h}{h}{h}{h}{h}")
}

fn short_ids(text: &str) -> String {
    (1..=40u8).fold(text.to_owned(), |text, n| {
        text.replace(&uuid(n), &format!("#{n}"))
    })
}

fn long_id(text: &str) -> ByteString {
    match text.rsplit_once('#') {
        Some((prefix, n)) => format!("{prefix}{}", uuid(n.parse().expect("a number"))).into(),
        None => text.to_owned().into(),
    }
}

/// Parses `t-0=5,t-1=6` or `t-0,t-1`.
fn partitions(text: &str) -> Vec<(ByteString, i32, i64)> {
    text.split(',')
        .map(|one| {
            let (partition, offset) = one.split_once('=').unwrap_or((one, "0"));
            let (topic, index) = partition.rsplit_once('-').expect("topic-partition");
            (
                topic.to_owned().into(),
                index.parse().expect("an index"),
                offset.parse().expect("an offset"),
            )
        })
        .collect()
}

fn starts(text: &str) -> Vec<ShareStart> {
    let partitions = partitions(text).into_iter();
    partitions
        .map(|(topic, partition, start)| ShareStart {
            topic_id: topic_id(&topic),
            partition,
            start,
            replaces: false,
        })
        .collect()
}

pub fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes.into()
}

fn act(stage: &mut Stage, line: &str) -> Vec<(Ticket, GroupAnswer)> {
    let mut words = line.split_whitespace();
    let verb = words.next().expect("a verb");
    let words: Vec<&str> = words.collect();
    let plain: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| !word.contains('=') || word.contains("-0=") || word.contains("-1="))
        .collect();
    let named = |name: &str| {
        words
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let number = |name: &str, default: i64| {
        named(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let group = || ByteString::from(named("group").unwrap_or("g").to_owned());
    let instance = || named("inst").map(|text| ByteString::from(text.to_owned()));
    if let Some(ms) = verb.strip_prefix('+') {
        return stage.advance(ms.parse().expect("milliseconds"));
    }
    let request = match verb {
        "crash" => {
            stage.crash();
            return Vec::new();
        }
        "max" => {
            stage.settings.members_max = plain[0].parse().expect("a number");
            return Vec::new();
        }
        "join" => {
            stage.fresh += 1;
            let version = number("v", 9);
            let protocols = named("p").unwrap_or("range:t");
            GroupRequest::Join(Box::new(Join {
                request: JoinGroupRequest {
                    group_id: group(),
                    session_timeout_ms: number("s", 10_000) as i32,
                    rebalance_timeout_ms: number("r", 60_000) as i32,
                    member_id: named("id").map(long_id).unwrap_or_default(),
                    group_instance_id: instance(),
                    protocol_type: named("type").unwrap_or("consumer").to_owned().into(),
                    protocols: protocols
                        .split(',')
                        .filter(|text| !text.is_empty())
                        .map(|text| {
                            let (name, topics) = text.split_once(':').unwrap_or((text, ""));
                            JoinGroupRequestProtocol {
                                name: name.to_owned().into(),
                                metadata: if topics == "junk" {
                                    Bytes::from_static(b"!")
                                } else {
                                    let topics: Vec<_> = topics.split('+').collect();
                                    subscription(&topics)
                                },
                            }
                        })
                        .collect(),
                    reason: None,
                },
                client_id: "c".into(),
                client_host: "/127.0.0.1".into(),
                member_id_required: version >= 4 && instance().is_none(),
                may_skip_assignment: version >= 9,
                fresh: [stage.fresh; 16],
            }))
        }
        "sync" => GroupRequest::Sync(SyncGroupRequest {
            group_id: group(),
            generation_id: plain[1].parse().expect("a generation"),
            member_id: long_id(plain[0]),
            group_instance_id: instance(),
            protocol_type: named("type").map(|text| text.to_owned().into()),
            protocol_name: named("p").map(|text| text.to_owned().into()),
            assignments: named("a")
                .map(|text| {
                    text.split(',')
                        .map(|one| {
                            let (id, bytes) = one.split_once(':').expect("id:bytes");
                            SyncGroupRequestAssignment {
                                member_id: long_id(id),
                                assignment: match bytes.strip_prefix('@') {
                                    Some(topics) => assignment_of(topics),
                                    None => Bytes::copy_from_slice(bytes.as_bytes()),
                                },
                            }
                        })
                        .collect()
                })
                .unwrap_or_default(),
        }),
        "beat" => GroupRequest::Heartbeat(HeartbeatRequest {
            group_id: group(),
            generation_id: plain[1].parse().expect("a generation"),
            member_id: long_id(plain[0]),
            group_instance_id: instance(),
        }),
        "leave" => GroupRequest::Leave(LeaveGroupRequest {
            group_id: group(),
            member_id: ByteString::new(),
            members: plain
                .iter()
                .map(|text| {
                    let (id, instance) = match text.split_once('/') {
                        Some((id, instance)) => (id, Some(instance.to_owned().into())),
                        None => (*text, None),
                    };
                    MemberIdentity {
                        member_id: long_id(id),
                        group_instance_id: instance,
                        reason: None,
                    }
                })
                .collect(),
        }),
        "commit" => GroupRequest::Commit(Commit::new(
            OffsetCommitRequest {
                group_id: group(),
                generation_id_or_member_epoch: number("gen", -1) as i32,
                member_id: named("id").map(long_id).unwrap_or_default(),
                group_instance_id: instance(),
                retention_time_ms: number("keep", -1),
                topics: partitions(plain[0])
                    .into_iter()
                    .map(|(name, partition_index, offset)| OffsetCommitRequestTopic {
                        name,
                        partitions: vec![OffsetCommitRequestPartition {
                            partition_index,
                            committed_offset: offset,
                            committed_metadata: named("meta").map(|text| text.to_owned().into()),
                            ..OffsetCommitRequestPartition::default()
                        }],
                        ..OffsetCommitRequestTopic::default()
                    })
                    .collect(),
            },
            number("v", 9) >= 9,
        )),
        "txn" => GroupRequest::Commit(Commit::in_transaction(
            TxnOffsetCommitRequest {
                transactional_id: "x".into(),
                group_id: group(),
                producer_id: plain[0].parse().expect("a producer"),
                generation_id_or_member_epoch: number("gen", -1) as i32,
                member_id: named("id").map(long_id).unwrap_or_default(),
                topics: partitions(plain[1])
                    .into_iter()
                    .map(
                        |(name, partition_index, offset)| TxnOffsetCommitRequestTopic {
                            name,
                            partitions: vec![TxnOffsetCommitRequestPartition {
                                partition_index,
                                committed_offset: offset,
                                ..TxnOffsetCommitRequestPartition::default()
                            }],
                            ..TxnOffsetCommitRequestTopic::default()
                        },
                    )
                    .collect(),
                ..TxnOffsetCommitRequest::default()
            },
            ADMISSION,
        )),
        "end" => GroupRequest::EndTransaction(
            Marker {
                producer_id: plain[0].parse().expect("a producer"),
                producer_epoch: 0,
                coordinator_epoch: 0,
                commit: plain[1] == "commit",
            },
            MarkerRules::Old,
        ),
        "fetch" => GroupRequest::FetchOffsets {
            group: OffsetFetchRequestGroup {
                group_id: group(),
                topics: (plain[0] != "*").then(|| {
                    partitions(plain[0])
                        .into_iter()
                        .map(|(name, index, _)| OffsetFetchRequestTopics {
                            name,
                            partition_indexes: vec![index],
                            ..OffsetFetchRequestTopics::default()
                        })
                        .collect()
                }),
                ..OffsetFetchRequestGroup::default()
            },
            require_stable: plain.contains(&"stable"),
        },
        "forget" => GroupRequest::DeleteOffsets(OffsetDeleteRequest {
            group_id: group(),
            topics: partitions(plain[0])
                .into_iter()
                .map(|(name, partition_index, _)| OffsetDeleteRequestTopic {
                    name,
                    partitions: vec![OffsetDeleteRequestPartition { partition_index }],
                })
                .collect(),
        }),
        "raise" => GroupRequest::RaiseOffsets {
            group: group(),
            starts: {
                let mut starts = LogStarts::new();
                for (topic, partition, start) in partitions(plain[0]) {
                    starts.entry(topic).or_default().insert(partition, start);
                }
                Arc::new(starts)
            },
        },
        "drop" => GroupRequest::TopicsDeleted(vec![plain[0].to_owned().into()]),
        "topics" => return stage.topics(words.first().copied().unwrap_or("")),
        "consumer" => GroupRequest::DescribeConsumer(group()),
        "hb" => {
            let list = |text: &str| match text {
                "none" => Vec::new(),
                names => names
                    .split('+')
                    .map(|name| name.to_owned().into())
                    .collect(),
            };
            let owned = |text: &str| match text {
                "none" => Vec::new(),
                text => partitions(text)
                    .into_iter()
                    .map(|(topic, index, _)| TopicPartitions {
                        topic_id: topic_id(&topic),
                        partitions: vec![index],
                    })
                    .collect(),
            };
            let epoch = plain[1].parse().expect("an epoch");
            let joins = epoch == 0;
            let regex: Option<ByteString> = named("re").map(|text| text.to_owned().into());
            GroupRequest::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
                regex_fault: regex
                    .as_ref()
                    .and_then(|one| super::expression::compile(one).err()),
                request: ConsumerGroupHeartbeatRequest {
                    group_id: group(),
                    member_id: long_id(plain[0]),
                    member_epoch: epoch,
                    instance_id: instance(),
                    rebalance_timeout_ms: number("r", if joins { 60_000 } else { -1 }) as i32,
                    subscribed_topic_names: named("t").map(list),
                    subscribed_topic_regex: regex,
                    server_assignor: named("by").map(|text| text.to_owned().into()),
                    topic_partitions: named("own").map(owned).or_else(|| joins.then(Vec::new)),
                    ..ConsumerGroupHeartbeatRequest::default()
                },
                client_id: "c".into(),
                client_host: named("host").unwrap_or("/127.0.0.1").to_owned().into(),
                names_itself: true,
                classic: None,
            }))
        }
        "shb" => {
            let names = |text: &str| match text {
                "none" => Vec::new(),
                names => names
                    .split('+')
                    .map(|name| name.to_owned().into())
                    .collect(),
            };
            GroupRequest::ShareHeartbeat(Box::new(ShareHeartbeat {
                request: ShareGroupHeartbeatRequest {
                    group_id: group(),
                    member_id: plain[0].to_owned().into(),
                    member_epoch: plain[1].parse().expect("an epoch"),
                    rack_id: None,
                    subscribed_topic_names: named("t").map(names),
                },
                client_id: "c".into(),
                client_host: "/127.0.0.1".into(),
            }))
        }
        "initialised" | "failed" => GroupRequest::ShareInitialised {
            group: group(),
            done: starts(plain[0])
                .into_iter()
                .map(|start| (start, verb == "initialised"))
                .collect(),
        },
        "share" => GroupRequest::DescribeShare(group()),
        "begin" => GroupRequest::BeginShare {
            group: group(),
            starts: starts(words[0]),
        },
        "forget-share" => GroupRequest::ForgetShare {
            group: group(),
            topics: vec![topic_id(plain[0])],
            is_done: plain.contains(&"done"),
        },
        "describe" => GroupRequest::Describe {
            group: group(),
            unknown_is_error: number("v", 6) >= 6,
        },
        "list" => GroupRequest::List {
            states: named("state")
                .map(|text| text.to_owned().into())
                .into_iter()
                .collect(),
            types: named("type")
                .map(|text| text.to_owned().into())
                .into_iter()
                .collect(),
        },
        "delete" => GroupRequest::Delete(group()),
        other => panic!("no verb {other}"),
    };
    // Decision of the log about a transactional request. `late` means that a marker was written in the meantime.
    let met = match verb {
        "txn" | "end" if plain.contains(&"late") => Err(ErrorCode::InvalidTxnState),
        _ => Ok(()),
    };
    stage.ask_if(request, met)
}

const ADMISSION: Admission = Admission {
    last_marker: None,
    begins_at_zero: false,
    verified: true,
};

/// Encodes `t-0+t-1` as an assignment of the classic protocol.
fn assignment_of(text: &str) -> Bytes {
    let each = text.split('+').filter(|one| !one.is_empty());
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: each
            .map(|one| {
                let (topic, index) = one.rsplit_once('-').expect("topic-partition");
                ConsumerTopicPartition {
                    topic: topic.to_owned().into(),
                    partitions: vec![index.parse().expect("an index")],
                }
            })
            .collect(),
        user_data: None,
    };
    let mut writer = Writer::default();
    writer.i16(0);
    assignment.write(&mut writer, 0).expect("it has a form");
    writer.into_bytes()
}

fn partitions_of(bytes: &Bytes) -> String {
    let mut reader = Reader::new(bytes.slice(2..));
    let assignment = ConsumerProtocolAssignment::read(&mut reader, 0).expect("an assignment");
    let topics = assignment.assigned_partitions.iter();
    let each = topics.flat_map(|one| {
        one.partitions
            .iter()
            .map(|index| format!("{}-{index}", one.topic))
    });
    each.collect::<Vec<_>>().join(" ")
}

fn topic_name(id: Uuid) -> String {
    id.0.iter()
        .take_while(|byte| **byte != 7)
        .map(|byte| char::from(*byte))
        .collect()
}

fn error(code: i16) -> &'static str {
    match code {
        0 => "ok",
        code => ErrorCode::from_code(code).map_or("?", ErrorCode::name),
    }
}

fn describe(answer: &GroupAnswer) -> String {
    match answer {
        GroupAnswer::Join(join) if join.error_code != 0 => {
            format!("join {} as '{}'", error(join.error_code), join.member_id)
        }
        GroupAnswer::Join(join) => {
            let members: Vec<_> = join
                .members
                .iter()
                .map(|m| m.member_id.to_string())
                .collect();
            format!(
                "join ok as {}, generation {}, {} of {}, leader {}{}{}",
                join.member_id,
                join.generation_id,
                join.protocol_name.as_deref().unwrap_or("null"),
                join.protocol_type.as_deref().unwrap_or("null"),
                join.leader,
                if members.is_empty() {
                    String::new()
                } else {
                    format!(", members {}", members.join(" "))
                },
                if join.skip_assignment { ", skip" } else { "" }
            )
        }
        GroupAnswer::Sync(sync) if sync.error_code != 0 => {
            format!("sync {}", error(sync.error_code))
        }
        GroupAnswer::Sync(sync) if sync.assignment.starts_with(&[0, 0]) => {
            format!("sync ok {}", partitions_of(&sync.assignment))
        }
        GroupAnswer::Sync(sync) => {
            format!("sync ok '{}'", String::from_utf8_lossy(&sync.assignment))
        }
        GroupAnswer::Heartbeat(beat) => format!("beat {}", error(beat.error_code)),
        GroupAnswer::Leave(leave) => {
            let members: Vec<_> = leave.members.iter().map(|m| error(m.error_code)).collect();
            format!("leave {} {}", error(leave.error_code), members.join(" "))
        }
        GroupAnswer::Committed(topics) => {
            let each: Vec<_> = topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(|p| error(p.error_code)))
                .collect();
            format!("commit {}", each.join(" "))
        }
        GroupAnswer::Refused(refusal) => format!("refused {}", error(refusal.code())),
        GroupAnswer::FetchOffsets(fetch) => {
            let mut text = "fetch".to_owned();
            for topic in &fetch.topics {
                for partition in &topic.partitions {
                    let _ = write!(
                        text,
                        " {}-{}={}",
                        topic.name, partition.partition_index, partition.committed_offset
                    );
                    if partition.error_code != 0 {
                        let _ = write!(text, " {}", error(partition.error_code));
                    }
                    if let Some(metadata) = partition.metadata.as_deref().filter(|m| !m.is_empty())
                    {
                        let _ = write!(text, " '{metadata}'");
                    }
                }
            }
            text
        }
        GroupAnswer::DeleteOffsets(delete) if delete.error_code != 0 => {
            format!("forget {}", error(delete.error_code))
        }
        GroupAnswer::DeleteOffsets(delete) => {
            let each: Vec<_> = delete
                .topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(|p| error(p.error_code)))
                .collect();
            format!("forget {}", each.join(" "))
        }
        GroupAnswer::Describe(group) => {
            let mut text = format!(
                "describe {} {} '{}' '{}'",
                error(group.error_code),
                group.group_state,
                group.protocol_type,
                group.protocol_data
            );
            for member in &group.members {
                let _ = write!(
                    text,
                    " {}{}{}='{}'",
                    member.member_id,
                    if member.group_instance_id.is_some() {
                        "/"
                    } else {
                        ""
                    },
                    member.group_instance_id.as_deref().unwrap_or(""),
                    String::from_utf8_lossy(&member.member_assignment)
                );
            }
            text
        }
        GroupAnswer::List(groups) => {
            let each: Vec<_> = groups
                .iter()
                .map(|g| format!("{} {} '{}'", g.group_id, g.group_state, g.protocol_type))
                .collect();
            format!("list {}", each.join(", "))
        }
        GroupAnswer::Delete(delete) => format!("delete {}", error(delete.error_code)),
        GroupAnswer::Done | GroupAnswer::ShareForgotten(_) => "done".to_owned(),
        GroupAnswer::ConsumerHeartbeat(beat) if beat.error_code != 0 => {
            format!("hb {}", error(beat.error_code))
        }
        GroupAnswer::ConsumerHeartbeat(beat) => {
            let mut text = format!("hb epoch {}", beat.member_epoch);
            if let Some(assignment) = &beat.assignment {
                let mut told: Vec<_> = assignment
                    .topic_partitions
                    .iter()
                    .flat_map(|topic| {
                        let name = topic_name(topic.topic_id);
                        topic
                            .partitions
                            .iter()
                            .map(move |index| format!(" {name}-{index}"))
                    })
                    .collect();
                told.sort();
                let _ = write!(text, " reads{}", told.concat());
            }
            text
        }
        GroupAnswer::ShareHeartbeat(beat) if beat.error_code != 0 => {
            format!("shb {}", error(beat.error_code))
        }
        GroupAnswer::ShareHeartbeat(beat) => {
            let mut text = format!("shb epoch {}", beat.member_epoch);
            if let Some(assignment) = &beat.assignment {
                let topics = assignment.topic_partitions.iter();
                let told = topics.flat_map(|topic| {
                    let name = topic_name(topic.topic_id);
                    let partitions = topic.partitions.iter();
                    partitions.map(move |index| format!(" {name}-{index}"))
                });
                let mut told: Vec<String> = told.collect();
                told.sort();
                let _ = write!(text, " reads{}", told.concat());
            }
            let _ = write!(text, " again in {}", beat.heartbeat_interval_ms);
            text
        }
        GroupAnswer::InitialiseShare(errand) => {
            let starts = errand.starts.iter();
            let starts = starts.map(|one| {
                let name = topic_name(one.topic_id);
                let anew = if one.replaces { " anew" } else { "" };
                format!(" {name}-{} from {}{anew}", one.partition, one.start)
            });
            let starts: Vec<String> = starts.collect();
            format!("initialise in epoch {}:{}", errand.epoch, starts.join(","))
        }
        GroupAnswer::ShareTopics(topics) => format!("{topics:?}"),
        GroupAnswer::DescribeShare(group) => {
            let mut text = format!(
                "share {} {} epoch {} of {}",
                error(group.error_code),
                group.group_state,
                group.assignment_epoch,
                group.group_epoch,
            );
            for member in &group.members {
                let topics = member.assignment.topic_partitions.iter();
                let has = topics.flat_map(|topic| {
                    let partitions = topic.partitions.iter();
                    partitions.map(|index| format!(" {}-{index}", topic.topic_name))
                });
                let has: String = has.collect();
                let _ = write!(
                    text,
                    "\n        {} epoch {} has{has}",
                    member.member_id, member.member_epoch
                );
            }
            text
        }
        GroupAnswer::DescribeConsumer(group) => {
            let mut text = format!(
                "consumer {} {} epoch {} of {} by {}",
                error(group.error_code),
                group.group_state,
                group.assignment_epoch,
                group.group_epoch,
                group.assignor_name,
            );
            for member in &group.members {
                let each = |of: &DescribedAssignment| {
                    let topics = of.topic_partitions.iter();
                    let each = topics.flat_map(|topic| {
                        topic
                            .partitions
                            .iter()
                            .map(|index| format!("{}-{index}", topic.topic_name))
                    });
                    each.collect::<Vec<_>>().join(" ")
                };
                let (has, shall) = (each(&member.assignment), each(&member.target_assignment));
                let _ = write!(
                    text,
                    "\n        {} epoch {} has {has}",
                    member.member_id, member.member_epoch
                );
                if has != shall {
                    let _ = write!(text, ", shall have {shall}");
                }
            }
            text
        }
        GroupAnswer::ResolveRegex(errand) => format!("look for {}", errand.patterns.join(" ")),
    }
}
