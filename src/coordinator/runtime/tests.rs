//! The runtime against a log in memory that holds back commits and fails on request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::handle::Coordinator;
use super::loader::load;
use super::log::RecordLog;
use super::log::memory::MemoryLog;
use super::shard::{
    Condition, IN_PLACE_MAX, Marker, Moment, Origin, Output, RawRecord, RecordError, Shard, Ticket,
};
use super::task::Task;
use crate::base::memory::Memory;
use crate::base::work_pool::{self, WorkPool};
use crate::host::Host;
use crate::host::task::Halt;
use crate::log::producer_state::Admission;
use crate::metadata::image::{Delta, Image};
use crate::wire::batch::compression::Compression;
use crate::wire::codec::EncodeError;
use crate::wire::error_code::ErrorCode;

const FEATURE: &str = "words.version";

/// A shard that remembers words. Words of an open transaction take effect with its marker.
#[derive(Default)]
struct Words {
    said: Vec<String>,
    pending: Vec<String>,
    alarm: Option<i64>,
    /// Level of [`FEATURE`].
    level: i16,
    /// Cost of the next alarm.
    alarm_cost: usize,
}

enum Ask {
    Say(&'static str),
    /// Says the word if its condition on the log holds.
    SayIf(&'static str),
    /// Asks for the level of [`FEATURE`].
    Level,
    SayIn(i64, &'static str),
    End(i64, bool),
    WakeIn(i64),
    Hear,
    /// Has this cost; the answer is the kind of thread that handled it.
    Cost(usize),
    /// Sets an alarm with this cost that is due soon.
    WakeFor(usize),
    Break,
}

impl Shard for Words {
    type Request = Ask;
    type Answer = Vec<String>;
    type Record = Bytes;

    fn decode(raw: RawRecord) -> Result<Option<Bytes>, RecordError> {
        Ok(Some(raw.key))
    }

    fn encode(record: &Bytes) -> Result<RawRecord, EncodeError> {
        Ok(RawRecord {
            key: record.clone(),
            value: None,
        })
    }

    fn apply(&mut self, origin: Origin, record: &Bytes) {
        let word = String::from_utf8_lossy(record).into_owned();
        match origin {
            Origin::Plain => self.said.push(word),
            Origin::Transaction(_) => self.pending.push(word),
        }
    }

    fn apply_marker(&mut self, marker: Marker) {
        let pending = std::mem::take(&mut self.pending);
        if marker.commit {
            self.said.extend(pending);
        }
    }

    fn on_image(&mut self, image: &Arc<Image>, _: &Delta) {
        self.level = image.feature(FEATURE);
    }

    fn loaded(&mut self, _: Moment, _: &mut Output<Vec<String>>) {}

    fn condition(ask: &Ask) -> Option<Condition> {
        let admission = Admission {
            last_marker: None,
            begins_at_zero: false,
            verified: false,
        };
        match ask {
            Ask::SayIf(_) => Some(Condition::Joins(0, 0, admission)),
            _ => None,
        }
    }

    fn handle(
        &mut self,
        now: Moment,
        ticket: Ticket,
        ask: Ask,
        met: Result<(), ErrorCode>,
        out: &mut Output<Vec<String>>,
    ) {
        match ask {
            Ask::SayIf(word) => match met {
                Ok(()) => self.say(Origin::Plain, word, out),
                Err(error) => return out.answer(ticket, vec![error.to_string()]),
            },
            Ask::Level => return out.answer(ticket, vec![self.level.to_string()]),
            Ask::Say(word) => self.say(Origin::Plain, word, out),
            Ask::SayIn(producer, word) => {
                out.producer = Some((producer, 0));
                self.say(Origin::Transaction(producer), word, out);
            }
            Ask::End(producer_id, commit) => {
                let marker = Marker {
                    producer_id,
                    producer_epoch: 0,
                    coordinator_epoch: 3,
                    commit,
                };
                out.marker = Some(marker);
                self.apply_marker(marker);
            }
            Ask::WakeIn(ms) => self.alarm = Some(now.steady + ms),
            Ask::Hear => {}
            Ask::Cost(_) => self.said = vec![where_it_is().to_owned()],
            Ask::WakeFor(cost) => {
                self.alarm = Some(now.steady + 1);
                self.alarm_cost = cost;
                self.said = vec![WAITS.to_owned()];
            }
            Ask::Break => panic!("of this test"),
        }
        out.answer(ticket, self.said.clone());
    }

    fn wake(&mut self, now: Moment, out: &mut Output<Vec<String>>) {
        if self.alarm.is_some_and(|at| at <= now.steady) {
            self.alarm = None;
            self.say(Origin::Plain, "alarm", out);
            if self.alarm_cost > 0 {
                self.said = vec![where_it_is().to_owned()];
            }
        }
    }

    fn cost(&self, ask: &Ask) -> usize {
        match ask {
            Ask::Cost(cost) => *cost,
            Ask::Break => IN_PLACE_MAX + 1,
            _ => 1,
        }
    }

    fn wake_cost(&self, _: Moment) -> usize {
        self.alarm_cost
    }

    fn next_wake(&self) -> Option<i64> {
        self.alarm
    }
}

impl Words {
    fn say(&mut self, origin: Origin, word: &'static str, out: &mut Output<Vec<String>>) {
        let record = Bytes::from_static(word.as_bytes());
        if out.record(Self::encode(&record)).is_ok() {
            self.apply(origin, &record);
        }
    }
}

/// Answer of the shard until an alarm sets another.
const WAITS: &str = "waits";

fn where_it_is() -> &'static str {
    match work_pool::is_here() {
        true => "elsewhere",
        false => "in place",
    }
}

fn start(log: &Arc<MemoryLog>) -> Coordinator<Words> {
    start_on(&Host::simulated(0, 0), log)
}

fn pool() -> WorkPool {
    WorkPool::new(&Host::default(), 1, &Memory::new(1 << 20))
}

fn start_on(host: &Host, log: &Arc<MemoryLog>) -> Coordinator<Words> {
    let (coordinator, task) = make(host, log, pool());
    host.threads.spawn(task.run());
    coordinator
}

fn make(host: &Host, log: &Arc<MemoryLog>, pool: WorkPool) -> (Coordinator<Words>, Task<Words>) {
    Coordinator::new(
        "words",
        host,
        Arc::clone(log) as Arc<dyn RecordLog>,
        Arc::new(|_, _| Words::default()),
        Duration::from_secs(5),
        Compression::None,
        pool,
    )
}

async fn hear(coordinator: &Coordinator<Words>) -> String {
    match coordinator.ask(7, Ask::Hear).await {
        Ok(words) => words.join(" "),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn only_elected_partitions_answer_and_a_successor_knows_what_was_said() {
    let log = Arc::new(MemoryLog::default());
    let first = start(&log);
    assert_eq!(hear(&first).await, "NOT_COORDINATOR");
    first.elected(7, 1);
    assert_eq!(first.ask(7, Ask::Say("a")).await.unwrap(), ["a"]);
    first.ask(7, Ask::SayIn(5, "b")).await.unwrap();
    first.ask(7, Ask::Say("c")).await.unwrap();
    first.ask(7, Ask::End(5, true)).await.unwrap();
    first.ask(7, Ask::SayIn(5, "d")).await.unwrap();
    first.ask(7, Ask::End(5, false)).await.unwrap();
    assert_eq!(hear(&first).await, "a c b");
    first.resigned(7);
    assert_eq!(hear(&first).await, "NOT_COORDINATOR");

    let second = start(&log);
    second.elected(7, 2);
    assert_eq!(hear(&second).await, "COORDINATOR_LOAD_IN_PROGRESS");
    // The paused clock advances only when all tasks are idle; by then the partition is loaded.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(hear(&second).await, "a c b");
    let mut loaded = Words::default();
    load(&*log, 7, 1, &mut loaded).unwrap();
    assert_eq!(loaded.said.join(" "), "a c b");
}

#[tokio::test(start_paused = true)]
async fn no_answer_before_the_commit_and_one_batch_for_those_who_come_together() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log);
    coordinator.elected(7, 1);
    hear(&coordinator).await;
    log.hold(true);
    let asks: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|word| {
            let coordinator = coordinator.clone();
            tokio::spawn(async move { coordinator.ask(7, Ask::Say(word)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(asks.iter().all(|ask| !ask.is_finished()));
    assert_eq!(log.batches(7), 1);
    log.hold(false);
    for ask in asks {
        ask.await.unwrap().unwrap();
    }

    log.hold(true);
    let late = coordinator.ask(7, Ask::Say("d")).await;
    assert_eq!(late, Err(ErrorCode::CoordinatorNotAvailable));
}

#[tokio::test(start_paused = true)]
async fn a_failed_append_takes_back_what_was_decided() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log);
    coordinator.elected(7, 1);
    coordinator.ask(7, Ask::Say("a")).await.unwrap();
    log.fail(Some(ErrorCode::KafkaStorageError));
    let failed = coordinator.ask(7, Ask::Say("b")).await;
    assert_eq!(failed, Err(ErrorCode::NotCoordinator));
    log.fail(None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(hear(&coordinator).await, "a");
}

#[tokio::test(start_paused = true)]
async fn a_timer_is_one_more_event() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log);
    coordinator.elected(7, 1);
    coordinator.ask(7, Ask::WakeIn(500)).await.unwrap();
    assert_eq!(hear(&coordinator).await, "");
    tokio::time::sleep(Duration::from_millis(501)).await;
    assert_eq!(hear(&coordinator).await, "alarm");
}

/// Observations, with times, of a client of three nodes: each node is elected, resigns and loads again while the client sends
/// requests.
async fn three_nodes(seed: u64) -> Vec<String> {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    for node in 0..3 {
        let host = Host::simulated(1_000 * node, seed + node as u64);
        let log = Arc::new(MemoryLog::default());
        let coordinator = start_on(&host, &log);
        let sender = sender.clone();
        host.threads.clone().spawn(async move {
            coordinator.elected(7, 1);
            for epoch in 2..40 {
                let [chance, pause] = host.chance.bytes().unwrap();
                tokio::time::sleep(Duration::from_millis(u64::from(pause))).await;
                let answer = match chance % 4 {
                    0 => {
                        coordinator.resigned(7);
                        coordinator.elected(7, epoch);
                        hear(&coordinator).await
                    }
                    1 => {
                        let wake = coordinator.ask(7, Ask::WakeIn(i64::from(chance)));
                        format!("{:?}", wake.await)
                    }
                    _ => format!("{:?}", coordinator.ask(7, Ask::Say("word")).await),
                };
                let line = format!("{} node {node}: {answer}", host.clock.now());
                sender.send(line).unwrap();
            }
        });
    }
    drop(sender);
    let mut trace = Vec::new();
    while let Some(line) = seen.recv().await {
        trace.push(line);
    }
    trace
}

#[test]
fn three_nodes_on_one_thread_give_equal_traces_from_one_seed() {
    let told = |seed| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(three_nodes(seed))
    };
    let trace = told(5);
    assert_eq!(trace.len(), 3 * 38);
    let was_said = |word: &str| trace.iter().any(|line| line.contains(word));
    assert!(was_said("COORDINATOR_LOAD_IN_PROGRESS") && was_said("alarm"));
    assert_eq!(trace, told(5));
    assert_ne!(trace, told(6));
}

#[tokio::test]
async fn what_costs_much_is_worked_off_by_a_thread_that_serves_nobody() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log);
    coordinator.elected(7, 1);
    for (cost, place) in [
        (1, "in place"),
        (IN_PLACE_MAX - 1, "in place"),
        (IN_PLACE_MAX + 1, "elsewhere"),
        (1, "in place"),
    ] {
        let handled = coordinator.ask(7, Ask::Cost(cost)).await.unwrap();
        assert_eq!(handled, [place], "{cost}");
        coordinator.ask(7, Ask::WakeFor(cost)).await.unwrap();
        let mut woken = WAITS.to_owned();
        while woken == WAITS {
            woken = hear(&coordinator).await;
        }
        assert_eq!(woken, place, "{cost} of an alarm");
    }
}

/// Small requests that arrive together are not combined into a round of high cost.
#[tokio::test]
async fn many_small_requests_stay_in_place() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log);
    coordinator.elected(7, 1);
    let cost = IN_PLACE_MAX / 10;
    let asks = (0..100).map(|_| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { coordinator.ask(7, Ask::Cost(cost)).await })
    });
    let asks: Vec<_> = asks.collect();
    for ask in asks {
        assert_eq!(ask.await.unwrap().unwrap(), ["in place"]);
    }
}

#[tokio::test]
async fn a_round_for_which_there_is_no_thread_is_worked_off_all_the_same() {
    let log = Arc::new(MemoryLog::default());
    let pool = pool();
    let (coordinator, task) = make(&Host::default(), &log, pool.clone());
    tokio::spawn(task.run());
    coordinator.elected(7, 1);
    pool.stop();
    let handled = coordinator.ask(7, Ask::Cost(IN_PLACE_MAX + 1)).await;
    assert_eq!(handled.unwrap(), ["in place"]);
}

#[tokio::test]
async fn a_panic_elsewhere_is_one_of_the_task() {
    let log = Arc::new(MemoryLog::default());
    let (coordinator, task) = make(&Host::default(), &log, pool());
    let halt = Halt::default();
    tokio::spawn(halt.guard("words", task.run()));
    coordinator.elected(7, 1);
    let asked = coordinator.ask(7, Ask::Break).await;
    assert_eq!(asked, Err(ErrorCode::NotCoordinator));
    assert_eq!(halt.reason().await, "words ended in a panic: of this test");
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_in_another_epoch_is_not_appended() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log);
    coordinator.elected(7, 1);
    coordinator.ask(7, Ask::Say("a")).await.unwrap();
    // The log learns of the next epoch before the coordinator does.
    log.lead_from(2);
    let late = coordinator.ask(7, Ask::Say("b")).await;
    assert_eq!(late, Err(ErrorCode::NotCoordinator));
    coordinator.elected(7, 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(coordinator.ask(7, Ask::Say("c")).await.unwrap(), ["a", "c"]);
}

/// The metadata name this node before its log is truncated: what is there until then is nobody's.
#[tokio::test(start_paused = true)]
async fn a_partition_is_loaded_when_its_log_is_led_and_not_before() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log);
    for records in [false, true] {
        let epoch = 1 + i32::from(records);
        log.lead_from(0);
        coordinator.elected(7, epoch);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let early = coordinator.ask(7, Ask::Say("early")).await;
        assert_eq!(early, Err(ErrorCode::CoordinatorLoadInProgress));
        log.lead_from(epoch);
        tokio::time::sleep(Duration::from_secs(2)).await;
        coordinator.ask(7, Ask::Say("a")).await.unwrap();
    }
    assert_eq!(hear(&coordinator).await, "a a");
}

#[tokio::test(start_paused = true)]
async fn the_log_is_asked_for_what_a_request_takes_for_granted_of_it() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log);
    coordinator.elected(7, 1);
    assert_eq!(coordinator.ask(7, Ask::SayIf("a")).await.unwrap(), ["a"]);
    log.refuse(Some(ErrorCode::InvalidTxnState));
    let refused = coordinator.ask(7, Ask::SayIf("b")).await.unwrap();
    assert_eq!(refused, ["INVALID_TXN_STATE"]);
    assert_eq!(hear(&coordinator).await, "a");
}

fn image_of(level: i16) -> Arc<Image> {
    let mut image = Image::empty();
    image.features.insert(FEATURE.into(), level);
    Arc::new(image)
}

#[tokio::test(start_paused = true)]
async fn metadata_reach_partitions_that_are_here_and_those_that_come() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log);
    let level = async |of| coordinator.ask(of, Ask::Level).await.unwrap().concat();
    coordinator.on_image(&image_of(1), &Delta::default());
    coordinator.elected(7, 1);
    assert_eq!(level(7).await, "1");
    coordinator.ask(7, Ask::Say("a")).await.unwrap();
    coordinator.on_image(&image_of(2), &Delta::default());
    coordinator.elected(8, 1);
    assert_eq!((level(7).await, level(8).await), ("2".into(), "2".into()));
    // A loading partition is not told of changes; once loaded, it has the newest metadata.
    coordinator.elected(7, 2);
    coordinator.on_image(&image_of(3), &Delta::default());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(level(7).await, "3");
}

#[test]
fn records_that_belong_together_are_taken_all_or_none() {
    let mut out: Output<()> = Output::new(200);
    let word = |text: &'static str| Words::encode(&Bytes::from_static(text.as_bytes()));
    out.record(word("first")).unwrap();
    let many = ["some", "more", "that", "find", "no", "room"];
    let refused = out.records(many.map(word));
    assert_eq!(refused, Err(ErrorCode::RecordListTooLarge));
    assert_eq!(out.records.len(), 1);
    out.records(["two", "more"].map(word)).unwrap();
    assert_eq!(out.records.len(), 3);
}
