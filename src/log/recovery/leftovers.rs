//! Leftovers of an interrupted deletion or compaction among the files of a partition. Decisions are based on file names, before
//! anything is changed. Steps 1 and 2 of [`recovery`](super).

use std::collections::BTreeMap;

use super::cutting;
use crate::base::ids::Offset;

/// Decisions about the files of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Whether the mark of [`cutting`] was found: a part of the log was being cut off.
    pub cutting: bool,
    /// Step 1: files to remove, of deleted segments and of segments that were being written.
    pub removed: Vec<String>,
    /// Step 2: files that a finished segment replaces, with the base offset of that segment.
    pub replaced: Vec<(String, Offset)>,
    /// `.swap` files to rename afterwards.
    pub renamed: Vec<String>,
    /// Indexes without a data file, by their names after step 2.
    pub orphans: Vec<String>,
    /// Remaining files of segments and snapshots: the name after step 2, and the current name.
    pub files: BTreeMap<(Offset, Kind), (String, String)>,
}

/// Type of a partition's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Log,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    Snapshot,
}

const SUFFIXES: [(&str, Kind); 5] = [
    (".log", Kind::Log),
    (".index", Kind::OffsetIndex),
    (".timeindex", Kind::TimeIndex),
    (".txnindex", Kind::TransactionIndex),
    (".snapshot", Kind::Snapshot),
];

impl Kind {
    fn of(name: &str) -> Option<(Offset, Self)> {
        let base = base_of(name)?;
        let suffix = name.get(20..)?;
        let (_, kind) = SUFFIXES.iter().find(|(other, _)| *other == suffix)?;
        Some((base, *kind))
    }
}

fn base_of(name: &str) -> Option<Offset> {
    let digits = name.get(..20)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

impl Leftovers {
    /// Makes the decisions. `end_of_swap` returns the offset after the last record of the finished segment with the given base
    /// offset.
    pub fn find<E>(
        names: &[String],
        mut end_of_swap: impl FnMut(Offset) -> Result<Offset, E>,
    ) -> Result<Self, E> {
        let mut this = Self::default();
        let cleaned = names.iter().filter(|name| name.ends_with(".cleaned"));
        let smallest_cleaned = cleaned.filter_map(|name| base_of(name)).min();
        let mut left: Vec<&String> = Vec::new();
        for name in names {
            // Snapshots of the metadata log are handled elsewhere.
            let doomed = name.ends_with(".deleted") && !name.contains(".checkpoint")
                || name.ends_with(".cleaned")
                || name.ends_with(".swap")
                    && smallest_cleaned.is_some_and(|cleaned| base_of(name) >= Some(cleaned));
            if name == cutting::NAME {
                this.cutting = true;
            } else if doomed {
                this.removed.push(name.clone());
            } else {
                left.push(name);
            }
        }
        let swaps = left.iter().filter(|name| name.ends_with(".log.swap"));
        let swaps: Vec<Offset> = swaps.filter_map(|name| base_of(name)).collect();
        for base in swaps {
            // A finished segment replaces all other segments whose base offset is within its offsets.
            let end = end_of_swap(base)?;
            left.retain(|name| {
                let inside = Kind::of(name).is_some_and(|(other, kind)| {
                    kind != Kind::Snapshot && other >= base && other < end
                });
                if inside {
                    this.replaced.push(((*name).clone(), base));
                }
                !inside
            });
        }
        for name in left {
            let plain = name.strip_suffix(".swap");
            if plain.is_some() {
                this.renamed.push(name.clone());
            }
            let plain = plain.unwrap_or(name);
            if let Some(key) = Kind::of(plain) {
                // A finished file replaces the file with its final name.
                let names = (plain.to_owned(), name.clone());
                if plain != name || !this.files.contains_key(&key) {
                    this.files.insert(key, names);
                }
            }
        }
        let orphan = |(base, kind): &(Offset, Kind), files: &BTreeMap<(Offset, Kind), _>| {
            !matches!(kind, Kind::Log | Kind::Snapshot) && !files.contains_key(&(*base, Kind::Log))
        };
        let keys: Vec<_> = this.files.keys().copied().collect();
        for key in keys {
            if orphan(&key, &this.files)
                && let Some((name, _)) = this.files.remove(&key)
            {
                this.orphans.push(name);
            }
        }
        Ok(this)
    }

    /// Whether there are files or marks that a clean stop does not leave.
    pub fn are_any(&self) -> bool {
        let names = [&self.removed, &self.renamed, &self.orphans];
        self.cutting || !self.replaced.is_empty() || names.iter().any(|names| !names.is_empty())
    }

    /// Base offsets of the remaining segments.
    pub fn bases(&self) -> Vec<Offset> {
        self.of_kind(Kind::Log)
    }

    pub fn snapshots(&self) -> Vec<Offset> {
        self.of_kind(Kind::Snapshot)
    }

    fn of_kind(&self, wanted: Kind) -> Vec<Offset> {
        let keys = self.files.keys().filter(|(_, kind)| *kind == wanted);
        keys.map(|(base, _)| *base).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the decisions for files given as `base suffix`; finished segments end 10 offsets after their base.
    fn check(names: &str, expected: &str) {
        let full = |name: &str| {
            let (base, suffix) = name.split_once('.').unwrap();
            format!("{:020}.{suffix}", base.parse::<i64>().unwrap())
        };
        let short = |name: &String| name.trim_start_matches('0').to_owned();
        let names: Vec<String> = names.split_whitespace().map(full).collect();
        let found = Leftovers::find(&names, |base| Ok::<_, ()>(base + 10)).unwrap();
        let mut parts = Vec::new();
        parts.extend(found.removed.iter().map(|name| format!("-{}", short(name))));
        parts.extend(
            found
                .replaced
                .iter()
                .map(|(name, by)| format!("-{}<{by}", short(name))),
        );
        parts.extend(found.renamed.iter().map(|name| format!(">{}", short(name))));
        parts.extend(found.orphans.iter().map(|name| format!("?{}", short(name))));
        parts.extend(found.files.values().map(|(name, _)| short(name)));
        assert_eq!(parts.join(" "), expected);
    }

    #[test]
    fn what_was_cut_short_is_undone_or_finished() {
        check(
            "1.log 1.index 5.log 5.snapshot",
            "1.log 1.index 5.log 5.snapshot",
        );
        check(
            "1.log.deleted 5.log 5.log.cleaned",
            "-1.log.deleted -5.log.cleaned 5.log",
        );
        check(
            "1.log 1.log.swap 5.log 5.index.cleaned",
            "-5.index.cleaned -1.log<1 -5.log<1 >1.log.swap 1.log",
        );
        check(
            "5.log 5.log.swap 1.index.cleaned",
            "-5.log.swap -1.index.cleaned 5.log",
        );
        check("1.log 1.index.swap 1.index", ">1.index.swap 1.log 1.index");
        check(
            "1.index 2.timeindex 3.txnindex 4.snapshot",
            "?1.index ?2.timeindex ?3.txnindex 4.snapshot",
        );
    }
}
