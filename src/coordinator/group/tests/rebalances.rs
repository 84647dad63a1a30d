//! Rebalances of classic groups: members that rejoin, ask again, or leave.

use expect_test::expect;

use super::check;

#[test]
fn a_second_member_makes_the_first_come_again() {
    check(
        r"
        join
        join id=c#1
        +3000
        sync c#1 1 a=c#1:one
        join
        join id=c#3
        beat c#1 1
        join id=c#1
        sync c#1 2 a=c#1:one,c#3:two
        sync c#3 2
        beat c#1 2
        beat c#3 2
        beat c#3 1
        describe
        ",
        expect![[r#"
            1 join
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            2 join id=c#1
            +3000
                [2] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            3 sync c#1 1 a=c#1:one
                [3] sync ok 'one'
            4 join
                [4] join MEMBER_ID_REQUIRED as 'c#3'
            5 join id=c#3
            6 beat c#1 1
                [6] beat REBALANCE_IN_PROGRESS
            7 join id=c#1
                [7] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1 c#3
                [5] join ok as c#3, generation 2, range of consumer, leader c#1
            8 sync c#1 2 a=c#1:one,c#3:two
                [8] sync ok 'one'
            9 sync c#3 2
                [9] sync ok 'two'
            10 beat c#1 2
                [10] beat ok
            11 beat c#3 2
                [11] beat ok
            12 beat c#3 1
                [12] beat ILLEGAL_GENERATION
            13 describe
                [13] describe ok Stable 'consumer' 'range' c#1='one' c#3='two'
        "#]],
    );
}

#[test]
fn a_follower_that_asks_again_moves_nobody_a_leader_does() {
    check(
        r"
        join
        join id=c#1
        +3000
        sync c#1 1 a=c#1:one
        join
        join id=c#3
        beat c#1 1
        join id=c#1
        sync c#1 2 a=c#1:one,c#3:two
        sync c#3 2
        join id=c#3
        beat c#1 2
        join id=c#1
        beat c#3 2
        join id=c#3
        ",
        expect![[r#"
            1 join
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            2 join id=c#1
            +3000
                [2] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            3 sync c#1 1 a=c#1:one
                [3] sync ok 'one'
            4 join
                [4] join MEMBER_ID_REQUIRED as 'c#3'
            5 join id=c#3
            6 beat c#1 1
                [6] beat REBALANCE_IN_PROGRESS
            7 join id=c#1
                [7] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1 c#3
                [5] join ok as c#3, generation 2, range of consumer, leader c#1
            8 sync c#1 2 a=c#1:one,c#3:two
                [8] sync ok 'one'
            9 sync c#3 2
                [9] sync ok 'two'
            10 join id=c#3
                [10] join ok as c#3, generation 2, range of consumer, leader c#1
            11 beat c#1 2
                [11] beat ok
            12 join id=c#1
            13 beat c#3 2
                [13] beat REBALANCE_IN_PROGRESS
            14 join id=c#3
                [12] join ok as c#1, generation 3, range of consumer, leader c#1, members c#1 c#3
                [14] join ok as c#3, generation 3, range of consumer, leader c#1
        "#]],
    );
}

#[test]
fn changed_metadata_is_a_rebalance() {
    check(
        r"
        join
        join id=c#1
        +3000
        sync c#1 1 a=c#1:one
        join
        join id=c#3
        beat c#1 1
        join id=c#1
        sync c#1 2 a=c#1:one,c#3:two
        sync c#3 2
        join id=c#3 p=range:t+u
        beat c#1 2
        ",
        expect![[r#"
            1 join
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            2 join id=c#1
            +3000
                [2] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            3 sync c#1 1 a=c#1:one
                [3] sync ok 'one'
            4 join
                [4] join MEMBER_ID_REQUIRED as 'c#3'
            5 join id=c#3
            6 beat c#1 1
                [6] beat REBALANCE_IN_PROGRESS
            7 join id=c#1
                [7] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1 c#3
                [5] join ok as c#3, generation 2, range of consumer, leader c#1
            8 sync c#1 2 a=c#1:one,c#3:two
                [8] sync ok 'one'
            9 sync c#3 2
                [9] sync ok 'two'
            10 join id=c#3 p=range:t+u
            11 beat c#1 2
                [11] beat REBALANCE_IN_PROGRESS
        "#]],
    );
}

#[test]
fn a_lost_join_answer_is_given_again() {
    check(
        r"
        join
        join id=c#1
        +3000
        sync c#1 1 a=c#1:one
        join
        join id=c#3
        beat c#1 1
        join id=c#1
        join id=c#1
        join id=c#3
        sync c#3 2
        join id=c#3 p=range:u
        join id=c#1
        ",
        expect![[r#"
            1 join
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            2 join id=c#1
            +3000
                [2] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            3 sync c#1 1 a=c#1:one
                [3] sync ok 'one'
            4 join
                [4] join MEMBER_ID_REQUIRED as 'c#3'
            5 join id=c#3
            6 beat c#1 1
                [6] beat REBALANCE_IN_PROGRESS
            7 join id=c#1
                [7] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1 c#3
                [5] join ok as c#3, generation 2, range of consumer, leader c#1
            8 join id=c#1
                [8] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1 c#3
            9 join id=c#3
                [9] join ok as c#3, generation 2, range of consumer, leader c#1
            10 sync c#3 2
            11 join id=c#3 p=range:u
                [10] sync REBALANCE_IN_PROGRESS
            12 join id=c#1
                [12] join ok as c#1, generation 3, range of consumer, leader c#1, members c#1 c#3
                [11] join ok as c#3, generation 3, range of consumer, leader c#1
        "#]],
    );
}

#[test]
fn who_does_not_come_back_in_time_is_out() {
    check(
        r"
        join
        join id=c#1
        +3000
        sync c#1 1 a=c#1:one
        join
        join id=c#3
        beat c#1 1
        join id=c#1
        sync c#1 2 a=c#1:one,c#3:two
        sync c#3 2
        join
        join id=c#6
        +9000
        beat c#1 2
        beat c#3 2
        join id=c#3
        +9000
        beat c#1 2
        +9000
        beat c#1 2
        +9000
        beat c#1 2
        +9000
        beat c#1 2
        +9000
        beat c#1 2
        +9000
        ",
        expect![[r#"
            1 join
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            2 join id=c#1
            +3000
                [2] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            3 sync c#1 1 a=c#1:one
                [3] sync ok 'one'
            4 join
                [4] join MEMBER_ID_REQUIRED as 'c#3'
            5 join id=c#3
            6 beat c#1 1
                [6] beat REBALANCE_IN_PROGRESS
            7 join id=c#1
                [7] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1 c#3
                [5] join ok as c#3, generation 2, range of consumer, leader c#1
            8 sync c#1 2 a=c#1:one,c#3:two
                [8] sync ok 'one'
            9 sync c#3 2
                [9] sync ok 'two'
            10 join
                [10] join MEMBER_ID_REQUIRED as 'c#6'
            11 join id=c#6
            +9000
            12 beat c#1 2
                [12] beat REBALANCE_IN_PROGRESS
            13 beat c#3 2
                [13] beat REBALANCE_IN_PROGRESS
            14 join id=c#3
            +9000
            15 beat c#1 2
                [15] beat REBALANCE_IN_PROGRESS
            +9000
            16 beat c#1 2
                [16] beat REBALANCE_IN_PROGRESS
            +9000
            17 beat c#1 2
                [17] beat REBALANCE_IN_PROGRESS
            +9000
            18 beat c#1 2
                [18] beat REBALANCE_IN_PROGRESS
            +9000
            19 beat c#1 2
                [19] beat REBALANCE_IN_PROGRESS
            +9000
                [14] join ok as c#3, generation 3, range of consumer, leader c#3, members c#3 c#6
                [11] join ok as c#6, generation 3, range of consumer, leader c#3
        "#]],
    );
}

#[test]
fn leaving_is_a_rebalance_for_the_rest_and_the_end_for_the_last() {
    check(
        r"
        join
        join id=c#1
        +3000
        sync c#1 1 a=c#1:one
        join
        join id=c#3
        beat c#1 1
        join id=c#1
        sync c#1 2 a=c#1:one,c#3:two
        sync c#3 2
        leave c#1
        beat c#3 2
        join id=c#3
        sync c#3 3 a=c#3:all
        leave c#3 c#3 ghost
        describe
        list state=empty
        list state=STABLE
        list type=classic
        list type=consumer
        ",
        expect![[r#"
            1 join
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            2 join id=c#1
            +3000
                [2] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            3 sync c#1 1 a=c#1:one
                [3] sync ok 'one'
            4 join
                [4] join MEMBER_ID_REQUIRED as 'c#3'
            5 join id=c#3
            6 beat c#1 1
                [6] beat REBALANCE_IN_PROGRESS
            7 join id=c#1
                [7] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1 c#3
                [5] join ok as c#3, generation 2, range of consumer, leader c#1
            8 sync c#1 2 a=c#1:one,c#3:two
                [8] sync ok 'one'
            9 sync c#3 2
                [9] sync ok 'two'
            10 leave c#1
                [10] leave ok ok
            11 beat c#3 2
                [11] beat REBALANCE_IN_PROGRESS
            12 join id=c#3
                [12] join ok as c#3, generation 3, range of consumer, leader c#3, members c#3
            13 sync c#3 3 a=c#3:all
                [13] sync ok 'all'
            14 leave c#3 c#3 ghost
                [14] leave ok ok UNKNOWN_MEMBER_ID UNKNOWN_MEMBER_ID
            15 describe
                [15] describe ok Empty 'consumer' ''
            16 list state=empty
                [16] list g Empty 'consumer'
            17 list state=STABLE
                [17] list 
            18 list type=classic
                [18] list g Empty 'consumer'
            19 list type=consumer
                [19] list 
        "#]],
    );
}

#[test]
fn leaving_a_group_that_is_not_there() {
    check(
        r"
        leave x
        leave x group=
        ",
        expect![[r#"
            1 leave x
                [1] leave ok UNKNOWN_MEMBER_ID
            2 leave x group=
                [2] leave INVALID_GROUP_ID 
        "#]],
    );
}

#[test]
fn a_pending_member_may_leave() {
    check(
        r"
        join
        leave c#1
        join id=c#1
        ",
        expect![[r#"
            1 join
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            2 leave c#1
                [2] leave ok ok
            3 join id=c#1
                [3] join UNKNOWN_MEMBER_ID as 'c#1'
        "#]],
    );
}
