//! Changes of a group's protocol while it has members.

use expect_test::expect;

use super::*;

#[test]
fn a_classic_group_becomes_a_consumer_group_and_a_classic_one_again() {
    check(
        "topics t:2
         join id= v=3 p=range:t
         +3000
         sync c#1 1 a=c#1:@t-0+t-1
         list
         hb b 0 t=t
         list
         consumer
         beat c#1 1
         hb b 2
         join id=c#1 v=3 p=range:t
         sync c#1 2
         beat c#1 2
         hb b 2
         commit t-0=5 id=c#1 gen=2
         commit t-0=5 id=c#1 gen=1
         commit t-0=5 id=c#1 gen=3
         consumer
         crash
         consumer
         hb b -1
         list
         beat c#1 2
         join id=c#1 v=3 p=range:t
         sync c#1 3 a=c#1:@t-0+t-1",
        expect![[r#"
            topics t:2
            1 join id= v=3 p=range:t
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            2 sync c#1 1 a=c#1:@t-0+t-1
                [2] sync ok t-0 t-1
            3 list
                [3] list g Stable 'consumer'
            4 hb b 0 t=t
                [4] hb epoch 2 reads
            5 list
                [5] list g Reconciling 'consumer'
            6 consumer
                [6] consumer ok Reconciling epoch 2 of 2 by uniform
                    b epoch 2 has , shall have t-1
                    c#1 epoch 1 has t-0 t-1, shall have t-0
            7 beat c#1 1
                [7] beat REBALANCE_IN_PROGRESS
            8 hb b 2
                [8] hb epoch 2
            9 join id=c#1 v=3 p=range:t
                [9] join ok as c#1, generation 2, range of consumer, leader 
            10 sync c#1 2
                [10] sync ok t-0
            11 beat c#1 2
                [11] beat ok
            12 hb b 2
                [12] hb epoch 2 reads t-1
            13 commit t-0=5 id=c#1 gen=2
                [13] commit ok
            14 commit t-0=5 id=c#1 gen=1
                [14] commit ILLEGAL_GENERATION
            15 commit t-0=5 id=c#1 gen=3
                [15] commit ILLEGAL_GENERATION
            16 consumer
                [16] consumer ok Stable epoch 2 of 2 by uniform
                    b epoch 2 has t-1
                    c#1 epoch 2 has t-0
            crash
            17 consumer
                [17] consumer ok Stable epoch 2 of 2 by uniform
                    b epoch 2 has t-1
                    c#1 epoch 2 has t-0
            18 hb b -1
                [18] hb epoch -1
            19 list
                [19] list g PreparingRebalance 'consumer'
            20 beat c#1 2
                [20] beat REBALANCE_IN_PROGRESS
            21 join id=c#1 v=3 p=range:t
                [21] join ok as c#1, generation 3, range of consumer, leader c#1, members c#1
            22 sync c#1 3 a=c#1:@t-0+t-1
                [22] sync ok t-0 t-1
        "#]],
    );
}

#[test]
fn a_classic_member_joins_a_consumer_group() {
    check(
        "topics t:2
         hb a 0 t=t
         +1000
         join id= p=range:t
         join id=BwcHBwcHBwcHBwcHBwcHBw p=range:junk
         join id=BwcHBwcHBwcHBwcHBwcHBw p=range:t
         join id=x type=connect p=range:t
         sync BwcHBwcHBwcHBwcHBwcHBw 3
         beat BwcHBwcHBwcHBwcHBwcHBw 3
         hb a 2 own=t-0
         beat BwcHBwcHBwcHBwcHBwcHBw 3
         join id=BwcHBwcHBwcHBwcHBwcHBw p=range:t
         sync BwcHBwcHBwcHBwcHBwcHBw 3
         leave BwcHBwcHBwcHBwcHBwcHBw
         consumer",
        expect![[r#"
            topics t:2
            1 hb a 0 t=t
                [1] hb epoch 2 reads t-0 t-1
            +1000
            2 join id= p=range:t
                [2] join MEMBER_ID_REQUIRED as 'AQEBAQEBAQEBAQEBAQEBAQ'
            3 join id=BwcHBwcHBwcHBwcHBwcHBw p=range:junk
                [3] join INCONSISTENT_GROUP_PROTOCOL as 'BwcHBwcHBwcHBwcHBwcHBw'
            4 join id=BwcHBwcHBwcHBwcHBwcHBw p=range:t
                [4] join ok as BwcHBwcHBwcHBwcHBwcHBw, generation 3, range of consumer, leader 
            5 join id=x type=connect p=range:t
                [5] join INCONSISTENT_GROUP_PROTOCOL as 'x'
            6 sync BwcHBwcHBwcHBwcHBwcHBw 3
                [6] sync ok 
            7 beat BwcHBwcHBwcHBwcHBwcHBw 3
                [7] beat ok
            8 hb a 2 own=t-0
                [8] hb epoch 3 reads t-0
            9 beat BwcHBwcHBwcHBwcHBwcHBw 3
                [9] beat REBALANCE_IN_PROGRESS
            10 join id=BwcHBwcHBwcHBwcHBwcHBw p=range:t
                [10] join ok as BwcHBwcHBwcHBwcHBwcHBw, generation 3, range of consumer, leader 
            11 sync BwcHBwcHBwcHBwcHBwcHBw 3
                [11] sync ok t-1
            12 leave BwcHBwcHBwcHBwcHBwcHBw
                [12] leave ok ok
            13 consumer
                [13] consumer ok Assigning epoch 3 of 4 by uniform
                    a epoch 3 has t-0
        "#]],
    );
}

#[test]
fn what_cannot_be_converted_stays_what_it_is() {
    check(
        "topics t:2
         join id= v=3 p=range:t
         +3000
         sync c#1 1 a=c#1:junk
         hb b 0 t=t
         join group=w id= v=3 type=connect p=range:t
         +3000
         hb b 0 t=t group=w
         list",
        expect![[r#"
            topics t:2
            1 join id= v=3 p=range:t
            +3000
                [1] join ok as c#1, generation 1, range of consumer, leader c#1, members c#1
            2 sync c#1 1 a=c#1:junk
                [2] sync ok 'junk'
            3 hb b 0 t=t
                [3] hb GROUP_ID_NOT_FOUND
            4 join group=w id= v=3 type=connect p=range:t
            +3000
                [4] join ok as c#2, generation 1, range of connect, leader c#2, members c#2
            5 hb b 0 t=t group=w
                [5] hb GROUP_ID_NOT_FOUND
            6 list
                [6] list g Stable 'consumer', w CompletingRebalance 'connect'
        "#]],
    );
}

#[test]
fn a_member_that_never_joins_is_forgotten_also_when_another_protocol_was_tried_and_refused() {
    check(
        "topics t:2
         join id= p=range:t
         hb b 0 re=(
         join id= v=3 p=range:t
         +10000",
        expect![[r#"
            topics t:2
            1 join id= p=range:t
                [1] join MEMBER_ID_REQUIRED as 'c#1'
            2 hb b 0 re=(
                [2] hb INVALID_REGULAR_EXPRESSION
            3 join id= v=3 p=range:t
            +10000
                [3] join ok as c#2, generation 1, range of consumer, leader c#2, members c#2
        "#]],
    );
}
