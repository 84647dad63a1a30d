//! State of a group after a restart of its coordinator.

use expect_test::expect;

use super::check;

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
