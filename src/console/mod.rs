//! HTTP endpoint for operation and tests of a node, on `monedula.admin.listener`: one request per connection.
//!
//! | request | answer |
//! |---|---|
//! | `GET /ready` | 200 once the node serves clients |
//! | `GET /metrics` | metrics in the format of Prometheus; see `metrics.rs` |
//! | `POST /reset` | 200 once topics are empty, transactions aborted and groups without members deleted; see [`reset`](crate::console::reset) |
//!
//! There is no authentication. The listener is off by default; with an authorizer, resets are refused unless a setting allows
//! them. Requests from web pages are refused; see `request.rs`.

mod exposition;
mod metrics;
mod request;
pub mod reset;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::api::services::Services;
use crate::config::broker::ADMIN_RESET;
use crate::host::network::Listening;
use crate::host::socket::Socket;
use crate::host::task::guarded;
use metrics::{Wanted, Workers};
use request::{Refused, Request};
use reset::Wishes;

/// Largest size of a request head in bytes. Requests for this endpoint take a line or two.
const HEAD_MAX: u64 = 8 << 10;
/// Time limit for the head of a request, and for each write of an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Limits, in time and in bytes, on reading from a client after its answer. Closing a socket with unread bytes makes the kernel
/// send a reset, and the client could lose the answer.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 64 << 10;
/// Limit on concurrent connections. A further connection replaces the one that has been silent for the longest time, so that
/// silent connections cannot block the endpoint.
const PLACES: usize = 32;
/// Limit on resets that run or wait. It is lower than the limit on connections, because a connection with a reset does not
/// count as silent.
const RESETS_MAX: usize = 8;
/// Supported requests.
const OFFERED: &str = "GET /ready, GET /metrics, POST /reset";
/// Pause after a failed accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves requests until the node stops.
pub async fn run(socket: Listening, services: Arc<Services>, mut stopping: watch::Receiver<bool>) {
    let threads = services.host.threads.clone();
    let console = Arc::new(Console {
        names: names(&services),
        services,
        reset: tokio::sync::Mutex::default(),
        resets: Semaphore::new(RESETS_MAX),
        started: Instant::now(),
        workers: Workers::new(),
    });
    let mut tasks = JoinSet::new();
    let mut places: Vec<Place> = Vec::with_capacity(PLACES);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            Some(_) = tasks.join_next() => continue,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                make_room(&mut places);
                let state = Arc::new(Activity::new(console.now()));
                let (of_task, console) = (Arc::clone(&state), Arc::clone(&console));
                let task = async move {
                    let answer = console.answer(stream, &of_task);
                    report(guarded("connection", answer).await, peer);
                };
                let task = threads.spawn_among(&mut tasks, task);
                places.push(Place { state, task });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Closes a connection if the limit is reached.
fn make_room(places: &mut Vec<Place>) {
    places.retain(|place| !place.task.is_finished());
    if places.len() < PLACES {
        return;
    }
    let silent = places.iter().enumerate();
    let silent = silent.filter(|(_, place)| !place.state.is_busy.load(Ordering::Relaxed));
    let longest = silent.min_by_key(|(_, place)| place.state.heard.load(Ordering::Relaxed));
    if let Some((index, _)) = longest {
        places.remove(index).task.abort();
    }
}

fn report(answered: Result<io::Result<()>, String>, peer: SocketAddr) {
    match answered {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "an HTTP request was not answered"),
        Err(what) => {
            tracing::error!(%peer, what, "an HTTP request was not answered: a panic, a fault of the program");
        }
    }
}

/// Host names of this machine and of its listeners, in lower case.
fn names(services: &Services) -> Vec<String> {
    let config = &services.config;
    let hostname = services.host.network.own_name();
    let told = config.listeners.iter().flat_map(|listener| {
        let advertised = listener.advertised.iter();
        advertised.chain([&listener.endpoint])
    });
    let hosts = told.chain(&config.admin).map(|end| end.host.clone());
    hosts
        .chain(config.admin_hosts.iter().cloned())
        .chain([hostname])
        .filter(|name| !name.is_empty())
        .map(|name| name.to_ascii_lowercase())
        .collect()
}

/// An open connection.
#[derive(Debug)]
struct Place {
    state: Arc<Activity>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Activity {
    /// Time of the last progress, in milliseconds since the listener was opened.
    heard: AtomicU64,
    /// Whether a reset runs or waits for this connection.
    is_busy: AtomicBool,
}

impl Activity {
    fn new(now: u64) -> Self {
        Self {
            heard: AtomicU64::new(now),
            is_busy: AtomicBool::new(false),
        }
    }
}

/// State that all connections share.
#[derive(Debug)]
struct Console {
    services: Arc<Services>,
    names: Vec<String>,
    /// Held by the reset that runs.
    reset: tokio::sync::Mutex<()>,
    resets: Semaphore,
    started: Instant,
    workers: Workers,
}

impl Console {
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    async fn answer(&self, mut stream: Socket, activity: &Activity) -> io::Result<()> {
        let request = match timeout(PATIENCE, self.head(&mut stream, activity)).await?? {
            Ok(request) => request,
            Err(refused) => {
                let (status, text) = match refused {
                    Refused::Malformed(what) => ("400 Bad Request", what),
                    Refused::Forbidden(why) => ("403 Forbidden", why),
                };
                return respond(&mut stream, status, &text, true).await;
            }
        };
        let has_body = request.method != "HEAD";
        let (status, text) = match (&*request.method, &*request.path) {
            ("GET" | "HEAD", "/ready") => ("200 OK", "ready".to_owned()),
            ("GET" | "HEAD", "/metrics") => match Wanted::of(&request.query) {
                Ok(wanted) => {
                    let (services, workers) = (&self.services, &self.workers);
                    let progress = || activity.heard.store(self.now(), Ordering::Relaxed);
                    return metrics::respond(
                        &mut stream,
                        services,
                        workers,
                        wanted,
                        has_body,
                        &progress,
                    )
                    .await;
                }
                Err(what) => ("400 Bad Request", what),
            },
            ("POST", "/reset") => self.reset(&request, activity).await,
            (_, "/ready" | "/metrics" | "/reset") => ("405 Method Not Allowed", OFFERED.to_owned()),
            _ => ("404 Not Found", OFFERED.to_owned()),
        };
        respond(&mut stream, status, &text, has_body).await
    }

    async fn reset(&self, request: &Request, activity: &Activity) -> (&'static str, String) {
        let config = &self.services.config;
        if config.authorizer.is_some() && !config.admin_reset {
            let text = format!(
                "an authorizer is on, and nobody is asked here who they are: {ADMIN_RESET}=true allows it all the same"
            );
            return ("403 Forbidden", text);
        }
        let wishes = match Wishes::of(&request.query) {
            Ok(wishes) => wishes,
            Err(what) => return ("400 Bad Request", what),
        };
        let Ok(_permit) = self.resets.try_acquire() else {
            let text = "other resets are under way".to_owned();
            return ("503 Service Unavailable", text);
        };
        activity.is_busy.store(true, Ordering::Relaxed);
        let one = self.reset.lock().await;
        let done = reset::reset(&self.services, &wishes).await;
        drop(one);
        activity.heard.store(self.now(), Ordering::Relaxed);
        activity.is_busy.store(false, Ordering::Relaxed);
        match done {
            Ok(done) => ("200 OK", done),
            Err(why) => ("500 Internal Server Error", why),
        }
    }

    /// Reads the head of a request.
    async fn head(
        &self,
        stream: &mut Socket,
        activity: &Activity,
    ) -> io::Result<Result<Request, Refused>> {
        let mut bytes = Vec::new();
        let mut limited = stream.take(HEAD_MAX);
        loop {
            match request::read(&bytes, |name| self.names.iter().any(|own| own == name)) {
                Ok(Some(request)) => return Ok(Ok(request)),
                Ok(None) => {}
                Err(refused) => return Ok(Err(refused)),
            }
            if limited.read_buf(&mut bytes).await? == 0 {
                if limited.limit() == 0 {
                    let what = format!("the head of a request has {HEAD_MAX} bytes at most");
                    return Ok(Err(Refused::Malformed(what)));
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            activity.heard.store(self.now(), Ordering::Relaxed);
        }
    }
}

async fn respond(stream: &mut Socket, status: &str, text: &str, has_body: bool) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len() + 1
    );
    let response = match has_body {
        true => format!("{head}{text}\n"),
        false => head,
    };
    timeout(PATIENCE, stream.write_all(response.as_bytes())).await??;
    farewell(stream).await
}

/// Closes the sending side, then reads for a while what the client still sends.
async fn farewell(stream: &mut Socket) -> io::Result<()> {
    stream.shutdown().await?;
    let rest = async {
        let (mut left, mut bytes) = (FAREWELL_BYTES, [0; 1 << 10]);
        while left > 0 {
            match stream.read(&mut bytes).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok(())
    };
    timeout(FAREWELL, rest).await.unwrap_or(Ok(()))
}
