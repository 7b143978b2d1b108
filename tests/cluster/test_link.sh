# The cable of a host is out for longer than a worker may be silent: it is named, in async the others go on, and when
# the cable is back the run ends as if nothing had been; in sync with the bits of one process. HANPS_LONG: 60 s, too.
# timeout: 600
work= # set there
. tests/cluster/net.sh
hosts 3

# A worker's log has a line for each of its units.
lines() { cat "$work/$1/log/worker-000$2.jsonl" 2>/dev/null | wc -l; }

# outage MODE STEPS SECONDS: rank 4, worker 3, is on host3, the others on host1 and host2.
outage() {
    run=$1-$3
    launch -n 5 "$work/config.yaml" --run "$work/$run" --set cluster.consistency=$1 --set run.steps=$2 \
        --set cluster.suspend_seconds=1 --set cluster.dead_seconds=120 --set cluster.server_seconds=240 >"$work/$run.out" 2>&1 &
    launcher=$!
    for _ in $(seq 600); do [ "$(lines $run 3)" -gt 20 ] && break; sleep 0.1; done
    link host3 down
    sleep 1
    before=$(lines $run 0)
    sleep $(($3 - 1))
    after=$(lines $run 0)
    cut=$(lines $run 3)
    link host3 up
    echo "$1, $3 s without the cable: worker 0 did $((after - before)) units"
}

for seconds in 4 ${HANPS_LONG:+60}; do
    outage sync 6000 "$seconds"
    wait $launcher || fail "sync: $(cat "$work/$run.out")"
    [ -d "$work/one" ] || "$HANPS" train "$work/config.yaml" --run "$work/one" --set run.steps=6000 >"$work/out" 2>&1 ||
        fail "one process: $(cat "$work/out")"
    same "$work/one" "$work/$run" "a cable that was out for $seconds s"
    [ $((after - before)) -le 2 ] || fail "sync: a step without worker 3"

    outage async 100000000 "$seconds"
    [ $((after - before)) -gt 20 ] || fail "async: worker 0 waited for worker 3: $before units, then $after"
    # TCP tries again after as long as the cable was out, at most.
    for _ in $(seq 900); do [ "$(lines $run 3)" -gt $((cut + 20)) ] && break; sleep 0.1; done
    [ "$(lines $run 3)" -gt $((cut + 20)) ] || fail "async: worker 3 did not go on: $(cat "$work/$run.out")"
    "$HANPS" stop "$work/$run" >"$work/out" 2>&1 || fail "stop: $(cat "$work/out")"
    wait $launcher
    [ $? = 130 ] || fail "async: $(cat "$work/$run.out")"

    for mode in sync async; do
        grep -q 'worker 3 .*on host3 is silent' "$work/$mode-$seconds.out" || fail "$mode: nobody says that worker 3 is silent"
        grep -q 'worker 3 speaks again' "$work/$mode-$seconds.out" || fail "$mode: nobody says that worker 3 is back"
        grep -q 'is lost' "$work/$mode-$seconds.out" && fail "$mode: worker 3 was given up"
    done
done
exit 0
