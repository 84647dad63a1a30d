//! Sessions: which requests extend them, and when members are removed.

use expect_test::expect;

use super::check;

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
                [3] join ok as c#2, generation 1, range of consumer, leader c#2, members c#2
            4 join id=c#1
                [4] join UNKNOWN_MEMBER_ID as 'c#1'
            +3000
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
fn who_never_comes_back_is_not_awaited_in_the_first_rebalance_either() {
    check(
        r"
        join s=6000
        +3500
        join v=3
        +2499
        +1
        ",
        expect![[r#"
            1 join s=6000
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            +3500
            2 join v=3
            +2499
            +1
                [2] join ok as c#2, generation 1, range of consumer, leader c#2, members c#2
        "#]],
    );
}

#[test]
fn who_did_not_ask_for_its_assignment_is_silent_before_it_is_late() {
    check(
        r"
        join inst=i1 r=10000 s=30000
        join inst=i2 r=10000 s=10000
        join inst=i3 r=10000 s=30000
        +6000
        sync i1#1 1 inst=i1
        +10000
        beat i1#1 1 inst=i1
        describe
        ",
        expect![[r#"
            1 join inst=i1 r=10000 s=30000
            2 join inst=i2 r=10000 s=10000
            3 join inst=i3 r=10000 s=30000
            +6000
                [1] join ok as i1#1, generation 1, range of consumer, leader i1#1, members i1#1 i2#2 i3#3
                [2] join ok as i2#2, generation 1, range of consumer, leader i1#1
                [3] join ok as i3#3, generation 1, range of consumer, leader i1#1
            4 sync i1#1 1 inst=i1
                [4] sync ok ''
            +10000
            5 beat i1#1 1 inst=i1
                [5] beat REBALANCE_IN_PROGRESS
            6 describe
                [6] describe ok PreparingRebalance 'consumer' '' i1#1/i1='' i3#3/i3=''
        "#]],
    );
}
