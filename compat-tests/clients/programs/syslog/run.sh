#!/usr/bin/env bash
# Debian's rsyslog and syslog-ng write lines of a file into a topic. They exclude each other as packages, so they are unpacked
# and not installed. Arguments: version | ADDRESS, after the program's name and the folder of unpacked packages.
set -uo pipefail
program=$1 root=$2 address=$3
dir=$(mktemp -d); pid=
trap '[ -n "$pid" ] && kill "$pid" 2> /dev/null; rm -rf "$dir"' EXIT
export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu:$root/usr/lib/syslog-ng

if [ "$program" = rsyslog ]; then
  set -- "$root/usr/sbin/rsyslogd" -n -f "$dir/conf" -i "$dir/pid" -M "$root/usr/lib/x86_64-linux-gnu/rsyslog"
  version=$("$1" -v | sed -n '1s/rsyslogd *\([0-9.]*\).*/\1/p')
  cat > "$dir/conf" <<P
global(workDirectory="$dir")
module(load="imfile" mode="polling" pollingInterval="1")
module(load="omkafka")
template(name="plain" type="string" string="%msg%")
input(type="imfile" file="$dir/in" tag="x" freshStartTail="off")
action(type="omkafka" broker=["$address"] topic="log" template="plain" confParam=["compression.codec=snappy"])
P
else
  set -- "$root/usr/sbin/syslog-ng" -F -f "$dir/conf" -R "$dir/persist" -p "$dir/pid" -c "$dir/ctl" --module-path "$root/usr/lib/syslog-ng/3.38" --no-caps
  version=$("$1" -V 2> /dev/null | sed -n 's/^Installer-Version: //p')
  cat > "$dir/conf" <<P
@version: 3.38
source s { file("$dir/in" follow-freq(1) flags(no-parse)); };
destination d { kafka-c(bootstrap-servers("$address") topic("log") message("\$MSG")); };
log { source(s); destination(d); };
P
fi
[ "$address" != version ] || { echo "$version"; exit; }
seq -f 'line %g' 20 > "$dir/in"
"$@" > "$dir/log" 2>&1 & pid=$!
seen=
for _ in $(seq 240); do
  seen=$(timeout 10 kcat -b "$address" -C -t log -o beginning -e -q 2> /dev/null | sort)
  [ "$(wc -l <<< "$seen")" -ge 20 ] && break
  sleep 0.5
done
if [ "$(tr -d ' ' <<< "$seen")" = "$(seq -f 'line%g' 20 | sort)" ]; then echo "cell twenty_lines_of_a_file pass"
else echo "cell twenty_lines_of_a_file fail $(head -c 100 <<< "$seen" | tr '\n' ' ') $(tail -2 "$dir/log" | tr '\n' ' ')"; fi
