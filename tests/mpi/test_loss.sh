#!/bin/bash
# Workers that are killed, and one that is stopped for a while, in different moments: the others go
# on, in sync to the same bits, and everything ends.
set -eu
command -v mpirun >/dev/null || { echo "mpirun is not installed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program="$BUILD/tests/mpi/test_server"
fail() { echo "$*"; cat "$work/err"; exit 1; }
fresh() { rm -rf "$work/run"; mkdir -p "$work/run/log" "$work/run/checkpoints"; }
# ranks FAULT N ARGUMENTS: the hash that rank 0 prints. mpirun's own exit status says nothing here.
ranks() {
    local fault=$1
    shift
    FAULT=$fault timeout 60 mpirun --enable-recovery --oversubscribe --bind-to none \
        --mca mpi_yield_when_idle 1 -x FAULT ${PAUSE_US:+-x PAUSE_US} -np "$@" 2>"$work/err" || true
}

fresh
want=$("$program" "$work/run" sync 1 12)
for fault in "9 0 0 0" "9 0 2 1" "9 1 1 2"; do
    fresh
    got=$(ranks "$fault" 5 "$program" "$work/run" sync 2 12)
    [ "$got" = "$want" ] || fail "sync, fault $fault: '$got', alone $want"
    grep -q "is lost" "$work/err" || fail "sync, fault $fault: the log does not say who is lost"
done

fresh
got=$(ranks "9 0 3 1" 5 "$program" "$work/run" async 2 60)
[ -n "$got" ] || fail "async: did not end well"

# Stopped for two seconds: suspended, then it goes on.
fresh
stopped() { # the process of the run that sleeps by SIGSTOP
    local stat pid
    for stat in $(grep -lsE '^[0-9]+ \([^)]*\) T' /proc/[0-9]*/stat); do
        pid=$(cut -d/ -f3 <<<"$stat")
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "$program $work/run sync 2" && echo "$pid" && return
    done
    return 0 # others' stopped processes are no failure
}
(
    for _ in $(seq 100); do
        sleep 0.1
        pid=$(stopped)
        [ -n "$pid" ] && break
    done
    sleep 2
    [ -n "$pid" ] && kill -CONT "$pid"
) &
got=$(ranks "19 1 2 1" 5 "$program" "$work/run" sync 2 12)
wait
[ "$got" = "$want" ] || fail "sync, stopped and continued: '$got', alone $want"
grep -q "speaks again" "$work/err" || fail "the log does not say that the worker came back"

# Stopped until it is given up: it is told, comes back and computes again.
fresh
want=$("$program" "$work/run" sync 1 150)
fresh
(
    for _ in $(seq 200); do
        sleep 0.1
        grep -q "is lost" "$work/err" && break
    done
    for pid in $(stopped); do kill -CONT "$pid"; done
) &
got=$(PAUSE_US=40000 ranks "19 1 2 1" 5 "$program" "$work/run" sync 2 150)
wait
[ "$got" = "$want" ] || fail "sync, given up and back: '$got', alone $want"
grep -q "is back, in its incarnation 2" "$work/err" || fail "the log does not say that the worker is back"

# Stopped until the run is over without it: it is told that too, and ends.
fresh
want=$("$program" "$work/run" sync 1 12)
fresh
(
    for _ in $(seq 400); do
        sleep 0.1
        [ -s "$work/got" ] && break
    done
    sleep 1
    for pid in $(stopped); do kill -CONT "$pid"; done
    date +%s >"$work/continued"
) &
begun=$(date +%s)
ranks "19 1 2 1" 5 "$program" "$work/run" sync 2 12 >"$work/got"
ended=$(date +%s)
wait
[ "$(cat "$work/got")" = "$want" ] || fail "sync, over without a worker: '$(cat "$work/got")', alone $want"
grep -q "worker 1 on .* is lost" "$work/err" || fail "the log does not say that the worker is lost"
[ $((ended - $(cat "$work/continued"))) -lt 15 ] || fail "a worker that speaks when all is over waited until $ended, from $begun on"

# Who does not get on is named: workers with what they do, servers with what they wait for.
slow() { # COMPUTE_US DATA_US
    fresh
    FAKE_LOG=1 STALL_S=0.7 PAUSE_US=$1 DATA_US=$2 "$program" "$work/run" sync 1 2 >/dev/null 2>"$work/err" || fail "slow: did not end"
}
slow 1500000 1000
grep -Eq 'worker [01] \(rank [12]\) on .* computes unit [0-3], for [0-9.]+ s now' "$work/err" || fail "no word of a slow worker"
grep -Eq 'server 0 \(rank 0\) on .* makes no step for [0-9.]+ s: waits for the gradient of unit [0-3]' "$work/err" || fail "no word of a server that waits"
slow 1000 1500000
grep -Eq 'worker [01] .* waits for the data of unit [0-3], for' "$work/err" || fail "no word of a worker without data"
