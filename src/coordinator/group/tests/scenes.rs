//! The rules of classic groups and of their offsets, one scene each.

use expect_test::expect;

use super::{check, check_with};
use crate::coordinator::group::settings::GroupSettings;

#[test]
fn a_member_is_given_an_id_and_comes_again() {
    check(
        r"
        join
        join id=c#1
        +2999
        +1
        sync c#1 1 a=c#1:p0
        beat c#1 1
        describe
        list
        ",
        expect![[r#"
            1 join
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            2 join id=c#1
            +2999
            +1
                [2] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            3 sync c#1 1 a=c#1:p0
                [3] sync ok 'p0'
            4 beat c#1 1
                [4] beat ok
            5 describe
                [5] describe ok Stable 'consumer' 'range' c#1='p0'
            6 list
                [6] list g Stable 'consumer'
        "#]],
    );
}

#[test]
fn old_clients_join_without_an_id() {
    check(
        r"
        join v=3
        +3000
        describe
        ",
        expect![[r#"
            1 join v=3
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            2 describe
                [2] describe ok CompletingRebalance 'consumer' '' c#1=''
        "#]],
    );
}

#[test]
fn nobody_joins_under_an_unknown_id() {
    check(
        r"
        join id=ghost
        join
        join id=ghost
        ",
        expect![[r#"
            1 join id=ghost
                [1] join UNKNOWN_MEMBER_ID as 'ghost'
            2 join
                [2] join MEMBER_ID_REQUIRED as 'c#2'
            3 join id=ghost
                [3] join UNKNOWN_MEMBER_ID as 'ghost'
        "#]],
    );
}

#[test]
fn bad_requests_are_refused() {
    check(
        r"
        join group= 
        join s=5999
        join s=1800001
        join type= 
        join p= 
        join v=3
        join v=3 type=connect
        join v=3 p=rr:t
        sync c#6 1 group=
        beat x 1 group=
        beat x 1
        ",
        expect![[r#"
            1 join group=
                [1] join INVALID_GROUP_ID as ''
            2 join s=5999
                [2] join INVALID_SESSION_TIMEOUT as ''
            3 join s=1800001
                [3] join INVALID_SESSION_TIMEOUT as ''
            4 join type=
                [4] join INCONSISTENT_GROUP_PROTOCOL as ''
            5 join p=
                [5] join INCONSISTENT_GROUP_PROTOCOL as ''
            6 join v=3
            7 join v=3 type=connect
                [7] join INCONSISTENT_GROUP_PROTOCOL as ''
            8 join v=3 p=rr:t
                [8] join INCONSISTENT_GROUP_PROTOCOL as ''
            9 sync c#6 1 group=
                [9] sync INVALID_GROUP_ID
            10 beat x 1 group=
                [10] beat INVALID_GROUP_ID
            11 beat x 1
                [11] beat UNKNOWN_MEMBER_ID
        "#]],
    );
}

#[test]
fn the_first_rebalance_waits_longer_while_members_come() {
    check(
        r"
        join v=3
        +2000
        join v=3
        +1000
        +2000
        join v=3
        +1000
        +2999
        +1
        ",
        expect![[r#"
            1 join v=3
            +2000
            2 join v=3
            +1000
            +2000
            3 join v=3
            +1000
            +2999
            +1
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1 c#2 c#3
                [2] join ok as c#2, generation 1, range of consumer, leader c#1
                [3] join ok as c#3, generation 1, range of consumer, leader c#1
        "#]],
    );
}

#[test]
fn the_first_rebalance_waits_no_longer_than_the_rebalance_timeout() {
    check(
        r"
        join v=3 r=7000
        +2900
        join v=3 r=7000
        +2900
        join v=3 r=7000
        +1200
        join v=3 r=7000
        +100
        ",
        expect![[r#"
            1 join v=3 r=7000
            +2900
            2 join v=3 r=7000
            +2900
            3 join v=3 r=7000
            +1200
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1 c#2 c#3
                [2] join ok as c#2, generation 1, range of consumer, leader c#1
                [3] join ok as c#3, generation 1, range of consumer, leader c#1
            4 join v=3 r=7000
            +100
        "#]],
    );
}

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
fn followers_wait_for_the_leaders_assignment() {
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
        sync c#3 2
        describe
        sync c#1 2 a=c#3:all
        sync c#3 2
        sync c#3 1
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
            8 sync c#3 2
            9 describe
                [9] describe ok CompletingRebalance 'consumer' '' c#1='one' c#3=''
            10 sync c#1 2 a=c#3:all
                [10] sync ok ''
                [8] sync ok 'all'
            11 sync c#3 2
                [11] sync ok 'all'
            12 sync c#3 1
                [12] sync ILLEGAL_GENERATION
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
fn silence_ends_a_session() {
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
        +6000
        beat c#1 2
        +4000
        beat c#1 2
        join id=c#1
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
            +6000
            10 beat c#1 2
                [10] beat ok
            +4000
            11 beat c#1 2
                [11] beat REBALANCE_IN_PROGRESS
            12 join id=c#1
                [12] join ok as c#1, generation 3, range of consumer, leader c#1, members c#1
            13 describe
                [13] describe ok CompletingRebalance 'consumer' '' c#1='one'
        "#]],
    );
}

#[test]
fn an_id_that_never_comes_back_expires() {
    check(
        r"
        join
        +9999
        join
        join id=c#2
        +1
        join id=c#1
        +3000
        ",
        expect![[r#"
            1 join
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            +9999
            2 join
                [2] join MEMBER_ID_REQUIRED as 'c#2'
            3 join id=c#2
            +1
            4 join id=c#1
                [4] join UNKNOWN_MEMBER_ID as 'c#1'
            +3000
                [3] join ok as c#2, generation 1, range of consumer, leader c#2, members c#2
        "#]],
    );
}

#[test]
fn a_pending_id_holds_the_rebalance_up_until_it_expires() {
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
        join s=6000
        join id=c#1
        join id=c#3
        +5000
        join
        join id=c#9
        +1000
        leave c#9
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
            10 join s=6000
                [10] join MEMBER_ID_REQUIRED as 'c#6'
            11 join id=c#1
            12 join id=c#3
            +5000
            13 join
                [13] join MEMBER_ID_REQUIRED as 'c#9'
            14 join id=c#9
            +1000
                [11] join ok as c#1, generation 3, range of consumer, leader c#1, members c#1 c#3 c#9
                [12] join ok as c#3, generation 3, range of consumer, leader c#1
                [14] join ok as c#9, generation 3, range of consumer, leader c#1
            15 leave c#9
                [15] leave ok ok
        "#]],
    );
}

#[test]
fn a_joining_member_that_waits_is_alive_a_new_one_for_five_minutes() {
    check(
        r"
        join v=3 r=600000 s=6000
        +3000
        sync c#1 1 a=c#1:x
        join v=3 r=600000 s=6000
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        beat c#1 1
        +5000
        +1000
        beat c#1 1
        ",
        expect![[r#"
            1 join v=3 r=600000 s=6000
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            2 sync c#1 1 a=c#1:x
                [2] sync ok 'x'
            3 join v=3 r=600000 s=6000
            +5000
            4 beat c#1 1
                [4] beat REBALANCE_IN_PROGRESS
            +5000
            5 beat c#1 1
                [5] beat REBALANCE_IN_PROGRESS
            +5000
            6 beat c#1 1
                [6] beat REBALANCE_IN_PROGRESS
            +5000
            7 beat c#1 1
                [7] beat REBALANCE_IN_PROGRESS
            +5000
            8 beat c#1 1
                [8] beat REBALANCE_IN_PROGRESS
            +5000
            9 beat c#1 1
                [9] beat REBALANCE_IN_PROGRESS
            +5000
            10 beat c#1 1
                [10] beat REBALANCE_IN_PROGRESS
            +5000
            11 beat c#1 1
                [11] beat REBALANCE_IN_PROGRESS
            +5000
            12 beat c#1 1
                [12] beat REBALANCE_IN_PROGRESS
            +5000
            13 beat c#1 1
                [13] beat REBALANCE_IN_PROGRESS
            +5000
            14 beat c#1 1
                [14] beat REBALANCE_IN_PROGRESS
            +5000
            15 beat c#1 1
                [15] beat REBALANCE_IN_PROGRESS
            +5000
            16 beat c#1 1
                [16] beat REBALANCE_IN_PROGRESS
            +5000
            17 beat c#1 1
                [17] beat REBALANCE_IN_PROGRESS
            +5000
            18 beat c#1 1
                [18] beat REBALANCE_IN_PROGRESS
            +5000
            19 beat c#1 1
                [19] beat REBALANCE_IN_PROGRESS
            +5000
            20 beat c#1 1
                [20] beat REBALANCE_IN_PROGRESS
            +5000
            21 beat c#1 1
                [21] beat REBALANCE_IN_PROGRESS
            +5000
            22 beat c#1 1
                [22] beat REBALANCE_IN_PROGRESS
            +5000
            23 beat c#1 1
                [23] beat REBALANCE_IN_PROGRESS
            +5000
            24 beat c#1 1
                [24] beat REBALANCE_IN_PROGRESS
            +5000
            25 beat c#1 1
                [25] beat REBALANCE_IN_PROGRESS
            +5000
            26 beat c#1 1
                [26] beat REBALANCE_IN_PROGRESS
            +5000
            27 beat c#1 1
                [27] beat REBALANCE_IN_PROGRESS
            +5000
            28 beat c#1 1
                [28] beat REBALANCE_IN_PROGRESS
            +5000
            29 beat c#1 1
                [29] beat REBALANCE_IN_PROGRESS
            +5000
            30 beat c#1 1
                [30] beat REBALANCE_IN_PROGRESS
            +5000
            31 beat c#1 1
                [31] beat REBALANCE_IN_PROGRESS
            +5000
            32 beat c#1 1
                [32] beat REBALANCE_IN_PROGRESS
            +5000
            33 beat c#1 1
                [33] beat REBALANCE_IN_PROGRESS
            +5000
            34 beat c#1 1
                [34] beat REBALANCE_IN_PROGRESS
            +5000
            35 beat c#1 1
                [35] beat REBALANCE_IN_PROGRESS
            +5000
            36 beat c#1 1
                [36] beat REBALANCE_IN_PROGRESS
            +5000
            37 beat c#1 1
                [37] beat REBALANCE_IN_PROGRESS
            +5000
            38 beat c#1 1
                [38] beat REBALANCE_IN_PROGRESS
            +5000
            39 beat c#1 1
                [39] beat REBALANCE_IN_PROGRESS
            +5000
            40 beat c#1 1
                [40] beat REBALANCE_IN_PROGRESS
            +5000
            41 beat c#1 1
                [41] beat REBALANCE_IN_PROGRESS
            +5000
            42 beat c#1 1
                [42] beat REBALANCE_IN_PROGRESS
            +5000
            43 beat c#1 1
                [43] beat REBALANCE_IN_PROGRESS
            +5000
            44 beat c#1 1
                [44] beat REBALANCE_IN_PROGRESS
            +5000
            45 beat c#1 1
                [45] beat REBALANCE_IN_PROGRESS
            +5000
            46 beat c#1 1
                [46] beat REBALANCE_IN_PROGRESS
            +5000
            47 beat c#1 1
                [47] beat REBALANCE_IN_PROGRESS
            +5000
            48 beat c#1 1
                [48] beat REBALANCE_IN_PROGRESS
            +5000
            49 beat c#1 1
                [49] beat REBALANCE_IN_PROGRESS
            +5000
            50 beat c#1 1
                [50] beat REBALANCE_IN_PROGRESS
            +5000
            51 beat c#1 1
                [51] beat REBALANCE_IN_PROGRESS
            +5000
            52 beat c#1 1
                [52] beat REBALANCE_IN_PROGRESS
            +5000
            53 beat c#1 1
                [53] beat REBALANCE_IN_PROGRESS
            +5000
            54 beat c#1 1
                [54] beat REBALANCE_IN_PROGRESS
            +5000
            55 beat c#1 1
                [55] beat REBALANCE_IN_PROGRESS
            +5000
            56 beat c#1 1
                [56] beat REBALANCE_IN_PROGRESS
            +5000
            57 beat c#1 1
                [57] beat REBALANCE_IN_PROGRESS
            +5000
            58 beat c#1 1
                [58] beat REBALANCE_IN_PROGRESS
            +5000
            59 beat c#1 1
                [59] beat REBALANCE_IN_PROGRESS
            +5000
            60 beat c#1 1
                [60] beat REBALANCE_IN_PROGRESS
            +5000
            61 beat c#1 1
                [61] beat REBALANCE_IN_PROGRESS
            +5000
            62 beat c#1 1
                [62] beat REBALANCE_IN_PROGRESS
            +5000
                [3] join UNKNOWN_MEMBER_ID as ''
            +1000
            63 beat c#1 1
                [63] beat UNKNOWN_MEMBER_ID
        "#]],
    );
}

#[test]
fn members_that_never_sync_are_removed() {
    check(
        r"
        join v=3 s=60000 r=20000
        join v=3 s=60000 r=20000
        +3000
        +3000
        sync c#1 1 a=c#1:x
        +20000
        beat c#1 1
        join id=c#1
        +20000
        ",
        expect![[r#"
            1 join v=3 s=60000 r=20000
            2 join v=3 s=60000 r=20000
            +3000
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1 c#2
                [2] join ok as c#2, generation 1, range of consumer, leader c#1
            3 sync c#1 1 a=c#1:x
                [3] sync ok 'x'
            +20000
            4 beat c#1 1
                [4] beat REBALANCE_IN_PROGRESS
            5 join id=c#1
                [5] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1
            +20000
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

#[test]
fn the_group_has_a_size() {
    check_with(
        GroupSettings {
            members_max: 2,
            ..GroupSettings::default()
        },
        r"
        join v=3
        join v=3
        join v=3
        +6000
        join
        join v=3
        ",
        expect![[r#"
            1 join v=3
            2 join v=3
            3 join v=3
                [3] join GROUP_MAX_SIZE_REACHED as ''
            +6000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1 c#2
                [2] join ok as c#2, generation 1, range of consumer, leader c#1
            4 join
                [4] join GROUP_MAX_SIZE_REACHED as ''
            5 join v=3
                [5] join GROUP_MAX_SIZE_REACHED as ''
        "#]],
    );
}

#[test]
fn most_votes_among_common_protocols() {
    check(
        r"
        join v=3 p=a:t,b:t,x:t
        join v=3 p=b:t,a:t
        join v=3 p=b:t,a:t,y:t
        +10000
        join v=3 p=x:t
        ",
        expect![[r#"
            1 join v=3 p=a:t,b:t,x:t
            2 join v=3 p=b:t,a:t
            3 join v=3 p=b:t,a:t,y:t
            +10000
                [1] join ok as c#1, generation 1, b of consumer, leader c#1, members c#1 c#2 c#3
                [2] join ok as c#2, generation 1, b of consumer, leader c#1
                [3] join ok as c#3, generation 1, b of consumer, leader c#1
            4 join v=3 p=x:t
                [4] join INCONSISTENT_GROUP_PROTOCOL as ''
        "#]],
    );
}

#[test]
fn of_equal_votes_the_one_that_kafka_takes() {
    check(
        r"
        join v=3 p=range:t,sticky:t
        join v=3 p=sticky:t,range:t
        +10000
        ",
        expect![[r#"
            1 join v=3 p=range:t,sticky:t
            2 join v=3 p=sticky:t,range:t
            +10000
                [1] join ok as c#1, generation 1, sticky of consumer, leader c#1, members c#1 c#2
                [2] join ok as c#2, generation 1, sticky of consumer, leader c#1
        "#]],
    );
}

#[test]
fn a_static_member_replaces_itself_without_a_rebalance() {
    check(
        r"
        join inst=i1
        join inst=i2
        +6000
        sync i1#1 1 inst=i1 a=i1#1:x,i2#2:y
        sync i2#2 1 inst=i2
        join inst=i2
        sync i2#3 1 inst=i2
        beat i2#2 1 inst=i2
        beat i2#2 1
        beat i2#3 1 inst=i2
        beat i2#3 1 inst=i3
        commit t-0=1 id=i2#2 inst=i2 gen=1
        join id=i2#2 inst=i2
        sync i2#2 1 inst=i2
        describe
        crash
        describe
        ",
        expect![[r#"
            1 join inst=i1
            2 join inst=i2
            +6000
                [1] join ok as i1#1, generation 1, range of consumer, leader i1#1, members i1#1 i2#2
                [2] join ok as i2#2, generation 1, range of consumer, leader i1#1
            3 sync i1#1 1 inst=i1 a=i1#1:x,i2#2:y
                [3] sync ok 'x'
            4 sync i2#2 1 inst=i2
                [4] sync ok 'y'
            5 join inst=i2
                [5] join ok as i2#3, generation 1, range of consumer, leader i1#1
            6 sync i2#3 1 inst=i2
                [6] sync ok 'y'
            7 beat i2#2 1 inst=i2
                [7] beat FENCED_INSTANCE_ID
            8 beat i2#2 1
                [8] beat UNKNOWN_MEMBER_ID
            9 beat i2#3 1 inst=i2
                [9] beat ok
            10 beat i2#3 1 inst=i3
                [10] beat UNKNOWN_MEMBER_ID
            11 commit t-0=1 id=i2#2 inst=i2 gen=1
                [11] commit FENCED_INSTANCE_ID
            12 join id=i2#2 inst=i2
                [12] join FENCED_INSTANCE_ID as 'i2#2'
            13 sync i2#2 1 inst=i2
                [13] sync FENCED_INSTANCE_ID
            14 describe
                [14] describe ok Stable 'consumer' 'range' i1#1/i1='x' i2#3/i2='y'
            crash
            15 describe
                [15] describe ok Stable 'consumer' 'range' i1#1/i1='x' i2#3/i2='y'
        "#]],
    );
}

#[test]
fn a_static_leader_that_returns_skips_the_assignment() {
    check(
        r"
        join inst=i1
        +3000
        sync i1#1 1 inst=i1 a=i1#1:x
        join inst=i1
        join inst=i1 v=8
        sync i1#3 1 inst=i1
        describe
        ",
        expect![[r#"
            1 join inst=i1
            +3000
                [1] join ok as i1#1, generation 1, range of consumer, leader i1#1, members i1#1
            2 sync i1#1 1 inst=i1 a=i1#1:x
                [2] sync ok 'x'
            3 join inst=i1
                [3] join ok as i1#2, generation 1, range of consumer, leader i1#2, members i1#2, skip
            4 join inst=i1 v=8
                [4] join ok as i1#3, generation 1, range of consumer, leader i1#2
            5 sync i1#3 1 inst=i1
                [5] sync ok 'x'
            6 describe
                [6] describe ok Stable 'consumer' 'range' i1#3/i1='x'
        "#]],
    );
}

#[test]
fn a_static_member_that_returns_with_another_protocol_rebalances() {
    check(
        r"
        join inst=i1 p=a:t,b:t
        +3000
        sync i1#1 1 inst=i1 a=i1#1:x
        join inst=i1 p=b:t
        ",
        expect![[r#"
            1 join inst=i1 p=a:t,b:t
            +3000
                [1] join ok as i1#1, generation 1, a of consumer, leader i1#1, members i1#1
            2 sync i1#1 1 inst=i1 a=i1#1:x
                [2] sync ok 'x'
            3 join inst=i1 p=b:t
                [3] join ok as i1#2, generation 2, b of consumer, leader i1#2, members i1#2
        "#]],
    );
}

#[test]
fn a_static_member_that_returns_with_other_topics() {
    check(
        r"
        join inst=i1 p=a:t
        +3000
        sync i1#1 1 inst=i1 a=i1#1:x
        join inst=i1 p=a:u
        ",
        expect![[r#"
            1 join inst=i1 p=a:t
            +3000
                [1] join ok as i1#1, generation 1, a of consumer, leader i1#1, members i1#1
            2 sync i1#1 1 inst=i1 a=i1#1:x
                [2] sync ok 'x'
            3 join inst=i1 p=a:u
                [3] join ok as i1#2, generation 1, a of consumer, leader i1#2, members i1#2, skip
        "#]],
    );
}

#[test]
fn a_static_member_that_returns_during_a_rebalance_fences_its_former_self() {
    check(
        r"
        join inst=i1
        join inst=i1
        +6000
        join inst=i1
        sync i1#2 1 inst=i1
        ",
        expect![[r#"
            1 join inst=i1
            2 join inst=i1
                [1] join FENCED_INSTANCE_ID as 'i1#1'
            +6000
                [2] join ok as i1#2, generation 1, range of consumer, leader i1#2, members i1#2
            3 join inst=i1
                [3] join ok as i1#3, generation 2, range of consumer, leader i1#3, members i1#3
            4 sync i1#2 1 inst=i1
                [4] sync FENCED_INSTANCE_ID
        "#]],
    );
}

#[test]
fn static_members_keep_their_place_until_their_session_ends() {
    check(
        r"
        join inst=i1 s=30000 r=10000
        join inst=i2 s=30000 r=10000
        +6000
        sync i1#1 1 inst=i1 a=i1#1:x
        sync i2#2 1 inst=i2
        join inst=i3 s=30000 r=10000
        +9000
        beat i1#1 1 inst=i1
        +1000
        sync i3#3 2 inst=i3 a=i3#3:z
        +20000
        beat i3#3 2 inst=i3
        ",
        expect![[r#"
            1 join inst=i1 s=30000 r=10000
            2 join inst=i2 s=30000 r=10000
            +6000
                [1] join ok as i1#1, generation 1, range of consumer, leader i1#1, members i1#1 i2#2
                [2] join ok as i2#2, generation 1, range of consumer, leader i1#1
            3 sync i1#1 1 inst=i1 a=i1#1:x
                [3] sync ok 'x'
            4 sync i2#2 1 inst=i2
                [4] sync ok ''
            5 join inst=i3 s=30000 r=10000
            +9000
            6 beat i1#1 1 inst=i1
                [6] beat REBALANCE_IN_PROGRESS
            +1000
                [5] join ok as i3#3, generation 2, range of consumer, leader i3#3, members i1#1 i2#2 i3#3
            7 sync i3#3 2 inst=i3 a=i3#3:z
                [7] sync ok 'z'
            +20000
            8 beat i3#3 2 inst=i3
                [8] beat REBALANCE_IN_PROGRESS
        "#]],
    );
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    check(
        r"
        join inst=i1
        +3000
        sync i1#1 1 inst=i1 a=i1#1:x
        leave /i2 i1#1/i2 ghost/i1 /i1
        describe
        ",
        expect![[r#"
            1 join inst=i1
            +3000
                [1] join ok as i1#1, generation 1, range of consumer, leader i1#1, members i1#1
            2 sync i1#1 1 inst=i1 a=i1#1:x
                [2] sync ok 'x'
            3 leave /i2 i1#1/i2 ghost/i1 /i1
                [3] leave ok UNKNOWN_MEMBER_ID UNKNOWN_MEMBER_ID FENCED_INSTANCE_ID ok
            4 describe
                [4] describe ok Empty 'consumer' ''
        "#]],
    );
}

#[test]
fn sync_is_checked() {
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
        sync ghost 2
        sync c#1 1
        sync c#1 2 type=connect
        sync c#1 2 p=rr
        sync c#1 2 type=consumer p=range
        leave c#3
        sync c#1 2
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
            10 sync ghost 2
                [10] sync UNKNOWN_MEMBER_ID
            11 sync c#1 1
                [11] sync ILLEGAL_GENERATION
            12 sync c#1 2 type=connect
                [12] sync INCONSISTENT_GROUP_PROTOCOL
            13 sync c#1 2 p=rr
                [13] sync INCONSISTENT_GROUP_PROTOCOL
            14 sync c#1 2 type=consumer p=range
                [14] sync ok 'one'
            15 leave c#3
                [15] leave ok ok
            16 sync c#1 2
                [16] sync REBALANCE_IN_PROGRESS
        "#]],
    );
}

#[test]
fn an_empty_assignment_for_whom_the_leader_forgot() {
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
        sync c#1 2
        sync c#3 2
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
            8 sync c#1 2
                [8] sync ok ''
            9 sync c#3 2
                [9] sync ok ''
        "#]],
    );
}

#[test]
fn an_assignment_too_large_for_a_record_is_an_error() {
    let script = format!(
        "join\njoin id=c#1\n+3000\nsync c#1 1 a=c#1:{}\ndescribe",
        "x".repeat(100_000)
    );
    let mut stage = super::Stage::new(GroupSettings::default());
    let mut told = String::new();
    for line in script.lines() {
        for (_, answer) in super::act(&mut stage, line) {
            told += &super::short_ids(&super::describe(&answer));
            told.push('\n');
        }
    }
    expect![[r#"
        join MEMBER_ID_REQUIRED as 'c#1'
        join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
        sync UNKNOWN_SERVER_ERROR
        describe ok PreparingRebalance 'consumer' '' c#1=''
    "#]]
    .assert_eq(&told);
}

#[test]
fn a_crash_forgets_the_rebalance_and_keeps_the_generation() {
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
        crash
        describe
        beat c#1 2
        sync c#3 2
        +10000
        describe
        crash
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
            10 leave c#1
                [10] leave ok ok
            crash
            11 describe
                [11] describe ok Stable 'consumer' 'range' c#1='one' c#3='two'
            12 beat c#1 2
                [12] beat ok
            13 sync c#3 2
                [13] sync ok 'two'
            +10000
            14 describe
                [14] describe ok Empty 'consumer' ''
            crash
            15 describe
                [15] describe ok Empty 'consumer' ''
        "#]],
    );
}

#[test]
fn a_group_that_is_too_large_after_a_crash_meets_again() {
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
        max 1
        crash
        describe
        join id=c#3
        join id=c#1
        +60000
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
            max 1
            crash
            10 describe
                [10] describe ok PreparingRebalance 'consumer' '' c#1='one' c#3='two'
            11 join id=c#3
            12 join id=c#1
                [12] join GROUP_MAX_SIZE_REACHED as ''
            +60000
                [11] join ok as c#3, generation 3, range of consumer, leader c#3, members c#3
        "#]],
    );
}

#[test]
fn offsets_of_a_member() {
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
        commit t-0=5,t-1=6 id=c#1 gen=2 meta=hi
        fetch t-0,t-1,t-2
        fetch *
        commit t-0=7 id=c#1 gen=1
        commit t-0=7 id=ghost gen=2
        commit t-0=7
        fetch t-0 group=other
        crash
        fetch *
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
            10 commit t-0=5,t-1=6 id=c#1 gen=2 meta=hi
                [10] commit ok ok
            11 fetch t-0,t-1,t-2
                [11] fetch t-0=5 'hi' t-1=6 'hi' t-2=-1
            12 fetch *
                [12] fetch t-0=5 'hi' t-1=6 'hi'
            13 commit t-0=7 id=c#1 gen=1
                [13] commit ILLEGAL_GENERATION
            14 commit t-0=7 id=ghost gen=2
                [14] commit UNKNOWN_MEMBER_ID
            15 commit t-0=7
                [15] commit UNKNOWN_MEMBER_ID
            16 fetch t-0 group=other
                [16] fetch t-0=-1
            crash
            17 fetch *
                [17] fetch t-0=5 'hi' t-1=6 'hi'
        "#]],
    );
}

#[test]
fn offsets_of_a_client_in_no_group() {
    check(
        r"
        commit t-0=5
        list
        describe
        fetch *
        commit t-0=5 gen=3
        commit t-0=5 gen=3 group=other
        commit t-0=5 id=x
        crash
        list
        fetch *
        ",
        expect![[r#"
            1 commit t-0=5
                [1] commit ok
            2 list
                [2] list g Empty ''
            3 describe
                [3] describe ok Empty '' ''
            4 fetch *
                [4] fetch t-0=5
            5 commit t-0=5 gen=3
                [5] commit UNKNOWN_MEMBER_ID
            6 commit t-0=5 gen=3 group=other
                [6] commit GROUP_ID_NOT_FOUND
            7 commit t-0=5 id=x
                [7] commit ok
            crash
            8 list
                [8] list g Empty ''
            9 fetch *
                [9] fetch t-0=5
        "#]],
    );
}

#[test]
fn no_commits_between_join_and_sync() {
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
        commit t-0=5 id=c#1 gen=2
        sync c#1 2
        commit t-0=5 id=c#1 gen=2
        leave c#3
        commit t-0=6 id=c#1 gen=2
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
            8 commit t-0=5 id=c#1 gen=2
                [8] commit REBALANCE_IN_PROGRESS
            9 sync c#1 2
                [9] sync ok ''
            10 commit t-0=5 id=c#1 gen=2
                [10] commit ok
            11 leave c#3
                [11] leave ok ok
            12 commit t-0=6 id=c#1 gen=2
                [12] commit ok
        "#]],
    );
}

#[test]
fn a_commit_is_a_sign_of_life() {
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
        +9000
        commit t-0=5 id=c#1 gen=2
        beat c#3 2
        +9000
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
            +9000
            10 commit t-0=5 id=c#1 gen=2
                [10] commit ok
            11 beat c#3 2
                [11] beat ok
            +9000
            12 beat c#1 2
                [12] beat ok
        "#]],
    );
}

#[test]
fn metadata_has_a_size_in_utf16_units() {
    check_with(
        GroupSettings {
            offset_metadata_max: 4,
            ..GroupSettings::default()
        },
        r"
        commit t-0=1 meta=€€€€
        commit t-0=2 meta=€€€€€
        commit t-0=3 meta=😀😀
        commit t-0=4 meta=😀😀😀
        fetch *
        ",
        expect![[r#"
            1 commit t-0=1 meta=€€€€
                [1] commit ok
            2 commit t-0=2 meta=€€€€€
                [2] commit OFFSET_METADATA_TOO_LARGE
            3 commit t-0=3 meta=😀😀
                [3] commit ok
            4 commit t-0=4 meta=😀😀😀
                [4] commit OFFSET_METADATA_TOO_LARGE
            5 fetch *
                [5] fetch t-0=3 '😀😀'
        "#]],
    );
}

#[test]
fn offsets_of_an_empty_group_expire_seven_days_after_its_end() {
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
        commit t-0=5 id=c#1 gen=2
        +1000
        leave c#1 c#3
        +604000000
        fetch *
        +1600000
        fetch *
        list
        crash
        list
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
            10 commit t-0=5 id=c#1 gen=2
                [10] commit ok
            +1000
            11 leave c#1 c#3
                [11] leave ok ok ok
            +604000000
            12 fetch *
                [12] fetch t-0=5
            +1600000
            13 fetch *
                [13] fetch
            14 list
                [14] list 
            crash
            15 list
                [15] list 
        "#]],
    );
}

#[test]
fn offsets_of_a_bystander_expire_after_their_commit() {
    check(
        r"
        commit t-0=5
        +300000000
        commit t-1=6
        +306000000
        fetch *
        list
        +300000000
        list
        ",
        expect![[r#"
            1 commit t-0=5
                [1] commit ok
            +300000000
            2 commit t-1=6
                [2] commit ok
            +306000000
            3 fetch *
                [3] fetch t-1=6
            4 list
                [4] list g Empty ''
            +300000000
            5 list
                [5] list 
        "#]],
    );
}

#[test]
fn a_client_may_say_how_long() {
    check(
        r"
        commit t-0=5 keep=1000
        commit t-1=6 keep=700000
        +600000
        fetch *
        +600000
        list
        ",
        expect![[r#"
            1 commit t-0=5 keep=1000
                [1] commit ok
            2 commit t-1=6 keep=700000
                [2] commit ok
            +600000
            3 fetch *
                [3] fetch t-1=6
            +600000
            4 list
                [4] list 
        "#]],
    );
}

#[test]
fn offsets_of_read_topics_do_not_age_others_do() {
    check_with(
        GroupSettings {
            offsets_retention_ms: 500_000,
            offsets_retention_check_ms: 100_000,
            ..GroupSettings::default()
        },
        r"
        join v=3 p=range:t s=1800000 r=1800000
        +3000
        sync c#1 1 a=c#1:x
        commit t-0=5,u-0=6 id=c#1 gen=1
        +400000
        beat c#1 1
        fetch *
        +200000
        fetch *
        forget t-0,u-0
        fetch *
        ",
        expect![[r#"
            1 join v=3 p=range:t s=1800000 r=1800000
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            2 sync c#1 1 a=c#1:x
                [2] sync ok 'x'
            3 commit t-0=5,u-0=6 id=c#1 gen=1
                [3] commit ok ok
            +400000
            4 beat c#1 1
                [4] beat ok
            5 fetch *
                [5] fetch t-0=5 u-0=6
            +200000
            6 fetch *
                [6] fetch t-0=5
            7 forget t-0,u-0
                [7] forget GROUP_SUBSCRIBED_TO_TOPIC ok
            8 fetch *
                [8] fetch t-0=5
        "#]],
    );
}

#[test]
fn what_is_read_cannot_be_known_of_junk() {
    check(
        r"
        join v=3 p=range:junk
        +3000
        sync c#1 1 a=c#1:x
        commit t-0=5 id=c#1 gen=1
        forget t-0
        ",
        expect![[r#"
            1 join v=3 p=range:junk
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            2 sync c#1 1 a=c#1:x
                [2] sync ok 'x'
            3 commit t-0=5 id=c#1 gen=1
                [3] commit ok
            4 forget t-0
                [4] forget GROUP_SUBSCRIBED_TO_TOPIC
        "#]],
    );
}

#[test]
fn forgetting_offsets() {
    check(
        r"
        forget t-0
        commit t-0=5,t-1=6
        forget t-0,t-5
        fetch *
        crash
        fetch *
        join v=3 type=connect
        forget t-1
        ",
        expect![[r#"
            1 forget t-0
                [1] forget GROUP_ID_NOT_FOUND
            2 commit t-0=5,t-1=6
                [2] commit ok ok
            3 forget t-0,t-5
                [3] forget ok ok
            4 fetch *
                [4] fetch t-1=6
            crash
            5 fetch *
                [5] fetch t-1=6
            6 join v=3 type=connect
            7 forget t-1
                [7] forget NON_EMPTY_GROUP
        "#]],
    );
}

#[test]
fn deleting_groups() {
    check(
        r"
        delete
        commit t-0=5,t-1=6
        delete
        list
        fetch *
        crash
        list
        join v=3
        +3000
        delete
        leave c#1
        delete
        describe
        describe v=5
        ",
        expect![[r#"
            1 delete
                [1] delete GROUP_ID_NOT_FOUND
            2 commit t-0=5,t-1=6
                [2] commit ok ok
            3 delete
                [3] delete ok
            4 list
                [4] list 
            5 fetch *
                [5] fetch
            crash
            6 list
                [6] list 
            7 join v=3
            +3000
                [7] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            8 delete
                [8] delete NON_EMPTY_GROUP
            9 leave c#1
                [9] leave ok ok
            10 delete
                [10] delete ok
            11 describe
                [11] describe GROUP_ID_NOT_FOUND Dead '' ''
            12 describe v=5
                [12] describe ok Dead '' ''
        "#]],
    );
}

#[test]
fn offsets_of_a_deleted_topic_are_gone() {
    check(
        r"
        commit t-0=5,u-0=6
        txn 7 t-1=8
        drop t
        end 7 commit
        fetch *
        crash
        fetch *
        ",
        expect![[r#"
            1 commit t-0=5,u-0=6
                [1] commit ok ok
            2 txn 7 t-1=8
                [2] txn ok
            3 drop t
                [3] done
            4 end 7 commit
                [4] done
            5 fetch *
                [5] fetch u-0=6
            crash
            6 fetch *
                [6] fetch u-0=6
        "#]],
    );
}

#[test]
fn offsets_in_a_transaction_come_true_with_its_marker() {
    check(
        r"
        txn 7 t-0=5
        fetch t-0
        fetch t-0 stable
        end 7 commit
        fetch t-0 stable
        txn 7 t-0=9
        end 7 abort
        fetch t-0 stable
        txn 7 t-0=10
        crash
        fetch t-0 stable
        fetch * stable
        end 7 commit
        fetch t-0
        ",
        expect![[r#"
            1 txn 7 t-0=5
                [1] txn ok
            2 fetch t-0
                [2] fetch t-0=-1
            3 fetch t-0 stable
                [3] fetch t-0=-1 UNSTABLE_OFFSET_COMMIT
            4 end 7 commit
                [4] done
            5 fetch t-0 stable
                [5] fetch t-0=5
            6 txn 7 t-0=9
                [6] txn ok
            7 end 7 abort
                [7] done
            8 fetch t-0 stable
                [8] fetch t-0=5
            9 txn 7 t-0=10
                [9] txn ok
            crash
            10 fetch t-0 stable
                [10] fetch t-0=-1 UNSTABLE_OFFSET_COMMIT
            11 fetch * stable
                [11] fetch t-0=-1 UNSTABLE_OFFSET_COMMIT
            12 end 7 commit
                [12] done
            13 fetch t-0
                [13] fetch t-0=10
        "#]],
    );
}

#[test]
fn the_later_commit_wins_whenever_its_transaction_ends() {
    check(
        r"
        txn 7 t-0=5
        commit t-0=6
        end 7 commit
        fetch t-0
        txn 7 t-0=7
        txn 8 t-0=8
        end 8 commit
        end 7 commit
        fetch t-0 stable
        crash
        fetch t-0
        ",
        expect![[r#"
            1 txn 7 t-0=5
                [1] txn ok
            2 commit t-0=6
                [2] commit ok
            3 end 7 commit
                [3] done
            4 fetch t-0
                [4] fetch t-0=6
            5 txn 7 t-0=7
                [5] txn ok
            6 txn 8 t-0=8
                [6] txn ok
            7 end 8 commit
                [7] done
            8 end 7 commit
                [8] done
            9 fetch t-0 stable
                [9] fetch t-0=8
            crash
            10 fetch t-0
                [10] fetch t-0=8
        "#]],
    );
}

#[test]
fn a_transaction_names_its_member_or_nobody() {
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
        txn 7 t-0=5 id=ghost gen=2
        txn 7 t-0=5 id=c#1 gen=1
        txn 7 t-0=5 id=c#1 gen=2
        txn 7 t-1=5
        txn 7 t-0=5 gen=1 group=other
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
            10 txn 7 t-0=5 id=ghost gen=2
                [10] txn UNKNOWN_MEMBER_ID
            11 txn 7 t-0=5 id=c#1 gen=1
                [11] txn ILLEGAL_GENERATION
            12 txn 7 t-0=5 id=c#1 gen=2
                [12] txn ok
            13 txn 7 t-1=5
                [13] txn ok
            14 txn 7 t-0=5 gen=1 group=other
                [14] txn ILLEGAL_GENERATION
        "#]],
    );
}

#[test]
fn a_late_sync_is_no_sign_of_life() {
    check(
        r"
        join v=3
        +3000
        sync c#1 1 a=c#1:p0
        join v=3 s=6000
        join v=3 id=c#1
        sync c#1 2 a=c#2:p0
        beat c#1 2
        +5000
        sync c#2 2
        +1001
        describe
        ",
        expect![[r#"
            1 join v=3
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            2 sync c#1 1 a=c#1:p0
                [2] sync ok 'p0'
            3 join v=3 s=6000
            4 join v=3 id=c#1
                [4] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1 c#2
                [3] join ok as c#2, generation 2, range of consumer, leader c#1
            5 sync c#1 2 a=c#2:p0
                [5] sync ok ''
            6 beat c#1 2
                [6] beat ok
            +5000
            7 sync c#2 2
                [7] sync ok 'p0'
            +1001
            8 describe
                [8] describe ok PreparingRebalance 'consumer' '' c#1=''
        "#]],
    );
}

#[test]
fn a_rebalance_is_a_sign_of_life_of_those_only_who_wait_for_their_assignment() {
    check(
        r"
        join v=3
        +3000
        sync c#1 1 a=c#1:p0
        join v=3 s=6000
        join v=3 s=6000
        join v=3 id=c#1
        sync c#3 2
        +5000
        join v=3
        +1001
        describe
        ",
        expect![[r#"
            1 join v=3
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            2 sync c#1 1 a=c#1:p0
                [2] sync ok 'p0'
            3 join v=3 s=6000
            4 join v=3 s=6000
            5 join v=3 id=c#1
                [5] join ok as c#1, generation 2, range of consumer, leader c#1, members c#1 c#2 c#3
                [3] join ok as c#2, generation 2, range of consumer, leader c#1
                [4] join ok as c#3, generation 2, range of consumer, leader c#1
            6 sync c#3 2
            +5000
            7 join v=3
                [6] sync REBALANCE_IN_PROGRESS
            +1001
            8 describe
                [8] describe ok PreparingRebalance 'consumer' '' c#1='' c#3='' c#5=''
        "#]],
    );
}

#[test]
fn after_a_crash_a_member_is_what_the_last_record_says_of_it() {
    check(
        r"
        join v=3 p=range:t
        +3000
        sync c#1 1 a=c#1:p0
        join v=3 id=c#1 p=sticky:u,range:t
        sync c#1 2 a=c#1:p0
        crash
        join v=3 p=sticky:u
        beat c#1 2
        ",
        expect![[r#"
            1 join v=3 p=range:t
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            2 sync c#1 1 a=c#1:p0
                [2] sync ok 'p0'
            3 join v=3 id=c#1 p=sticky:u,range:t
                [3] join ok as c#1, generation 2, sticky of consumer, leader c#1, members c#1
            4 sync c#1 2 a=c#1:p0
                [4] sync ok 'p0'
            crash
            5 join v=3 p=sticky:u
            6 beat c#1 2
                [6] beat REBALANCE_IN_PROGRESS
        "#]],
    );
}

#[test]
fn what_a_marker_has_overtaken_changes_nothing() {
    check(
        "
        txn 7 t-0=5 late
        fetch t-0 stable
        txn 7 t-0=6
        end 7 commit late
        fetch t-0 stable
        end 7 commit
        fetch t-0 stable
        ",
        expect![[r#"
            1 txn 7 t-0=5 late
                [1] txn INVALID_TXN_STATE
            2 fetch t-0 stable
                [2] fetch t-0=-1
            3 txn 7 t-0=6
                [3] txn ok
            4 end 7 commit late
                [4] refused INVALID_TXN_STATE
            5 fetch t-0 stable
                [5] fetch t-0=-1 UNSTABLE_OFFSET_COMMIT
            6 end 7 commit
                [6] done
            7 fetch t-0 stable
                [7] fetch t-0=6
        "#]],
    );
}
