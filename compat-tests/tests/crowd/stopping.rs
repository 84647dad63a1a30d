//! Readiness and SIGTERM, during more long requests than a node computes at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::frames::{UNPACKED, WINDOW, bomb, frame, string, swollen};
use crate::lookups::produced;
use crate::stage::{Attacker, Crowd, GROUPS, Outcome, PATIENCE, Stage, WAIT_MAX};
use crate::web::ask;

const TOPIC: &str = "t";
/// Keys and versions of requests that encode array lengths as four bytes.
const METADATA: (i16, i16) = (3, 4);
const OFFSET_COMMIT: (i16, i16) = (8, 2);
/// Number of elements for which a request takes long, and takes much more memory than its size.
const ELEMENTS: usize = 100_000;
/// Number of attackers. Each sends its next request after the response to the one before.
const ATTACKERS: usize = 48;
/// Number of readiness checks; `PACE` is the pause between two of them.
const ROUNDS: usize = 10;
const PACE: Duration = Duration::from_millis(200);
/// Time limit for a stop on a busy machine: five seconds for running computations, and the time for the logs.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Requests that each keep a thread busy: batches that decompress to much, many names, offsets of a group.
fn long_requests(stage: &Stage) -> Result<Vec<Vec<u8>>> {
    stage.create(TOPIC, stage.size(1, 4), &[])?;
    stage.find_coordinator("g", GROUPS)?;
    let bombs = produced(stage.size(1, 4), bomb(UNPACKED, None, WINDOW));
    let mut before = string("g");
    before.extend((-1_i32).to_be_bytes());
    before.extend(string(""));
    before.extend((-1_i64).to_be_bytes());
    before.extend(1_i32.to_be_bytes());
    before.extend(string(TOPIC));
    let offset = |_| vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    Ok(vec![
        frame(&bombs, 7)?,
        swollen(METADATA, &[], ELEMENTS, |_| vec![0, 0], &[0])?,
        swollen(OFFSET_COMMIT, &before, ELEMENTS, offset, &[])?,
    ])
}

/// Sends the same request repeatedly until the node refuses it or the test is over. `sent` is called after the first request.
fn insist(attacker: &mut Attacker, frame: &[u8], over: &AtomicBool, sent: impl FnOnce()) {
    let mut goes_on = attacker.send(frame);
    sent();
    while goes_on && !over.load(Ordering::Relaxed) {
        goes_on = matches!(attacker.answer(PATIENCE), Outcome::Answered(_)) && attacker.send(frame);
    }
}

/// Runs `meanwhile` once every attacker of a crowd has sent its first request.
fn beside<T>(
    crowd: &Crowd,
    frames: &[Vec<u8>],
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|_| crowd.attacker())
        .collect::<Result<_>>()?;
    let over = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for (mut attacker, frame) in attackers.into_iter().zip(frames.iter().cycle()) {
            let (tell, over) = (tell.clone(), &over);
            scope.spawn(move || {
                // The receiver is gone if the test has failed.
                insist(&mut attacker, frame, over, || tell.send(()).unwrap_or(()));
            });
        }
        for () in told.iter().take(ATTACKERS) {}
        let outcome = meanwhile();
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

pub fn long_requests_on_all_sides(stage: &mut Stage) -> Result<()> {
    let frames = long_requests(stage)?;
    let port = stage.admin_port();
    let asks = format!("GET /ready HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    let mut longest = Duration::ZERO;
    stage.attack(|crowd| {
        beside(crowd, &frames, || {
            for _ in 0..ROUNDS {
                let began = Instant::now();
                let answer = ask(port, &asks)?;
                longest = longest.max(began.elapsed());
                ensure!(answer.contains("200"), "readiness: {answer:?}");
                thread::sleep(PACE);
            }
            Ok(())
        })
    })?;
    println!("ready was answered after {longest:?}");
    stage.expect(longest < WAIT_MAX, || format!("ready after {longest:?}"));
    stage.holds()?;

    let crowd = Crowd::new(stage.node().address());
    let stopped = beside(&crowd, &frames, || {
        let began = Instant::now();
        stage.node().stop()?;
        Ok(began.elapsed())
    })?;
    println!("stopped beside long requests after {stopped:?}");
    stage.expect(stopped < STOP_MAX, || format!("stopped after {stopped:?}"));
    stage.node().resume()
}
