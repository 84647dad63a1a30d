//! Assignments of classic groups by SyncGroup.

use expect_test::expect;

use super::check;
use crate::coordinator::group::settings::GroupSettings;

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
