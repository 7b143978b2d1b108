#!/bin/bash
# Servers and workers as processes: the bits of one process, whatever the numbers, the way between
# them, and a stop in the middle; and nobody hangs at the end.
set -eu
command -v mpirun >/dev/null || { echo "mpirun is not installed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program="$BUILD/tests/mpi/test_server"
fail() { echo "$*"; exit 1; }
fresh() { rm -rf "$work/run"; mkdir -p "$work/run/log" "$work/run/checkpoints"; }
ranks() { # ranks N [mpirun's flags --] ARGUMENTS
    timeout 100 mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -np "$@" ||
        fail "failed: $*"
}

fresh
want=$("$program" "$work/run" sync 1 12)
for n in "2 1" "3 1" "4 2" "5 3" "6 2"; do
    read -r np servers <<<"$n"
    fresh
    got=$(ranks "$np" "$program" "$work/run" sync "$servers" 12)
    [ "$got" = "$want" ] || fail "sync on $np ranks, $servers servers: $got, alone $want"
done
fresh
got=$(ranks 4 --mca btl tcp,self "$program" "$work/run" sync 2 12)
[ "$got" = "$want" ] || fail "sync over TCP: $got, alone $want"

fresh
ranks 4 "$program" "$work/run" sync 2 5 >/dev/null
got=$(ranks 5 "$program" "$work/run" sync 3 12 last)
[ "$got" = "$want" ] || fail "sync, stopped at 5 and resumed: $got, whole $want"

fresh
ranks 5 "$program" "$work/run" async 2 60 >/dev/null
