//! What the tools share: options of every tool, a runtime, the brokers to ask, errors as Kafka words them.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::options::Options;
use crate::peer::channel::{CallError, Channel, Identity};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Request;
use crate::wire::message::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

/// As long as Kafka's admin client waits.
pub(super) const WITHIN: Duration = Duration::from_secs(30);

/// Why a tool ends with an exit code other than 0: the text for whoever typed it.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self(error.to_string())
    }
}

/// Runs a tool's work on one thread.
pub(super) fn run(work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(Failure(error.to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(text)) => {
            if !text.is_empty() {
                eprintln!("{text}");
            }
            ExitCode::FAILURE
        }
    }
}

/// A cluster, found through the addresses of `--bootstrap-server`.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) any: Channel,
}

impl Cluster {
    /// The first address that answers. Settings of `--command-config` other than plain text are refused.
    pub(super) async fn connect(options: &Options) -> Result<Self, Failure> {
        check_command_config(options)?;
        let servers = options
            .value("bootstrap-server")
            .or_else(|| options.value("broker-list"))
            .ok_or("Missing required argument \"[bootstrap-server]\"")?;
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            let mut last = None;
            for address in servers
                .split(',')
                .map(str::trim)
                .filter(|text| !text.is_empty())
            {
                let channel = Channel::new(address, Identity::new("monedula-tool"));
                match channel.versions(Duration::from_secs(10)).await {
                    Ok(_) => return Ok(Self { any: channel }),
                    Err(error) => last = Some(error),
                }
            }
            // As Kafka's tools do: a broker that is just starting will be there soon.
            if tokio::time::Instant::now() > deadline {
                return Err(last.map_or_else(|| "no address".into(), Failure::from));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) async fn call<R: Request>(&self, request: &R) -> Result<R::Response, Failure> {
        Ok(self.any.call(request, WITHIN).await?)
    }

    /// Topics by name, or all of them; nothing is created.
    pub(super) async fn metadata(
        &self,
        topics: Option<&[String]>,
    ) -> Result<MetadataResponse, Failure> {
        let request = MetadataRequest {
            topics: topics.map(|names| {
                names
                    .iter()
                    .map(|name| MetadataRequestTopic {
                        name: Some(name.as_str().into()),
                        ..Default::default()
                    })
                    .collect()
            }),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        self.call(&request).await
    }
}

fn check_command_config(options: &Options) -> Result<(), Failure> {
    for name in ["command-config", "consumer.config", "producer.config"] {
        let Some(path) = options.value(name) else {
            continue;
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {path}: {error}"))?;
        for property in crate::config::parse::properties(&text) {
            if property.key == "security.protocol" && property.value != "PLAINTEXT" {
                return Err(format!(
                    "{path}: security.protocol={} is not supported yet",
                    property.value
                )
                .into());
            }
        }
    }
    Ok(())
}

/// The text of an error: the broker's own, else the name of its code.
pub(super) fn text(code: i16, message: Option<&str>) -> String {
    message
        .filter(|message| !message.is_empty())
        .map_or_else(|| name(code), str::to_owned)
}

pub(super) fn name(code: i16) -> String {
    ErrorCode::from_code(code)
        .map_or_else(|| format!("error {code}"), |error| error.name().to_owned())
}
