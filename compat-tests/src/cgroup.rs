//! A memory cgroup of its own, of version 1 or 2. Making one takes root, and a machine or container that lets root do it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

/// Where the two versions are mounted, and what the limits of memory and of memory with swap are called there.
const MOUNTS: [(&str, &str, &str); 3] = [
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
    ),
    ("/sys/fs/cgroup", "memory.max", "memory.swap.max"),
    ("/sys/fs/cgroup/unified", "memory.max", "memory.swap.max"),
];

/// See the module. Removed when dropped; its processes must have ended by then.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// One whose processes may have so many bytes of memory together, and no swap.
    pub fn with_memory(bytes: usize) -> Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "compat-tests-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        for (mount, limit, with_swap) in MOUNTS {
            let mount = Path::new(mount);
            // In version 2 a cgroup passes on what it was told to.
            drop(fs::write(mount.join("cgroup.subtree_control"), "+memory"));
            let dir = mount.join(&name);
            if fs::create_dir(&dir).is_err() {
                continue;
            }
            let made = Self { dir };
            // In a folder that is no cgroup the file would be made.
            if made.dir.join(limit).exists()
                && fs::write(made.dir.join(limit), bytes.to_string()).is_ok()
            {
                // Where swap is not counted there is no such file.
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

    /// The file that takes the ids of its processes.
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
