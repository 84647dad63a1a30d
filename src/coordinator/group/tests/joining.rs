//! Joins of classic groups: member ids, the first rebalance, the limit of members, and the common protocol.

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
