//! A page of another site in a real browser sends a form, a cross-origin fetch, and a fetch that outlives the page. Needs
//! Chromium, as `chromium` or the program in `CHROMIUM`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::exchange::Connection;
use compat_tests::produced::{Batch, send};
use compat_tests::programs::Running;
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

use crate::stage::{Stage, Surrounded};

const TOPIC: &str = "t";
const RECORDS: usize = 5;
/// Time limit for the browser on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The page. It requests `/done` when it has finished all attempts.
fn page(target: u16) -> String {
    format!(
        r#"<!doctype html><title>a page</title>
<iframe name="into" id="into"></iframe>
<form id="form" method="post" action="http://localhost:{target}/reset" target="into"><input name="a" value="b"></form>
<script>
const reset = "http://localhost:{target}/reset";
const tries = async () => {{
  const told = [];
  const attempt = async (what, options) => {{
    try {{ const answer = await fetch(reset, options); told.push(what + "=" + answer.type + answer.status); }}
    catch (error) {{ told.push(what + "=refused"); }}
  }};
  await attempt("no-cors", {{method: "POST", mode: "no-cors", body: "x"}});
  await attempt("cors", {{method: "POST"}});
  await attempt("keepalive", {{method: "POST", mode: "no-cors", keepalive: true}});
  navigator.sendBeacon(reset, "x");
  const loaded = new Promise(done => {{ document.getElementById("into").onload = done; setTimeout(done, 5000); }});
  document.getElementById("form").submit();
  await loaded;
  await fetch("/done?" + told.join("&"));
}};
tries();
</script>"#
    )
}

/// Serves the page until it requests `/done`; returns the query of that request.
fn serve(listener: &TcpListener, page: &str, ends: &AtomicBool) -> Result<String> {
    loop {
        let (mut client, _) = listener.accept()?;
        ensure!(!ends.load(Ordering::Relaxed), "the page was never done");
        let line = answer(&mut client, page).unwrap_or_default();
        if let Some(said) = line.strip_prefix("GET /done?") {
            return Ok(said.split(' ').next().unwrap_or_default().to_owned());
        }
    }
}

fn answer(client: &mut TcpStream, page: &str) -> Result<String> {
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut bytes = vec![0; 4096];
    let read = client.read(&mut bytes)?;
    let line = String::from_utf8_lossy(&bytes[..read]);
    let line = line.lines().next().unwrap_or_default().to_owned();
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )?;
    Ok(line)
}

#[test]
#[ignore = "needs the binary and Chromium"]
fn browser_page_of_another_site() -> Result<()> {
    let settings = ["monedula.admin.listener=HTTP://localhost:{admin}"];
    let mut stage = Stage::set("browser", &settings, Surrounded::ByThreads(2))?;
    stage.create(TOPIC, 1, &[("retention.ms", "-1")])?;
    let mut client = Connection::open(&stage.node().address())?;
    for _ in 0..RECORDS {
        let batch = Batch::default().of([(None, "v".into())])?;
        send(&mut client, TOPIC, 0, batch)?;
    }
    // Another port is another origin, and 127.0.0.1 is another site than localhost.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let page = page(stage.admin_port());
    let ends = Arc::<AtomicBool>::default();
    let (says, said) = mpsc::channel();
    let server = thread::spawn({
        let ends = Arc::clone(&ends);
        move || drop(says.send(serve(&listener, &page, &ends)))
    });
    let profile = tempfile::tempdir()?;
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    let browser = Running::start(
        Command::new(chromium)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync"])
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://127.0.0.1:{port}/")),
    )?;
    let told = said.recv_timeout(LIMIT);
    ends.store(true, Ordering::Relaxed);
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
    drop(server.join());
    let told = told.with_context(|| format!("the browser: {:?}", browser.lines()))??;
    drop(browser);
    println!("the page was told {told}");
    ensure!(told.contains("no-cors="), "the page did not try: {told}");
    let first = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: TOPIC.into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: -2,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let answer = stage.ask(&first, 1)?;
    let first = answer.topics[0].partitions[0].offset;
    ensure!(first == 0, "the page emptied the topic up to {first}");
    Ok(())
}
