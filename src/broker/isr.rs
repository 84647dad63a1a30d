//! The controller of this process, for leaders of partitions that request changes of ISRs.

use crate::metadata::controller::task::ControllerHandle;
use crate::replica::fetcher::{Answering, NoAnswer};
use crate::replica::isr_changes::Controller;
use crate::wire::message::alter_partition::{AlterPartitionRequest, AlterPartitionResponse};

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
