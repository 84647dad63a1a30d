//! Static members: they return under another member id and keep their assignment.

use expect_test::expect;

use super::{Stage, act, check, describe, short_ids};
use crate::coordinator::group::settings::GroupSettings;

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
fn a_static_member_that_returns_before_it_asked_for_its_assignment_is_not_taken_for_silent() {
    check(
        r"
        join inst=i1 r=10000 s=30000
        join inst=i2 r=10000 s=30000
        +6000
        sync i1#1 1 inst=i1 a=i1#1:x,i2#2:y
        join inst=i2 r=10000 s=30000
        +9999
        beat i1#1 1 inst=i1
        +1
        beat i1#1 1 inst=i1
        join id=i1#1 inst=i1 r=10000 s=30000
        +10000
        ",
        expect![[r#"
            1 join inst=i1 r=10000 s=30000
            2 join inst=i2 r=10000 s=30000
            +6000
                [1] join ok as i1#1, generation 1, range of consumer, leader i1#1, members i1#1 i2#2
                [2] join ok as i2#2, generation 1, range of consumer, leader i1#1
            3 sync i1#1 1 inst=i1 a=i1#1:x,i2#2:y
                [3] sync ok 'x'
            4 join inst=i2 r=10000 s=30000
                [4] join ok as i2#3, generation 1, range of consumer, leader i1#1
            +9999
            5 beat i1#1 1 inst=i1
                [5] beat ok
            +1
            6 beat i1#1 1 inst=i1
                [6] beat REBALANCE_IN_PROGRESS
            7 join id=i1#1 inst=i1 r=10000 s=30000
            +10000
                [7] join ok as i1#1, generation 2, range of consumer, leader i1#1, members i1#1 i2#3
        "#]],
    );
}

#[test]
fn what_its_former_self_did_not_ask_for_is_missed_nevertheless() {
    check(
        r"
        join inst=i1 r=10000 s=30000
        join inst=i2 r=10000 s=30000
        +6000
        sync i1#1 1 inst=i1 a=i1#1:x,i2#2:y
        join inst=i2 r=10000 s=30000
        sync i2#3 1 inst=i2
        +10000
        beat i2#3 1 inst=i2
        ",
        expect![[r#"
            1 join inst=i1 r=10000 s=30000
            2 join inst=i2 r=10000 s=30000
            +6000
                [1] join ok as i1#1, generation 1, range of consumer, leader i1#1, members i1#1 i2#2
                [2] join ok as i2#2, generation 1, range of consumer, leader i1#1
            3 sync i1#1 1 inst=i1 a=i1#1:x,i2#2:y
                [3] sync ok 'x'
            4 join inst=i2 r=10000 s=30000
                [4] join ok as i2#3, generation 1, range of consumer, leader i1#1
            5 sync i2#3 1 inst=i2
                [5] sync ok 'y'
            +10000
            6 beat i2#3 1 inst=i2
                [6] beat REBALANCE_IN_PROGRESS
        "#]],
    );
}

#[test]
fn a_static_member_that_returns_while_others_are_awaited_may_wait_as_long_as_they() {
    check(
        r"
        join inst=i1
        +3000
        sync i1#1 1 inst=i1 a=i1#1:x
        join inst=i2
        join inst=i2
        +9000
        beat i1#1 1 inst=i1
        +9000
        join id=i1#1 inst=i1
        ",
        expect![[r#"
            1 join inst=i1
            +3000
                [1] join ok as i1#1, generation 1, range of consumer, leader i1#1, members i1#1
            2 sync i1#1 1 inst=i1 a=i1#1:x
                [2] sync ok 'x'
            3 join inst=i2
            4 join inst=i2
                [3] join FENCED_INSTANCE_ID as 'i2#2'
            +9000
            5 beat i1#1 1 inst=i1
                [5] beat REBALANCE_IN_PROGRESS
            +9000
            6 join id=i1#1 inst=i1
                [6] join ok as i1#1, generation 2, range of consumer, leader i1#1, members i1#1 i2#3
                [4] join ok as i2#3, generation 2, range of consumer, leader i1#1
        "#]],
    );
}

#[test]
fn a_static_member_whose_return_cannot_be_recorded_is_who_it_was() {
    let long = "t".repeat(30_000);
    let script = format!(
        "join inst=i1\n+3000\nsync i1#1 1 inst=i1 a=i1#1:{}\njoin inst=i1 s=60000 p=range:{long}+{long}\n\
         beat i1#2 1 inst=i1\ndescribe\n+10000\ndescribe",
        "x".repeat(50_000)
    );
    let mut stage = Stage::new(GroupSettings::default());
    let mut told = String::new();
    for line in script.lines() {
        for (_, answer) in act(&mut stage, line) {
            told += &short_ids(&describe(&answer)).replace(&"x".repeat(50_000), "x…");
            told.push('\n');
        }
    }
    expect![[r#"
        join ok as i1#1, generation 1, range of consumer, leader i1#1, members i1#1
        sync ok 'x…'
        join UNKNOWN_SERVER_ERROR as ''
        beat FENCED_INSTANCE_ID
        describe ok Stable 'consumer' 'range' i1#1/i1='x…'
        describe ok Empty 'consumer' ''
    "#]]
    .assert_eq(&told);
}
