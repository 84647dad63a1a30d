#!/usr/bin/env bash
# Kafka Connect, a distributed worker with its three internal topics: a file goes into a topic and out into another file,
# across a restart of the worker. Arguments: ADDRESS JARS FOLDER PORT
set -uo pipefail
address=$1 jars=$2 dir=$3 port=$4 rest=http://127.0.0.1:$4 worker=
mkdir -p "$dir/plugins"
cp "$jars"/connect-file-*.jar "$dir/plugins/"
cat > "$dir/worker.properties" <<P
bootstrap.servers=$address
group.id=connect
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.storage.topic=connect-offsets
offset.storage.replication.factor=1
config.storage.topic=connect-configs
config.storage.replication.factor=1
status.storage.topic=connect-status
status.storage.replication.factor=1
offset.flush.interval.ms=500
task.shutdown.graceful.timeout.ms=60000
listeners=$rest
plugin.path=$dir/plugins
P
start() {
  java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$jars/*" org.apache.kafka.connect.cli.ConnectDistributed "$dir/worker.properties" > "$dir/worker.log" 2>&1 &
  worker=$!
  for _ in $(seq 900); do curl -sf "$rest/connectors" > /dev/null && return; sleep 0.2; done
  tail -5 "$dir/worker.log" >&2
}
stop() { kill "$worker"; wait "$worker" 2> /dev/null; }
trap 'kill -9 $worker 2> /dev/null' EXIT
connector() { # connector NAME CLASS MORE
  curl -sf -X PUT -H 'Content-Type: application/json' "$rest/connectors/$1/config" \
    -d "{\"connector.class\":\"$2\",\"tasks.max\":\"1\",$3}" > /dev/null
}
arrives() { # arrives LINES: the sink's file has so many
  for _ in $(seq 600); do [ "$(wc -l < "$dir/out" 2> /dev/null || echo 0)" -ge "$1" ] && return; sleep 0.2; done
  return 1
}
cell() { if [ "$2" = 0 ]; then echo "cell $1 pass"; else echo "cell $1 fail $(grep -h ERROR "$dir/worker.log" | tail -1)"; fi; }

seq 50 > "$dir/in"
start
connector source org.apache.kafka.connect.file.FileStreamSourceConnector "\"file\":\"$dir/in\",\"topic\":\"lines\""
connector sink org.apache.kafka.connect.file.FileStreamSinkConnector "\"file\":\"$dir/out\",\"topics\":\"lines\""
arrives 50; cell file_source_and_sink $?
stop
seq 51 60 >> "$dir/in"
start
arrives 60 && sleep 1 && [ "$(sort -n "$dir/out" | tr '\n' ' ')" = "$(seq 60 | tr '\n' ' ')" ]; cell restart_from_its_topics $?
stop
