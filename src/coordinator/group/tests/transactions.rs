//! Offsets that are committed in transactions.

use expect_test::expect;

use super::check;

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
                [1] commit ok
            2 fetch t-0
                [2] fetch t-0=-1
            3 fetch t-0 stable
                [3] fetch t-0=-1 UNSTABLE_OFFSET_COMMIT
            4 end 7 commit
                [4] done
            5 fetch t-0 stable
                [5] fetch t-0=5
            6 txn 7 t-0=9
                [6] commit ok
            7 end 7 abort
                [7] done
            8 fetch t-0 stable
                [8] fetch t-0=5
            9 txn 7 t-0=10
                [9] commit ok
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
                [1] commit ok
            2 commit t-0=6
                [2] commit ok
            3 end 7 commit
                [3] done
            4 fetch t-0
                [4] fetch t-0=6
            5 txn 7 t-0=7
                [5] commit ok
            6 txn 8 t-0=8
                [6] commit ok
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
                [10] commit UNKNOWN_MEMBER_ID
            11 txn 7 t-0=5 id=c#1 gen=1
                [11] commit ILLEGAL_GENERATION
            12 txn 7 t-0=5 id=c#1 gen=2
                [12] commit ok
            13 txn 7 t-1=5
                [13] commit ok
            14 txn 7 t-0=5 gen=1 group=other
                [14] commit ILLEGAL_GENERATION
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
                [1] commit INVALID_TXN_STATE
            2 fetch t-0 stable
                [2] fetch t-0=-1
            3 txn 7 t-0=6
                [3] commit ok
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
