#!/bin/bash
# The transport between processes: shared memory and TCP, 2 to 4 ranks, and with a rank that dies.
set -eu
command -v mpirun >/dev/null || { echo "mpirun is not installed"; exit 77; }
run() { timeout 120 mpirun --oversubscribe --bind-to none "$@" || { echo "failed: $*"; exit 1; }; }

for n in 2 3 4; do run -np "$n" "$BUILD/tests/mpi/test_transport"; done
run -np 4 "$BUILD/tests/mpi/test_transport" renumber
run -np 3 --mca btl tcp,self "$BUILD/tests/mpi/test_transport"
run -np 2 --mca btl_vader_single_copy_mechanism none "$BUILD/tests/mpi/test_transport"

out=$(timeout 60 mpirun --oversubscribe --bind-to none --enable-recovery -np 3 "$BUILD/tests/mpi/test_transport" die) || true
grep -q survived <<<"$out" || { echo "the ranks that were left did not go on: $out"; exit 1; }
