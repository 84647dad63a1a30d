#!/usr/bin/env bash
# The figures of docker/README.md: measure.sh [OTHER]   (OTHER: an image of Apache Kafka to measure beside ours, in turns)
#
# Needs Docker, curl, and what `cargo compat testcontainers` has built in target/clients.
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

# What the client printed: milliseconds since start(), and of Java also since the container was created.
first() { sed -n 's/^first record after \([0-9]*\) ms\(, \([0-9]*\) ms after.*\)*$/\1 \3/p' | sed 's/ $//; s: :/:'; }
declare -A rust=() java=()
for _ in 1 2 3; do
  for one in $image $other; do
    rust[$one]+=" $("$clients/rust/debug/client" apache "$one" | first)"
    java[$one]+=" $(java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$clients/java/classes:$clients/java/jars/*" Containers apache "$one" 2>/dev/null | first)"
  done
done
for one in $image $other; do echo "$one: start() to first record, ms: Rust${rust[$one]}; Java, and from the container's creation${java[$one]}"; done

started() { # started COUNT
  local began=$(date +%s%N) n
  for ((n = 0; n < $1; n++)); do containers+=("$(docker run --detach --publish 127.0.0.1::9092 --publish 127.0.0.1::9644 "$image")"); done
  echo "$1 containers: created and started after $((($(date +%s%N) - began) / 1000000)) ms"
  for container in "${containers[@]}"; do
    admin=$(docker port "$container" 9644)
    until curl -sf -o /dev/null "http://$admin/ready"; do sleep 0.01; done
  done
  echo "$1 containers: all ready after $((($(date +%s%N) - began) / 1000000)) ms"
}
started 50
# From inside: clients that come from outside are told the port inside, and all of these are published under another.
record() { docker exec "$1" sh -c "echo x | kafka-console-producer --bootstrap-server localhost:9092 --topic t"; }
export -f record
printf '%s\n' "${containers[@]}" | xargs -P 4 -I C bash -c 'record C'
resident() { docker exec "$1" sed -n 's/^VmRSS:[ \t]*//p' /proc/1/status; }
echo "50 containers: resident after a record each: $(for c in "${containers[@]:0:5}"; do resident "$c"; done | tr '\n' ',')"

container=${containers[0]}
docker exec "$container" sh -c 'for n in $(seq 100); do echo x | kafka-console-producer --bootstrap-server localhost:9092 --topic t$n; done'
admin=$(docker port "$container" 9644)
echo "reset: $(curl -s -X POST -w '%{time_total} s' "http://$admin/reset" | tr '\n' ' ')"
echo "resident then: $(resident "$container")"
