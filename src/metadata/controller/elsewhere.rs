//! Requests of this broker itself to a controller that is another node. Requests of clients are forwarded undecoded instead
//! (`api/forward.rs`).

use std::time::Duration;

use super::request::{Answer, Request};
use crate::metadata::remote::Remote;

/// `request.timeout.ms` of Kafka's brokers for requests to the controller.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Sends a request; `None` if no controller answers, or if it is no request of brokers.
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
