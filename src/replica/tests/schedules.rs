//! Random schedules: whatever is lost, late or started anew, nothing acknowledged is lost, and when it is over all replicas are
//! equal soon.

use proptest::prelude::*;

use super::model::{LAG_MAX_MS, Model};
use crate::base::ids::BrokerId;

#[derive(Clone, Copy, Debug)]
enum Step {
    Append(BrokerId),
    Poll(BrokerId),
    Deliver(usize),
    /// It arrives twice.
    Repeat(usize),
    Lose(usize),
    Shrink(BrokerId),
    Learn(BrokerId),
    Wait(i64),
    Crash(BrokerId),
    Start(BrokerId),
    StartEmpty(BrokerId),
    Fence(BrokerId),
    Unfence(BrokerId),
    ShutDown(BrokerId),
    Elect(BrokerId),
    ElectUnclean(BrokerId),
    DeleteRecords(BrokerId),
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 1..=3_i32;
    let place = || any::<u8>().prop_map(usize::from);
    prop_oneof![
        20 => id().prop_map(Step::Append),
        30 => id().prop_map(Step::Poll),
        40 => place().prop_map(Step::Deliver),
        3 => place().prop_map(Step::Repeat),
        3 => place().prop_map(Step::Lose),
        6 => id().prop_map(Step::Shrink),
        12 => id().prop_map(Step::Learn),
        6 => prop_oneof![Just(1), Just(1_001), Just(LAG_MAX_MS / 2), Just(LAG_MAX_MS + 1)]
            .prop_map(Step::Wait),
        2 => id().prop_map(Step::Crash),
        3 => id().prop_map(Step::Start),
        2 => id().prop_map(Step::StartEmpty),
        2 => id().prop_map(Step::Fence),
        6 => id().prop_map(Step::Unfence),
        1 => id().prop_map(Step::ShutDown),
        4 => id().prop_map(Step::Elect),
        2 => id().prop_map(Step::ElectUnclean),
        1 => id().prop_map(Step::DeleteRecords),
    ]
}

fn take(model: &mut Model, step: Step) {
    let letter = |model: &Model, place: usize| {
        let count = model.letters.len();
        (count > 0).then(|| place % count)
    };
    match step {
        // Whether it is refused is for the stories.
        Step::Append(id) => drop(model.append(id)),
        Step::Poll(id) => model.poll(id),
        Step::Deliver(place) => {
            if let Some(place) = letter(model, place) {
                model.deliver(place);
            }
        }
        Step::Repeat(place) => {
            if let Some(place) = letter(model, place) {
                let copy = model.letters[place].clone();
                model.deliver(place);
                model.letters.push(copy);
            }
        }
        Step::Lose(place) => {
            if let Some(place) = letter(model, place) {
                model.lose(place);
            }
        }
        Step::Shrink(id) => model.shrink(id),
        Step::Learn(id) => model.learn(id),
        Step::Wait(ms) => model.now += ms,
        Step::Crash(id) => model.crash(id),
        Step::Start(id) => model.start(id),
        // The disk of the last one in sync is no matter of replication.
        Step::StartEmpty(id) if model.metadata.isr != [id] => model.start_empty(id),
        Step::Unfence(id) if model.replicas[&id].is_up => model.unfence(id),
        Step::Fence(id) => model.fence(id),
        Step::ShutDown(id) => model.shuts_down(id),
        Step::Elect(id) => model.elect(id),
        Step::ElectUnclean(id) if model.replicas[&id].is_up => model.elect_unclean(id),
        Step::DeleteRecords(id) => model.delete_records(id),
        Step::StartEmpty(_) | Step::Unfence(_) | Step::ElectUnclean(_) => {}
    }
}

fn run(steps: Vec<Step>, min_isr: usize, unclean: bool) {
    let mut model = Model::new(3, min_isr);
    for one in steps {
        if unclean || !matches!(one, Step::ElectUnclean(_)) {
            take(&mut model, one);
        }
    }
    model.heal();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost(
        steps in prop::collection::vec(step(), 0..300),
        min_isr in 1..=3_usize,
    ) {
        run(steps, min_isr, false);
    }

    #[test]
    fn after_unclean_elections_all_replicas_become_equal(
        steps in prop::collection::vec(step(), 0..300),
        min_isr in 1..=2_usize,
    ) {
        run(steps, min_isr, true);
    }
}
