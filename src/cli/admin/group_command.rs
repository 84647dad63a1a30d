//! What `consumer-groups` and `share-groups` have in common.

use super::client::{Cluster, Failure, WITHIN, text};
use crate::peer::channel::Channel;
use crate::wire::message::delete_groups::DeleteGroupsRequest;

/// Names of the options of which a command takes exactly one.
pub(super) const ACTIONS: [&str; 5] = [
    "list",
    "describe",
    "delete",
    "reset-offsets",
    "delete-offsets",
];

/// The name of the action that is chosen among [`ACTIONS`].
///
/// Errors: no action, several, or one that needs groups while none is named.
pub(super) fn action(
    chosen: [bool; ACTIONS.len()],
    names_groups: bool,
) -> Result<&'static str, Failure> {
    let mut actions = ACTIONS.into_iter().zip(chosen).filter(|(_, is)| *is);
    let (Some((action, _)), None) = (actions.next(), actions.next()) else {
        return Err(
            "Command must include exactly one action: --list, --describe, --delete, --reset-offsets or --delete-offsets".into(),
        );
    };
    if action != "list" && !names_groups {
        return Err(
            format!("Option {action} takes one of these options: --group, --all-groups").into(),
        );
    }
    Ok(action)
}

/// Prints the failure of an action. Like Kafka's tools, the command then exits with status 0.
pub(super) fn tell(done: Result<(), Failure>) {
    if let Err(Failure(text)) = done {
        println!("\nError: {text}");
    }
}

/// Address and node id of a coordinator, as in the column `COORDINATOR (ID)`.
pub(super) async fn place_of(cluster: &Cluster, coordinator: &Channel) -> Result<String, Failure> {
    let at = coordinator.address();
    let known = cluster.metadata(Some(&[])).await?;
    let mut brokers = known.brokers.iter();
    let node = brokers.find(|broker| format!("{}:{}", broker.host, broker.port) == at);
    Ok(format!("{at}  ({})", node.map_or(-1, |node| node.node_id)))
}

/// Groups that were to be deleted.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    deleted: Vec<String>,
    failed: Vec<String>,
}

impl Deletions {
    /// Has the coordinator of a group delete the group.
    pub(super) async fn delete(
        &mut self,
        coordinator: &Channel,
        group: &str,
    ) -> Result<(), Failure> {
        let request = DeleteGroupsRequest {
            groups_names: vec![group.into()],
        };
        for result in coordinator.call(&request, WITHIN).await?.results {
            match result.error_code {
                0 => self.deleted.push(format!("'{group}'")),
                error => self.failed(group, &text(error, result.error_message.as_deref())),
            }
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, group: &str, why: &str) {
        self.failed.push(format!(
            "* Group '{group}' could not be deleted due to: {why}"
        ));
    }

    /// Prints the groups that were deleted. `kind` is "consumer" or "share".
    ///
    /// Errors: the groups that were not deleted, if there are any.
    pub(super) fn report(self, kind: &str) -> Result<(), Failure> {
        if !self.failed.is_empty() {
            let failed = self.failed.join("\n");
            return Err(format!("Deletion of some {kind} groups failed:\n{failed}").into());
        }
        let deleted = self.deleted.join(", ");
        println!("Deletion of requested {kind} groups ({deleted}) was successful.");
        Ok(())
    }
}
