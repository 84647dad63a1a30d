//! task: sends the requests of an observer to the controllers, one at a time, and returns the answers without judging them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::machine::Errand;
use crate::host::Host;
use crate::peer::channel::Channel;
use crate::peer::connection::{Access, CallError, Identity, Target};
use crate::wire::message::Request;
use crate::wire::message::fetch::FetchResponse;
use crate::wire::message::fetch_snapshot::FetchSnapshotResponse;

/// Limit of open connections. A quorum does not have more members, so more addresses than this come from a faulty peer.
const CONNECTIONS_MAX: usize = 16;

/// Result of an errand.
#[derive(Debug)]
pub enum Heard {
    /// The pause has ended.
    Nothing,
    Fetched {
        from: String,
        answer: FetchResponse,
    },
    SnapshotFetched {
        from: String,
        answer: FetchSnapshotResponse,
    },
    Failed {
        from: String,
        error: CallError,
    },
}

/// The member's ends of the two channels to its task, each with room for one message.
#[derive(Debug)]
pub struct Line {
    pub errands: mpsc::Sender<Errand>,
    pub heard: mpsc::Receiver<Heard>,
    /// Notified of every result.
    pub arrivals: Arc<Notify>,
}

/// State of the task; see the module.
#[derive(Debug)]
pub struct Carrier {
    host: Host,
    identity: Identity,
    access: Access,
    errands: mpsc::Receiver<Errand>,
    heard: mpsc::Sender<Heard>,
    arrivals: Arc<Notify>,
    channels: BTreeMap<String, Channel>,
    /// `controller.quorum.request.timeout.ms`: a controller that does not answer in this time is considered down.
    answer_within: Duration,
}

/// Creates a task and the channels to it.
pub fn line(
    host: &Host,
    identity: Identity,
    access: Access,
    answer_within: Duration,
) -> (Carrier, Line) {
    let (errands, to_carry) = mpsc::channel(1);
    let (tell, heard) = mpsc::channel(1);
    let arrivals = Arc::new(Notify::new());
    let carrier = Carrier {
        host: host.clone(),
        identity,
        access,
        errands: to_carry,
        heard: tell,
        arrivals: Arc::clone(&arrivals),
        channels: BTreeMap::new(),
        answer_within,
    };
    let line = Line {
        errands,
        heard,
        arrivals,
    };
    (carrier, line)
}

impl Carrier {
    /// Runs until the member is dropped.
    pub async fn run(mut self) {
        while let Some(errand) = self.errands.recv().await {
            let heard = self.carry(errand).await;
            if self.heard.send(heard).await.is_err() {
                return;
            }
            self.arrivals.notify_one();
        }
    }

    async fn carry(&mut self, errand: Errand) -> Heard {
        match errand {
            Errand::Pause(pause) => {
                tokio::time::sleep(pause).await;
                Heard::Nothing
            }
            Errand::Fetch { to, request } => match self.ask(&to, &request).await {
                Ok(answer) => Heard::Fetched { from: to, answer },
                Err(error) => Heard::Failed { from: to, error },
            },
            Errand::FetchSnapshot { to, request } => match self.ask(&to, &request).await {
                Ok(answer) => Heard::SnapshotFetched { from: to, answer },
                Err(error) => Heard::Failed { from: to, error },
            },
        }
    }

    async fn ask<R: Request>(&mut self, to: &str, request: &R) -> Result<R::Response, CallError> {
        if self.channels.len() >= CONNECTIONS_MAX && !self.channels.contains_key(to) {
            self.channels.clear();
        }
        let channel = self.channels.entry(to.to_owned()).or_insert_with(|| {
            let target = Target::Address(to.to_owned());
            let (identity, access) = (self.identity.clone(), self.access.clone());
            Channel::to(&self.host, target, identity, access)
        });
        channel.call(request, self.answer_within).await
    }
}
