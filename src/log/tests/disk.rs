//! A simulated disk: it tracks what was only written and what was synced, and produces the state after a power loss.
//!
//! Files are real, so that all reads are; a journal has the changes that are not durable yet. A sync of a file removes its
//! writes from the journal, a sync of its directory its names. A power loss keeps all of the rest, a part, or none. Directories
//! have names too, which a sync of the parent directory makes durable.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::host::disk::{Simulation, Step, Verdict};

/// A small random generator (splitmix64): a seed gives the same story everywhere.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// One step fails; a failed sync loses the data that it should have saved.
    Io,
    /// The disk is full from here on.
    Full,
    /// The power is lost in the middle of this step.
    Cut,
    /// The process is killed in the middle of this step: what it has written stays for the next process.
    Kill,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

/// Name of a file: the number of its directory, and the name in it.
type Name = (usize, OsString);

#[derive(Debug)]
enum Naming {
    /// A directory is created. Files in it can be found only if its name is durable.
    Dir(usize, PathBuf),
    Move(usize, PathBuf, PathBuf),
    Link(Name, usize),
    Rename(Name, Name, usize),
    Unlink(Name, usize),
}

/// Names of files and directories, in memory or on disk.
#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<Name, usize>,
    /// Paths of directories by number; `None` if the directory's name is not durable.
    dirs: Vec<Option<PathBuf>>,
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    journal: Vec<Change>,
    /// Whether a sync failed and the system considers its data written.
    dropped: bool,
}

#[derive(Debug)]
pub(super) struct Journal {
    dice: Dice,
    inodes: Vec<Inode>,
    names: Names,
    durable_names: Names,
    namings: Vec<Naming>,
    /// Number of steps until the fault, and its kind.
    fault: Option<(u64, Fault)>,
    full: bool,
    dead: bool,
    killed: bool,
    /// Whether faults are off.
    calm: bool,
    dropped: bool,
    /// `MONEDULA_DISK_TRACE=1` prints every step.
    traced: bool,
    left_out: Option<Site>,
}

#[derive(Clone, Debug)]
pub(super) struct LyingDisk(pub(super) Arc<Mutex<Journal>>);

impl Simulation for LyingDisk {
    fn before(&self, step: &Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict> {
        let mut journal = self.0.lock();
        if journal.traced && !journal.calm {
            eprintln!("{}:{} {step:?}", site.file(), site.line());
        }
        let Some(site) = Site::of(step, site) else {
            return journal.before(step);
        };
        if journal.left_out == Some(site) {
            SKIPPED.set(SKIPPED.get() + 1);
            assert!(SKIPPED.get() < SKIPPED_MAX, "a story without an end");
            return Ok(Verdict::Skip);
        }
        SITES.with_borrow_mut(|sites| sites.insert(site));
        journal.before(step)
    }
}

/// A line of the log code with a step that could be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    pub(super) file: &'static str,
    pub(super) line: u32,
    pub(super) what: &'static str,
}

thread_local! {
    /// All sites that this thread has reached.
    pub(super) static SITES: RefCell<BTreeSet<Site>> = const { RefCell::new(BTreeSet::new()) };
    /// The site that is left out on all disks of this thread.
    pub(super) static LEFT_OUT: Cell<Option<Site>> = const { Cell::new(None) };
    /// How often the step was left out in this story.
    pub(super) static SKIPPED: Cell<u32> = const { Cell::new(0) };
}

/// Limit of skips. A story reaches a line that often only if it waits for the effect of the line.
const SKIPPED_MAX: u32 = 10_000;

impl Site {
    fn of(step: &Step<'_>, site: &'static Location<'static>) -> Option<Self> {
        let what = match step {
            Step::SetLen(..) => "cut",
            Step::Sync(_) => "sync",
            Step::SyncDir(_) => "sync of the directory",
            Step::Rename(..) => "rename",
            Step::Remove(_) => "removal",
            Step::CreateDir(_)
            | Step::Create(..)
            | Step::Write(..)
            | Step::RemoveDir(_)
            | Step::Evict(_)
            | Step::Read(_)
            | Step::Fetch(..)
            | Step::Look(_) => {
                return None;
            }
        };
        Some(Self {
            file: site.file(),
            line: site.line(),
            what,
        })
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl LyingDisk {
    /// Creates a disk on which everything in `dir` is durable.
    pub(super) fn over(dir: &Path, seed: u64) -> Self {
        let mut journal = Journal {
            dice: Dice(seed),
            inodes: Vec::new(),
            names: Names::default(),
            durable_names: Names::default(),
            namings: Vec::new(),
            fault: None,
            full: false,
            dead: false,
            killed: false,
            calm: false,
            dropped: false,
            traced: std::env::var_os("MONEDULA_DISK_TRACE").is_some(),
            left_out: LEFT_OUT.get(),
        };
        for path in files_in(dir) {
            journal.inodes.push(Inode {
                durable: fs::read(&path).unwrap(),
                ..Inode::default()
            });
            let name = journal.name(&path);
            journal.names.files.insert(name, journal.inodes.len() - 1);
        }
        journal.durable_names = journal.names.clone();
        Self(Arc::new(Mutex::new(journal)))
    }

    pub(super) fn fail_after(&self, steps: u64, fault: Fault) {
        self.0.lock().fault = Some((steps, fault));
    }

    /// Turns `dir` into the state after a power loss. `keeps` decides for each step that is not durable: "link a", "rename a
    /// b", "unlink a", "write a", "cut a".
    pub(super) fn cut_keeping(&self, dir: &Path, keeps: impl Fn(&str) -> bool) {
        let journal = self.0.lock();
        let mut names = journal.durable_names.clone();
        for naming in &journal.namings {
            if keeps(&naming.to_string()) {
                naming.apply(&mut names);
            }
        }
        empty(dir);
        for (path, inode) in names.paths() {
            let inode = &journal.inodes[inode];
            let mut content = inode.durable.clone();
            for change in &inode.journal {
                let what = match change {
                    Change::Write(..) => "write",
                    Change::SetLen(_) => "cut",
                };
                if keeps(&format!("{what} {}", name_of(&path))) {
                    apply(&mut content, change, usize::MAX);
                }
            }
            put(&path, &content);
        }
    }

    /// Turns `dir` into a random state after a power loss.
    pub(super) fn cut(&self, dir: &Path) {
        let mut journal = self.0.lock();
        let left = journal.left();
        empty(dir);
        for (path, content) in left {
            put(&path, &content);
        }
    }
}

/// All files in a directory and its subdirectories.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_in(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn empty(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
}

fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

impl Journal {
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether no more faults happen.
    pub(super) fn is_sound(&self) -> bool {
        self.fault.is_none() && !self.full && !self.dead
    }

    /// Restarts after a kill; returns whether the process was killed instead of losing power. A new process continues with the
    /// disk as it is.
    pub(super) fn revive(&mut self) -> bool {
        let killed = std::mem::take(&mut self.killed);
        self.dead &= !killed;
        killed
    }

    /// Stops all faults. What is not durable stays so. Returns whether a failed sync has lost data.
    pub(super) fn heal(&mut self) -> bool {
        self.fault = None;
        self.full = false;
        std::mem::take(&mut self.dropped)
    }

    /// Turns faults off or on; returns the previous state.
    pub(super) fn calm(&mut self, calm: bool) -> bool {
        std::mem::replace(&mut self.calm, calm)
    }

    fn before(&mut self, step: &Step<'_>) -> io::Result<Verdict> {
        // A removed directory was renamed before, so its name is not needed.
        if let Step::Fetch(..) | Step::RemoveDir(_) = step {
            return Ok(Verdict::Go);
        }
        if self.dead {
            return Err(error(5));
        }
        match step {
            Step::Read(_) => return Ok(Verdict::Go),
            Step::Evict(path) => {
                self.evict(path);
                return Ok(Verdict::Go);
            }
            _ => {}
        }
        let due = match &mut self.fault {
            _ if self.calm => None,
            Some((0, fault)) => Some(*fault),
            Some((steps, _)) => {
                *steps -= 1;
                None
            }
            None => None,
        };
        if let Some(fault) = due {
            self.fault = None;
            match fault {
                Fault::Full => self.full = true,
                Fault::Cut | Fault::Kill | Fault::Io => {
                    self.dead = fault != Fault::Io;
                    self.killed = fault == Fault::Kill;
                    return self.break_step(step, error(5));
                }
            }
        }
        if self.full
            && !self.calm
            && matches!(
                step,
                Step::CreateDir(_) | Step::Create(..) | Step::Write(..)
            )
        {
            return self.break_step(step, error(28));
        }
        self.note(step);
        Ok(Verdict::Go)
    }

    fn break_step(&mut self, step: &Step<'_>, error: io::Error) -> io::Result<Verdict> {
        match step {
            Step::Write(path, position, parts) => {
                let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
                bytes.truncate(self.dice.below(bytes.len() as u64 + 1) as usize);
                let len = bytes.len();
                self.change(path, Change::Write(*position, bytes));
                Ok(Verdict::Partly(len, error))
            }
            Step::Sync(path) => {
                // After a failed sync the kernel may drop the data, and report the error only once.
                if !self.killed
                    && self.dice.one_in(2)
                    && let Some(inode) = self.inode(path)
                {
                    self.inodes[inode].journal.clear();
                    self.inodes[inode].dropped = true;
                    self.dropped = true;
                }
                Err(error)
            }
            _ => Err(error),
        }
    }

    fn change(&mut self, path: &Path, change: Change) {
        if let Some(inode) = self.inode(path) {
            self.inodes[inode].journal.push(change);
        }
    }

    /// Number of the directory with this path; a directory that existed from the start gets its number here.
    fn dir(&mut self, path: &Path) -> usize {
        let of = |dir: &Option<PathBuf>| dir.as_deref() == Some(path);
        if let Some(number) = self.names.dirs.iter().position(of) {
            return number;
        }
        for names in [&mut self.names, &mut self.durable_names] {
            names.dirs.push(Some(path.to_owned()));
        }
        self.names.dirs.len() - 1
    }

    fn name(&mut self, path: &Path) -> Name {
        let dir = self.dir(path.parent().unwrap());
        (dir, path.file_name().unwrap().to_owned())
    }

    fn inode(&mut self, path: &Path) -> Option<usize> {
        let name = self.name(path);
        self.names.files.get(&name).copied()
    }

    fn note(&mut self, step: &Step<'_>) {
        match step {
            Step::CreateDir(path) if path.is_dir() => {}
            Step::CreateDir(path) => {
                self.names.dirs.push(Some(path.to_path_buf()));
                self.durable_names.dirs.push(None);
                let number = self.names.dirs.len() - 1;
                self.namings.push(Naming::Dir(number, path.to_path_buf()));
            }
            Step::Create(path, empty) => {
                let name = self.name(path);
                if !self.names.files.contains_key(&name) {
                    self.inodes.push(Inode::default());
                    let inode = self.inodes.len() - 1;
                    self.names.files.insert(name.clone(), inode);
                    self.namings.push(Naming::Link(name, inode));
                } else if *empty {
                    self.change(path, Change::SetLen(0));
                }
            }
            Step::Write(path, position, parts) => {
                let bytes = parts.iter().flat_map(|part| part.to_vec()).collect();
                self.change(path, Change::Write(*position, bytes));
            }
            Step::SetLen(path, len) => self.change(path, Change::SetLen(*len)),
            Step::Sync(path) => {
                if let Some(inode) = self.inode(path) {
                    let inode = &mut self.inodes[inode];
                    for change in std::mem::take(&mut inode.journal) {
                        apply(&mut inode.durable, &change, usize::MAX);
                    }
                }
            }
            Step::SyncDir(dir) => {
                let number = self.dir(dir);
                let (kept, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.namings)
                    .into_iter()
                    .partition(|naming| naming.is_in(number, dir));
                self.namings = rest;
                for naming in &kept {
                    naming.apply(&mut self.durable_names);
                }
            }
            Step::Rename(from, to) if from.is_dir() => {
                let number = self.dir(from);
                self.names.dirs[number] = Some(to.to_path_buf());
                let (from, to) = (from.to_path_buf(), to.to_path_buf());
                self.namings.push(Naming::Move(number, from, to));
            }
            Step::Rename(from, to) => {
                let (from, to) = (self.name(from), self.name(to));
                if let Some(inode) = self.names.files.remove(&from) {
                    self.names.files.insert(to.clone(), inode);
                    self.namings.push(Naming::Rename(from, to, inode));
                }
            }
            Step::Remove(path) => {
                let name = self.name(path);
                if let Some(inode) = self.names.files.remove(&name) {
                    self.namings.push(Naming::Unlink(name, inode));
                }
            }
            Step::RemoveDir(_)
            | Step::Evict(_)
            | Step::Read(_)
            | Step::Fetch(..)
            | Step::Look(_) => {}
        }
    }

    /// Drops data that the system could not write, but not the file's length.
    fn evict(&mut self, path: &Path) {
        if let Some(inode) = self.inode(path)
            && self.inodes[inode].dropped
        {
            let len = fs::metadata(path).unwrap().len();
            let mut content = self.inodes[inode].durable.clone();
            content.resize(len as usize, 0);
            fs::write(path, content).unwrap();
            self.inodes[inode].dropped = false;
        }
    }

    fn left(&mut self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut names = self.durable_names.clone();
        let how = self.dice.below(3);
        let first = self.dice.below(self.namings.len() as u64 + 1) as usize;
        for (index, naming) in self.namings.iter().enumerate() {
            let kept = match how {
                0 => index < first,
                1 => self.dice.one_in(2),
                _ => true,
            };
            if kept {
                naming.apply(&mut names);
            }
        }
        let mut left = Vec::new();
        for (path, inode) in names.paths() {
            let content = self.content(inode);
            left.push((path, content));
        }
        left
    }

    fn content(&mut self, inode: usize) -> Vec<u8> {
        let Inode {
            durable, journal, ..
        } = &self.inodes[inode];
        let dice = &mut self.dice;
        let mut content = durable.clone();
        let how = dice.below(4);
        let first = dice.below(journal.len() as u64 + 1) as usize;
        let mut fresh = Vec::new();
        for (index, change) in journal.iter().enumerate() {
            let kept = match how {
                0 => index < first,
                1 => dice.one_in(2),
                _ => true,
            };
            let torn = how == 0 && index == first || dice.one_in(20);
            if let Change::Write(position, bytes) = change
                && (kept || torn)
            {
                let len = match torn {
                    true => dice.below(bytes.len() as u64 + 1) as usize,
                    false => bytes.len(),
                };
                apply(&mut content, change, len);
                fresh.push((*position as usize, len));
            } else if kept {
                apply(&mut content, change, usize::MAX);
            }
        }
        if how == 3
            && dice.one_in(2)
            && let Some((position, len)) = fresh.last()
            && *len > 0
        {
            // The base offset and the epoch of a batch are not covered by a checksum.
            let at = position + 16 + dice.below(*len as u64) as usize;
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        if !journal.is_empty() && dice.one_in(6) {
            // The length of a file can be durable before its contents.
            content.resize(content.len() + dice.below(200) as usize, 0);
        }
        content
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

impl std::fmt::Display for Naming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dir(_, path) => write!(f, "dir {}", name_of(path)),
            Self::Move(_, from, to) => write!(f, "rename {} {}", name_of(from), name_of(to)),
            Self::Link((_, name), _) => write!(f, "link {}", name.display()),
            Self::Rename((_, from), (_, to), _) => {
                write!(f, "rename {} {}", from.display(), to.display())
            }
            Self::Unlink((_, name), _) => write!(f, "unlink {}", name.display()),
        }
    }
}

impl Naming {
    /// Whether a sync of this directory makes the step durable.
    fn is_in(&self, number: usize, dir: &Path) -> bool {
        match self {
            Self::Dir(_, path) | Self::Move(_, path, _) => path.parent() == Some(dir),
            Self::Link(name, _) | Self::Rename(name, ..) | Self::Unlink(name, _) => {
                name.0 == number
            }
        }
    }

    fn apply(&self, names: &mut Names) {
        let is_free = |path: &PathBuf| !names.dirs.contains(&Some(path.clone()));
        match self {
            // A name exists only once: if another directory still has it, the later step is lost.
            Self::Dir(number, path) if is_free(path) => {
                names.dirs[*number] = Some(path.clone());
            }
            Self::Move(number, from, to)
                if names.dirs[*number].as_ref() == Some(from) && is_free(to) =>
            {
                names.dirs[*number] = Some(to.clone());
            }
            Self::Dir(..) | Self::Move(..) => {}
            Self::Link(name, inode) => drop(names.files.insert(name.clone(), *inode)),
            Self::Rename(from, to, inode) => {
                if names.files.get(from) == Some(inode) {
                    names.files.remove(from);
                }
                names.files.insert(to.clone(), *inode);
            }
            Self::Unlink(name, inode) => {
                if names.files.get(name) == Some(inode) {
                    names.files.remove(name);
                }
            }
        }
    }
}

impl Names {
    /// All files whose directories have durable names.
    fn paths(&self) -> BTreeMap<PathBuf, usize> {
        let found = self.files.iter().filter_map(|((dir, name), inode)| {
            let dir = self.dirs[*dir].as_ref()?;
            Some((dir.join(name), *inode))
        });
        found.collect()
    }
}

fn apply(content: &mut Vec<u8>, change: &Change, len: usize) {
    match change {
        Change::Write(position, bytes) => {
            let bytes = &bytes[..len.min(bytes.len())];
            let (start, end) = (*position as usize, *position as usize + bytes.len());
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(bytes);
        }
        Change::SetLen(len) => content.resize(*len as usize, 0),
    }
}
