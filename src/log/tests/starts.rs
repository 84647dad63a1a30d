//! Cost of a start: it reads only what was not flushed, in all log directories at the same time.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::panic::Location;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::*;
use crate::host::Host;
use crate::host::disk::{Simulation, Step, Verdict};
use crate::log::manager::{LogManager, ManagerSettings};

/// Counts the bytes that are read of each file.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<Mutex<BTreeMap<String, usize>>>);

impl Simulation for Counting {
    fn before(&self, step: &Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
        if let Step::Fetch(path, _, len) = step {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            *self.0.lock().entry(name).or_default() += len;
        }
        Ok(Verdict::Go)
    }
}

#[test]
fn only_what_lies_after_the_recovery_point_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    for round in 0..10 {
        for n in 0..40 {
            append(&log, 500 + round * 400 + n * 10, &["hello", "world"]);
        }
    }
    log.close().unwrap();
    drop(log);
    let mut sizes = BTreeMap::new();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        sizes.insert(name, entry.metadata().unwrap().len() as usize);
    }
    let logs: Vec<_> = sizes.keys().filter(|name| name.ends_with(".log")).collect();
    assert!(logs.len() > 30);
    for recovery_point in [800, 650, 401, 300, 0] {
        // The previous segment may have been closed after the last flush.
        let below = |name: &&&String| name[..20].parse::<Offset>().unwrap() < recovery_point;
        let first = logs.iter().filter(below).count().saturating_sub(1);
        let counting = Counting::default();
        watch(Some(Arc::new(counting.clone())));
        let log = reopen(dir.path(), small(), false, recovery_point);
        watch(None);
        assert_eq!(log.reader().log_end(), 800);
        let read = std::mem::take(&mut *counting.0.lock());
        let of_logs = || read.iter().filter(|(name, _)| name.ends_with(".log"));
        let names: Vec<_> = of_logs().map(|(name, _)| name).collect();
        assert_eq!(names, logs[first..], "recovery point {recovery_point}");
        // The segments are read once for checksums, and the batch headers again for producers.
        let wanted: usize = logs[first..].iter().map(|name| sizes[*name]).sum();
        let bytes: usize = of_logs().map(|(_, bytes)| bytes).sum();
        assert!(
            (wanted..3 * wanted).contains(&bytes),
            "recovery point {recovery_point}: {bytes} bytes were read of {wanted}"
        );
        // Of a closed segment's index only the last entry is read.
        for (name, bytes) in &read {
            let closed = name[..20] < logs[first][..20];
            assert!(!closed || *bytes <= 12, "{bytes} of {name}");
        }
    }
}

#[test]
fn each_directory_has_its_own_threads_and_all_begin_at_once() {
    const THREADS: usize = 3;
    let root = tempfile::tempdir().unwrap();
    let dirs = ["a", "b"].map(|name| root.path().join(name));
    for (dir, topic) in dirs.iter().zip(["a", "b"]) {
        for index in 0..2 * THREADS as i32 {
            let partition = TopicPartition::new(topic, index);
            let path = dir.join(partition.to_string());
            drop(PartitionLog::create(
                own_disk().dir(&path),
                partition,
                Uuid([1; 16]),
                small(),
                NOW,
            ));
        }
    }
    let identified = dirs.into_iter().zip([Ok(Uuid([8; 16])), Ok(Uuid([9; 16]))]);
    let manager = LogManager::open(
        &Host::default(),
        identified.collect(),
        ManagerSettings::default(),
    )
    .unwrap();
    let (here, changed) = (Mutex::new(HashSet::new()), Condvar::new());
    // The settings of a log are requested on the thread that opens it.
    let settings_of = |topic: &str| {
        let mut here = here.lock();
        here.insert((topic.to_owned(), thread::current().id()));
        changed.notify_all();
        while here.len() < 2 * THREADS {
            let waited = changed.wait_for(&mut here, Duration::from_secs(60));
            assert!(!waited.timed_out(), "only {here:?} work at once");
        }
        small()
    };
    manager.load(THREADS, &settings_of, NOW).unwrap();
    let here = here.into_inner();
    for topic in ["a", "b"] {
        let threads = here.iter().filter(|(name, _)| name == topic).count();
        assert_eq!(threads, THREADS);
    }
    assert_eq!(manager.all().len(), 4 * THREADS);
}

/// Names and contents of the files in a directory.
fn files_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read(path).unwrap())
    };
    fs::read_dir(dir).unwrap().map(entry).collect()
}

/// Position of a batch in a file; negative numbers count from the end.
fn position_of(content: &[u8], batch: isize) -> usize {
    let mut positions = vec![0];
    while let Ok(header) = BatchHeader::parse(&content[*positions.last().unwrap()..]) {
        positions.push(positions.last().unwrap() + header.size());
    }
    positions.pop();
    let from_end = positions.len().wrapping_add_signed(batch);
    positions[if batch < 0 { from_end } else { batch as usize }]
}

#[test]
fn what_a_newer_program_wrote_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    fill(&log);
    log.close().unwrap();
    drop(log);
    let whole = files_of(dir.path());
    let logs = whole.keys().filter(|name| name.ends_with(".log"));
    let newest = logs.max().unwrap().clone();
    let with_format = |from, count, format| {
        let mut content = whole[&newest].clone();
        let positions = (from..from + count).map(|batch| position_of(&content, batch));
        let positions: Vec<_> = positions.collect();
        positions.iter().for_each(|at| content[at + 16] = format);
        let said = format!("the batch at {} ", positions[0]);
        (newest.clone(), content, said)
    };
    // After a clean stop batches before the last index entry are not read.
    let indexed = [0, 2].map(|batch| with_format(batch, 1, 3).2);
    // After a crash only one damage at a time is tested.
    let alone = with_format(-1, 1, 3).2;
    let epochs = |version: &str| {
        let content = format!("{version}\n1\n0 0 and more\n").into_bytes();
        let name = "leader-epoch-checkpoint".to_owned();
        (name, content, format!("version {version} "))
    };
    let known = |clean| Known {
        clean,
        recovery_point: 0,
        log_start: None,
    };
    for (name, content, word) in [
        with_format(0, 2, 3),
        with_format(2, 3, 3),
        with_format(-2, 2, 3),
        with_format(-1, 1, 3),
        with_format(-2, 2, 100),
        epochs("1"),
        epochs("12"),
    ] {
        for clean in [true, false] {
            fs::remove_dir_all(dir.path()).unwrap();
            fs::create_dir(dir.path()).unwrap();
            for (name, content) in &whole {
                fs::write(dir.path().join(name), content).unwrap();
            }
            fs::write(dir.path().join(&name), &content).unwrap();
            let before = files_of(dir.path());
            let partition = TopicPartition::new("t", 0);
            let (id, known) = (Uuid([1; 16]), known(clean));
            let opened = PartitionLog::open(
                own_disk().dir(dir.path()),
                partition,
                id,
                small(),
                known,
                80,
                NOW,
            );
            let Err(error) = opened else {
                let unread = clean && indexed.contains(&word);
                assert!(unread || !clean && word == alone, "{word}");
                continue;
            };
            let said = error.to_string();
            // After a clean stop reading begins at the last index entry.
            let place = match clean && name == newest {
                true => "the batch at ",
                false => &word,
            };
            for word in [&*name, place, "a newer program wrote it; use that one"] {
                assert!(said.contains(word), "no {word:?} in {said}");
            }
            let mut after = files_of(dir.path());
            if !clean {
                // The next start after an unclean stop rebuilds the indexes.
                after.retain(|name, _| !name.ends_with("index"));
            }
            for (name, content) in after {
                assert_eq!(before.get(&name), Some(&content), "{word}: {name}");
            }
        }
    }
}
