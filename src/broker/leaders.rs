//! Other brokers of the cluster, as replicas see them: leaders to fetch from.

use std::time::Duration;

use crate::base::ids::BrokerId;
use crate::peer::connection::CallError;
use crate::peer::lane::Lane;
use crate::peer::pool::Peers;
use crate::replica::fetcher::{Answering, Leader, Leaders, NoAnswer};
use crate::wire::message::Message as _;
use crate::wire::message::fetch::{FetchRequest, FetchResponse};
use crate::wire::message::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};

/// First version of Fetch with ids of topics. The requests of fetchers have no names.
const FETCH_OLDEST: i16 = 13;

/// Connections to the brokers of the cluster.
#[derive(Debug)]
pub(super) struct OverPeers(pub Peers);

impl Leaders for OverPeers {
    fn connect(&self, leader: BrokerId, client_id: &str) -> Box<dyn Leader> {
        Box::new(OverLane(self.0.lane(leader, client_id)))
    }
}

struct OverLane(Lane);

impl Leader for OverLane {
    fn fetch<'a>(
        &'a mut self,
        request: &'a FetchRequest,
        within: Duration,
    ) -> Answering<'a, FetchResponse> {
        Box::pin(async move {
            let newest = *FetchRequest::VERSIONS.end();
            let answer = self.0.ask(request, newest, within).await;
            let answer = answer.map_err(no_answer)?;
            if answer.version < FETCH_OLDEST {
                let why =
                    "the leader does not know ids of topics, so it is older than Apache Kafka 3.1";
                return Err(NoAnswer(why.to_owned()));
            }
            answer.read::<FetchRequest>().map_err(no_answer)
        })
    }

    fn list_offsets<'a>(
        &'a mut self,
        request: &'a ListOffsetsRequest,
        within: Duration,
    ) -> Answering<'a, ListOffsetsResponse> {
        Box::pin(async move {
            let newest = *ListOffsetsRequest::VERSIONS.end();
            let answer = self.0.call(request, newest, within).await;
            answer.map_err(no_answer)
        })
    }
}

fn no_answer(error: CallError) -> NoAnswer {
    NoAnswer(error.to_string())
}
