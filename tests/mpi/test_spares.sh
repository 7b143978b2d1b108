# hanps train with a spare rank: asleep while all is well, in the place of a worker that is killed;
# in sync to the same bits. Without one, cluster.on_worker_loss: stop ends with a checkpoint.
work= # set there
. tests/support/run.sh
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
loss="--set cluster.suspend_seconds=1 --set cluster.dead_seconds=2"

# pid RANK: its process, once every rank has begun.
pid_of() {
    local note
    note=$(printf '%s/run/ranks/%04d' "$work" "$1")
    for _ in $(seq 200); do
        [ -s "$note" ] && [ -s "$work/run/log/worker-0001.jsonl" ] && break
        sleep 0.1
    done
    sed -nE 's/.*"pid": *([0-9]+).*/\1/p' "$note"
}
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; } # of processor time
# start RANKS ARGUMENT...: in the background; mpirun's id in $run
start() {
    ranks=$1
    shift
    rm -rf "$work/run"
    # shellcheck disable=SC2086  # options
    HANPS_RUN_GRACE=3 timeout 120 deploy/run -n "$ranks" --hanps "$HANPS" "$work/config.yaml" --run "$work/run" $loss "$@" >"$work/out" 2>&1 &
    run=$!
}

"$HANPS" train "$work/config.yaml" --run "$work/one" --set run.steps=3000 >"$work/out" 2>&1 || fail "one process: $(cat "$work/out")"
start 4 --servers 1 --spares 1 --set run.steps=3000
spare=$(pid_of 3)
[ -n "$spare" ] || fail "no spare: $(cat "$work/out")"
kill -9 "$(pid_of 2)"
wait $run || fail "with a spare: exit status $?: $(cat "$work/out")"
grep -q "spare worker 2 on .* takes the place" "$work/out" || fail "no spare took over: $(cat "$work/out")"
[ -s "$work/run/log/worker-0002.jsonl" ] || fail "the spare did nothing"
# What the killed worker had is counted, in the status, the closing table and the monitor.
repeated=$(sed -nE 's/.*"units_repeated":([0-9]+),.*/\1/p' "$work/run/status")
[ "${repeated:-0}" -gt 0 ] || fail "no repeated units in the status: $(cat "$work/run/status")"
grep -q ", $repeated repeated" "$work/out" || fail "the closing table does not say $repeated repeated: $(cat "$work/out")"
"$HANPS" monitor "$work/run" | grep -q "^$repeated units were computed again after a loss" || fail "monitor: $("$HANPS" monitor "$work/run")"
grep -q '"units_repeated":0,' "$work/one/status" || fail "one process repeated something: $(cat "$work/one/status")"
same "$work/one" "$work/run" "with a worker killed and a spare in its place"

start 4 --servers 1 --spares 1 --set run.steps=1000000 --set cluster.on_worker_loss=stop
spare=$(pid_of 3)
before=$(ticks "$spare")
sleep 2
used=$(($(ticks "$spare") - before)) # of about 200
[ "$used" -le 40 ] || fail "an idle spare used $used ticks in 2 s"
[ -s "$work/run/log/worker-0002.jsonl" ] && fail "a spare worked though nobody was lost"
kill -9 "$(pid_of 2)"
wait $run
code=$?
[ $code = 3 ] || fail "on_worker_loss stop: exit status $code: $(cat "$work/out")"
grep -q '"state":"failed"' "$work/run/status" || fail "status: $(cat "$work/run/status")"
grep -q '"requeue":true' "$work/run/status" || fail "status: $(cat "$work/run/status")"
grep -q 'a worker is lost, and cluster.on_worker_loss says stop' "$work/run/status" || fail "status: $(cat "$work/run/status")"
step=$(sed -nE 's/.*"step":([0-9]+),.*/\1/p' "$work/run/status")
"$HANPS" checkpoint verify "$work/run" >"$work/out" 2>&1 || fail "checkpoint: $(cat "$work/out")"
[ -d "$work/run/checkpoints/$(printf 'step-%08d' "$step")" ] || fail "no checkpoint of step $step: $(ls "$work/run/checkpoints")"
"$HANPS" train --run "$work/run" --resume --set run.steps=$((step + 2)) >"$work/out" 2>&1 || fail "resume: $(cat "$work/out")"

timeout 60 mpirun --oversubscribe -np 3 "$HANPS" train "$work/config.yaml" --run "$work/x" --servers 1 --spares 2 >"$work/out" 2>&1
grep -q "cluster.spares: 2 spare ranks leave no worker" "$work/out" || fail "two spares of two: $(cat "$work/out")"
exit 0
