//! Random schedules: whatever is lost, delayed or restarted, no acknowledged record is lost, and after the faults end all
//! replicas are soon equal.
//!
//! `MONEDULA_REPLICA_SEED=17 cargo test --lib replica::tests::schedules` runs one schedule again and prints its steps;
//! `MONEDULA_REPLICA_SEEDS=100000` runs that many schedules.

use super::model::{LAG_MAX_MS, Model};
use crate::base::ids::{BrokerId, Offset};
use crate::host::chance::Chance;
use crate::wire::message::fuzz::{from_environment, seeds_from_environment};

/// Steps of a schedule with their weights.
const STEPS: [(u64, Kind); 23] = [
    (20, Kind::Append),
    (30, Kind::Poll),
    (40, Kind::Deliver),
    (3, Kind::Repeat),
    (3, Kind::Lose),
    (6, Kind::Shrink),
    (12, Kind::Learn),
    (6, Kind::Wait),
    (2, Kind::Crash),
    (3, Kind::Start),
    (2, Kind::StartEmpty),
    (2, Kind::Replace),
    (6, Kind::PollReplaced),
    (1, Kind::LearnReplaced),
    (2, Kind::Fence),
    (6, Kind::Unfence),
    (1, Kind::ShutDown),
    (4, Kind::Elect),
    (2, Kind::ElectUnclean),
    (1, Kind::DeleteRecords),
    (3, Kind::Sync),
    (3, Kind::PowerCut),
    (1, Kind::Heal),
];
const STEPS_MAX: u64 = 300;
const WAITS_MS: [i64; 4] = [1, 1_001, LAG_MAX_MS / 2, LAG_MAX_MS + 1];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Append,
    Poll,
    Deliver,
    /// A message is delivered twice.
    Repeat,
    Lose,
    Shrink,
    Learn,
    Wait,
    Crash,
    Start,
    StartEmpty,
    /// Another process registers under the id of one that lives on.
    Replace,
    PollReplaced,
    LearnReplaced,
    Fence,
    Unfence,
    ShutDown,
    Elect,
    ElectUnclean,
    DeleteRecords,
    Sync,
    PowerCut,
    Heal,
}

/// Losses of a schedule beside those of messages and processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Losses {
    None,
    /// Leaders are elected that lack acknowledged records.
    UncleanElections,
    /// Power losses remove records that were not on disk; the controller keeps eligible leader replicas.
    PowerCuts,
}

struct Dice(Chance);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        let bytes = self.0.bytes().unwrap();
        (u64::from_ne_bytes(bytes) % bound.max(1) as u64) as usize
    }

    fn kind(&self) -> Kind {
        let all: u64 = STEPS.iter().map(|(weight, _)| weight).sum();
        let mut at = self.below(all as usize) as u64;
        for (weight, kind) in STEPS {
            if at < weight {
                return kind;
            }
            at -= weight;
        }
        unreachable!("below the sum of all weights");
    }
}

struct Schedule {
    dice: Dice,
    model: Model,
    losses: Losses,
    is_told: bool,
}

impl Schedule {
    fn new(seed: u64, is_told: bool) -> Self {
        let dice = Dice(Chance::seeded(seed));
        let losses = [Losses::None, Losses::UncleanElections, Losses::PowerCuts];
        let losses = losses[dice.below(losses.len())];
        let mut model = Model::new(3, 1 + dice.below(3));
        model.keeps_eligible = losses == Losses::PowerCuts;
        if is_told {
            eprintln!("{losses:?}, min.insync.replicas {}", model.min_isr);
        }
        Self {
            dice,
            model,
            losses,
            is_told,
        }
    }

    fn letter(&self) -> Option<usize> {
        let count = self.model.letters.len();
        (count > 0).then(|| self.dice.below(count))
    }

    fn step(&mut self) {
        let kind = self.dice.kind();
        let id = 1 + self.dice.below(3) as BrokerId;
        if self.is_told {
            eprintln!("{kind:?} {id}");
        }
        let is_up = self.model.replicas[&id].is_up;
        let has_power_cuts = self.losses == Losses::PowerCuts;
        let model = &mut self.model;
        match kind {
            // Whether the append must be accepted is tested by the stories.
            Kind::Append => drop(model.append(id)),
            Kind::Poll => model.poll(id),
            Kind::Deliver => {
                if let Some(place) = self.letter() {
                    self.model.deliver(place);
                }
            }
            Kind::Repeat => {
                if let Some(place) = self.letter() {
                    let copy = self.model.letters[place].clone();
                    self.model.deliver(place);
                    self.model.letters.push(copy);
                }
            }
            Kind::Lose => {
                if let Some(place) = self.letter() {
                    self.model.lose(place);
                }
            }
            Kind::Shrink => model.shrink(id),
            Kind::Learn => model.learn(id),
            Kind::Wait => model.now += WAITS_MS[self.dice.below(WAITS_MS.len())],
            Kind::Crash => model.crash(id),
            Kind::Start if model.may_start(id) => model.start(id),
            // Losing the disk of the last replica in sync is beyond what replication can repair.
            Kind::StartEmpty | Kind::Replace if has_power_cuts && !model.may_lose(id) => {}
            Kind::StartEmpty | Kind::Replace if !has_power_cuts && model.metadata.isr == [id] => {}
            Kind::StartEmpty => model.start_empty(id),
            Kind::Replace => model.replace(id),
            Kind::PollReplaced | Kind::LearnReplaced => {
                let place = self.dice.below(self.model.replaced.len());
                match kind {
                    Kind::PollReplaced => self.model.poll_replaced(place),
                    _ => self.model.learn_replaced(place),
                }
            }
            Kind::Fence => model.fence(id),
            Kind::Unfence if is_up => model.unfence(id),
            Kind::ShutDown => model.shuts_down(id),
            Kind::Elect => model.elect(id),
            Kind::ElectUnclean if is_up && self.losses == Losses::UncleanElections => {
                model.elect_unclean(id);
            }
            Kind::DeleteRecords => model.delete_records(id),
            Kind::Sync => model.sync(id),
            Kind::PowerCut if has_power_cuts && model.may_lose(id) => {
                model.power_cut(id, self.dice.below(3) as Offset);
            }
            // Steps after a healing begin from a state that a schedule without one rarely reaches.
            Kind::Heal if self.dice.below(4) == 0 => model.heal(),
            Kind::Start | Kind::Unfence | Kind::ElectUnclean | Kind::PowerCut | Kind::Heal => {}
        }
    }
}

fn tell(seed: u64, is_told: bool) {
    let mut schedule = Schedule::new(seed, is_told);
    for _ in 0..schedule.dice.below(STEPS_MAX as usize) {
        schedule.step();
    }
    schedule.model.heal();
}

#[test]
fn nothing_acknowledged_is_lost_and_all_become_equal() {
    if let Some(seed) = from_environment("MONEDULA_REPLICA_SEED") {
        return tell(seed, true);
    }
    for seed in seeds_from_environment("MONEDULA_REPLICA_SEEDS", 2_000) {
        if std::panic::catch_unwind(|| tell(seed, false)).is_err() {
            panic!("MONEDULA_REPLICA_SEED={seed} tells what has failed");
        }
    }
}
