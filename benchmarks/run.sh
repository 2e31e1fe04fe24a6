#!/bin/bash
# All scenarios against Prosody (tuned), ejabberd and Microblog in one run: run.sh WORKDIR [STEP ...]
# WORKDIR gets the servers' data and results/*.md and *.json.  Loopback only.
# Steps: start accounts login fanout latency publish timeline federate idle stop
# From the environment: PYTHON (runs Microblog and the generator), SERVERS, ROUNDS, ACCOUNTS, MAXOTHER,
# SCALE (percent of the messages and requests of each run: 10 is a quick look, not a measurement).
set -u
B=$(cd "$(dirname "$0")" && pwd); W=$(mkdir -p "$1" && cd "$1" && pwd); shift
STEPS=${*:-start accounts login fanout latency publish timeline federate idle stop}
PY=${PYTHON:-python3}; SERVERS=${SERVERS:-prosody ejabberd microblog}
R=${ROUNDS:-3}; N=${ACCOUNTS:-1010}; SCALE=${SCALE:-100}; export PYTHONDONTWRITEBYTECODE=1
mkdir -p "$W/results"; ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"

declare -A IP=([prosody]=127.0.81.2 [prosody2]=127.0.81.3 [ejabberd]=127.0.81.4 [ejabberd2]=127.0.81.5
               [microblog]=127.0.81.6 [microblog2]=127.0.81.7)
declare -A KIND=([prosody]="prosody --tuned" [prosody2]="prosody --tuned" [ejabberd]=ejabberd
                 [ejabberd2]=ejabberd [microblog]=microblog [microblog2]=microblog)
ALL=""; for s in $SERVERS; do ALL="$ALL $s ${s}2"; done   # the second of each kind is for federation
PEERS=""; for s in $ALL; do PEERS="$PEERS --peer $s.test=${IP[$s]}"; done
n() { local v=$(($1 * SCALE / 100)); echo $((v > 0 ? v : 1)); }
up() { "$PY" "$B/peers/peers.py" start ${KIND[$1]} --dir "$W/$1" --ip ${IP[$1]} --domain $1.test ${PEERS/ --peer $1.test=${IP[$1]}/} "${@:2}"; }
down() { "$PY" "$B/peers/peers.py" stop --dir "$W/$1"; }
opt() { echo "--host ${IP[$1]} --domain $1.test --pidfile $W/$1/server.pid"; }
optb() { opt "$1" | sed -E 's/--(host|domain|pidfile)/--\1-b/g'; }
has() { [[ " $ALL " == *" $1 "* ]]; }
compare() { "$PY" "$B/compare.py" --max-other "${MAXOTHER:-0.15}" --rounds "$R" --warmup "${WARM:-1}" "$@"; }
# cmp NAME "options before" scenario...: every server in turn
cmp() { local name=$1 pre=$2; shift 2; local t=(); for s in $SERVERS; do t+=(--target "$s=$(opt $s) $pre"); done
  echo "## $name"; compare --out "$W/results/$name.json" "${t[@]}" -- "$@" | tee "$W/results/$name.md"; }
# fed NAME "A:B A:B ..." "options before" scenario...: pairs of servers
fed() { local name=$1 pairs=$2 pre=$3; shift 3; local t=()
  for p in $pairs; do has ${p%%:*} && has ${p##*:} && t+=(--target "${p/:/->}=$(opt ${p%%:*}) $(optb ${p##*:}) $pre"); done
  echo "## $name"; compare --out "$W/results/$name.json" "${t[@]}" -- "$@" | tee "$W/results/$name.md"; }

for step in $STEPS; do case $step in
start) { echo "Versions: Prosody $(prosodyctl about 2>/dev/null | sed -n 's/^Prosody //p')," \
      "ejabberd $(basename $(ls -d /usr/lib/*/ejabberd-* | tail -1) | sed s/ejabberd-//)," \
      "Microblog $(git -C "$B" describe --always --dirty 2>/dev/null), $("$PY" --version), $(uname -sr)," \
      "$(nproc) processors ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)), $(date -u +%F)."; } | tee "$W/results/versions.md"
  for s in $ALL; do echo "$s: $(up $s)"; done;;
stop) for s in $ALL; do down $s; done;;
accounts) for s in $ALL; do "$PY" "$B/xmppload.py" $(opt $s) register -n $N; done;;
login) cmp login "" login -c 8 -l $(n 400);;
fanout) cmp fanout100 "" fanout -n 100 -m $(n 100)
  cmp fanout1000 "" fanout -n 1000 -m $(n 30);;
latency) cmp fanout100-rate10 "" fanout -n 100 -m $(n 100) --rate 10
  cmp fanout1000-rate2 "" fanout -n 1000 -m $(n 20) --rate 2;;
publish) cmp publish "" publish -k 8 -m $(n 100);;
timeline) WARM=0 cmp timeline "" timeline -c 8 -r $(n 25);;
federate) EXPLICIT="prosody:prosody2 prosody:ejabberd microblog:microblog2 microblog:prosody microblog:ejabberd prosody:microblog"
  fed federate100 "$EXPLICIT" "" federate -n 100 -m $(n 100)
  fed federate1000 "$EXPLICIT" "" federate -n 1000 -m $(n 20)
  # ejabberd sends no events to explicit subscribers elsewhere: its authors are followed by presence
  fed federate100-presence "ejabberd:ejabberd2 ejabberd:prosody ejabberd:microblog microblog:microblog2 microblog:ejabberd" \
    "--author 1005" federate --follow presence -n 100 -m $(n 100);;
idle) for r in $(seq $R); do for s in $SERVERS; do down $s; up $s >/dev/null   # afresh: freed memory hides growth
    "$PY" "$B/xmppload.py" $(opt $s) --settle 3 --label $s --json "$W/results/idle-$s-$r.json" idle -n 1000 --hold 10 \
      | grep -E 'idle|rss' | tee -a "$W/results/idle.txt"; done; done;;
*) echo "no such step: $step" >&2; exit 2;;
esac; done
