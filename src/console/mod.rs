//! Plain HTTP for whoever operates or tests a node, on `monedula.admin.listener`: one request per connection.
//!
//! | request | answer |
//! |---|---|
//! | `GET /ready` | 200 once the node serves clients |
//! | `POST /reset` | 200 once topics are empty and groups and open transactions are gone; see [`reset`] |
//!
//! Nobody is asked who they are: the listener is off unless somebody sets it.

mod reset;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::api::services::Services;

/// Longest head of a request; everything here fits into a line or two.
const HEAD_MAX: u64 = 8 << 10;
/// Who has not said what they want by then is not answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests that are looked at together; more of them wait in the socket's queue.
const AT_ONCE: usize = 8;
/// Pause after an accept that failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Answers until the node stops.
pub async fn run(
    socket: TcpListener,
    services: Arc<Services>,
    mut stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let services = Arc::clone(&services);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &services).await {
                        tracing::debug!(%peer, %error, "an HTTP request was not answered");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, services: &Arc<Services>) -> io::Result<()> {
    let head = tokio::time::timeout(PATIENCE, head(&mut stream)).await??;
    let mut words = head.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (status, text) = match (method, path.split('?').next().unwrap_or_default()) {
        ("GET", "/ready") => ("200 OK", "ready".to_owned()),
        ("POST", "/reset") => match reset::reset(services).await {
            Ok(done) => ("200 OK", done),
            Err(why) => ("500 Internal Server Error", why),
        },
        (_, "/ready" | "/reset") => (
            "405 Method Not Allowed",
            "GET /ready, POST /reset".to_owned(),
        ),
        _ => ("404 Not Found", "GET /ready, POST /reset".to_owned()),
    };
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

/// The lines before the body. No request here has one that matters.
async fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut limited = stream.take(HEAD_MAX);
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        if limited.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
