#!/usr/bin/env bash
# MirrorMaker 2, as people move from one cluster to another: a topic and the offsets of its group go over, each record once,
# across a restart of the mirror; then the group goes on at the new place. Arguments: OLD NEW JARS FOLDER
set -uo pipefail
old=$1 new=$2 jars=$3 dir=$4 mirror=
cat > "$dir/mirror.properties" <<P
clusters=old,new
old.bootstrap.servers=$old
new.bootstrap.servers=$new
old->new.enabled=true
old->new.topics=orders
old->new.exactly.once.source.support=enabled
new->old.enabled=false
replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy
replication.factor=1
checkpoints.topic.replication.factor=1
heartbeats.topic.replication.factor=1
offset-syncs.topic.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
config.storage.replication.factor=1
offset.lag.max=10
refresh.groups.interval.seconds=1
emit.checkpoints.interval.seconds=1
sync.group.offsets.enabled=true
sync.group.offsets.interval.seconds=1
P
start() {
  java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$jars/*" org.apache.kafka.connect.mirror.MirrorMaker "$dir/mirror.properties" > "$dir/mirror.log" 2>&1 &
  mirror=$!
}
stop() { kill "$mirror"; wait "$mirror" 2> /dev/null; }
trap 'kill -9 $mirror 2> /dev/null' EXIT
produce() { seq "$1" "$2" | sed 's/.*/&:value &/' | kcat -b "$old" -P -t orders -K:; }
group() { kcat -b "$1" -q -X auto.offset.reset=earliest -c "$2" -G carriers orders; }
has() { # has LAST: the new place has each record up to LAST once
  for _ in $(seq 1500); do
    kcat -b "$new" -C -t orders -e -q -X isolation.level=read_committed > "$dir/there" 2> /dev/null
    [ "$(wc -l < "$dir/there")" -ge "$1" ] && break
    sleep 0.2
  done
  [ "$(cat "$dir/there")" = "$(seq "$1" | sed 's/^/value /')" ]
}
follows() { # follows SEEN: the group does not begin anew there, and misses nothing
  for _ in $(seq 1500); do
    first=$(timeout 60 kcat -b "$new" -q -X auto.offset.reset=earliest -X enable.auto.commit=false -c 1 -G carriers orders)
    first=${first#value }
    [ "${first:-0}" -gt 1 ] && [ "$first" -le $(("$1" + 1)) ] && return
    sleep 0.5
  done
  return 1
}
cell() { if [ "$2" = 0 ]; then echo "cell $1 pass"; else echo "cell $1 fail $(grep -h ERROR "$dir/mirror.log" | tail -1)"; fi; }

produce 1 500
start
has 500; cell records_each_once $?
stop
produce 501 900
start
has 900; cell goes_on_after_a_restart $?
group "$old" 600 > /dev/null
produce 901 950
has 950 && follows 600; cell the_group_goes_on $?
stop
