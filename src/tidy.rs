//! Test-only: checks of the source tree. Imports follow the order of `lib.rs`, and some imports are forbidden in addition.
//! Every file has a module doc. Files that are marked pure are pure. Only `host` asks the system for time, random numbers,
//! threads, files and sockets. Only `host` has state that all nodes of a process share.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::broker_table::BROKER_SETTINGS;
use crate::config::setting::{Scope, Setting, Support};
use crate::config::topic_table::TOPIC_SETTINGS;

/// Text that a pure file may not contain: tasks, files, sockets, clocks, random numbers, and shared mutable state.
const IMPURE: &[&str] = &[
    "tokio::",
    ".await",
    "std::fs",
    "std::net::Tcp",
    "std::thread",
    "thread_local!",
    "SystemTime",
    "Instant::now",
    "getrandom",
    "RandomState",
    "HashMap::new",
    "HashMap::default",
    "Atomic",
    "Mutex",
    "RwLock",
    "Arc<dyn ",
];

/// Uses of the system that only `host` may contain: the words, folders that may contain them as well, and what to use instead.
const OF_THE_HOST: &[(&[&str], &[&str], &str)] = &[
    (
        &["SystemTime", "UNIX_EPOCH"],
        &[],
        "the wall clock is `host.clock.now()`, the time of a file `host::file_time`",
    ),
    (
        &["Instant::now", ".elapsed()"],
        &[],
        "the steady clock is `host.clock.steady()`; a task may ask tokio's",
    ),
    (
        &["thread::sleep"],
        &[],
        "a thread pauses with `host.clock.pause()`",
    ),
    (
        &["getrandom", "RandomState"],
        &[],
        "random numbers are `host.chance.bytes()`",
    ),
    (
        &[
            "tokio::spawn",
            "task::spawn",
            "spawn_blocking",
            "thread::spawn",
            "thread::Builder",
            "thread::scope",
            "Handle::current()",
        ],
        // Tools are not part of a node.
        &["cli"],
        "tasks and threads begin by `host.threads`",
    ),
    (
        &[
            "std::fs",
            "fs::",
            "File::open",
            "File::create",
            "OpenOptions",
            ".read_dir()",
            ".exists()",
            ".try_exists()",
            ".is_dir()",
            ".is_file()",
            ".metadata()",
            ".canonicalize()",
            ".read_link()",
        ],
        // Tools are not part of a node, and the log of the process is a stream.
        &["cli", "telemetry"],
        "files are those of `host.disk`, or given to the node: `host::given`",
    ),
    (
        &[
            "TcpListener",
            "TcpStream",
            "TcpSocket",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "to_socket_addrs",
            "ToSocketAddrs",
            "lookup_host",
            "tokio::net",
            "rustix::net",
            "socket2",
            "uname",
        ],
        &["cli"],
        "listeners, connections and addresses are those of `host.network`",
    ),
    (
        &[
            "Host::default()",
            "Clock::default()",
            "Chance::default()",
            "Disk::default()",
            "Network::default()",
            "Descriptors::default()",
            "Threads::default()",
        ],
        &["cli", "telemetry", "broker/temporary.rs"],
        "a part of a node gets its host from `broker`",
    ),
];

/// Exceptions: file, word and reason.
const TOLERATED: &[(&str, &str, &str)] = &[(
    "log/append.rs",
    "thread_local!",
    "a buffer that is empty between two calls",
)];

/// Imports that the order of `lib.rs` allows but that are forbidden: importing folder, exempt files of this folder, imported
/// module, and reason.
const FORBIDDEN: &[(&str, &[&str], &str, &str)] = &[
    (
        "metadata/controller",
        &["metadata/controller/task.rs"],
        "metadata::quorum",
        "who decides does not know that there is a quorum",
    ),
    (
        "metadata/controller",
        &[],
        "metadata::quorum::single",
        "nothing in the controller knows which quorum carries its records",
    ),
    (
        "metadata/quorum",
        &[],
        "metadata::controller",
        "a quorum carries records and does not know who decided about them",
    ),
    (
        "metadata/loader.rs",
        &[],
        "metadata::controller",
        "whoever is shown an image does not know who decided about it",
    ),
    (
        "replica",
        &[],
        "metadata::controller",
        "a replica follows images; what it has to say is a request that `broker` sends",
    ),
    (
        "server",
        &[],
        "metadata::controller",
        "a connection does not know what its requests are about",
    ),
];

/// Path of a file from `src` on, and its text.
type Source = (PathBuf, String);

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// Top-level modules in the order of `lib.rs`.
fn order() -> Vec<String> {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let names = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

/// Code of a file without its inline test module, which may use anything. A test module in a file of its own does not end the
/// code.
fn code(text: &str) -> &str {
    let tests = "#[cfg(test)]\nmod tests {";
    text.split(tests).next().unwrap_or(text)
}

/// Lines of code in a file with their numbers, without comment lines.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = (1..).zip(code(text).lines().map(str::trim_start));
    numbered.filter(|(_, line)| !line.starts_with("//"))
}

/// Paths of this crate's modules in the code of a file, with their lines. Groups of imports are expanded.
fn paths(path: &Path, text: &str) -> Vec<(usize, String)> {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let code: Vec<&str> = code(text)
        .lines()
        .map(|line| match line.trim_start().starts_with("//") {
            true => "",
            false => line,
        })
        .collect();
    let code = code.join("\n");
    let own = path.with_extension("");
    let mut own: Vec<_> = own.iter().map(|name| name.to_string_lossy()).collect();
    // A `mod.rs` is the module of its folder.
    own.pop_if(|name| *name == "mod");
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|letter| is_name(letter) || letter == ':') {
                continue;
            }
            let number = code[..at].matches('\n').count() + 1;
            let (mut base, mut rest) = match root {
                "crate::" => (&own[..0], &code[at + root.len()..]),
                _ => (&own[..], &code[at..]),
            };
            while let Some(further) = rest.strip_prefix("super::") {
                base = &base[..base.len().saturating_sub(1)];
                rest = further;
            }
            let mut unfolded = Vec::new();
            unfold(base.join("::"), rest, &mut unfolded);
            found.extend(unfolded.into_iter().map(|path| (number, path)));
        }
    }
    found
}

/// Expands the paths that `text` begins with, below `path`. Gives their length in the text.
fn unfold(mut path: String, text: &str, found: &mut Vec<String>) -> usize {
    let mut at = 0;
    while !text[at..].starts_with('{') {
        let name = text[at..].chars();
        let name: String = name
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect();
        at += name.len();
        if !path.is_empty() && !name.is_empty() {
            path += "::";
        }
        path += &name;
        if !text[at..].starts_with("::") {
            found.push(path);
            return at;
        }
        at += 2;
    }
    at += 1;
    while let Some(letter) = text[at..].chars().next() {
        if letter == '}' {
            return at + 1;
        }
        let is_name = letter.is_alphanumeric() || letter == '_';
        at += match is_name {
            true => unfold(path.clone(), &text[at..], found),
            false => letter.len_utf8(),
        };
    }
    at
}

/// Imports that [`FORBIDDEN`] lists.
fn forbidden(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in sources {
        if is_for_tests(path, sources) {
            continue;
        }
        for (from, but, to, why) in FORBIDDEN {
            let is_excepted = but.iter().any(|file| path == Path::new(file));
            if !path.starts_with(from) || is_excepted {
                continue;
            }
            for (number, used) in paths(path, text) {
                let below = used.strip_prefix(to);
                if below.is_some_and(|rest| rest.is_empty() || rest.starts_with("::")) {
                    faults.push(format!("{}:{number}: {used}: {why}", path.display()));
                }
            }
        }
    }
    faults
}

/// Imports against the order of `lib.rs`.
fn upward(sources: &[Source], order: &[String]) -> Vec<String> {
    let place = |name: &str| order.iter().position(|other| other == name);
    let mut faults = Vec::new();
    for (path, text) in sources {
        let top = path.iter().next().unwrap().to_string_lossy();
        let Some(own) = place(top.trim_end_matches(".rs")) else {
            continue;
        };
        if path.ends_with("tests.rs") {
            continue;
        }
        for (number, used) in paths(path, text) {
            let name = used.split("::").next().unwrap_or_default();
            if place(name).is_some_and(|other| other < own) {
                faults.push(format!(
                    "{}:{number}: {top} is below {name}",
                    path.display()
                ));
            }
        }
    }
    faults
}

/// Uses of the system in the code of a file that only `host` may contain.
fn questions_to_the_system(path: &Path, text: &str) -> Vec<String> {
    if path.starts_with("host") {
        return Vec::new();
    }
    // tokio's clock is allowed, because a test can pause it.
    let imports = code(text).split("use tokio::time::").skip(1);
    let has_tokios = imports
        .filter_map(|rest| rest.split(';').next())
        .any(|import| import.contains("Instant"));
    let mut faults = Vec::new();
    for (number, line) in code(text).lines().enumerate() {
        let line = line.trim_start().replace("tokio::time::Instant::now", "");
        if line.starts_with("//") {
            continue;
        }
        for (words, may, instead) in OF_THE_HOST {
            let is_tokios = has_tokios && words.contains(&"Instant::now");
            if is_tokios || may.iter().any(|place| path.starts_with(place)) {
                continue;
            }
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                faults.push(format!(
                    "{}:{}: {word}: {instead}",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    faults
}

fn silent(sources: &[Source]) -> Vec<&Path> {
    let silent = sources.iter().filter(|(_, text)| !text.starts_with("//! "));
    silent.map(|(path, _)| path.as_path()).collect()
}

fn impure(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in sources {
        if !text.starts_with("//! pure:") {
            continue;
        }
        for (number, line) in lines(text) {
            let said = IMPURE.iter().find(|word| line.contains(**word));
            if let Some(word) = said.filter(|word| !is_tolerated(path, word)) {
                faults.push(format!(
                    "{}:{number}: {word} in a pure file",
                    path.display()
                ));
            }
        }
    }
    faults
}

/// Mutable statics in the code of a file, which all nodes of a process would share. Thread-local ones are allowed.
fn shared_by_all_nodes(path: &Path, text: &str) -> Vec<String> {
    const CHANGES: &[&str] = &["Atomic", "Mutex", "Lock", "Cell"];
    if path.starts_with("host") || path.starts_with("telemetry") {
        return Vec::new();
    }
    let mut of_a_thread = false;
    let mut faults = Vec::new();
    for (number, line) in code(text).lines().enumerate() {
        match line {
            "thread_local! {" => of_a_thread = true,
            "}" => of_a_thread = false,
            _ => {}
        }
        let plain = line.trim_start();
        let kind = plain.trim_start_matches("pub ").strip_prefix("static ");
        let kind = kind.and_then(|rest| rest.split_once(':')?.1.split('=').next());
        if !of_a_thread && kind.is_some_and(|kind| CHANGES.iter().any(|word| kind.contains(word))) {
            faults.push(format!(
                "{}:{}: all nodes of the process would share it: give it to the host or to its owner",
                path.display(),
                number + 1
            ));
        }
    }
    faults
}

/// Whether a file is compiled for tests only: by its name, by its folder, or by its declaration.
fn is_for_tests(path: &Path, all: &[Source]) -> bool {
    let is_named_so = path.ends_with("tests.rs") || path.ends_with("tidy.rs");
    if is_named_so || path.iter().any(|folder| folder == "tests") {
        return true;
    }
    let declaration = format!("mod {};", path.file_stem().unwrap().to_string_lossy());
    let parents = path
        .parent()
        .map(|dir| [dir.join("mod.rs"), dir.with_extension("rs")]);
    let parents = all
        .iter()
        .filter(|(other, _)| parents.iter().flatten().any(|parent| parent == other));
    parents.into_iter().any(|(_, text)| {
        let lines: Vec<&str> = text.lines().collect();
        let declared = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].ends_with(&declaration);
        lines.windows(2).any(declared)
    })
}

#[test]
fn only_the_host_asks_the_system() {
    let all = sources();
    let faults: Vec<String> = all
        .iter()
        .filter(|(path, _)| !is_for_tests(path, &all))
        .flat_map(|(path, text)| {
            let mut faults = questions_to_the_system(path, text);
            faults.extend(shared_by_all_nodes(path, text));
            faults
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_planted_question_to_the_system_is_found() {
    let planted = [
        "let now = std::time::SystemTime::now();",
        "let since = time.duration_since(UNIX_EPOCH);",
        "let begun = Instant::now();",
        "if begun.elapsed() > PATIENCE {",
        "std::thread::sleep(PAUSE);",
        "getrandom::fill(&mut bytes)?;",
        "let keys = RandomState::new();",
        "tokio::spawn(task);",
        "drop(tokio::task::spawn_blocking(work).await);",
        "let thread = std::thread::spawn(work);",
        "let thread = thread::Builder::new().spawn(work);",
        "thread::scope(|scope| {",
        "let runtime = Handle::current();",
        "use std::fs;",
        "fs::remove_file(&path)?;",
        "let file = File::open(path)?;",
        "let file = OpenOptions::new().append(true);",
        "rustix::fs::fsync(&file)?;",
        "for entry in dir.read_dir()? {",
        "if path.exists() {",
        "let size = path.metadata()?.len();",
        "let listener = TcpListener::bind(address).await?;",
        "let stream = TcpStream::connect(address).await?;",
        "let found = (host, 0).to_socket_addrs()?;",
        "let found = tokio::net::lookup_host(host).await?;",
        "socket2::SockRef::from(&stream).set_nodelay(true)?;",
        "let network = Network::default();",
        "let host = Host::default();",
        "let disk = Disk::default();",
    ];
    let (inside, outside) = (Path::new("host/clock.rs"), Path::new("log/segment.rs"));
    for line in planted {
        let text = format!("//! A file.\n\nfn ask() {{\n    {line}\n}}\n");
        assert_eq!(questions_to_the_system(outside, &text).len(), 1, "{line}");
        assert_eq!(questions_to_the_system(inside, &text).len(), 0, "{line}");
        let test = text.replace("fn ask()", "#[cfg(test)]\nmod tests");
        assert_eq!(questions_to_the_system(outside, &test).len(), 0, "{line}");
    }
    for allowed in [
        "let deadline = tokio::time::Instant::now() + wait;",
        "// Not Instant::now().",
        "use tokio::time::{Instant, timeout};\nlet heard = Instant::now();",
    ] {
        assert_eq!(
            questions_to_the_system(outside, allowed).len(),
            0,
            "{allowed}"
        );
    }
    let host = "let host = Host::default();";
    assert_eq!(
        questions_to_the_system(Path::new("cli/start.rs"), host).len(),
        0
    );
}

#[test]
fn a_planted_static_is_found() {
    let path = Path::new("replica/purgatory.rs");
    let found = |text: &str| shared_by_all_nodes(path, text).len();
    assert_eq!(found("static NEXT: AtomicU64 = AtomicU64::new(0);"), 1);
    assert_eq!(
        found("pub static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);"),
        1
    );
    assert_eq!(found("    static ONE: Mutex<()> = Mutex::new(());"), 1);
    assert_eq!(found("static APIS: &[Row] = &[];"), 0);
    assert_eq!(
        found("thread_local! {\n    static ROOM: RefCell<u8> = RefCell::new(0);\n}\n"),
        0
    );
    assert_eq!(found("fn name() -> &'static str {"), 0);
}

fn is_tolerated(path: &Path, word: &str) -> bool {
    let mut named = TOLERATED.iter();
    named.any(|(file, tolerated, _)| Path::new(file) == path && *tolerated == word)
}

/// Files that no other file declares as a module.
fn dead(sources: &[Source]) -> Vec<&Path> {
    let mut dead = Vec::new();
    for (path, _) in sources {
        let stem = path.file_stem().unwrap().to_string_lossy();
        if ["lib", "main", "mod"].contains(&&*stem) {
            continue;
        }
        let dir = path.parent().unwrap();
        let parents = [
            dir.join("mod.rs"),
            dir.with_extension("rs"),
            PathBuf::from("lib.rs"),
        ];
        let declared = sources.iter().any(|(other, text)| {
            parents.contains(other)
                && text
                    .lines()
                    .any(|line| line.trim().ends_with(&format!("mod {stem};")))
        });
        if !declared {
            dead.push(path.as_path());
        }
    }
    dead
}

#[test]
fn modules_import_only_what_stands_below_them() {
    let faults = upward(&sources(), &order());
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn forbidden_arrows_are_not_drawn() {
    let sources = sources();
    let faults = forbidden(&sources);
    assert!(faults.is_empty(), "{faults:#?}");
    for (from, but, to, _) in FORBIDDEN {
        let to = to.replace("::", "/");
        for place in but.iter().copied().chain([*from, &*to]) {
            let mut there = sources.iter().map(|(path, _)| path.with_extension(""));
            let place = Path::new(place).with_extension("");
            assert!(
                there.any(|path| path.starts_with(&place)),
                "there is no {}",
                place.display()
            );
        }
    }
}

#[test]
fn a_planted_arrow_is_found() {
    for (from, but, to, _) in FORBIDDEN {
        let found = |file: &str, line: &str| {
            let text = format!("//! A file.\n{line}\n");
            forbidden(&[(PathBuf::from(file), text)]).len()
        };
        let file = match from.ends_with(".rs") {
            true => (*from).to_owned(),
            false => format!("{from}/planted.rs"),
        };
        let (top, rest) = to.split_once("::").unwrap();
        for planted in [
            format!("use crate::{to};"),
            format!("use crate::{to}::Thing;"),
            format!("use crate::{{base::ids, {to}::Thing}};"),
            format!("use crate::{top}::{{image::{{Delta, Image}}, {rest}::{{self, Thing}}}};"),
            format!("use crate::{top}::{{\n    image::Image,\n    {rest},\n}};"),
            format!("fn f() {{ crate::{to}::thing() }}"),
        ] {
            assert!(found(&file, &planted) > 0, "{file}: {planted}");
            for file in *but {
                let others = FORBIDDEN
                    .iter()
                    .filter(|row| row.0 == *from && row.1.is_empty());
                let others = others.filter(|row| to.starts_with(row.2)).count();
                assert_eq!(found(file, &planted), others, "{file}: {planted}");
            }
        }
        for allowed in [
            format!("// use crate::{to};"),
            format!("use crate::{top}::image::Image;"),
            format!("use crate::{top}s::Thing;"),
            format!("#[cfg(test)]\nmod tests {{\n    use crate::{to};\n}}"),
        ] {
            assert_eq!(found(&file, &allowed), 0, "{file}: {allowed}");
        }
    }
    let found_in = |path: &str, text: &str| -> Vec<String> {
        let paths = paths(Path::new(path), text).into_iter();
        paths.map(|(_, path)| path).collect()
    };
    assert_eq!(
        found_in("metadata/controller/mod.rs", "use super::quorum::Quorum;"),
        ["metadata::quorum::Quorum"]
    );
    assert_eq!(
        found_in(
            "metadata/image.rs",
            "#[cfg(test)]\nmod tests;\nuse crate::log::dir;"
        ),
        ["log::dir"]
    );
    let found = |text: &str| found_in("metadata/controller/topics.rs", text);
    assert_eq!(
        found("use super::super::quorum::Quorum;"),
        ["metadata::quorum::Quorum"]
    );
    assert_eq!(
        found("use super::{Context, task::Controller as It};\nuse tokio::sync;"),
        [
            "metadata::controller::Context",
            "metadata::controller::task::Controller",
            "metadata::controller::as",
            "metadata::controller::It"
        ]
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    let sources = sources();
    let silent = silent(&sources);
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn pure_files_keep_their_word() {
    let sources = sources();
    let faults = impure(&sources);
    assert!(faults.is_empty(), "{faults:#?}");
    for (file, word, why) in TOLERATED {
        let mut named = sources.iter().filter(|(path, _)| path == Path::new(file));
        let says_it = |(_, text): &Source| lines(text).any(|(_, line)| line.contains(word));
        assert!(
            named.any(says_it),
            "{file} does not say {word} any more: {why}"
        );
    }
}

#[test]
fn no_file_is_outside_of_the_tree() {
    let sources = sources();
    let dead = dead(&sources);
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Number of faults that each rule finds in a tree of two files, the second of which is `planted`.
fn check(planted: &str) -> [usize; 4] {
    let sources = [
        (
            "lib.rs",
            "//! Two floors.\npub mod above;\npub mod below;\n",
        ),
        ("below/mod.rs", planted),
    ]
    .map(|(path, text)| (PathBuf::from(path), text.to_owned()));
    let order = ["above", "below"].map(str::to_owned);
    [
        upward(&sources, &order).len(),
        silent(&sources).len(),
        impure(&sources).len(),
        dead(&sources).len(),
    ]
}

#[test]
fn a_planted_fault_is_found_by_its_rule() {
    assert_eq!(check("//! Fine.\nuse crate::below::b;\n"), [0; 4]);
    assert_eq!(check("//! Up.\nuse crate::above::a;\n"), [1, 0, 0, 0]);
    assert_eq!(
        check("//! Up.\nfn f() { crate::below::g(crate::above::a()) }\n"),
        [1, 0, 0, 0]
    );
    for group in [
        "{above, below}",
        "{below::{b, above}, above::a}",
        "{\n    below,\n    above::{\n        a,\n    },\n}",
    ] {
        // Two violations: `crate` and, from `below/mod.rs`, `super` both lead up.
        let planted = format!("//! Up, in a group.\nuse crate::{group};\nuse super::above;\n");
        assert_eq!(check(&planted), [2, 0, 0, 0], "{group}");
    }
    assert_eq!(
        check("//! Down.\nuse crate::{below::{b, above}};\n// crate::above\n"),
        [0; 4]
    );
    assert_eq!(
        check("//! Tests.\n#[cfg(test)]\nmod tests {\n    use crate::above;\n}\n"),
        [0; 4]
    );
    assert_eq!(check("// silent\nfn f() {}\n"), [0, 1, 0, 0]);
    for word in IMPURE {
        assert_eq!(
            check(&format!("//! pure: a lie.\nlet a = {word};\n")),
            [0, 0, 1, 0],
            "{word}"
        );
        assert_eq!(
            check(&format!("//! Honest.\nlet a = {word};\n")),
            [0; 4],
            "{word}"
        );
    }
    let lost = |parent: &str| {
        let sources = [
            ("above/mod.rs", parent),
            ("above/child.rs", "//! Somebody's.\n"),
        ]
        .map(|(path, text)| (PathBuf::from(path), text.to_owned()));
        dead(&sources).len()
    };
    assert_eq!(lost("//! Its parent.\nmod child;\n"), 0);
    assert_eq!(lost("//! Not its parent.\nmod children;\n"), 1);
}

#[test]
fn sample_settings_are_valid() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "properties") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let name = path.display().to_string();
        let checked =
            crate::config::broker::check(&name, &crate::config::parse::properties(&text)).unwrap();
        assert_eq!(checked.notes, [], "{name}");
    }
}

#[test]
fn the_page_of_the_suites_shows_what_clients_were_measured_to_do() {
    compat_tests::matrix::check().unwrap();
}

/// Compares the part of a page between `<!-- mark -->` and `<!-- /mark -->` with `table`. With `UPDATE_README` set, writes it
/// instead.
fn check_page(page: &str, mark: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (before, rest) = text.split_once(&begin).unwrap();
    let (shown, after) = rest.split_once(&end).unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
        return;
    }
    assert!(
        shown == table,
        "{page}: {mark} is stale: UPDATE_README=1 cargo test --lib tidy -- --test-threads 1"
    );
}

#[test]
fn the_page_of_the_suites_lists_the_apis_that_are_served() {
    let mut table = String::from("| key | API | versions |\n|---|---|---|\n");
    for row in crate::api::table::APIS {
        table += &format!(
            "| {} | {} | {}-{} |\n",
            row.key,
            row.name,
            row.versions.start(),
            row.versions.end()
        );
    }
    check_page("compat-tests/README.md", "apis", &table);
}

#[test]
fn the_page_of_the_settings_lists_them_all() {
    for (mark, settings) in [
        ("broker settings", BROKER_SETTINGS),
        ("topic settings", TOPIC_SETTINGS),
    ] {
        check_page("config/README.md", mark, &reference(settings));
    }
    for (mark, support) in [
        ("broker settings without effect yet", Support::Later),
        ("broker settings without meaning here", Support::Meaningless),
    ] {
        check_page("config/README.md", mark, &names(BROKER_SETTINGS, support));
    }
    let later = names(TOPIC_SETTINGS, Support::Later);
    check_page(
        "config/README.md",
        "topic settings without effect yet",
        &later,
    );
}

/// Table of the settings that have an effect, one per row.
fn reference(settings: &[Setting]) -> String {
    let mut table = String::from("| setting | default | changes | meaning |\n|---|---|---|---|\n");
    for setting in settings.iter().filter(|row| row.support == Support::Works) {
        let default = match setting.default {
            None | Some("") => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let changes = match setting.scope {
            Scope::ReadOnly => "at a start",
            Scope::PerBroker => "while it runs, per broker",
            Scope::ClusterWide => "while it runs",
        };
        let of_topics = TOPIC_SETTINGS
            .iter()
            .find(|topic| !setting.name.is_empty() && topic.broker_synonym == setting.name);
        let meaning = match of_topics {
            Some(topic) if setting.broker_synonym.is_empty() => {
                format!("default of the topic setting `{}`", topic.name)
            }
            _ => setting.doc.to_owned(),
        };
        assert!(!meaning.is_empty(), "{} has no description", setting.name);
        table += &format!(
            "| `{}` | {default} | {changes} | {} |\n",
            setting.name,
            meaning.replace('|', "\\|")
        );
    }
    table
}

fn names(settings: &[Setting], support: Support) -> String {
    let names: Vec<String> = settings
        .iter()
        .filter(|row| row.support == support)
        .map(|row| format!("`{}`", row.name))
        .collect();
    names.join(", ") + "\n"
}
