//! Groups of the share protocol.

use expect_test::expect;

use super::*;

#[test]
fn members_share_partitions_once_their_states_are_initialised() {
    check(
        "topics t:2
         shb a 0 t=t
         initialised t-0,t-1
         shb a 2
         shb a 3
         +3000
         shb b 0 t=t
         shb a 3
         shb b 4
         +1000
         shb c 0 t=t
         shb a 4
         share
         list
         crash
         share
         shb a 5",
        expect![[r#"
            topics t:2
            1 shb a 0 t=t
                [0] initialise in epoch 2: t-0 from -1, t-1 from -1
                [1] shb epoch 2 reads again in 100
            2 initialised t-0,t-1
                [2] done
            3 shb a 2
                [3] shb epoch 3 reads t-0 t-1 again in 100
            4 shb a 3
                [4] shb epoch 3 again in 100
            +3000
            5 shb b 0 t=t
                [5] shb epoch 4 reads t-1 again in 100
            6 shb a 3
                [6] shb epoch 4 reads t-0 again in 100
            7 shb b 4
                [7] shb epoch 4 again in 100
            +1000
            8 shb c 0 t=t
                [8] shb epoch 5 reads t-0 again in 100
            9 shb a 4
                [9] shb epoch 5 reads t-0 t-1 again in 100
            10 share
                [10] share ok Stable epoch 5 of 5
                    a epoch 5 has t-0 t-1
                    b epoch 4 has t-1
                    c epoch 5 has t-0
            11 list
                [11] list g Stable 'share'
            crash
            12 share
                [12] share ok Stable epoch 5 of 5
                    a epoch 5 has t-0 t-1
                    b epoch 4 has t-1
                    c epoch 5 has t-0
            13 shb a 5
                [13] shb epoch 5 again in 100
        "#]],
    );
}

#[test]
fn what_cannot_be_initialised_is_tried_again() {
    check(
        "topics t:1
         shb a 0 t=t
         failed t-0
         shb a 2
         shb a 2
         +31000
         shb a 2
         crash
         shb a 2
         initialised t-0
         shb a 2",
        expect![[r#"
            topics t:1
            1 shb a 0 t=t
                [0] initialise in epoch 2: t-0 from -1
                [1] shb epoch 2 reads again in 100
            2 failed t-0
                [2] done
            3 shb a 2
                [0] initialise in epoch 2: t-0 from -1
                [3] shb epoch 2 again in 5000
            4 shb a 2
                [4] shb epoch 2 again in 5000
            +31000
            5 shb a 2
                [0] initialise in epoch 2: t-0 from -1
                [5] shb epoch 2 again in 5000
            crash
            6 shb a 2
                [0] initialise in epoch 2: t-0 from -1
                [6] shb epoch 2 again in 100
            7 initialised t-0
                [7] done
            8 shb a 2
                [8] shb epoch 3 reads t-0 again in 100
        "#]],
    );
}

#[test]
fn partitions_that_are_added_begin_with_their_first_record() {
    check(
        "topics t:1
         shb a 0 t=t
         initialised t-0
         shb a 2
         topics t:2
         shb a 3
         initialised t-1
         +1000
         shb a 3
         topics
         +1000
         shb a 4
         share",
        expect![[r#"
            topics t:1
            1 shb a 0 t=t
                [0] initialise in epoch 2: t-0 from -1
                [1] shb epoch 2 reads again in 100
            2 initialised t-0
                [2] done
            3 shb a 2
                [3] shb epoch 3 reads t-0 again in 100
            topics t:2
            4 shb a 3
                [0] initialise in epoch 4: t-1 from 0
                [4] shb epoch 3 again in 100
            5 initialised t-1
                [5] done
            +1000
            6 shb a 3
                [6] shb epoch 4 reads t-0 t-1 again in 100
            topics
            +1000
            7 shb a 4
                [7] shb epoch 5 reads again in 5000
            8 share
                [8] share ok Stable epoch 5 of 5
                    a epoch 5 has
        "#]],
    );
}

#[test]
fn who_is_silent_or_leaves_a_share_group_is_missed() {
    check(
        "topics t:2
         shb a 0 t=t
         initialised t-0,t-1
         shb a 2
         +2000
         shb b 0 t=t
         +44000
         shb b 4
         +2000
         shb b 4
         shb a 3
         shb b -1
         shb b -1
         share
         delete
         share",
        expect![[r#"
            topics t:2
            1 shb a 0 t=t
                [0] initialise in epoch 2: t-0 from -1, t-1 from -1
                [1] shb epoch 2 reads again in 100
            2 initialised t-0,t-1
                [2] done
            3 shb a 2
                [3] shb epoch 3 reads t-0 t-1 again in 100
            +2000
            4 shb b 0 t=t
                [4] shb epoch 4 reads t-1 again in 100
            +44000
            5 shb b 4
                [5] shb epoch 5 reads t-0 t-1 again in 100
            +2000
            6 shb b 4
                [6] shb epoch 5 again in 100
            7 shb a 3
                [7] shb UNKNOWN_MEMBER_ID
            8 shb b -1
                [8] shb epoch -1 again in 0
            9 shb b -1
                [9] shb UNKNOWN_MEMBER_ID
            10 share
                [10] share ok Empty epoch 6 of 6
            11 delete
                [11] delete ok
            12 share
                [12] share GROUP_ID_NOT_FOUND  epoch 0 of 0
        "#]],
    );
}

#[test]
fn what_is_wrong_with_a_heartbeat_of_a_share_group_is_told() {
    check(
        "topics t:1
         shb a 1
         shb a -1
         shb a -2 t=t
         shb a 0
         shb a 0 t=none
         shb 1234567890123456789012345678901234567 0 t=t
         shb a 0 t=t
         shb a 9
         shb a 1
         shb a 2
         shb b 2
         hb x 0 t=t
         join
         share group=other
         consumer",
        expect![[r#"
            topics t:1
            1 shb a 1
                [1] shb UNKNOWN_MEMBER_ID
            2 shb a -1
                [2] shb GROUP_ID_NOT_FOUND
            3 shb a -2 t=t
                [3] shb INVALID_REQUEST
            4 shb a 0
                [4] shb INVALID_REQUEST
            5 shb a 0 t=none
                [5] shb INVALID_REQUEST
            6 shb 1234567890123456789012345678901234567 0 t=t
                [6] shb INVALID_REQUEST
            7 shb a 0 t=t
                [0] initialise in epoch 2: t-0 from -1
                [7] shb epoch 2 reads again in 100
            8 shb a 9
                [8] shb FENCED_MEMBER_EPOCH
            9 shb a 1
                [9] shb FENCED_MEMBER_EPOCH
            10 shb a 2
                [10] shb epoch 2 again in 100
            11 shb b 2
                [11] shb UNKNOWN_MEMBER_ID
            12 hb x 0 t=t
                [12] hb GROUP_ID_NOT_FOUND
            13 join
                [13] join INCONSISTENT_GROUP_PROTOCOL as ''
            14 share group=other
                [14] share GROUP_ID_NOT_FOUND  epoch 0 of 0
            15 consumer
                [15] consumer GROUP_ID_NOT_FOUND  epoch 0 of 0 by 
        "#]],
    );
}

#[test]
fn a_group_of_another_kind_is_no_share_group() {
    check(
        "topics t:1
         hb a 0 t=t
         shb b 0 t=t
         share",
        expect![[r#"
            topics t:1
            1 hb a 0 t=t
                [1] hb epoch 2 reads t-0
            2 shb b 0 t=t
                [2] shb GROUP_ID_NOT_FOUND
            3 share
                [3] share GROUP_ID_NOT_FOUND  epoch 0 of 0
        "#]],
    );
}

#[test]
fn there_are_no_more_members_than_may_be() {
    let mut settings = GroupSettings::default();
    settings.share.members_max = 2;
    check_with(
        settings,
        "topics t:1
         shb a 0 t=t
         shb b 0 t=t
         shb c 0 t=t
         shb b 0 t=t
         shb b -1
         shb c 0 t=t",
        expect![[r#"
            topics t:1
            1 shb a 0 t=t
                [0] initialise in epoch 2: t-0 from -1
                [1] shb epoch 2 reads again in 100
            2 shb b 0 t=t
                [2] shb epoch 3 reads again in 100
            3 shb c 0 t=t
                [3] shb GROUP_MAX_SIZE_REACHED
            4 shb b 0 t=t
                [4] shb epoch 3 reads again in 100
            5 shb b -1
                [5] shb epoch -1 again in 0
            6 shb c 0 t=t
                [6] shb epoch 5 reads again in 100
        "#]],
    );
}

#[test]
fn an_administrator_has_a_group_begin_elsewhere_and_forget() {
    check(
        "topics t:2,u:1
         begin t-0=5
         initialised t-0
         share
         shb a 0 t=t+u
         begin t-0=7
         forget-share t
         initialised t-1,u-0
         shb a 3
         shb a -1
         begin u-0=3
         initialised u-0
         forget-share t
         forget-share t done
         crash
         shb a 0 t=t
         delete",
        expect![[r#"
            topics t:2,u:1
            1 begin t-0=5
                [1] initialise in epoch 1: t-0 from 5
            2 initialised t-0
                [2] done
            3 share
                [3] share ok Empty epoch 1 of 1
            4 shb a 0 t=t+u
                [0] initialise in epoch 2: t-1 from 0, u-0 from -1
                [4] shb epoch 2 reads t-0 again in 100
            5 begin t-0=7
                [5] refused NON_EMPTY_GROUP
            6 forget-share t
                [6] refused NON_EMPTY_GROUP
            7 initialised t-1,u-0
                [7] done
            8 shb a 3
                [8] shb FENCED_MEMBER_EPOCH
            9 shb a -1
                [9] shb epoch -1 again in 0
            10 begin u-0=3
                [10] initialise in epoch 4: u-0 from 3
            11 initialised u-0
                [11] done
            12 forget-share t
                [12] done
            13 forget-share t done
                [13] done
            crash
            14 shb a 0 t=t
                [0] initialise in epoch 5: t-0 from -1, t-1 from -1
                [14] shb epoch 5 reads again in 100
            15 delete
                [15] delete NON_EMPTY_GROUP
        "#]],
    );
}

/// A broker that stops between the two steps of a deletion, or a share coordinator that refuses one of the states.
#[test]
fn a_deletion_that_does_not_come_to_its_end_leaves_no_silent_group() {
    check(
        "topics t:2
         shb a 0 t=t
         initialised t-0,t-1
         shb a -1
         forget-share t
         crash
         shb a 0 t=t
         forget-share t done
         initialised t-0,t-1
         shb a 4
         share",
        expect![[r#"
            topics t:2
            1 shb a 0 t=t
                [0] initialise in epoch 2: t-0 from -1, t-1 from -1
                [1] shb epoch 2 reads again in 100
            2 initialised t-0,t-1
                [2] done
            3 shb a -1
                [3] shb epoch -1 again in 0
            4 forget-share t
                [4] done
            crash
            5 shb a 0 t=t
                [0] initialise in epoch 4: t-0 from -1 anew, t-1 from -1 anew
                [5] shb epoch 4 reads again in 100
            6 forget-share t done
                [6] done
            7 initialised t-0,t-1
                [7] done
            8 shb a 4
                [8] shb epoch 5 reads t-0 t-1 again in 100
            9 share
                [9] share ok Stable epoch 5 of 5
                    a epoch 5 has t-0 t-1
        "#]],
    );
}

#[test]
fn what_an_administrator_begins_anew_amid_a_deletion_stays() {
    check(
        "topics t:2
         begin t-0=5,t-1=5
         initialised t-0,t-1
         forget-share t
         begin t-1=7
         forget-share t done
         initialised t-1
         shb a 0 t=t",
        expect![[r#"
            topics t:2
            1 begin t-0=5,t-1=5
                [1] initialise in epoch 1: t-0 from 5, t-1 from 5
            2 initialised t-0,t-1
                [2] done
            3 forget-share t
                [3] done
            4 begin t-1=7
                [4] initialise in epoch 2: t-1 from 7
            5 forget-share t done
                [5] done
            6 initialised t-1
                [6] done
            7 shb a 0 t=t
                [0] initialise in epoch 3: t-0 from -1
                [7] shb epoch 3 reads t-1 again in 100
        "#]],
    );
}

#[test]
fn a_partition_whose_first_initialisation_failed_is_none_that_was_added() {
    check(
        "topics t:3
         shb a 0 t=t
         initialised t-0,t-2
         failed t-1
         topics t:4
         shb a 2
         failed t-3
         initialised t-1
         shb a 3
         topics t:5
         shb a 3",
        expect![[r#"
            topics t:3
            1 shb a 0 t=t
                [0] initialise in epoch 2: t-0 from -1, t-1 from -1, t-2 from -1
                [1] shb epoch 2 reads again in 100
            2 initialised t-0,t-2
                [2] done
            3 failed t-1
                [3] done
            topics t:4
            4 shb a 2
                [0] initialise in epoch 3: t-1 from -1, t-3 from 0
                [4] shb epoch 3 reads t-0 t-2 again in 100
            5 failed t-3
                [5] done
            6 initialised t-1
                [6] done
            7 shb a 3
                [0] initialise in epoch 4: t-3 from 0
                [7] shb epoch 3 again in 100
            topics t:5
            8 shb a 3
                [0] initialise in epoch 5: t-4 from 0
                [8] shb epoch 3 again in 100
        "#]],
    );
}

#[test]
fn partitions_of_share_groups_take_no_more_memory_than_members_may() {
    let memory = Memory::new(8_000);
    let settings = GroupSettings {
        memory: Arc::clone(&memory),
        ..GroupSettings::default()
    };
    check_with(
        settings,
        "topics t:1000
         shb a 0 t=t
         shb b 0 t=t
         shb c 0 t=t
         shb d 0 t=t
         shb e 0 t=t
         share",
        expect![[r#"
            topics t:1000
            1 shb a 0 t=t
                [1] shb epoch 2 reads again in 5000
            2 shb b 0 t=t
                [2] shb epoch 3 reads again in 100
            3 shb c 0 t=t
                [3] shb epoch 4 reads again in 100
            4 shb d 0 t=t
                [4] shb epoch 5 reads again in 100
            5 shb e 0 t=t
                [5] shb COORDINATOR_NOT_AVAILABLE
            6 share
                [6] share ok Stable epoch 5 of 5
                    a epoch 2 has
                    b epoch 3 has
                    c epoch 4 has
                    d epoch 5 has
        "#]],
    );
}
