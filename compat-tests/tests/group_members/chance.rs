//! Random stories. Client a is always the first in a group and the last to leave it: after the leader leaves, Kafka's hash
//! table determines the next leader.

use anyhow::Result;
use compat_tests::chance::Chance;

use crate::stage::{Identity, Join, Stage, Whose};

/// Value of `group.max.size`.
const MEMBERS_MAX: usize = 4;
const CLIENTS: [&str; 4] = ["a", "b", "c", "d"];
/// Two more clients than `group.max.size` admits.
const CROWD: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const INSTANCES: [&str; 6] = ["i-a", "i-b", "i-c", "i-d", "i-e", "i-f"];
const PROTOCOLS: &[&[&str]] = &[&["range"], &["range", "sticky"], &["sticky", "range"]];
const STEPS: usize = 40;
/// Number of steps of a story with silence, and the interval, in steps, at which client a acts.
const SILENT_STEPS: usize = 60;
const DUTY_STEPS: usize = 2;
/// Timeouts, in hundredths of a step. Sums of several of them also end between two steps, and no session timeout ends together
/// with a rebalance timeout: their order would be random.
const REBALANCES: &[u32] = &[410, 610, 810];
const SESSIONS: &[u32] = &[425, 625, 825];
const LONG: u32 = 100_000;
/// Longer than a story takes at any pace.
const NEVER_MS: i32 = 1_200_000;

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Join(&'static str, Join),
    /// Joins with timeouts in hundredths of a step.
    JoinFor(&'static str, Join, u32, u32),
    Sync(&'static str, i16, Identity),
    Beat(&'static str, Identity),
    Leave(&'static str, i16, Identity),
    Remove(&'static str),
    Commit(&'static str, i16, Identity),
    CommitInTransaction(&'static str, i16, Identity, bool),
    /// Client a does what the last response requires of it.
    Tend(Join, u32),
    Fetch(i16),
    Describe,
}

/// The way in which each client joins during most of a story, and whether it is a static member.
fn manners(chance: &mut Chance, clients: usize) -> Vec<Join> {
    INSTANCES
        .iter()
        .take(clients)
        .map(|instance| Join {
            version: chance.one_of(&[0, 1, 3, 4, 5, 7, 8, 9]),
            protocols: chance.one_of(PROTOCOLS),
            instance: (chance.below(3) == 0).then_some(*instance),
            session_ms: NEVER_MS,
            rebalance_ms: NEVER_MS,
            ..Join::default()
        })
        .map(|how| Join {
            version: if how.instance.is_some() {
                how.version.max(5)
            } else {
                how.version
            },
            ..how
        })
        .collect()
}

/// Stories in which no client is ever late.
pub fn steps(seed: u64) -> Vec<Step> {
    let mut chance = Chance::new(seed);
    let mut steps = Vec::new();
    let hows = manners(&mut chance, CLIENTS.len());
    let join = |chance: &mut Chance, who: usize| {
        let mut how = hows[who];
        how.metadata = u8::from(chance.below(4) == 0);
        how.as_new = chance.below(8) == 0 && (who > 0 || how.instance.is_some());
        Step::Join(CLIENTS[who], how)
    };
    let begin = |steps: &mut Vec<Step>| {
        let how = hows[0];
        steps.push(Step::Join("a", how));
        if how.version >= 4 && how.instance.is_none() {
            steps.push(Step::Join("a", how));
        }
        steps.push(Step::Sync("a", 5, Identity::OWN));
    };
    begin(&mut steps);
    while steps.len() < STEPS {
        let who = chance.below(CLIENTS.len());
        let of = Identity::off(if chance.below(6) == 0 { -1 } else { 0 });
        match chance.below(100) {
            0..40 => steps.push(join(&mut chance, who)),
            40..65 => steps.push(Step::Sync(CLIENTS[who], chance.one_of(&[0, 2, 3, 5]), of)),
            65..78 => steps.push(Step::Beat(CLIENTS[who], of)),
            78..84 if who > 0 => {
                let version = chance.one_of(&[0, 2, 5]);
                steps.push(Step::Leave(CLIENTS[who], version, Identity::OWN));
            }
            84..87 if who > 0 => steps.push(Step::Remove(INSTANCES[who])),
            87..94 => steps.push(Step::Commit(CLIENTS[who], 9, of)),
            94..98 => steps.push(Step::Describe),
            98.. => {
                for who in (0..CLIENTS.len()).rev() {
                    steps.push(Step::Leave(CLIENTS[who], 5, Identity::OWN));
                }
                steps.push(Step::Describe);
                begin(&mut steps);
            }
            _ => {}
        }
    }
    steps
}

/// Stories in which all clients but a fall silent, come too late, use identities of others, and are sometimes too many.
pub fn silent_steps(seed: u64) -> Vec<Step> {
    silent(seed, LONG)
}

/// The same stories for telling in acts: no client but a is silent for longer than the pause between two acts.
pub fn steps_in_acts(seed: u64) -> Vec<Step> {
    silent(seed, SESSIONS[2])
}

fn silent(seed: u64, longest: u32) -> Vec<Step> {
    let mut chance = Chance::new(seed);
    let clients = chance.one_of(&[3, 4, CROWD.len()]);
    let hows = manners(&mut chance, clients);
    // One rebalance timeout for the whole group, because a rebalance waits for the longest.
    let rebalance = chance.one_of(REBALANCES);
    let sessions: Vec<u32> = (0..clients)
        .map(|_| chance.one_of(&[SESSIONS[0], SESSIONS[1], SESSIONS[2], longest]))
        .collect();
    let mut steps = vec![Step::Tend(hows[0], rebalance); 3];
    while steps.len() < SILENT_STEPS {
        if steps.len().is_multiple_of(DUTY_STEPS) {
            steps.push(Step::Tend(hows[0], rebalance));
            continue;
        }
        let who = 1 + chance.below(clients - 1);
        let name = CROWD[who];
        let own = Identity::OWN;
        match chance.below(100) {
            0..32 => {
                let mut how = hows[who];
                how.metadata = u8::from(chance.below(4) == 0);
                how.as_new = chance.below(6) == 0;
                steps.push(Step::JoinFor(name, how, sessions[who], rebalance));
            }
            32..48 => steps.push(Step::Sync(name, chance.one_of(&[0, 3, 5]), own)),
            48..56 => steps.push(Step::Beat(name, own)),
            56..60 => steps.push(Step::Beat(name, identity(&mut chance, clients))),
            60..64 => steps.push(Step::Sync(name, 5, refused(&mut chance))),
            64..68 => steps.push(Step::Leave(name, chance.one_of(&[0, 2, 5]), own)),
            68..70 => steps.push(Step::Leave(name, 5, refused(&mut chance))),
            70..72 => steps.push(Step::Remove(INSTANCES[who])),
            72..82 => {
                let version = chance.one_of(&[2, 5, 6, 7, 8, 9]);
                let of = identity(&mut chance, clients);
                steps.push(Step::Commit(CROWD[chance.below(clients)], version, of));
            }
            82..86 => {
                let of = identity(&mut chance, clients);
                let (version, committed) = (chance.one_of(&[3, 4]), chance.below(2) == 0);
                let name = CROWD[chance.below(clients)];
                steps.push(Step::CommitInTransaction(name, version, of, committed));
            }
            86..90 => steps.push(Step::Fetch(chance.one_of(&[2, 5, 7, 8, 9]))),
            90..95 => steps.push(Step::Describe),
            // Nothing happens for some time.
            _ => steps.extend([Step::Tend(hows[0], rebalance); 4]),
        }
    }
    steps.extend([Step::Describe, Step::Fetch(9)]);
    steps
}

/// A random identity.
fn identity(chance: &mut Chance, clients: usize) -> Identity {
    let mut whose = || {
        let other = CROWD[chance.below(clients)];
        match chance.below(6) {
            0..3 => Whose::Own,
            3 => Whose::Nobody,
            4 => Whose::Stranger,
            _ => Whose::Of(other),
        }
    };
    let (member, instance) = (whose(), whose());
    Identity {
        member,
        instance,
        generation: chance.one_of(&[Some(0), Some(0), Some(0), Some(1), Some(-1), None]),
    }
}

/// An identity that the broker refuses: Kafka never answers the first of two waiting requests of one member.
fn refused(chance: &mut Chance) -> Identity {
    let own = Identity::OWN;
    let stranger = Identity {
        member: Whose::Stranger,
        ..own
    };
    let nobody = Identity {
        member: Whose::Nobody,
        ..own
    };
    let elsewhere = Identity {
        instance: Whose::Stranger,
        ..own
    };
    chance.one_of(&[stranger, nobody, elsewhere])
}

pub fn play(stage: &mut Stage, steps: &[Step]) -> Result<()> {
    for (number, step) in steps.iter().enumerate() {
        let offset = number as i64;
        match *step {
            Step::Join(who, Join { as_new: false, .. })
            | Step::JoinFor(who, Join { as_new: false, .. }, ..)
            | Step::Sync(who, ..)
                if stage.waits(who) => {}
            Step::Leave(who, ..) | Step::Remove(who) if stage.waits_to_sync(who) => {}
            // A client that waits has no id yet and could not leave, so that client a would not be the last.
            Step::Leave("a", ..) if CLIENTS.iter().any(|who| stage.waits(who)) => {}
            // The last place in a rebalance is for client a.
            Step::Join(who, _) | Step::JoinFor(who, ..)
                if who != "a" && !stage.waits("a") && stage.joining() >= MEMBERS_MAX - 1 => {}
            Step::Join(who, how) => stage.join(who, how)?,
            Step::JoinFor(who, how, session, rebalance) => {
                let how = Join {
                    session_ms: stage.hundredths(session),
                    rebalance_ms: stage.hundredths(rebalance),
                    ..how
                };
                stage.join(who, how)?;
            }
            Step::Sync(who, version, of) => stage.sync(who, version, of)?,
            Step::Beat(who, of) => stage.beat(who, of)?,
            Step::Leave(who, version, of) => stage.leave(who, version, of)?,
            Step::Remove(instance) => stage.remove(instance)?,
            Step::Commit(who, version, of) => stage.commit(who, version, of, offset)?,
            Step::CommitInTransaction(who, version, of, committed) => {
                stage.commit_in_transaction(who, version, of, offset, committed)?;
            }
            Step::Tend(how, rebalance) => {
                let how = Join {
                    rebalance_ms: stage.hundredths(rebalance),
                    ..how
                };
                stage.tend("a", how)?;
            }
            Step::Fetch(version) => stage.fetch_offset(version)?,
            Step::Describe => stage.describe()?,
        }
    }
    Ok(())
}
