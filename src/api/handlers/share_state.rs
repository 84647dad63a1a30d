//! What the five APIs of the share coordinator have in common: keys 83 to 87, of brokers among each other (KIP-932).

use bytestring::ByteString;

use crate::api::context::RequestContext;
use crate::base::ids::Uuid;
use crate::coordinator::share_state::record::ShareKey;
use crate::coordinator::share_state::request::Refusal;
use crate::security::acl::Operation;

/// Whether the client is a broker, as far as its rights tell.
pub(super) fn allowed(context: &RequestContext) -> Result<(), Refusal> {
    Ok(context.requires_of_cluster(Operation::ClusterAction)?)
}

/// The error of a partition, and the words beside it.
pub(super) fn told(refused: Option<Refusal>) -> (i16, Option<ByteString>) {
    match refused {
        None => (0, None),
        Some(Refusal { error, why: "" }) => {
            (error.code(), Some(ByteString::from_static(error.name())))
        }
        Some(Refusal { error, why }) => (error.code(), Some(ByteString::from_static(why))),
    }
}

/// The name of a state. A copy: what is kept must not hold on to the frame it came in.
pub(super) fn key(group: &ByteString, topic_id: Uuid, partition: i32) -> ShareKey {
    ShareKey {
        group: ByteString::from(&**group),
        topic_id,
        partition,
    }
}

/// Asks the share coordinator about each partition of a request, one after the other, and answers topic by topic.
macro_rules! of_each_state {
    (
        $context:ident, $request:ident => $response:ident of $result:ident,
        |$states:ident, $key:ident, $one:ident| $ask:expr,
        |$partition:ident, $done:ident| $told:expr
    ) => {
        $crate::api::context::Reply::later(async move {
            let $states = &$context.services.share_states;
            let may = super::share_state::allowed(&$context);
            let topics = $crate::api::answer::once(
                $request.topics,
                |topic| topic.topic_id,
                |topic| &mut topic.partitions,
                |one| one.partition,
            );
            let mut results = Vec::with_capacity(topics.len());
            for topic in topics {
                let mut partitions = Vec::with_capacity(topic.partitions.len());
                for $one in topic.partitions {
                    let $partition = $one.partition;
                    let $key =
                        super::share_state::key(&$request.group_id, topic.topic_id, $partition);
                    let $done = match may {
                        Ok(()) => $ask.await,
                        Err(refusal) => Err(refusal),
                    };
                    partitions.push($told);
                }
                results.push($result {
                    topic_id: topic.topic_id,
                    partitions,
                });
            }
            // Of no group nobody says anything; Kafka neither.
            if $request.group_id.is_empty() {
                results.clear();
            }
            $response { results }
        })
    };
}

pub(super) use of_each_state;
