//! Requests of this node to a controller that is another node: those that a broker has of its own. What clients ask for is forwarded
//! before it is looked at (`api/forward.rs`).

use std::time::Duration;

use super::request::{Answer, Request};
use crate::metadata::remote::Remote;

/// `request.timeout.ms` of Kafka's brokers for what they ask the controller.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The answer to a request; `None` if no controller answers, or if it is none that brokers have.
pub async fn ask(remote: &Remote, request: Request) -> Option<Answer> {
    macro_rules! asked {
        ($($name:ident,)*) => {
            match request {
                $(
                    Request::$name(request) => {
                        let answer = remote.ask(&request, ANSWER_WITHIN).await;
                        answer.map(Answer::$name)
                    }
                )*
                _ => {
                    tracing::error!("no broker asks a controller elsewhere for this");
                    return None;
                }
            }
        };
    }
    let answer = asked! {
        AllocateProducerIds,
        AssignReplicasToDirs,
        CreateTopics,
    };
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            tracing::warn!(%error, "no controller answers");
            None
        }
    }
}
