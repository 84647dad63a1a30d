#!/usr/bin/env bash
# The figures of docker/README.md: measure.sh [OTHER]   (OTHER: an image of Apache Kafka to measure beside ours, in turns)
#
# Needs Docker, curl, kcat, and what `cargo compat testcontainers` has built in target/clients.
set -euo pipefail
cd "$(dirname "$0")/.."
image=${IMAGE:-monedula:8.1.0} other=${1:-}
clients=$PWD/target/clients/testcontainers
export TESTCONTAINERS_RYUK_DISABLED=true TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1
containers=()
tidy() { [ ${#containers[@]} -eq 0 ] || docker rm --force --volumes "${containers[@]}" >/dev/null; }
trap tidy EXIT

echo "$(date -u +%F), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
for one in $image $other; do echo "$one: $(docker image inspect -f '{{.Size}}' "$one") bytes"; done

first() { sed -n 's/^first record after \([0-9]*\) ms$/\1/p'; }
declare -A rust=() java=()
for _ in 1 2 3; do
  for one in $image $other; do
    rust[$one]+=" $("$clients/rust/debug/client" apache "$one" | first)"
    java[$one]+=" $(java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$clients/java/classes:$clients/java/jars/*" Containers apache "$one" 2>/dev/null | first)"
  done
done
for one in $image $other; do echo "$one: start() to first record, ms: Rust${rust[$one]}, Java${java[$one]}"; done

started() { # started COUNT: sets addresses
  local began=$(date +%s%N) n
  addresses=()
  for ((n = 0; n < $1; n++)); do containers+=("$(docker run --detach --publish 127.0.0.1::9092 --publish 127.0.0.1::9644 "$image")"); done
  echo "$1 containers: created and started after $((($(date +%s%N) - began) / 1000000)) ms"
  for container in "${containers[@]}"; do
    admin=$(docker port "$container" 9644)
    until curl -sf -o /dev/null "http://$admin/ready"; do sleep 0.01; done
    addresses+=("$(docker port "$container" 9092)")
  done
  echo "$1 containers: all ready after $((($(date +%s%N) - began) / 1000000)) ms"
}
started 50
for address in "${addresses[@]}"; do echo x | kcat -b "$address" -P -t t -X topic.metadata.refresh.interval.ms=-1 2>/dev/null & done; wait
resident() { docker exec "$1" sed -n 's/^VmRSS:[ \t]*//p' /proc/1/status; }
echo "50 containers: resident after a record each: $(for c in "${containers[@]:0:5}"; do resident "$c"; done | tr '\n' ',')"

container=${containers[0]} address=${addresses[0]}
seq 100 | xargs -P 4 -I N sh -c "echo x | kcat -b $address -P -t tN 2>/dev/null"
admin=$(docker port "$container" 9644)
echo "reset: $(curl -s -X POST -w '%{time_total} s' "http://$admin/reset" | tr '\n' ' ')"
echo "resident then: $(resident "$container")"
