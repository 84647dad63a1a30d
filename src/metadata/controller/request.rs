//! pure: all requests to the controller and their answers. They are plain data, so that a request can be stored, decided again
//! with the same result, and sent to the leader.

use super::brokers::{self, Activation, FoundReplicas, Registration};
use super::{Context, Decision, acls, isr, partitions, quotas, scram, settings, topics};
use crate::base::ids::Uuid;
use crate::base::time::Timestamp;
use crate::metadata::image::Image;
use crate::wire::message::allocate_producer_ids::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse,
};
use crate::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse,
};
use crate::wire::message::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
use crate::wire::message::alter_partition::{AlterPartitionRequest, AlterPartitionResponse};
use crate::wire::message::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
use crate::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
};
use crate::wire::message::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse,
};
use crate::wire::message::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use crate::wire::message::create_acls::{CreateAclsRequest, CreateAclsResponse};
use crate::wire::message::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
use crate::wire::message::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use crate::wire::message::delete_acls::{DeleteAclsRequest, DeleteAclsResponse};
use crate::wire::message::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::message::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
use crate::wire::message::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::wire::message::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use crate::wire::message::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};

/// A kind of request with the kind of answer that belongs to it.
pub trait Ask: Into<Request> {
    type Answer: Send + 'static;

    /// The answer of this kind; `None` if the answer is of another kind.
    fn answer_in(answer: Answer) -> Option<Self::Answer>;
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $answer:ty = $decide:expr;)*) => {
        /// Request to the controller.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request {
            $($(#[$doc])* $name($request),)*
        }

        /// Answer of the controller, with the variants of [`Request`].
        #[derive(Clone, Debug, PartialEq)]
        pub enum Answer {
            $($name($answer),)*
        }

        impl Request {
            /// Decides the request. The result depends only on image, request and context.
            pub fn decide(&self, image: &Image, context: &Context<'_>) -> Decision<Answer> {
                match self {
                    $(Self::$name(request) => {
                        let decide: fn(&Image, &$request, &Context<'_>) -> Decision<$answer> = $decide;
                        let Decision { records, answer } = decide(image, request, context);
                        Decision { records, answer: Answer::$name(answer) }
                    })*
                }
            }
        }

        $(
            impl From<$request> for Request {
                fn from(request: $request) -> Self {
                    Self::$name(request)
                }
            }

            impl Ask for $request {
                type Answer = $answer;

                fn answer_in(answer: Answer) -> Option<$answer> {
                    match answer {
                        Answer::$name(answer) => Some(answer),
                        _ => None,
                    }
                }
            }
        )*
    };
}

requests! {
    /// First request of a node that leads a quorum with an empty log.
    Activate(Activation) -> () = |image, activation, _| brokers::activate(image, activation);
    /// Registration of a node that starts.
    Register(Registration) -> i64 = |image, registration, _| brokers::register(image, registration);
    /// States of a node's replicas when the node starts.
    FoundReplicas(FoundReplicas) -> () = |image, found, _| brokers::found(image, found);
    AssignReplicasToDirs(AssignReplicasToDirsRequest) -> AssignReplicasToDirsResponse =
        |image, request, _| brokers::assign(image, request);
    BrokerHeartbeat(BrokerHeartbeatRequest) -> BrokerHeartbeatResponse =
        |image, request, _| brokers::heartbeat(image, request);
    AlterPartition(AlterPartitionRequest) -> AlterPartitionResponse = isr::alter;
    AllocateProducerIds(AllocateProducerIdsRequest) -> AllocateProducerIdsResponse =
        |image, request, _| brokers::allocate_producer_ids(image, request);
    UnregisterBroker(UnregisterBrokerRequest) -> UnregisterBrokerResponse =
        |image, request, context| brokers::unregister(image, request.broker_id, context.node_id);
    CreateTopics(CreateTopicsRequest) -> CreateTopicsResponse = topics::create;
    DeleteTopics(DeleteTopicsRequest) -> DeleteTopicsResponse = topics::delete;
    CreatePartitions(CreatePartitionsRequest) -> CreatePartitionsResponse =
        topics::create_partitions;
    ElectLeaders(ElectLeadersRequest) -> ElectLeadersResponse =
        |image, request, _| partitions::elect(image, request);
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest)
        -> AlterPartitionReassignmentsResponse =
        |image, request, _| Decision::only(partitions::alter_reassignments(image, request));
    AlterConfigs(AlterConfigsRequest) -> AlterConfigsResponse = settings::alter;
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse =
        settings::incremental_alter;
    UpdateFeatures(UpdateFeaturesRequest) -> UpdateFeaturesResponse =
        |image, request, context| settings::update_features(image, request, context.node_id);
    AlterClientQuotas(AlterClientQuotasRequest) -> AlterClientQuotasResponse =
        |image, request, _| quotas::alter(image, request);
    AlterUserScramCredentials(AlterUserScramCredentialsRequest)
        -> AlterUserScramCredentialsResponse =
        |image, request, _| scram::alter(image, request);
    CreateAcls(CreateAclsRequest) -> CreateAclsResponse =
        |image, request, context| acls::create(image, request, context.ids);
    DeleteAcls(DeleteAclsRequest) -> DeleteAclsResponse =
        |image, request, _| acls::delete(image, request);
}

impl Request {
    /// Greatest number of random ids that the decision may need.
    pub fn ids_max(&self) -> usize {
        match self {
            Self::CreateTopics(request) => request.topics.len(),
            Self::CreateAcls(request) => request.creations.len().min(acls::RECORDS_MAX + 1),
            _ => 0,
        }
    }
}

/// A request with all other inputs of its decision except the image and the node's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub request: Request,
    pub now: Timestamp,
    /// Random ids, at least [`Request::ids_max`] unless the random source failed.
    pub ids: Vec<Uuid>,
}
