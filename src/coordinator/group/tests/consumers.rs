//! Groups of the consumer protocol.

use expect_test::expect;

use super::*;

#[test]
fn members_share_the_partitions_of_their_topics() {
    check(
        "topics t:4
         hb a 0 t=t
         hb a 2
         +1000
         hb b 0 t=t
         hb a 2
         hb a 2 own=t-0,t-1
         hb b 3
         hb b 3
         consumer
         list
         describe
         crash
         consumer
         hb a 3",
        expect![[r#"
            topics t:4
            1 hb a 0 t=t
                [1] hb epoch 2 reads t-0 t-1 t-2 t-3
            2 hb a 2
                [2] hb epoch 2
            +1000
            3 hb b 0 t=t
                [3] hb epoch 3 reads
            4 hb a 2
                [4] hb epoch 2 reads t-0 t-1
            5 hb a 2 own=t-0,t-1
                [5] hb epoch 3
            6 hb b 3
                [6] hb epoch 3 reads t-2 t-3
            7 hb b 3
                [7] hb epoch 3
            8 consumer
                [8] consumer ok Stable epoch 3 of 3 by uniform
                    a epoch 3 has t-0 t-1
                    b epoch 3 has t-2 t-3
            9 list
                [9] list g Stable 'consumer'
            10 describe
                [10] describe GROUP_ID_NOT_FOUND Dead '' ''
            crash
            11 consumer
                [11] consumer ok Stable epoch 3 of 3 by uniform
                    a epoch 3 has t-0 t-1
                    b epoch 3 has t-2 t-3
            12 hb a 3
                [12] hb epoch 3
        "#]],
    );
}

#[test]
fn who_is_silent_or_leaves_is_missed() {
    check(
        "topics t:2
         hb a 0 t=t
         +1000
         hb b 0 t=t
         hb a 2 own=t-0
         hb b 3
         +40000
         hb b 3
         +10000
         hb a 3
         hb b 3
         hb b -1
         consumer
         hb b 4
         +60000
         consumer
         delete",
        expect![[r#"
            topics t:2
            1 hb a 0 t=t
                [1] hb epoch 2 reads t-0 t-1
            +1000
            2 hb b 0 t=t
                [2] hb epoch 3 reads
            3 hb a 2 own=t-0
                [3] hb epoch 3 reads t-0
            4 hb b 3
                [4] hb epoch 3 reads t-1
            +40000
            5 hb b 3
                [5] hb epoch 3
            +10000
            6 hb a 3
                [6] hb UNKNOWN_MEMBER_ID
            7 hb b 3
                [7] hb epoch 4 reads t-0 t-1
            8 hb b -1
                [8] hb epoch -1
            9 consumer
                [9] consumer ok Empty epoch 5 of 5 by uniform
            10 hb b 4
                [10] hb UNKNOWN_MEMBER_ID
            +60000
            11 consumer
                [11] consumer ok Empty epoch 5 of 5 by uniform
            12 delete
                [12] delete ok
        "#]],
    );
}

#[test]
fn what_is_wrong_with_a_heartbeat_is_told() {
    check(
        "topics t:2
         hb a 1
         hb a -1
         hb a 0
         hb a 0 t=t by=sticky
         hb a 0 re=a**
         hb a 0 t=t
         hb a 1
         hb a 3
         hb a -2
         hb a -3
         hb b 2
         hb a 0 t=t own=t-0
         join id=
         describe v=5
         commit t-0=1
         commit t-0=1 id=a gen=2
         commit t-0=1 id=a gen=3
         commit t-0=1 id=a gen=2 v=8
         commit t-0=1 id=b gen=2",
        expect![[r#"
            topics t:2
            1 hb a 1
                [1] hb UNKNOWN_MEMBER_ID
            2 hb a -1
                [2] hb GROUP_ID_NOT_FOUND
            3 hb a 0
                [3] hb INVALID_REQUEST
            4 hb a 0 t=t by=sticky
                [4] hb UNSUPPORTED_ASSIGNOR
            5 hb a 0 re=a**
                [5] hb INVALID_REGULAR_EXPRESSION
            6 hb a 0 t=t
                [6] hb epoch 2 reads t-0 t-1
            7 hb a 1
                [7] hb FENCED_MEMBER_EPOCH
            8 hb a 3
                [8] hb FENCED_MEMBER_EPOCH
            9 hb a -2
                [9] hb INVALID_REQUEST
            10 hb a -3
                [10] hb INVALID_REQUEST
            11 hb b 2
                [11] hb UNKNOWN_MEMBER_ID
            12 hb a 0 t=t own=t-0
                [12] hb INVALID_REQUEST
            13 join id=
                [13] join MEMBER_ID_REQUIRED as 'AQEBAQEBAQEBAQEBAQEBAQ'
            14 describe v=5
                [14] describe ok Dead '' ''
            15 commit t-0=1
                [15] commit UNKNOWN_MEMBER_ID
            16 commit t-0=1 id=a gen=2
                [16] commit ok
            17 commit t-0=1 id=a gen=3
                [17] commit STALE_MEMBER_EPOCH
            18 commit t-0=1 id=a gen=2 v=8
                [18] commit UNSUPPORTED_VERSION
            19 commit t-0=1 id=b gen=2
                [19] commit UNKNOWN_MEMBER_ID
        "#]],
    );
}

#[test]
fn static_members_come_back_to_what_they_had() {
    check(
        "topics t:2
         hb a 0 t=t inst=1
         +1000
         hb b 0 t=t inst=2
         hb a 2 own=t-0 inst=1
         hb b 3 inst=2
         hb c 0 t=t inst=1
         hb a -2 inst=1
         consumer
         hb c 0 t=t inst=1
         hb a 3 inst=1
         consumer
         +30000
         hb c 3 inst=1
         +30000
         consumer",
        expect![[r#"
            topics t:2
            1 hb a 0 t=t inst=1
                [1] hb epoch 2 reads t-0 t-1
            +1000
            2 hb b 0 t=t inst=2
                [2] hb epoch 3 reads
            3 hb a 2 own=t-0 inst=1
                [3] hb epoch 3 reads t-0
            4 hb b 3 inst=2
                [4] hb epoch 3 reads t-1
            5 hb c 0 t=t inst=1
                [5] hb UNRELEASED_INSTANCE_ID
            6 hb a -2 inst=1
                [6] hb epoch -2
            7 consumer
                [7] consumer ok Reconciling epoch 3 of 3 by uniform
                    a epoch -2 has t-0
                    b epoch 3 has t-1
            8 hb c 0 t=t inst=1
                [8] hb epoch 3 reads t-0
            9 hb a 3 inst=1
                [9] hb FENCED_INSTANCE_ID
            10 consumer
                [10] consumer ok Stable epoch 3 of 3 by uniform
                    b epoch 3 has t-1
                    c epoch 3 has t-0
            +30000
            11 hb c 3 inst=1
                [11] hb epoch 3
            +30000
            12 consumer
                [12] consumer ok Assigning epoch 3 of 4 by uniform
                    c epoch 3 has t-0
        "#]],
    );
}

#[test]
fn topics_that_change_are_noticed_at_the_next_heartbeat() {
    check(
        "topics t:1
         hb a 0 t=t+u
         hb a 2
         topics t:2
         hb a 2
         +1000
         hb a 2
         topics t:2,u:1
         +1000
         hb a 3
         topics u:1
         +1000
         hb a 4
         hb a 5",
        expect![[r#"
            topics t:1
            1 hb a 0 t=t+u
                [1] hb epoch 2 reads t-0
            2 hb a 2
                [2] hb epoch 2
            topics t:2
            3 hb a 2
                [3] hb epoch 2
            +1000
            4 hb a 2
                [4] hb epoch 3 reads t-0 t-1
            topics t:2,u:1
            +1000
            5 hb a 3
                [5] hb epoch 4 reads t-0 t-1 u-0
            topics u:1
            +1000
            6 hb a 4
                [6] hb epoch 4 reads u-0
            7 hb a 5
                [7] hb FENCED_MEMBER_EPOCH
        "#]],
    );
}

#[test]
fn a_group_without_members_changes_its_protocol() {
    check(
        "topics t:1
         commit t-0=7
         list
         hb a 0 t=t
         list
         fetch t-0
         join
         hb a -1
         list
         join v=3
         +3000
         list
         fetch t-0
         hb a 0 t=t",
        expect![[r#"
            topics t:1
            1 commit t-0=7
                [1] commit ok
            2 list
                [2] list g Empty ''
            3 hb a 0 t=t
                [3] hb epoch 2 reads t-0
            4 list
                [4] list g Stable 'consumer'
            5 fetch t-0
                [5] fetch t-0=7
            6 join
                [6] join MEMBER_ID_REQUIRED as 'AQEBAQEBAQEBAQEBAQEBAQ'
            7 hb a -1
                [7] hb epoch -1
            8 list
                [8] list g Empty 'consumer'
            9 join v=3
            +3000
                [9] join ok as c#2, generation 1, range of consumer, leader c#2, members c#2
            10 list
                [10] list g CompletingRebalance 'consumer'
            11 fetch t-0
                [11] fetch t-0=7
            12 hb a 0 t=t
                [12] hb epoch 2 reads t-0
        "#]],
    );
}
