//! Common parts of the five APIs of the share coordinator, keys 83 to 87, which brokers use among each other (KIP-932).

use bytestring::ByteString;

use crate::api::context::RequestContext;
use crate::base::ids::Uuid;
use crate::coordinator::share_state::record::ShareKey;
use crate::coordinator::share_state::request::Refusal;
use crate::security::acl::Operation;

/// Checks that the client is authorized as a broker.
pub(super) fn allowed(context: &RequestContext) -> Result<(), Refusal> {
    Ok(context.requires_of_cluster(Operation::ClusterAction)?)
}

/// Error code and message of a partition.
pub(super) fn told(refused: Option<Refusal>) -> (i16, Option<ByteString>) {
    match refused {
        None => (0, None),
        Some(Refusal { error, why: "" }) => {
            (error.code(), Some(ByteString::from_static(error.name())))
        }
        Some(Refusal { error, why }) => (error.code(), Some(ByteString::from_static(why))),
    }
}

/// Key of a state. The name is copied, so that a stored key does not keep the request's frame alive.
pub(super) fn key(group: &ByteString, topic_id: Uuid, partition: i32) -> ShareKey {
    ShareKey {
        group: ByteString::from(&**group),
        topic_id,
        partition,
    }
}

/// Asks the share coordinator about each partition of a request, one after the other, and builds the response by topic.
macro_rules! of_each_state {
    (
        $context:ident, $request:ident => $response:ident of $result:ident,
        |$states:ident, $key:ident, $one:ident| $ask:expr,
        |$partition:ident, $done:ident| $told:expr
    ) => {
        $crate::api::context::Reply::later(async move {
            let $states = $context.services.share_states.here();
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
            // As in Kafka, the response for an empty group id has no results.
            if $request.group_id.is_empty() {
                results.clear();
            }
            $response { results }
        })
    };
}

pub(super) use of_each_state;
