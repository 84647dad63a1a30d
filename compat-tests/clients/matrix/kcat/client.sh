#!/usr/bin/env bash
# kcat, that is librdkafka of C. The commands are explained in src/client.rs.
set -uo pipefail
command=$1 address=$2

if [ "$command" = member ]; then
  exec kcat -b "$address" -G "$4" -X auto.offset.reset=earliest -X session.timeout.ms=6000 -X heartbeat.interval.ms=500 \
    -u -f 'got %s\n' "$3"
fi

put() { kcat -b "$address" -P -t "$@"; }
get() { timeout 60 kcat -b "$address" -C -o beginning -e -q -p 0 -t "$@"; }
step() { # step FEATURE NOTE FUNCTION
  if error=$("$3" 2>&1); then echo "cell $1 pass $2"; else echo "cell $1 fail $(tr '\n' ' ' <<< "$error")"; fi
}
same() { [ "$1" = "$2" ] || { echo "expected $1, got $2"; return 1; }; }

produce() { seq 20 | put basic -p 0; }
consume() { same "$(seq 20)" "$(get basic)"; }
compression() {
  for codec in gzip snappy lz4 zstd; do
    seq 500 | put "$codec" -p 0 -z "$codec" && same "$(seq 500)" "$(get "$codec")" || return 1
  done
}
headers() { echo v | put headers -p 0 -H a=1 -H a= && same "a=1,a=" "$(get headers -f '%h\n')"; }
timestamps() { # kcat sets none of its own: the broker's must lie between two looks at the clock
  before=$(date +%s%3N); echo v | put times -p 0; seen=$(get times -f '%T\n')
  [ "$seen" -ge "$before" ] && [ "$seen" -le "$(date +%s%3N)" ] || { echo "time $seen"; return 1; }
}
idempotence() { seq 500 | put once -p 0 -X enable.idempotence=true && same "$(seq 500)" "$(get once)"; }

step produce "" produce
step consume "" consume
step compression "gzip snappy lz4 zstd" compression
step headers "" headers
step timestamps "" timestamps
echo "cell admin n/a"
step idempotence "" idempotence
echo "cell transactions n/a"
