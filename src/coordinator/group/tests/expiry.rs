//! Expiry of offsets.

use expect_test::expect;

use super::{check, check_with};
use crate::coordinator::group::settings::GroupSettings;

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

/// Regression test: with an interval of `i64::MAX` the expiry timer was always due.
#[test]
fn offsets_may_be_looked_at_as_seldom_as_a_number_allows() {
    check_with(
        GroupSettings {
            offsets_retention_check_ms: i64::MAX,
            ..GroupSettings::default()
        },
        r"
        +1
        commit t-0=5
        +1000000000
        fetch *
        ",
        expect![[r#"
            +1
            1 commit t-0=5
                [1] commit ok
            +1000000000
            2 fetch *
                [2] fetch t-0=5
        "#]],
    );
}
