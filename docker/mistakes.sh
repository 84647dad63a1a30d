#!/usr/bin/env bash
# Starts IMAGE wrongly in every way that people do: it must end with an exit code and one line that says why.
set -uo pipefail
image=${IMAGE:-monedula:8.1.0} failed=0
volume=$(docker volume create)
trap 'docker volume rm --force "$volume" >/dev/null' EXIT

# ends WORDS ARGUMENT...: docker run with the arguments fails at once, and its last line has the words
ends() {
  local words=$1 said; shift
  if said=$(timeout 100 docker run --rm "$@" 2>&1); then echo "FAIL it started: $*"; failed=1; return; fi
  said=$(grep '^monedula: ' <<< "$said")
  if [ "$(wc -l <<< "$said")" = 1 ] && grep -q -- "$words" <<< "$said"; then echo "ok   $said"; else echo "FAIL $*: $said"; failed=1; fi
}

ends "KAFKA_NUM_PARTITIONS: .*many" -e KAFKA_NUM_PARTITIONS=many "$image"
ends "KAFKA_NUM_PARTITIONS: .*many" -e KAFKA_NUM_PARTITIONS=many "$image" /etc/confluent/docker/run
ends "KAFKA_ADVERTISED_LISTENERS: " -e KAFKA_ADVERTISED_LISTENERS=127.0.0.1 "$image"
ends "KAFKA_CREATE_TOPICS: .*many" -e KAFKA_CREATE_TOPICS=a:many:1 "$image"
ends "cannot create topic a b: " -e "KAFKA_CREATE_TOPICS=a b:1:1" "$image"
ends "KAFKA_CONTROLLER_QUORUM_VOTERS: .*several" -e KAFKA_CONTROLLER_QUORUM_VOTERS=1@a:9093,2@b:9093 "$image"
ends "the port is in use" -e KAFKA_LISTENERS=PLAINTEXT://:9644 "$image"
ends "/var/lib/kafka/data" -v "$volume:/var/lib/kafka/data:ro" "$image"
first=$(docker run --detach --volume "$volume:/var/lib/kafka/data" -e CLUSTER_ID=5L6g3nShT-eMCtK--X86sw "$image")
for _ in $(seq 600); do docker exec "$first" monedula ready >/dev/null 2>&1 && break; sleep 0.1; done
docker rm --force "$first" >/dev/null
ends "5L6g3nShT-eMCtK--X86sw" -v "$volume:/var/lib/kafka/data" -e CLUSTER_ID=MkU3OEVBNTcwNTJENDM2Qk "$image"
exit $failed
