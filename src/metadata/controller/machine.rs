//! pure: the controller as a state machine. Kafka's `QuorumController`.
//!
//! Each request is decided on a *speculative* image, which includes the effects of earlier requests, committed or not. The
//! answer is held back until all records that the decision was based on are committed.
//!
//! When the node loses leadership, the speculative image and all held answers are dropped: another node decides from then on,
//! and whether the records become committed is unknown.

use std::collections::VecDeque;

use super::request::{Answer, Asked};
use super::{Context, Decision};
use crate::base::ids::{BrokerId, Offset};
use crate::config::broker::BrokerSettings;
use crate::metadata::image::{Delta, Image};
use crate::metadata::record::Record;

/// Inputs of decisions that are the same for all requests.
#[derive(Clone, Debug)]
pub struct Setup {
    pub node_id: BrokerId,
    /// Static settings of this node.
    pub settings: BrokerSettings,
    /// Whether replication factors above the number of brokers are reduced instead of refused.
    pub clamp_replication: bool,
}

/// Answer that is held back until all records up to `offset` are committed.
#[derive(Debug)]
struct Held<W> {
    offset: Offset,
    waiting: W,
    answer: Answer,
}

/// The controller's state machine. `W` identifies the requester that waits for an answer.
#[derive(Debug)]
pub struct Machine<W> {
    setup: Setup,
    /// The image on which the next request is decided.
    speculative: Image,
    held: VecDeque<Held<W>>,
}

impl<W> Machine<W> {
    /// A machine that starts from the newest committed image.
    pub fn new(setup: Setup, committed: &Image) -> Self {
        Self {
            setup,
            speculative: committed.clone(),
            held: VecDeque::new(),
        }
    }

    /// Decides a request; returns its records. They must be appended now, at the offset that [`Machine::next_offset`] returned
    /// before this call.
    pub fn decide(&mut self, asked: &Asked, waiting: W) -> Vec<Record> {
        let context = Context {
            now: asked.now,
            node_id: self.setup.node_id,
            settings: &self.setup.settings,
            ids: &asked.ids,
            clamp_replication: self.setup.clamp_replication,
        };
        let Decision { records, answer } = asked.request.decide(&self.speculative, &context);
        self.fold(&records);
        self.held.push_back(Held {
            offset: self.speculative.offset,
            waiting,
            answer,
        });
        records
    }

    /// Applies records that the controller writes by itself; they must be appended now.
    pub fn fold(&mut self, records: &[Record]) {
        let mut delta = Delta::default();
        for record in records {
            let offset = self.speculative.offset + 1;
            self.speculative.apply(record, offset, &mut delta);
        }
    }

    /// Offset at which the records of the next decision must be appended.
    pub fn next_offset(&self) -> Offset {
        self.speculative.offset + 1
    }

    /// Takes a newer committed image; returns the answers that can now be sent, in the order of their requests.
    pub fn committed(&mut self, image: &Image) -> Vec<(W, Answer)> {
        if image.offset == self.speculative.offset {
            // Both images are equal; from here on they share memory again.
            self.speculative = image.clone();
        }
        let ready = self
            .held
            .partition_point(|held| held.offset <= image.offset);
        let ready = self.held.drain(..ready);
        ready.map(|held| (held.waiting, held.answer)).collect()
    }

    /// Drops everything speculative, because the node lost leadership or leads in a new epoch. Returns the requesters whose
    /// answers are lost.
    pub fn resign(&mut self, committed: &Image) -> Vec<W> {
        self.speculative = committed.clone();
        self.held.drain(..).map(|held| held.waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Uuid;
    use crate::metadata::bootstrap;
    use crate::metadata::controller::brokers::Activation;
    use crate::metadata::controller::request::Request;
    use crate::metadata::controller::tests::registration;
    use crate::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
    use crate::wire::message::delete_topics::DeleteTopicsRequest;

    /// A machine with the log that it writes to.
    struct Stage {
        machine: Machine<usize>,
        log: Vec<Record>,
        committed: Image,
        asked: usize,
    }

    impl Stage {
        fn new() -> Self {
            let setup = Setup {
                node_id: 1,
                settings: BrokerSettings::default(),
                clamp_replication: false,
            };
            let committed = Image::empty();
            let mut stage = Self {
                machine: Machine::new(setup, &committed),
                log: Vec::new(),
                committed,
                asked: 0,
            };
            let records = bootstrap::records(false);
            stage.ask(Activation { records }.into());
            stage.ask(registration().into());
            assert_eq!(stage.commit(usize::MAX).len(), 2);
            stage
        }

        /// Decides a request; returns its number.
        fn ask(&mut self, request: Request) -> usize {
            let number = self.asked;
            self.asked += 1;
            let asked = Asked {
                request,
                now: 1_000,
                ids: vec![Uuid([number as u8 + 1; 16])],
            };
            assert_eq!(self.machine.next_offset(), self.log.len() as i64);
            let records = self.machine.decide(&asked, number);
            self.log.extend(records);
            number
        }

        /// Commits the first records of the log; returns the numbers of the answered requests with their answers.
        fn commit(&mut self, up_to: usize) -> Vec<(usize, Answer)> {
            for (offset, record) in (0..).zip(&self.log).take(up_to) {
                if offset > self.committed.offset {
                    self.committed.apply(record, offset, &mut Delta::default());
                }
            }
            self.machine.committed(&self.committed)
        }
    }

    fn create(name: &str) -> Request {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            }],
            ..Default::default()
        };
        request.into()
    }

    fn code(answer: &Answer) -> i16 {
        match answer {
            Answer::CreateTopics(answer) => answer.topics[0].error_code,
            Answer::DeleteTopics(answer) => answer.responses[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    /// The second request sees the decision of the first, and neither is answered before the first one's records are committed.
    #[test]
    fn a_request_sees_what_is_not_committed_yet() {
        let mut stage = Stage::new();
        let before = stage.log.len();
        let first = stage.ask(create("t"));
        let second = stage.ask(create("t"));
        assert!(stage.commit(before).is_empty());
        assert!(stage.committed.topics.is_empty());
        // The topic's record is committed, the partition's is not.
        assert!(stage.commit(before + 1).is_empty());
        let answers = stage.commit(usize::MAX);
        let codes = answers.iter().map(|(who, answer)| (*who, code(answer)));
        assert_eq!(codes.collect::<Vec<_>>(), [(first, 0), (second, 36)]);
        assert_eq!(stage.machine.speculative, stage.committed);
    }

    /// An answer is sent when its own records are committed, regardless of requests that still wait.
    #[test]
    fn answers_leave_in_the_order_of_their_requests() {
        let mut stage = Stage::new();
        let first = stage.ask(create("t"));
        let end = stage.log.len();
        let delete = DeleteTopicsRequest {
            topic_names: vec!["t".into()],
            ..Default::default()
        };
        let second = stage.ask(delete.into());
        let third = stage.ask(create("u"));
        let who = |answers: Vec<(usize, Answer)>| -> Vec<usize> {
            assert!(answers.iter().all(|(_, answer)| code(answer) == 0));
            answers.into_iter().map(|(who, _)| who).collect()
        };
        assert_eq!(who(stage.commit(end)), [first]);
        assert_eq!(who(stage.commit(usize::MAX)), [second, third]);
    }

    /// Records that are not in the next leader's log never took effect.
    #[test]
    fn what_was_only_speculated_is_dropped_with_the_leadership() {
        let mut stage = Stage::new();
        let kept = stage.log.len();
        let lost = stage.ask(create("t"));
        assert_eq!(stage.machine.resign(&stage.committed), [lost]);
        stage.log.truncate(kept);
        assert_eq!(stage.machine.speculative, stage.committed);
        let again = stage.ask(create("t"));
        let answers = stage.commit(usize::MAX);
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].0, code(&answers[0].1)), (again, 0));
    }
}
