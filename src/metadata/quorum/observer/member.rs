//! Membership of an observer: it owns the files, gives errands to its task, and lets the machine decide about the results.
//!
//! ```text
//! 1. records are appended, committed or not; 2. a leader reports the high watermark; 3. the image has the committed records.
//! ```
//! Nothing is synced for these steps: records that a power cut removes from the end of the log are fetched again. A new epoch
//! is on disk before any controller is asked in it. A snapshot of the leader is written to a temporary file, read once as a
//! whole, synced, and renamed; then the log begins anew behind it. After a crash between the last two steps the log ends below
//! the snapshot, and the next start lets the log begin anew.

use std::io::{ErrorKind, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::machine::{Observer, Refused, Setup, Step, Tail};
use super::task::{Heard, Line};
use crate::base::ids::{LeaderEpoch, Offset};
use crate::base::time::Timestamp;
use crate::host::chance::Chance;
use crate::host::disk::Dir;
use crate::host::file::File;
use crate::log::error::{DiskContext, StorageError, malformed};
use crate::metadata::batches::{Batch, Piece, Transactions};
use crate::metadata::bootstrap::check_features;
use crate::metadata::image::Image;
use crate::metadata::loader::{Committed, read_snapshot};
use crate::metadata::metadata_log::MetadataLog;
use crate::metadata::quorum::files::MemberFiles;
use crate::metadata::quorum::upkeep::{SnapshotId, Upkeep};
use crate::metadata::quorum::voters::VoterSet;
use crate::metadata::quorum::{Leadership, ProposeError, Quorum, state};
use crate::metadata::record::Record;
use crate::metadata::remote::LeaderAt;

/// Membership of an observer; see the module.
#[derive(Debug)]
pub struct ObserverQuorum {
    files: MemberFiles,
    machine: Observer,
    line: Line,
    is_under_way: bool,
    chance: Chance,
    /// Snapshot at whose end the log begins, if there is one.
    begun_behind: Option<SnapshotId>,
    download: Option<Download>,
    voters: VoterSet,
    /// Voters in the settings.
    static_voters: Vec<i32>,
    transactions: Transactions,
    /// First offset that was not read as committed yet.
    next: Offset,
    ready: Committed,
    leader_at: watch::Sender<LeaderAt>,
}

/// A snapshot that is being written to its temporary file.
#[derive(Debug)]
struct Download {
    id: SnapshotId,
    path: PathBuf,
    file: File,
    size: u64,
}

/// The end of the log; if the log has no records, that of the snapshot before it.
struct End<'a> {
    log: &'a MetadataLog,
    epoch: LeaderEpoch,
}

fn end(files: &MemberFiles, begun_behind: Option<SnapshotId>) -> End<'_> {
    End {
        log: &files.log,
        epoch: files.last_epoch(begun_behind),
    }
}

impl Tail for End<'_> {
    fn end(&self) -> Offset {
        self.log.log_end()
    }

    fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    fn end_of(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.log.end_of_epoch(epoch)
    }
}

impl ObserverQuorum {
    /// Opens the files and returns the image of the newest snapshot. Records behind it are applied when a leader has confirmed
    /// that they are committed.
    pub fn open(
        place: Dir<'_>,
        setup: Setup,
        line: Line,
        chance: Chance,
        clean: bool,
        upkeep: Upkeep,
        now: Timestamp,
    ) -> Result<(Self, Image), StorageError> {
        let (mut files, saved) = MemberFiles::open(place, clean, upkeep, now)?;
        let begun_behind = saved.snapshot.map(|snapshot| snapshot.id());
        if let Some(id) = begun_behind {
            let newest = files.log.latest_epoch();
            // A crash came before the log could begin anew, or the log was written without knowledge of the snapshot.
            if files.log.log_end() < id.end || newest.is_some_and(|epoch| epoch < id.epoch) {
                files.begin_behind(id)?;
            }
        }
        let next = begun_behind.map_or(0, |id| id.end);
        if files.log.log_start() > next {
            let what = format!(
                "the metadata log begins at {}, and no snapshot says what was before; remove this directory: the controllers have everything that was in it",
                files.log.log_start()
            );
            return Err(malformed(&files.dir, what));
        }
        let leadership = state::read(&files.disk, &files.dir)?;
        let newest = files.last_epoch(begun_behind);
        let leadership = match leadership.epoch < newest {
            true => Leadership {
                epoch: newest,
                leader: None,
            },
            false => leadership,
        };
        let static_voters = setup.voters.keys().copied().collect();
        let leader_at = watch::Sender::new(LeaderAt {
            epoch: leadership.epoch,
            leader: leadership.leader,
            address: None,
        });
        let machine = Observer::new(setup, leadership, next);
        let mut this = Self {
            files,
            machine,
            line,
            is_under_way: false,
            chance,
            begun_behind,
            download: None,
            voters: saved.voters,
            static_voters,
            transactions: Transactions::default(),
            next,
            ready: Committed::default(),
            leader_at,
        };
        this.go_on()?;
        Ok((this, saved.image))
    }

    /// Watch channel with the leader's address.
    pub fn leader_at(&self) -> watch::Receiver<LeaderAt> {
        self.leader_at.subscribe()
    }

    /// Gives the next errand to the task.
    fn go_on(&mut self) -> Result<(), StorageError> {
        let fetches = self.machine.fetches();
        if let Some(former) = self.download.take_if(|one| fetches != Some(one.id)) {
            // The leader has a newer snapshot, or none is needed any more.
            let removed = self.files.disk.remove_file(&former.path);
            removed.at("remove", former.path)?;
        }
        if let Some(leadership) = self.machine.news() {
            let voters = (!self.voters.is_dynamic() && !self.static_voters.is_empty())
                .then_some(&self.static_voters[..]);
            state::write(&self.files.disk, &self.files.dir, leadership, voters)?;
        }
        let Leadership { epoch, leader } = self.machine.leadership();
        let now = LeaderAt {
            epoch,
            leader,
            address: self.machine.leader_address().map(str::to_owned),
        };
        self.leader_at.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        let errand = self.machine.next(&end(&self.files, self.begun_behind));
        // Sending fails only while the node stops.
        self.is_under_way = self.line.errands.try_send(errand).is_ok();
        Ok(())
    }

    fn hear(&mut self, heard: Heard, now: Timestamp) -> Result<(), StorageError> {
        let chance = self.chance.jitter();
        let tail = end(&self.files, self.begun_behind);
        let (from, judged) = match heard {
            Heard::Nothing => return Ok(()),
            Heard::Failed { from, error } => {
                tracing::warn!(controller = from, %error, "the controller does not answer");
                let refused = self.machine.failed(error.to_string(), chance);
                (from, Err(refused))
            }
            Heard::Fetched { from, answer } => {
                let judged = self.machine.fetched(&answer, &tail, chance);
                (from, judged)
            }
            Heard::SnapshotFetched { from, answer } => {
                let judged = self.machine.snapshot_fetched(&answer, chance);
                (from, judged)
            }
        };
        match judged {
            Ok(step) => self.take(step, chance, now),
            Err(Refused::Elsewhere(why)) => {
                tracing::debug!(controller = from, why, "asking another controller");
                Ok(())
            }
            Err(Refused::Wrong(why)) => {
                tracing::error!(
                    controller = from,
                    "the controller is not believed: it {why}"
                );
                Ok(())
            }
        }
    }

    fn take(&mut self, step: Step, chance: u8, now: Timestamp) -> Result<(), StorageError> {
        match step {
            Step::Append {
                records,
                high_watermark,
            } => {
                if !records.is_empty() {
                    self.files.log.append_copied(&records, now)?;
                    self.files.unsaved(records.len() as u64, now);
                }
                let end = self.files.log.log_end();
                self.machine.appended(high_watermark, end);
            }
            Step::Truncate(end) => {
                tracing::info!(
                    end,
                    "what only this node had of the metadata log is cut off"
                );
                self.files.log.truncate_to(end)?;
            }
            Step::Begin(id) => {
                tracing::info!(snapshot = %id, "fetching a snapshot of the metadata");
                let path = self.files.snapshots.unfinished(id);
                let file = self.files.disk.create(&path).at("create", &path)?;
                self.download = Some(Download {
                    id,
                    path,
                    file,
                    size: 0,
                });
                self.machine.begun(id);
            }
            Step::Piece { bytes, is_last } => {
                let Some(download) = &mut self.download else {
                    return Ok(());
                };
                let disk = &self.files.disk;
                let (file, path) = (&download.file, &download.path);
                let mut parts = [IoSlice::new(&bytes)];
                let written = disk.write_all_at(file, path, &mut parts, download.size);
                written.at("write", path)?;
                download.size += bytes.len() as u64;
                if is_last && let Some(download) = self.download.take() {
                    self.install(&download, chance)?;
                }
            }
        }
        Ok(())
    }

    /// Replaces the log by a snapshot that was fetched completely.
    fn install(&mut self, download: &Download, chance: u8) -> Result<(), StorageError> {
        let Download { id, path, file, .. } = download;
        let disk = self.files.disk.clone();
        disk.sync(file, path).at("sync", path)?;
        let (image, voters, read) = read_snapshot(&disk, path, *id);
        if let Err(error) = read {
            if error.source.kind() != ErrorKind::InvalidData {
                return Err(error);
            }
            tracing::error!(%error, "the controller is not believed: it sends a snapshot that is none");
            disk.remove_file(path).at("remove", path)?;
            self.machine.spoiled(chance);
            return Ok(());
        }
        check_features(&image).map_err(|what| malformed(path, what))?;
        self.files.snapshots.finish(*id)?;
        self.files.begin_behind(*id)?;
        self.begun_behind = Some(*id);
        self.voters = voters;
        self.transactions = Transactions::default();
        self.next = id.end;
        self.ready = Committed {
            image: Some(Box::new(image)),
            batches: Vec::new(),
        };
        self.machine.installed(*id);
        tracing::info!(snapshot = %id, "the metadata begin with a snapshot of the controller's");
        Ok(())
    }

    /// Reads newly committed records, a few megabytes at a time.
    fn gather(&mut self) -> Result<(), StorageError> {
        let committed = self.machine.high_watermark();
        if self.next >= committed {
            return Ok(());
        }
        let (next, batches) = (self.next, &mut self.ready.batches);
        let (transactions, voters) = (&mut self.transactions, &mut self.voters);
        self.next = self.files.log.pieces(next, committed, |piece| {
            match piece {
                Piece::Control(kind, value) => voters.apply(kind, &value)?,
                Piece::Data(batch) => {
                    // A snapshot of this node may end in the middle of a batch, before the beginning of a metadata transaction.
                    for (offset, record) in batch.numbered().filter(|(offset, _)| *offset >= next) {
                        transactions.pass(record, offset, |record, offset| {
                            add(batches, record, offset, batch.epoch);
                        });
                    }
                }
            }
            Ok(())
        })?;
        if self.next <= next {
            let what = format!("what is committed cannot be read from offset {next} on");
            return Err(malformed(&self.files.dir, what));
        }
        if self.next < committed {
            self.line.arrivals.notify_one();
        }
        Ok(())
    }
}

/// Adds a record to the committed batches: to the last batch if it continues that batch.
fn add(batches: &mut Vec<Batch>, record: &Record, offset: Offset, epoch: LeaderEpoch) {
    if let Some(last) = batches.last_mut()
        && last.epoch == epoch
        && last.first + last.records.len() as Offset == offset
    {
        last.records.push(record.clone());
        return;
    }
    batches.push(Batch {
        first: offset,
        epoch,
        records: vec![record.clone()],
    });
}

impl Quorum for ObserverQuorum {
    fn leadership(&self) -> Leadership {
        self.machine.leadership()
    }

    fn propose(
        &mut self,
        epoch: LeaderEpoch,
        _: Vec<Record>,
        _: Timestamp,
    ) -> Result<Offset, ProposeError> {
        Err(ProposeError::NotLeader(epoch))
    }

    fn committed(&mut self, now: Timestamp) -> Result<Committed, StorageError> {
        if let Ok(heard) = self.line.heard.try_recv() {
            self.is_under_way = false;
            self.hear(heard, now)?;
        }
        if !self.is_under_way {
            self.go_on()?;
        }
        self.gather()?;
        Ok(std::mem::take(&mut self.ready))
    }

    fn arrivals(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.line.arrivals))
    }

    fn is_caught_up(&self) -> bool {
        self.machine.knows_high_watermark() && self.next >= self.machine.high_watermark()
    }

    /// A snapshot is due only if records behind the newest snapshot are known to be committed.
    fn snapshot_wait(&self, now: Timestamp) -> Option<u64> {
        let newest = self.begun_behind.map_or(0, |id| id.end);
        let wait = self.files.snapshot_wait(now);
        wait.filter(|_| self.next > newest)
    }

    /// During a metadata transaction the image is the one from before the transaction.
    fn snapshot(&mut self, image: &Image, now: Timestamp) -> Result<(), StorageError> {
        if image.offset < 0 {
            self.files.saved();
            return Ok(());
        }
        self.files.snapshot(image, &self.voters, now)
    }

    fn close(&mut self) -> Result<(), StorageError> {
        self.files.log.close()
    }
}
