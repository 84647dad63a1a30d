//! A memory cgroup, of version 1 or 2. Creating one needs root on a machine, or in a container, that permits it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

/// Mount points of both versions, with the names of the files that limit memory and memory with swap.
const MOUNTS: [(&str, &str, &str); 3] = [
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
    ),
    ("/sys/fs/cgroup", "memory.max", "memory.swap.max"),
    ("/sys/fs/cgroup/unified", "memory.max", "memory.swap.max"),
];

/// A memory cgroup. Removed when dropped; all of its processes must have ended by then.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// A cgroup that limits the memory of all its processes together, in bytes, and allows no swap.
    pub fn with_memory(bytes: usize) -> Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "compat-tests-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        for (mount, limit, with_swap) in MOUNTS {
            let mount = Path::new(mount);
            // A cgroup of version 2 has only the controllers that its parent enables.
            drop(fs::write(mount.join("cgroup.subtree_control"), "+memory"));
            let dir = mount.join(&name);
            if fs::create_dir(&dir).is_err() {
                continue;
            }
            let made = Self { dir };
            // Unless the folder is a cgroup, writing would create an ordinary file.
            if made.dir.join(limit).exists()
                && fs::write(made.dir.join(limit), bytes.to_string()).is_ok()
            {
                // The file does not exist if the system does not account for swap.
                let swap = if with_swap.contains("memsw") {
                    bytes
                } else {
                    0
                };
                drop(fs::write(made.dir.join(with_swap), swap.to_string()));
                return Ok(made);
            }
        }
        bail!("no memory cgroup can be made")
    }

    /// File that takes the ids of the cgroup's processes.
    pub fn members(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.dir)
            .with_context(|| format!("cannot remove {}", self.dir.display()));
        if let Err(error) = removed {
            eprintln!("{error:#}");
        }
    }
}
