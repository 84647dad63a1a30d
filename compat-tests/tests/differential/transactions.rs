//! Producer ids and transactions.

use anyhow::Result;
use monedula::wire::message::add_offsets_to_txn::AddOffsetsToTxnRequest;
use monedula::wire::message::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use monedula::wire::message::describe_transactions::DescribeTransactionsRequest;
use monedula::wire::message::end_txn::EndTxnRequest;
use monedula::wire::message::init_producer_id::InitProducerIdRequest;
use monedula::wire::message::list_transactions::ListTransactionsRequest;
use monedula::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use monedula::wire::message::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};

use super::pair::Pair;

const STRANGER: i64 = 424_242;

fn init(id: Option<&str>, timeout: i32) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: id.map(Into::into),
        transaction_timeout_ms: timeout,
        ..Default::default()
    }
}

fn add(
    version: i16,
    id: &str,
    producer: i64,
    epoch: i16,
    topic: &str,
    only: bool,
) -> AddPartitionsToTxnRequest {
    let topics = vec![AddPartitionsToTxnTopic {
        name: topic.into(),
        partitions: vec![0],
    }];
    if version < 4 {
        return AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.into(),
            v3_and_below_producer_id: producer,
            v3_and_below_producer_epoch: epoch,
            v3_and_below_topics: topics,
            ..Default::default()
        };
    }
    AddPartitionsToTxnRequest {
        transactions: vec![AddPartitionsToTxnTransaction {
            transactional_id: id.into(),
            producer_id: producer,
            producer_epoch: epoch,
            verify_only: only,
            topics,
        }],
        ..Default::default()
    }
}

fn end(id: &str, producer_id: i64, producer_epoch: i16, committed: bool) -> EndTxnRequest {
    EndTxnRequest {
        transactional_id: id.into(),
        producer_id,
        producer_epoch,
        committed,
    }
}

pub fn play(pair: &mut Pair) -> Result<()> {
    pair.wait_for_producer_ids()?;
    for (name, request) in [
        ("an empty transactional id", init(Some(""), 1_000)),
        ("no timeout", init(Some("tx"), 0)),
        ("a timeout that is too long", init(Some("tx"), i32::MAX)),
        (
            "an epoch without a producer id",
            InitProducerIdRequest {
                producer_epoch: 5,
                ..init(Some("tx"), 1_000)
            },
        ),
        (
            "an unknown producer id",
            InitProducerIdRequest {
                producer_id: STRANGER,
                producer_epoch: 5,
                ..init(Some("unknown"), 1_000)
            },
        ),
    ] {
        pair.scene(name, |_| request.clone())?;
    }
    // Each broker allocates its own producer ids, in the same order.
    let (ours, theirs) = pair.both(5, &init(Some("tx"), 900_000))?;
    let our_address = pair.our_address();
    let id = |address: &str| {
        if address == our_address {
            (ours.producer_id, ours.producer_epoch)
        } else {
            (theirs.producer_id, theirs.producer_epoch)
        }
    };
    for version in 0..=5 {
        pair.once("a stranger's partitions", version, |_| {
            add(version, "tx", STRANGER, 0, "t", false)
        })?;
        pair.once("of an unknown transaction", version, |_| {
            add(version, "nope", STRANGER, 0, "t", false)
        })?;
        pair.once("an epoch that is over", version, |broker| {
            let (producer, _) = id(broker.address());
            add(version, "tx", producer, -5, "t", false)
        })?;
        pair.once("an unknown topic", version, |broker| {
            let (producer, epoch) = id(broker.address());
            add(version, "tx", producer, epoch, "nope", false)
        })?;
        pair.once("to verify only, too early", version, |broker| {
            let (producer, epoch) = id(broker.address());
            add(
                version,
                "tx",
                producer,
                epoch,
                if version < 4 { "nope" } else { "t" },
                true,
            )
        })?;
    }
    pair.scene("nothing to end", |broker| {
        let (producer, epoch) = id(broker.address());
        end("tx", producer, epoch, true)
    })?;
    pair.scene("as a stranger", |_| end("tx", STRANGER, 0, true))?;
    pair.scene("an unknown transaction", |_| end("nope", 1, 0, true))?;
    pair.scene("an epoch that is too new", |broker| {
        let (producer, epoch) = id(broker.address());
        end("tx", producer, epoch + 9, true)
    })?;
    pair.scene("without an id", |_| end("", 1, 0, true))?;
    for version in 0..=5 {
        pair.once("partitions", version, |broker| {
            let (producer, epoch) = id(broker.address());
            add(version, "tx", producer, epoch, "t", false)
        })?;
    }
    pair.once("to verify only", 5, |broker| {
        let (producer, epoch) = id(broker.address());
        add(5, "tx", producer, epoch, "t", true)
    })?;
    pair.scene("ids", |_| DescribeTransactionsRequest {
        transactional_ids: vec!["tx".into(), "nope".into(), "".into()],
    })?;
    for (name, states) in [
        ("all", &[][..]),
        ("ongoing", &["Ongoing"]),
        ("an unknown state", &["Lost"]),
    ] {
        pair.scene(name, |_| ListTransactionsRequest {
            state_filters: states.iter().map(|state| (*state).into()).collect(),
            ..Default::default()
        })?;
    }
    pair.scene("that last long", |_| ListTransactionsRequest {
        duration_filter: 3_600_000,
        ..Default::default()
    })?;
    let offsets =
        |transactional: &str, producer_id, producer_epoch, group: &str| AddOffsetsToTxnRequest {
            transactional_id: transactional.into(),
            producer_id,
            producer_epoch,
            group_id: group.into(),
        };
    pair.scene("a stranger's offsets", |_| offsets("tx", STRANGER, 0, "g"))?;
    pair.scene("offsets without a group", |broker| {
        let (producer, epoch) = id(broker.address());
        offsets("tx", producer, epoch, "")
    })?;
    pair.scene("offsets", |broker| {
        let (producer, epoch) = id(broker.address());
        offsets("tx", producer, epoch, "g")
    })?;
    let commit =
        |producer_id, producer_epoch, group: &str, topic: &str, member: &str, generation| {
            TxnOffsetCommitRequest {
                transactional_id: "tx".into(),
                group_id: group.into(),
                producer_id,
                producer_epoch,
                generation_id_or_member_epoch: generation,
                member_id: member.into(),
                topics: vec![TxnOffsetCommitRequestTopic {
                    name: topic.into(),
                    partitions: vec![TxnOffsetCommitRequestPartition {
                        partition_index: 0,
                        committed_offset: 3,
                        committed_metadata: Some("m".into()),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }
        };
    for (name, group, topic, member, generation) in [
        ("offsets", "g", "t", "", -1),
        ("of an unknown topic", "g", "nope", "", -1),
        ("without a group", "", "t", "", -1),
        ("as a stranger", "g", "t", "who", 3),
    ] {
        pair.scene(name, |broker| {
            let (producer, epoch) = id(broker.address());
            let mut request = commit(producer, epoch, group, topic, member, generation);
            request.topics[0].topic_id = broker.id(topic);
            request
        })?;
    }
    let marker = |producer_id, topic: &str, index| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id,
            producer_epoch: 0,
            transaction_result: true,
            topics: vec![WritableTxnMarkerTopic {
                name: topic.into(),
                partition_indexes: vec![index],
            }],
            coordinator_epoch: 0,
            transaction_version: 0,
        }],
    };
    pair.scene("of an unknown topic", |_| marker(STRANGER, "nope", 0))?;
    pair.scene("of an unknown partition", |_| marker(STRANGER, "t", 99))?;
    pair.once("the end", 3, |broker| {
        let (producer, epoch) = id(broker.address());
        end("tx", producer, epoch, true)
    })
}
