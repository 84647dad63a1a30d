//! Stories at random. Client a is always the first of a group and the last to leave it: who leads after a leader that left
//! is up to a hash table in Kafka.

use anyhow::Result;
use compat_tests::chance::Chance;

use crate::stage::{Join, Stage};

const CLIENTS: [&str; 4] = ["a", "b", "c", "d"];
const INSTANCES: [&str; 4] = ["i-a", "i-b", "i-c", "i-d"];
const PROTOCOLS: &[&[&str]] = &[&["range"], &["range", "sticky"], &["sticky", "range"]];
const STEPS: usize = 40;

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Join(&'static str, Join),
    Sync(&'static str, i16, i32),
    Beat(&'static str, i32),
    Leave(&'static str, i16),
    Remove(&'static str),
    Commit(&'static str, i32),
    Describe,
}

pub fn steps(seed: u64) -> Vec<Step> {
    let mut chance = Chance::new(seed);
    let mut steps = Vec::new();
    // Whether each is a static member, and how it joins, is decided once for most of a story.
    let hows: Vec<Join> = INSTANCES
        .iter()
        .map(|instance| Join {
            version: chance.one_of(&[0, 1, 3, 4, 5, 7, 8, 9]),
            protocols: chance.one_of(PROTOCOLS),
            instance: (chance.below(3) == 0).then_some(*instance),
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
        .collect();
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
        steps.push(Step::Sync("a", 5, 0));
    };
    begin(&mut steps);
    while steps.len() < STEPS {
        let who = chance.below(CLIENTS.len());
        let off = if chance.below(6) == 0 { -1 } else { 0 };
        match chance.below(100) {
            0..40 => steps.push(join(&mut chance, who)),
            40..65 => steps.push(Step::Sync(CLIENTS[who], chance.one_of(&[0, 2, 3, 5]), off)),
            65..78 => steps.push(Step::Beat(CLIENTS[who], off)),
            78..84 if who > 0 => steps.push(Step::Leave(CLIENTS[who], chance.one_of(&[0, 2, 5]))),
            84..87 if who > 0 => steps.push(Step::Remove(INSTANCES[who])),
            87..94 => steps.push(Step::Commit(CLIENTS[who], off)),
            94..98 => steps.push(Step::Describe),
            98.. => {
                for who in (0..CLIENTS.len()).rev() {
                    steps.push(Step::Leave(CLIENTS[who], 5));
                }
                steps.push(Step::Describe);
                begin(&mut steps);
            }
            _ => {}
        }
    }
    steps
}

pub fn play(stage: &mut Stage, steps: &[Step]) -> Result<()> {
    for step in steps {
        match *step {
            Step::Join(who, Join { as_new: false, .. }) | Step::Sync(who, ..)
                if stage.waits(who) => {}
            Step::Join(who, how) => stage.join(who, how)?,
            Step::Sync(who, version, off) => stage.sync(who, version, off)?,
            Step::Beat(who, off) => stage.beat(who, off)?,
            Step::Leave(who, version) => stage.leave(who, version)?,
            Step::Remove(instance) => stage.remove(instance)?,
            Step::Commit(who, off) => stage.commit(who, off, 1)?,
            Step::Describe => stage.describe()?,
        }
    }
    Ok(())
}
