//! Plain HTTP: requests of other sites' pages, and clients that send nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::stage::{Stage, WAIT_MAX};

/// Time limit for a response, longer than a node waits for a silent client.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a request; returns the first line of the response.
pub fn ask(port: u16, request: &str) -> Result<String> {
    let mut client = TcpStream::connect(("localhost", port))?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(request.as_bytes())?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// Requests that a browser sends for a form, for a fetch, and for a host name that has been rebound to this address. The
/// bystander's records must stay.
pub fn a_page_of_another_site(stage: &mut Stage) -> Result<()> {
    let port = stage.admin_port();
    let own = format!("Host: localhost:{port}\r\nContent-Length: 0\r\n\r\n");
    let requests = [
        format!("Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n{own}"),
        format!("Origin: http://evil.example\r\n{own}"),
        format!("Origin: null\r\n{own}"),
        format!("Sec-Fetch-Site: cross-site\r\n{own}"),
        format!("Host: evil.example:{port}\r\nContent-Length: 0\r\n\r\n"),
        "\r\n".to_owned(),
    ];
    let mut done = Vec::new();
    stage.attack(|crowd| {
        for headers in &requests {
            let request = format!("POST /reset HTTP/1.1\r\n{headers}");
            crowd.sent_elsewhere(request.len());
            // A closed connection is also a refusal.
            let answer = ask(port, &request).unwrap_or_default();
            if answer.contains("200") {
                done.push(request);
            }
        }
        Ok(())
    })?;
    stage.expect(done.is_empty(), || {
        format!("a reset for whoever asks: {done:?}")
    });
    // Clients other than browsers are served.
    let honest = ask(port, &format!("GET /ready HTTP/1.1\r\n{own}"))?;
    stage.expect(honest.contains("200"), || format!("not ready: {honest}"));
    Ok(())
}

pub fn silent_connections_to_the_admin_listener(stage: &mut Stage) -> Result<()> {
    let port = stage.admin_port();
    let mut waited = Duration::ZERO;
    let mut answer = String::new();
    stage.attack(|_| {
        let silent: Vec<_> = (0..80)
            .map(|_| TcpStream::connect(("localhost", port)))
            .collect::<std::io::Result<_>>()?;
        let began = Instant::now();
        let asks = format!("GET /ready HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
        answer = ask(port, &asks)?;
        waited = began.elapsed();
        drop(silent);
        Ok(())
    })?;
    println!("ready was answered after {waited:?}");
    stage.expect(answer.contains("200") && waited < WAIT_MAX, || {
        format!("beside silent connections {answer:?} after {waited:?}")
    });
    Ok(())
}
