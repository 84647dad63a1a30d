//! Whatever a crowd of hostile clients does, the client beside them is served as if it were alone, its acknowledged records
//! stay, and memory stays near the size of what the crowd sent.
//!
//! Each scene is one attack. It runs against a node with two threads for clients, one with eight, and one with eight in a
//! memory cgroup of 64 MiB. During the attack a bystander opens connections, asks for versions, produces 1 KiB and fetches it
//! again, ten times a second. A scene asserts what must hold on a busy machine, too: the node lives; each wait of the bystander
//! ends within [`stage::WAIT_MAX`] and does not last as long as the attack; memory stays within a bound and is released;
//! SIGTERM stops the node; after the next start all acknowledged records are read back.
//!
//! Measurements beyond that are a line of a table. `cargo compat crowd --nocapture`, on an idle machine, runs every attack at
//! full size and prints the table; `CROWD_TARGETS=1` makes a missed target a failure. With `COMPAT_FAST` the attacks are small.
//! `CROWD_WAIT` is the number of seconds after which memory is measured again.
//!
//! [`generator`] makes hostile requests for every API and version from a seed: `CROWD_SEED=7 CROWD_SECONDS=600 cargo compat
//! crowd_generator --nocapture`. [`browser`] needs Chromium.

mod browser;
mod bystander;
mod edges;
mod frames;
mod generator;
mod lookups;
mod memory;
mod repeats;
mod sharers;
mod stage;
mod stopping;
mod waiting;
mod web;

/// Makes three tests of each scene.
macro_rules! scenes {
    ($($module:ident :: $scene:ident $(with $settings:expr)?;)*) => { $(
        mod $scene {
            use crate::stage::{Surrounded, play};

            const SETTINGS: &[&str] = &[$($settings)?];

            #[test]
            #[ignore = "needs the binary"]
            fn two_threads() -> anyhow::Result<()> {
                play(stringify!($scene), SETTINGS, Surrounded::ByThreads(2), crate::$module::$scene)
            }

            #[test]
            #[ignore = "needs the binary"]
            fn eight_threads() -> anyhow::Result<()> {
                play(stringify!($scene), SETTINGS, Surrounded::ByThreads(8), crate::$module::$scene)
            }

            #[test]
            #[ignore = "needs the binary and root"]
            fn in_64_mib() -> anyhow::Result<()> {
                play(stringify!($scene), SETTINGS, Surrounded::ByMemory, crate::$module::$scene)
            }
        }
    )* };
}

scenes! {
    lookups::a_bomb_looked_up_often;
    lookups::many_bombs_looked_up;
    lookups::old_wrappers_that_unpack_to_much;
    lookups::bombs_produced;
    lookups::bombs_compressed_anew;
    lookups::a_partition_verified_often;
    lookups::metadata_of_empty_names;
    lookups::tiny_elements_of_fetch;
    lookups::tiny_elements_of_list_offsets;
    lookups::tiny_elements_of_markers;
    lookups::tiny_elements_of_commit;
    repeats::a_broker_described_often;
    repeats::producers_described_often;
    repeats::offsets_fetched_often;
    repeats::a_group_described_often;
    repeats::times_out_of_range;
    waiting::answers_behind_a_waiting_fetch;
    waiting::padded_fetches_that_wait;
    waiting::padded_joins;
    waiting::incremental_fetches_that_wait;
    web::a_page_of_another_site with "monedula.admin.listener=HTTP://localhost:{admin}";
    web::silent_connections_to_the_admin_listener with "monedula.admin.listener=HTTP://localhost:{admin}";
    memory::honest_load;
    memory::half_sent_requests;
    memory::a_byte_behind_each_long_request;
    memory::wide_windows_of_zstd;
    memory::bombs_compacted with "log.cleaner.backoff.ms=500";
    memory::groups_made_by_commits;
    memory::members_that_never_come_back;
    memory::producers_that_write_once;
    memory::transactional_ids_of_a_moment;
    sharers::share_sessions_of_invented_groups;
    sharers::states_of_many_share_groups;
    sharers::batches_of_share_states_in_falling_order;
    sharers::share_sessions_of_many_partitions;
    sharers::long_lists_of_acknowledgements;
    sharers::many_share_sessions_of_one_connection;
    sharers::a_share_group_of_many_members;
    stopping::long_requests_on_all_sides with "monedula.admin.listener=HTTP://localhost:{admin}";
    edges::unknown_requests_flood_the_log;
    edges::a_topic_of_many_partitions;
    edges::long_decisions;
    edges::a_timer_that_is_never_due with "offsets.retention.check.interval.ms=9223372036854775807";
}
