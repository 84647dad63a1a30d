//! Offsets: who may commit them, how they are read, and how they are deleted.

use expect_test::expect;

use super::{check, check_with};
use crate::coordinator::group::settings::GroupSettings;

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
                [2] commit ok
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
fn there_are_so_many_groups() {
    check_with(
        GroupSettings {
            groups_max: 2,
            ..GroupSettings::default()
        },
        r"
        commit t-0=1 group=a
        commit t-0=1 group=b
        commit t-0=1 group=c
        commit t-0=2 group=a
        join v=3
        ",
        expect![[r#"
            1 commit t-0=1 group=a
                [1] commit ok
            2 commit t-0=1 group=b
                [2] commit ok
            3 commit t-0=1 group=c
                [3] commit POLICY_VIOLATION
            4 commit t-0=2 group=a
                [4] commit ok
            5 join v=3
                [5] join POLICY_VIOLATION as ''
        "#]],
    );
}

#[test]
fn offsets_before_the_start_of_a_log_are_raised_to_it_and_nothing_else_changes() {
    check(
        r"
        join
        join id=c#1
        +3000
        sync c#1 1 a=c#1:one
        commit t-0=1,t-1=6,u-0=2 id=c#1 gen=1 meta=hi
        raise t-0=5,t-1=5,t-2=5
        fetch *
        beat c#1 1
        raise t-0=9 group=other
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
            4 commit t-0=1,t-1=6,u-0=2 id=c#1 gen=1 meta=hi
                [4] commit ok ok ok
            5 raise t-0=5,t-1=5,t-2=5
                [5] done
            6 fetch *
                [6] fetch t-0=5 'hi' t-1=6 'hi' u-0=2 'hi'
            7 beat c#1 1
                [7] beat ok
            8 raise t-0=9 group=other
                [8] done
            crash
            9 fetch *
                [9] fetch t-0=5 'hi' t-1=6 'hi' u-0=2 'hi'
        "#]],
    );
}
