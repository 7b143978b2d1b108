# tests/bench/server_cost.py: memory, idleness and latency of a server, by the number of workers.
# timeout: 240
work= # set there
. tests/support/run.sh
command -v mpirun >/dev/null || { echo 'no mpirun'; exit 77; }
timeout 200 tests/bench/server_cost.py "$work/config.yaml" --hanps "$HANPS" --workers 1,3 --seconds 2 --idle 2 --set cluster.consistency=async \
    >"$work/table" 2>"$work/err" || fail "$(cat "$work/table" "$work/err")"
[ "$(wc -l <"$work/table")" = 3 ] || fail "$(cat "$work/table")"
# workers, MiB, busy, idle, pulls, ms, ms: a server is some tens of MiB of libraries, and sleeps when nobody speaks
awk 'NR > 1 && !(($1 == 1 || $1 == 3) && NF == 7 && $2 > 5 && $2 < 1000 && $4 < 30 && $5 > 0 && $6 > 0.005 && $7 >= $6) { bad = 1 }
    END { exit bad }' "$work/table" || fail "$(cat "$work/table")"
! grep -lz "$work/[c]onfig.yaml" /proc/[0-9]*/cmdline 2>/dev/null || fail 'it leaves processes behind'
tests/bench/server_cost.py "$work/none.yaml" --hanps "$HANPS" --workers 1 >"$work/out" 2>&1 && fail 'a configuration that is not there'
grep -q 'server_cost.py: the run does not train' "$work/out" || fail "$(cat "$work/out")"
exit 0
