//! Memory that the system lets the process have: the limit of its control groups, or else the memory of the machine.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Directories of control groups below `/`, and the names of their memory limits: version 2, version 1, and version 2 beside
/// version 1.
const GROUPS: [(&str, &str); 3] = [
    ("sys/fs/cgroup", "memory.max"),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ("sys/fs/cgroup/unified", "memory.max"),
];

/// Memory in bytes that the process may have: the lowest limit of its control groups and their ancestors, and at most the
/// memory of the machine. `None` if the system does not tell. `root` is `/`.
pub fn memory_bytes(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let of_groups = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let is_of_memory =
            controllers.is_empty() || controllers.split(',').any(|one| one == "memory");
        is_of_memory.then(|| limit_of_group(root, path)).flatten()
    });
    of_groups.chain(total(root)).min()
}

/// Lowest limit of a control group and its ancestors. In a container, the path may be valid only outside; then the root of the
/// hierarchy is the container's own group.
fn limit_of_group(root: &Path, path: &str) -> Option<u64> {
    let inside: PathBuf = Path::new(path)
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect();
    let limits = GROUPS.iter().flat_map(|(top, file)| {
        let group = move |inside: &Path| root.join(top).join(inside).join(file);
        inside
            .ancestors()
            .filter_map(move |inside| number(&group(inside)))
    });
    limits.min()
}

/// Limit in a file. `max` is not a number and so no limit; a number beyond the memory of the machine has no effect.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Memory of the machine in bytes.
fn total(root: &Path) -> Option<u64> {
    let facts = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = facts
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Result for a machine with these files.
    fn check(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        memory_bytes(root.path())
    }

    const MACHINE: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       24684212 kB\nMemFree: 1 kB\n",
    );
    const MACHINE_BYTES: Option<u64> = Some(24_684_212 << 10);

    #[test]
    fn without_control_groups_it_is_the_machines() {
        assert_eq!(check(&[]), None);
        assert_eq!(check(&[MACHINE]), MACHINE_BYTES);
        assert_eq!(check(&[("proc/meminfo", "MemTotal: lots")]), None);
    }

    #[test]
    fn the_lowest_limit_counts_of_the_own_group_and_those_above() {
        let own = ("proc/self/cgroup", "0::/a.slice/b\n");
        let at_b = ("sys/fs/cgroup/a.slice/b/memory.max", "max\n");
        let at_a = ("sys/fs/cgroup/a.slice/memory.max", "67108864\n");
        assert_eq!(check(&[MACHINE, own, at_b]), MACHINE_BYTES);
        assert_eq!(check(&[MACHINE, own, at_b, at_a]), Some(64 << 20));
        let lower = ("sys/fs/cgroup/a.slice/b/memory.max", "33554432\n");
        assert_eq!(check(&[MACHINE, own, lower, at_a]), Some(32 << 20));
        // The limit of another group does not count.
        let other = ("sys/fs/cgroup/c/memory.max", "4096\n");
        assert_eq!(check(&[MACHINE, own, other]), MACHINE_BYTES);
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_top() {
        let named = ("proc/self/cgroup", "0::/\n");
        let at_top = ("sys/fs/cgroup/memory.max", "268435456");
        assert_eq!(check(&[MACHINE, named, at_top]), Some(256 << 20));
        let outside = ("proc/self/cgroup", "0::/../../docker/0123\n");
        assert_eq!(check(&[MACHINE, outside, at_top]), Some(256 << 20));
    }

    #[test]
    fn version_1_has_a_tree_for_memory() {
        let own = (
            "proc/self/cgroup",
            "12:cpu,cpuacct:/x\n7:memory:/docker/0123\n0::/\n",
        );
        let none = (
            "sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        assert_eq!(check(&[MACHINE, own, none]), MACHINE_BYTES);
        // The container's own group, whose path is valid only outside.
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n");
        assert_eq!(check(&[MACHINE, own, limit]), Some(128 << 20));
    }
}
