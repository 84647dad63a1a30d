//! Scripts for the members of a group: each script is one story.

use anyhow::Result;

use crate::stage::{Identity, Join, Stage};

pub type Script = fn(&mut Stage) -> Result<()>;

pub const SCRIPTS: &[(&str, Script)] = &[
    ("two-of-the-oldest-version", two_old),
    ("two-of-the-newest-version", two_new),
    ("versions-side-by-side", side_by_side),
    ("a-protocol-that-all-have", protocols),
    ("rejoining", rejoining),
    ("a-follower-syncs-first", follower_first),
    ("a-leader-that-never-syncs", silent_leader),
    ("a-leader-that-dies", dead_leader),
    ("a-follower-that-dies", dead_follower),
    ("a-member-that-does-not-rejoin", absent),
    ("a-late-sync-as-a-sign-of-life", late_sync),
    ("a-needless-join-as-a-sign-of-life", needless_join),
    ("a-repeated-join-as-a-sign-of-life", repeated_join),
    ("commits-as-signs-of-life", commits_live),
    (
        "commits-in-transactions-as-signs-of-life",
        commits_in_transactions_do_not,
    ),
    ("a-rebalance-is-no-sign-of-life", rebalance_is_none),
    ("an-id-that-is-not-used", unused_id),
    ("leaving-while-others-rejoin", leaving_early),
    ("too-many", too_many),
    ("a-static-member-comes-back", static_return),
    ("a-static-member-comes-back-otherwise", static_otherwise),
    ("a-static-leader-comes-back", static_leader),
    ("a-static-member-comes-back-early", static_early),
    ("a-static-member-comes-back-unassigned", static_unassigned),
    ("static-members-leave", static_leaves),
    ("a-static-member-dies", static_dies),
    ("offsets-of-members", commits),
    ("deleting", deleting),
];

/// Scripts for the time in which a new group waits for more members, which is three seconds.
pub const FIRST_REBALANCES: &[(&str, Script)] = &[
    ("members-come-one-after-the-other", one_after_the_other),
    ("an-id-that-is-awaited", awaited_id),
    ("an-id-that-is-given-back", id_given_back),
];

const TIMEOUT: Join = Join {
    session_ms: 1_000,
    rebalance_ms: 2_000,
    version: 9,
    instance: None,
    protocols: &["range"],
    protocol_type: "consumer",
    metadata: 0,
    as_new: false,
};

/// Joins as a new member of a current client: the first response is only the member id.
fn arrives(stage: &mut Stage, who: &'static str, how: Join) -> Result<()> {
    stage.join(who, how)?;
    if how.version >= 4 && how.instance.is_none() {
        stage.join(who, how)?;
    }
    Ok(())
}

/// a is the leader, b a follower, and both have their assignments.
fn pair(stage: &mut Stage, a: Join, b: Join) -> Result<()> {
    arrives(stage, "a", a)?;
    stage.sync("a", 5, Identity::OWN)?;
    arrives(stage, "b", b)?;
    stage.beat("a", Identity::OWN)?;
    stage.join("a", a)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.sync("b", 5, Identity::OWN)
}

fn two(stage: &mut Stage, join: i16, sync: i16, leave: i16) -> Result<()> {
    let how = Join {
        version: join,
        ..Join::default()
    };
    arrives(stage, "a", how)?;
    stage.describe()?;
    stage.sync("a", sync, Identity::OWN)?;
    stage.describe()?;
    stage.beat("a", Identity::OWN)?;
    arrives(stage, "b", how)?;
    stage.describe()?;
    stage.beat("a", Identity::OWN)?;
    stage.beat("b", Identity::OWN)?;
    stage.join("a", how)?;
    stage.beat("a", Identity::OWN)?;
    stage.beat("b", Identity::OWN)?;
    stage.sync("b", sync, Identity::OWN)?;
    stage.sync("a", sync, Identity::OWN)?;
    stage.describe()?;
    stage.beat("a", Identity::OWN)?;
    stage.beat("b", Identity::OWN)?;
    stage.beat("b", Identity::off(-1))?;
    stage.sync("b", sync, Identity::OWN)?;
    stage.sync("a", sync, Identity::off(-1))?;
    stage.leave("b", leave, Identity::OWN)?;
    stage.beat("b", Identity::OWN)?;
    stage.beat("a", Identity::OWN)?;
    stage.describe()?;
    stage.join("a", how)?;
    stage.sync("a", sync, Identity::OWN)?;
    stage.leave("a", leave, Identity::OWN)?;
    stage.describe()?;
    stage.leave("a", leave, Identity::OWN)
}

fn two_old(stage: &mut Stage) -> Result<()> {
    two(stage, 0, 0, 0)
}

fn two_new(stage: &mut Stage) -> Result<()> {
    two(stage, 9, 5, 5)
}

fn side_by_side(stage: &mut Stage) -> Result<()> {
    let of = |version| Join {
        version,
        ..Join::default()
    };
    arrives(stage, "a", of(1))?;
    stage.sync("a", 1, Identity::OWN)?;
    arrives(stage, "b", of(4))?;
    arrives(stage, "c", of(9))?;
    stage.describe()?;
    stage.join("a", of(1))?;
    stage.sync("c", 5, Identity::OWN)?;
    stage.sync("b", 3, Identity::OWN)?;
    stage.sync("a", 1, Identity::OWN)?;
    stage.describe()?;
    stage.leave("b", 1, Identity::OWN)?;
    stage.beat("a", Identity::OWN)?;
    stage.beat("c", Identity::OWN)
}

fn protocols(stage: &mut Stage) -> Result<()> {
    let with = |protocols| Join {
        protocols,
        ..Join::default()
    };
    arrives(stage, "a", with(&["sticky", "range"]))?;
    stage.sync("a", 5, Identity::OWN)?;
    arrives(stage, "b", with(&["round", "range"]))?;
    stage.join("a", with(&["sticky", "range"]))?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.sync("b", 5, Identity::OWN)?;
    stage.describe()?;
    stage.join("c", with(&["strange"]))?;
    stage.join("c", with(&["sticky", "round"]))?;
    stage.join(
        "c",
        Join {
            protocol_type: "connect",
            ..Join::default()
        },
    )?;
    stage.join("c", with(&[]))?;
    // Two of the three members vote for one protocol, which the third supports.
    arrives(stage, "d", with(&["range", "sticky", "round"]))?;
    stage.join("a", with(&["sticky", "range"]))?;
    stage.join("b", with(&["sticky", "range"]))?;
    stage.sync("d", 5, Identity::OWN)?;
    stage.describe()?;
    // A member that no longer supports its former protocol.
    stage.join("a", with(&["strange"]))?;
    stage.join("a", with(&["range"]))?;
    stage.describe()
}

fn rejoining(stage: &mut Stage) -> Result<()> {
    let how = Join::default();
    let changed = Join { metadata: 1, ..how };
    pair(stage, how, how)?;
    // A follower without changes gets its current state. A follower with other metadata starts a rebalance, and so does a
    // leader.
    stage.join("b", how)?;
    stage.beat("a", Identity::OWN)?;
    stage.join("b", changed)?;
    stage.beat("a", Identity::OWN)?;
    stage.join("a", how)?;
    stage.describe()?;
    // Before the assignment has been received.
    stage.join("b", changed)?;
    stage.join("a", how)?;
    stage.join("b", how)?;
    stage.describe()?;
    stage.join("a", how)?;
    stage.sync("b", 5, Identity::OWN)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.join("a", how)?;
    stage.join("b", changed)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.sync("b", 5, Identity::OWN)?;
    stage.describe()
}

fn follower_first(stage: &mut Stage) -> Result<()> {
    let how = Join::default();
    arrives(stage, "a", how)?;
    stage.sync("a", 5, Identity::OWN)?;
    arrives(stage, "b", how)?;
    stage.join("a", how)?;
    stage.sync("b", 5, Identity::OWN)?;
    stage.describe()?;
    stage.commit("b", 9, Identity::OWN, 1)?;
    arrives(stage, "c", how)?;
    stage.describe()?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.join("a", how)?;
    stage.join("b", how)?;
    stage.sync("c", 5, Identity::OWN)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.sync("b", 5, Identity::OWN)?;
    stage.describe()
}

fn silent_leader(stage: &mut Stage) -> Result<()> {
    let how = Join {
        session_ms: 20_000,
        ..TIMEOUT
    };
    arrives(stage, "a", how)?;
    arrives(stage, "b", how)?;
    stage.join("a", how)?;
    stage.sync("b", 5, Identity::OWN)?;
    stage.wait(3_500)?;
    stage.describe()?;
    stage.beat("a", Identity::OWN)?;
    stage.beat("b", Identity::OWN)?;
    stage.join("b", how)?;
    stage.describe()
}

fn dead_leader(stage: &mut Stage) -> Result<()> {
    pair(
        stage,
        TIMEOUT,
        Join {
            session_ms: 20_000,
            ..TIMEOUT
        },
    )?;
    stage.wait(1_500)?;
    stage.describe()?;
    stage.beat("a", Identity::OWN)?;
    stage.beat("b", Identity::OWN)?;
    stage.join(
        "b",
        Join {
            session_ms: 20_000,
            ..TIMEOUT
        },
    )?;
    stage.sync("b", 5, Identity::OWN)?;
    stage.describe()
}

fn dead_follower(stage: &mut Stage) -> Result<()> {
    let lasting = Join {
        session_ms: 20_000,
        ..TIMEOUT
    };
    pair(stage, lasting, TIMEOUT)?;
    stage.wait(1_500)?;
    stage.beat("a", Identity::OWN)?;
    stage.join("a", lasting)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.commit("b", 9, Identity::OWN, 3)?;
    stage.describe()
}

fn absent(stage: &mut Stage) -> Result<()> {
    let lasting = Join {
        session_ms: 20_000,
        ..TIMEOUT
    };
    pair(stage, lasting, lasting)?;
    // If several members rejoined without the leader, Kafka's hash table of ids would determine the next one.
    arrives(stage, "c", lasting)?;
    stage.describe()?;
    stage.wait(3_000)?;
    stage.beat("a", Identity::OWN)?;
    stage.beat("b", Identity::OWN)?;
    stage.describe()
}

/// A member with a long session, and the silence after which a short session ends, in hundredths of a step.
const LIVES: Join = Join {
    session_ms: 20_000,
    rebalance_ms: 20_000,
    ..TIMEOUT
};
const DEATH: u32 = 900;

fn dies(stage: &Stage) -> Join {
    Join {
        session_ms: stage.hundredths(DEATH),
        ..LIVES
    }
}

fn silence(stage: &mut Stage, hundredths: u32) -> Result<()> {
    let milliseconds = stage.hundredths(hundredths).unsigned_abs();
    stage.wait(milliseconds.into())
}

/// b has joined, and no member has synced.
fn joined(stage: &mut Stage) -> Result<()> {
    arrives(stage, "a", LIVES)?;
    stage.sync("a", 5, Identity::OWN)?;
    arrives(stage, "b", dies(stage))?;
    stage.join("a", LIVES)
}

/// b has joined, and both members have synced. Timeouts count from here.
fn synced(stage: &mut Stage) -> Result<()> {
    joined(stage)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.sync("b", 5, Identity::OWN)?;
    stage.beat("b", Identity::OWN)
}

fn late_sync(stage: &mut Stage) -> Result<()> {
    joined(stage)?;
    stage.sync("a", 5, Identity::OWN)?;
    silence(stage, 300)?;
    stage.sync("b", 5, Identity::OWN)?;
    silence(stage, 400)?;
    stage.describe()
}

fn needless_join(stage: &mut Stage) -> Result<()> {
    synced(stage)?;
    silence(stage, 500)?;
    stage.join("b", dies(stage))?;
    silence(stage, 500)?;
    stage.describe()
}

fn repeated_join(stage: &mut Stage) -> Result<()> {
    joined(stage)?;
    silence(stage, 500)?;
    stage.join("b", dies(stage))?;
    silence(stage, 500)?;
    stage.describe()
}

fn commits_live(stage: &mut Stage) -> Result<()> {
    synced(stage)?;
    silence(stage, 500)?;
    stage.commit("b", 9, Identity::OWN, 1)?;
    silence(stage, 500)?;
    stage.describe()
}

fn commits_in_transactions_do_not(stage: &mut Stage) -> Result<()> {
    synced(stage)?;
    silence(stage, 500)?;
    stage.commit_in_transaction("b", 3, Identity::OWN, 2, true)?;
    silence(stage, 500)?;
    stage.describe()
}

fn rebalance_is_none(stage: &mut Stage) -> Result<()> {
    joined(stage)?;
    silence(stage, 500)?;
    // The members of this generation have not received their assignments yet.
    stage.join(
        "c",
        Join {
            version: 3,
            ..LIVES
        },
    )?;
    silence(stage, 400)?;
    stage.describe()
}

fn unused_id(stage: &mut Stage) -> Result<()> {
    stage.join("a", TIMEOUT)?;
    stage.describe()?;
    stage.beat("a", Identity::OWN)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.wait(1_500)?;
    stage.describe()?;
    stage.join("a", TIMEOUT)?;
    stage.join("b", TIMEOUT)?;
    stage.leave("b", 5, Identity::OWN)?;
    stage.join("b", TIMEOUT)?;
    stage.describe()
}

const OLD: Join = Join {
    version: 3,
    session_ms: 30_000,
    rebalance_ms: 30_000,
    ..TIMEOUT
};

fn one_after_the_other(stage: &mut Stage) -> Result<()> {
    stage.join("a", OLD)?;
    stage.wait(1_500)?;
    stage.join("b", OLD)?;
    stage.describe()?;
    stage.wait(1_500)?;
    stage.describe()?;
    stage.wait(3_000)?;
    stage.describe()
}

/// The session of the pending member ends before the initial delay.
fn awaited_id(stage: &mut Stage) -> Result<()> {
    stage.join("a", TIMEOUT)?;
    stage.join("b", OLD)?;
    stage.wait(1_000)?;
    stage.describe()
}

fn id_given_back(stage: &mut Stage) -> Result<()> {
    stage.join("a", Join::default())?;
    stage.join("b", OLD)?;
    stage.leave("a", 5, Identity::OWN)?;
    stage.describe()?;
    stage.wait(4_000)?;
    stage.describe()
}

fn leaving_early(stage: &mut Stage) -> Result<()> {
    let how = Join::default();
    pair(stage, how, how)?;
    // With two remaining members, Kafka's hash table would determine the leader, so only one remains.
    arrives(stage, "c", how)?;
    stage.leave("a", 5, Identity::OWN)?;
    stage.describe()?;
    stage.leave("b", 5, Identity::OWN)?;
    stage.describe()
}

fn too_many(stage: &mut Stage) -> Result<()> {
    let how = Join {
        version: 3,
        ..Join::default()
    };
    stage.join("a", how)?;
    stage.sync("a", 3, Identity::OWN)?;
    for who in ["b", "c", "d"] {
        stage.join(who, how)?;
    }
    stage.join("e", how)?;
    stage.join("f", Join::default())?;
    stage.describe()?;
    stage.join("a", how)?;
    stage.describe()?;
    stage.join("f", Join::default())?;
    stage.join(
        "g",
        Join {
            instance: Some("g"),
            ..Join::default()
        },
    )
}

/// A static member for client a, and one for client b.
const A: Join = Join {
    instance: Some("i-a"),
    session_ms: 30_000,
    rebalance_ms: 30_000,
    ..TIMEOUT
};
const B: Join = Join {
    instance: Some("i-b"),
    ..A
};

fn static_return(stage: &mut Stage) -> Result<()> {
    pair(stage, A, B)?;
    stage.describe()?;
    // The same instance in a new process: there is no rebalance, and the old member is fenced.
    stage.join("c", B)?;
    stage.beat("a", Identity::OWN)?;
    stage.beat("b", Identity::OWN)?;
    stage.commit("b", 9, Identity::OWN, 7)?;
    stage.join("b", B)?;
    stage.leave("b", 5, Identity::OWN)?;
    stage.sync("c", 5, Identity::OWN)?;
    stage.beat("c", Identity::OWN)?;
    stage.describe()
}

fn static_otherwise(stage: &mut Stage) -> Result<()> {
    pair(stage, A, B)?;
    stage.join("c", Join { metadata: 1, ..B })?;
    stage.beat("a", Identity::OWN)?;
    stage.describe()?;
    stage.join(
        "d",
        Join {
            protocols: &["round"],
            ..B
        },
    )?;
    stage.join("a", A)?;
    stage.describe()
}

fn static_leader(stage: &mut Stage) -> Result<()> {
    pair(stage, A, B)?;
    // Before version 9 the leader could not be told that nothing has to be assigned.
    stage.join("c", A)?;
    stage.beat("b", Identity::OWN)?;
    stage.sync("c", 5, Identity::OWN)?;
    stage.join("d", Join { version: 8, ..A })?;
    stage.beat("b", Identity::OWN)?;
    stage.sync("d", 5, Identity::OWN)?;
    stage.join("e", Join { version: 5, ..A })?;
    stage.sync("e", 3, Identity::OWN)?;
    stage.beat("d", Identity::OWN)?;
    stage.beat("b", Identity::OWN)?;
    stage.describe()
}

fn static_early(stage: &mut Stage) -> Result<()> {
    pair(stage, A, B)?;
    arrives(stage, "c", Join::default())?;
    stage.join("b", B)?;
    stage.join("d", B)?;
    stage.describe()?;
    stage.join("a", A)?;
    stage.join("e", B)?;
    stage.sync("d", 5, Identity::OWN)?;
    stage.describe()?;
    stage.join("f", A)?;
    stage.describe()
}

/// The static member does not ask for its assignment, and neither did the member that it replaces.
fn static_unassigned(stage: &mut Stage) -> Result<()> {
    let (a, b) = (
        Join {
            rebalance_ms: stage.hundredths(900),
            ..A
        },
        Join {
            rebalance_ms: stage.hundredths(900),
            ..B
        },
    );
    arrives(stage, "a", a)?;
    stage.sync("a", 5, Identity::OWN)?;
    arrives(stage, "b", b)?;
    stage.join("a", a)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.join("c", b)?;
    stage.beat("a", Identity::OWN)?;
    silence(stage, 900)?;
    stage.beat("a", Identity::OWN)?;
    stage.describe()?;
    stage.join("a", a)?;
    silence(stage, 900)?;
    stage.describe()
}

fn static_leaves(stage: &mut Stage) -> Result<()> {
    pair(stage, A, B)?;
    stage.remove("i-x")?;
    stage.remove("i-b")?;
    stage.beat("b", Identity::OWN)?;
    stage.beat("a", Identity::OWN)?;
    stage.describe()?;
    stage.join("a", A)?;
    stage.leave("a", 5, Identity::OWN)?;
    stage.join("b", B)?;
    stage.describe()
}

fn static_dies(stage: &mut Stage) -> Result<()> {
    pair(
        stage,
        A,
        Join {
            session_ms: 1_000,
            ..B
        },
    )?;
    stage.wait(1_500)?;
    stage.beat("b", Identity::OWN)?;
    stage.beat("a", Identity::OWN)?;
    stage.join("c", B)?;
    stage.join("a", A)?;
    stage.describe()
}

fn commits(stage: &mut Stage) -> Result<()> {
    let how = Join::default();
    arrives(stage, "a", how)?;
    stage.commit("a", 9, Identity::OWN, 1)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.commit("a", 9, Identity::OWN, 2)?;
    stage.commit("a", 9, Identity::off(-1), 3)?;
    stage.commit("a", 9, Identity::off(1), 4)?;
    stage.commit("nobody", 9, Identity::OWN, 5)?;
    stage.commit("nobody", 9, Identity::off(-1), 5)?;
    arrives(stage, "b", how)?;
    stage.commit("a", 9, Identity::OWN, 6)?;
    stage.commit("b", 9, Identity::OWN, 6)?;
    stage.join("a", how)?;
    stage.commit("a", 9, Identity::OWN, 7)?;
    stage.commit("b", 9, Identity::OWN, 7)?;
    stage.sync("a", 5, Identity::OWN)?;
    stage.commit("b", 9, Identity::OWN, 8)?;
    stage.leave("a", 5, Identity::OWN)?;
    stage.leave("b", 5, Identity::OWN)?;
    stage.commit("b", 9, Identity::OWN, 9)?;
    stage.commit("nobody", 9, Identity::off(-1), 9)?;
    stage.describe()
}

fn deleting(stage: &mut Stage) -> Result<()> {
    let how = Join::default();
    stage.delete()?;
    stage.join("a", how)?;
    stage.delete()?;
    stage.join("a", how)?;
    stage.delete()?;
    stage.join(
        "a",
        Join {
            as_new: true,
            ..how
        },
    )?;
    stage.leave("a", 5, Identity::OWN)?;
    stage.describe()?;
    stage.delete()?;
    stage.describe()?;
    stage.beat("a", Identity::OWN)?;
    stage.join("a", how)?;
    stage.describe()
}
