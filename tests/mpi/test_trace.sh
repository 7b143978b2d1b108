# hanps train --trace: under mpirun, in one process, after a resume; one file of all ranks.
work= # set there
. tests/support/run.sh
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
train() { # ranks, run, then arguments
    ranks=$1 run=$2
    shift 2
    timeout 100 mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -np "$ranks" \
        "$HANPS" train "$work/config.yaml" --run "$work/$run" "$@" >"$work/out" 2>&1
}
look() { # run, start, servers, workers, steps: what the trace must hold
    "$HANPS" report "$work/$1" --trace >"$work/name" || fail "$1: $(cat "$work/name")"
    [ "$(cat "$work/name")" = "$work/$1/trace/start-$2.json" ] || fail "$1: not that name: $(cat "$work/name")"
    python3 tests/support/trace.py "$work/$1" "$@" || fail "$1: the trace of start $2"
}

# A step costs enough that the clock's reading and the log's line are nothing beside it.
sed -i 's/width: 24/width: 256/; s/batch_size: 16/batch_size: 64/' "$work/config.yaml"
train 4 sync --servers 2 --set run.steps=10 --set checkpoint.every_steps=3 --trace 6 || fail "sync: $(cat "$work/out")"
grep -q "report $work/sync --trace" "$work/out" || fail "the log does not say what to do: $(cat "$work/out")"
look sync 0001 2 2 6
train 4 sync --servers 1 --resume --set run.steps=16 --trace 4 || fail "resume: $(cat "$work/out")"
[ -e "$work/sync/trace/start-0001.json" ] || fail "the first trace is gone"
look sync 0002 1 3 4
train 4 sync --servers 2 --resume --set run.steps=18 || fail "without: $(cat "$work/out")"
[ ! -e "$work/sync/trace/start-0003" ] || fail "a trace that nobody asked for"

train 4 async --servers 2 --set cluster.consistency=async --set run.steps=40 --set valid.every_steps=20 --trace 1000 ||
    fail "async: $(cat "$work/out")"
look async 0001 2 2 0

# With and without a trace the same bits, in one process too; one that ends before STEPS is whole.
"$HANPS" train "$work/config.yaml" --run "$work/one" --set run.steps=10 --trace 40 >"$work/out" 2>&1 ||
    fail "one process: $(cat "$work/out")"
look one 0001 1 1 20
"$HANPS" train "$work/config.yaml" --run "$work/plain" --set run.steps=10 >"$work/out" 2>&1 || fail "plain: $(cat "$work/out")"
same "$work/one" "$work/plain" "a trace changes bits"

# A rank is killed: it leaves no part, the others' are not lost.
timeout 100 mpirun --enable-recovery --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -np 4 "$HANPS" train \
    "$work/config.yaml" --run "$work/killed" --servers 2 --set cluster.consistency=async --set run.steps=100000 \
    --set cluster.dead_seconds=2 --trace 1000 >"$work/out" 2>&1 &
for _ in $(seq 300); do
    sleep 0.1
    [ -s "$work/killed/log/worker-0000.jsonl" ] && [ -s "$work/killed/log/worker-0001.jsonl" ] && break
done
kill -KILL "$(sed -E 's/.*"pid":([0-9]+).*/\1/' "$work/killed/ranks/0003")" || fail "killed: no worker: $(cat "$work/out")"
"$HANPS" stop "$work/killed" >"$work/stop" 2>&1 || fail "killed: $(cat "$work/stop" "$work/out")"
wait
"$HANPS" report "$work/killed" --trace --out "$work/rest.json" >"$work/name" 2>"$work/said" || fail "killed: $(cat "$work/said")"
[ "$(cat "$work/said")" = 'hanps report: rank 3 of 4 left no part of the trace' ] || fail "killed: $(cat "$work/said")"
python3 -c '
import json, sys
events = json.load(open(sys.argv[1]))
assert {e["pid"] for e in events} == {10000, 10001, 10002}
assert any(e["name"] == "step" for e in events)
' "$work/rest.json" || fail "killed: the rest of the trace"

# Where it cannot be written the run goes on.
: >"$work/plain/trace"
"$HANPS" train --run "$work/plain" --resume --set run.steps=12 --trace 2 >"$work/out" 2>&1 || fail "no trace: $(cat "$work/out")"
grep -q 'warning: no trace of this rank' "$work/out" || fail "no trace: no warning: $(cat "$work/out")"

for steps in 0 1001 -3 2.5 many ''; do
    bad "a whole number from 1 to 1000 is allowed" train "$work/config.yaml" --run "$work/x" --trace "$steps"
done
[ ! -e "$work/x" ] || fail "a refused run left a folder"
bad "has no trace" report "$work/none" --trace
bad "one RUN is allowed" report "$work/one" "$work/sync" --trace
exit 0
