//! HTTP client that reads a key set from its provider.
//!
//! The client sends one GET request for a small document. It supports no redirects, no compression and no second request on a
//! connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::base::plain::Plain;
use crate::host::network::Network;
use crate::transport::client::Transport;

/// Time limit for the whole answer.
const WITHIN: Duration = Duration::from_secs(10);
/// Size limit of an answer with its headers, in bytes.
const ANSWER_MAX: usize = 1 << 20;
/// Largest number of headers in an answer.
const HEADERS_MAX: usize = 100;

/// Address of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Parses `http://host:port/path` or `https://…`. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        // An IPv6 address is in brackets.
        let named = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => Some((host, port.parse().ok()?)),
            _ => None,
        };
        let (host, port) = named.unwrap_or((authority, if secure { 443 } else { 80 }));
        let strange = |letter: char| !letter.is_ascii_graphic() || letter == '@';
        if host.is_empty() || text.contains(strange) {
            return None;
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(Self {
            secure,
            host: host.to_owned(),
            port,
            path: format!("{slash}{path}"),
        })
    }

    /// Whether the scheme is `https`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

/// Reads the document at `url`.
///
/// Errors: the reason for a failure, with host and port.
pub async fn get(network: &Network, url: &Url, transport: &Transport) -> Result<Vec<u8>, String> {
    let place = format!("{}:{}", url.host, url.port);
    let answer = match timeout(WITHIN, exchange(network, &place, url, transport)).await {
        Ok(answer) => answer.map_err(|error| format!("{place}: {}", Plain(&error)))?,
        Err(_) => {
            return Err(format!(
                "{place} does not answer within {} s",
                WITHIN.as_secs()
            ));
        }
    };
    document(&answer).map_err(|what| format!("{place}: {what}"))
}

/// Sends the request and reads until the server closes the connection.
async fn exchange(
    network: &Network,
    place: &str,
    url: &Url,
    transport: &Transport,
) -> io::Result<Vec<u8>> {
    let socket = network.connect(place).await?;
    let (incoming, mut outgoing) = transport.open(socket, place).await?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nUser-Agent: monedula\r\nConnection: close\r\n\r\n",
        url.path, url.host
    );
    outgoing.write_all(request.as_bytes()).await?;
    outgoing.flush().await?;
    let mut answer = Vec::new();
    let mut limited = incoming.take(ANSWER_MAX as u64 + 1);
    match limited.read_to_end(&mut answer).await {
        // Many servers close a TLS connection without `close_notify`.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    match answer.len() > ANSWER_MAX {
        true => Err(io::Error::other(format!(
            "the answer has more than {ANSWER_MAX} bytes"
        ))),
        false => Ok(answer),
    }
}

/// Body of an answer.
fn document(answer: &[u8]) -> Result<Vec<u8>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head
        .parse(answer)
        .map_err(|error| format!("its answer is not HTTP: {error}"))?;
    let httparse::Status::Complete(begin) = parsed else {
        return Err("its answer was cut short".to_owned());
    };
    let status = head.code.unwrap_or(0);
    if status != 200 {
        return Err(format!("it answers with status {status}"));
    }
    let header = |name: &str| {
        let found = head
            .headers
            .iter()
            .find(|one| one.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let body = answer.get(begin..).unwrap_or_default();
    if header("transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked")) {
        return chunks(body);
    }
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    match length {
        None => Ok(body.to_vec()),
        Some(length) => {
            let whole = body.get(..length);
            whole
                .map(<[u8]>::to_vec)
                .ok_or_else(|| "its answer was cut short".to_owned())
        }
    }
}

fn chunks(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let cut = || "its answer was cut short".to_owned();
    let mut all = Vec::new();
    loop {
        let parsed = httparse::parse_chunk_size(rest).map_err(|_| "its answer is not HTTP")?;
        let httparse::Status::Complete((begin, size)) = parsed else {
            return Err(cut());
        };
        if size == 0 {
            return Ok(all);
        }
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| begin.checked_add(size));
        let end = end.ok_or_else(cut)?;
        all.extend_from_slice(rest.get(begin..end).ok_or_else(cut)?);
        // A line break follows each chunk.
        rest = rest.get(end + 2..).ok_or_else(cut)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_are_read() {
        let url = |secure, host: &str, port, path: &str| {
            Some(Url {
                secure,
                host: host.to_owned(),
                port,
                path: path.to_owned(),
            })
        };
        assert_eq!(
            Url::parse("https://h/a/b?c=d#e"),
            url(true, "h", 443, "/a/b?c=d")
        );
        assert_eq!(Url::parse("HTTP://h:8080"), url(false, "h", 8080, "/"));
        assert_eq!(Url::parse("http://[::1]/x"), url(false, "[::1]", 80, "/x"));
        assert_eq!(
            Url::parse("http://[::1]:81?x"),
            url(false, "[::1]", 81, "/?x")
        );
        for text in [
            "",
            "h",
            "ftp://h/",
            "http://",
            "http:///x",
            "http://a@b/",
            "http://h:x/",
            "http://h/a b",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    /// Result for a server with this answer.
    async fn asked(answer: &'static str) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let url = Url::parse(&format!("http://127.0.0.1:{port}/keys?a=b")).unwrap();
        let found = get(&Network::default(), &url, &Transport::Plain).await;
        let request = server.join().unwrap();
        assert!(
            request.starts_with("GET /keys?a=b HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
            "{request}"
        );
        found
            .map(|body| String::from_utf8(body).unwrap())
            .map_err(|what| what.replace(&format!("127.0.0.1:{port}: "), ""))
    }

    #[tokio::test]
    async fn answers_are_read_in_their_three_forms() {
        let good = Ok("{}".to_owned());
        assert_eq!(asked("HTTP/1.1 200 OK\r\n\r\n{}").await, good);
        assert_eq!(
            asked("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await,
            good
        );
        assert_eq!(
            asked(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n"
            )
            .await,
            good
        );
        for (answer, expected) in [
            ("", "its answer was cut short"),
            ("HTTP/1.1 200 OK\r\n", "its answer was cut short"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
                "its answer was cut short",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
                "its answer was cut short",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
                "its answer was cut short",
            ),
            (
                "HTTP/1.1 404 Not Found\r\n\r\n",
                "it answers with status 404",
            ),
            ("SSH-2.0-x\r\n\r\n", "its answer is not HTTP: "),
        ] {
            let found = asked(answer).await.unwrap_err();
            assert!(found.starts_with(expected), "{answer}: {found}");
        }
    }
}
