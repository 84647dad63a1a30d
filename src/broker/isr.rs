//! The controller for leaders of partitions that request changes of ISRs: in this process, or on another node.

use std::time::Duration;

use crate::metadata::controller::task::ControllerHandle;
use crate::metadata::remote::Remote;
use crate::replica::fetcher::{Answering, NoAnswer};
use crate::replica::isr_changes::Controller;
use crate::wire::message::alter_partition::{AlterPartitionRequest, AlterPartitionResponse};

/// `controller.socket.timeout.ms` of Kafka's brokers. The changes are sent again afterwards.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Controller in this process; see the module.
pub(super) struct InProcess(pub ControllerHandle);

impl Controller for InProcess {
    fn alter_partitions(
        &self,
        request: AlterPartitionRequest,
    ) -> Answering<'_, AlterPartitionResponse> {
        Box::pin(async move {
            let answer = self.0.ask(request).await;
            answer.map_err(|error| NoAnswer(error.to_string()))
        })
    }
}

/// Controller on another node; see the module.
pub(super) struct OverRemote(pub Remote);

impl Controller for OverRemote {
    fn alter_partitions(
        &self,
        request: AlterPartitionRequest,
    ) -> Answering<'_, AlterPartitionResponse> {
        Box::pin(async move {
            let answer = self.0.ask(&request, ANSWER_WITHIN).await;
            answer.map_err(|error| NoAnswer(error.to_string()))
        })
    }
}
