//! `reset`: empties the topics of a running broker and deletes its groups, for use between two tests.
//!
//! If the broker has an admin listener, the broker itself does the work (`console/reset.rs`). Over Kafka's protocol, which
//! works with any broker, the reset does less: topics that are only compacted and groups with members stay, and are printed;
//! open transactions stay open. In both cases topics keep their settings, and offsets continue.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::client::{Cluster, Connection, Failure, WITHIN, name, run as run_work};
use crate::base::plain::Plain;
use crate::console::reset::is_kept;
use crate::wire::message::delete_groups::DeleteGroupsRequest;
use crate::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use crate::wire::message::list_groups::ListGroupsRequest;

/// Empty the topics of a running broker and delete its groups, between two tests
#[derive(Args, Debug)]
#[command(
    long_about = "Empty the topics of a running broker and delete its groups, for the time between two tests.

The admin listener of the broker (monedula.admin.listener) resets at once. Without an admin listener, any broker can be asked \
through a listener for clients; topics that are only compacted and groups with members then stay.",
    after_help = "Examples:
  monedula reset
  monedula reset --admin localhost:9644
  monedula reset --keep '_schemas,connect-*'
  monedula reset --bootstrap-server localhost:9092"
)]
#[group(skip)]
pub struct Reset {
    #[command(flatten)]
    connection: Connection,
    /// The broker's admin listener
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "bootstrap_server")]
    admin: Option<String>,
    /// Topics and groups, and transactions of such ids, that stay as they are; a star at the end stands for any rest
    #[arg(long, value_name = "NAME,PREFIX*", value_delimiter = ',')]
    keep: Vec<String>,
    /// Remove the members of groups, too, and delete these groups
    #[arg(long, conflicts_with = "bootstrap_server")]
    remove_members: bool,
}

/// Address of the admin listener in the image.
const ADMIN: &str = "localhost:9644";
/// Offset in DeleteRecords that stands for the high watermark.
const TO_THE_END: i64 = -1;

/// Address of the broker on this machine, used if there is no admin listener.
const BROKER: &str = "localhost:9092";

impl Reset {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let cluster = if self.connection.bootstrap_server.is_some() {
                self.connection.connect().await?
            } else {
                let admin = self.admin.as_deref().unwrap_or(ADMIN);
                let nobody = match by_http(admin, &self.query()) {
                    Ok((true, text)) => {
                        println!("{}", text.trim());
                        return Ok(());
                    }
                    Ok((false, text)) => return Err(text.trim().into()),
                    Err(error) => format!(
                        "cannot connect to the admin listener at {admin}: {}",
                        Plain(&error)
                    ),
                };
                if self.admin.is_some() {
                    return Err(nobody.into());
                }
                // The broker on this machine may have no admin listener.
                let access = self.connection.access()?;
                let found = Cluster::at(BROKER, &access, Duration::ZERO).await;
                found.map_err(|Failure(neither)| {
                    Failure(format!(
                        "{nobody}\n{neither}\nname one with --admin or --bootstrap-server"
                    ))
                })?
            };
            if self.remove_members {
                return Err(format!("{BROKER} has no admin listener: members stay").into());
            }
            let topics = empty_topics(&cluster, &self.keep).await?;
            let (groups, kept) = forget_groups(&cluster, &self.keep).await?;
            println!("{topics} topics emptied, {groups} groups forgotten");
            if kept.is_empty() {
                return Ok(());
            }
            Err(format!("not forgotten: {}", kept.join(", ")).into())
        })
    }
}

impl Reset {
    /// Query string for the admin listener with the options.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !self.keep.is_empty() {
            query.append_pair("keep", &self.keep.join(","));
        }
        if self.remove_members {
            query.append_pair("members", "remove");
        }
        query.finish()
    }
}

/// Sends the reset request; returns whether it succeeded, and the text of the answer.
fn by_http(address: &str, query: &str) -> std::io::Result<(bool, String)> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WITHIN))?;
    let request = format!("POST /reset?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok((head.starts_with("HTTP/1.1 200 "), body.to_owned()))
}

async fn empty_topics(cluster: &Cluster, keep: &[String]) -> Result<usize, Failure> {
    let topics = cluster.metadata(None).await?.topics;
    let own = topics.iter().filter(|topic| !topic.is_internal);
    let mut count = 0;
    let mut partitions = Vec::new();
    for topic in own {
        let name = topic.name.as_deref().unwrap_or_default();
        if is_kept(keep, name) {
            continue;
        }
        count += 1;
        let indexes = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index);
        partitions.extend(indexes.map(|index| (name.to_owned(), index)));
    }
    if partitions.is_empty() {
        return Ok(count);
    }
    for (leader, partitions) in cluster.leaders(&partitions).await? {
        let mut by_topic: BTreeMap<String, Vec<DeleteRecordsPartition>> = BTreeMap::new();
        for (topic, index) in partitions {
            by_topic
                .entry(topic)
                .or_default()
                .push(DeleteRecordsPartition {
                    partition_index: index,
                    offset: TO_THE_END,
                });
        }
        let request = DeleteRecordsRequest {
            topics: by_topic
                .into_iter()
                .map(|(topic, partitions)| DeleteRecordsTopic {
                    name: topic.into(),
                    partitions,
                })
                .collect(),
            timeout_ms: WITHIN.as_millis() as i32,
        };
        for topic in leader.call(&request, WITHIN).await?.topics {
            for partition in topic.partitions {
                if partition.error_code != 0 {
                    return Err(format!(
                        "{}-{}: {}",
                        topic.name,
                        partition.partition_index,
                        name(partition.error_code)
                    )
                    .into());
                }
            }
        }
    }
    Ok(count)
}

/// Deletes groups; returns the number of deleted groups, and the groups that could not be deleted with the reasons.
async fn forget_groups(
    cluster: &Cluster,
    keep: &[String],
) -> Result<(usize, Vec<String>), Failure> {
    let listed = cluster.call(&ListGroupsRequest::default()).await?;
    let (mut gone, mut kept) = (0, Vec::new());
    for group in listed.groups {
        if is_kept(keep, &group.group_id) {
            continue;
        }
        let coordinator = cluster.coordinator(&group.group_id).await?;
        let request = DeleteGroupsRequest {
            groups_names: vec![group.group_id],
        };
        for result in coordinator.call(&request, WITHIN).await?.results {
            if result.error_code == 0 {
                gone += 1;
            } else {
                kept.push(format!("{} ({})", result.group_id, name(result.error_code)));
            }
        }
    }
    Ok((gone, kept))
}
