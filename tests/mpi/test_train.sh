# hanps train under mpirun: the same bits for any number of servers and workers, across a resume on
# another number, async, wrong input on all ranks.
work= # set there
. tests/support/run.sh
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
train() { # ranks, run, then arguments
    ranks=$1 run=$2
    shift 2
    timeout 100 mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -np "$ranks" \
        "$HANPS" train "$work/config.yaml" --run "$work/$run" "$@" >"$work/out" 2>&1
}

"$HANPS" train "$work/config.yaml" --run "$work/one" >"$work/out" 2>&1 || fail "one process: $(cat "$work/out")"
for servers in 1 2 3; do
    for workers in 1 2 3; do
        run=run-$servers-$workers
        train $((servers + workers)) $run --servers $servers || fail "$run: $(cat "$work/out")"
        same "$work/one" "$work/$run" "$servers servers, $workers workers"
        set -- "$work/$run"/log/worker-*.jsonl
        [ $# = $workers ] || fail "$run: logs of workers: $*"
        grep -q '"state":"done","step":24,' "$work/$run/status" || fail "$run: $(cat "$work/$run/status")"
    done
done

# Stopped on 1 server and 2 workers, resumed on 3 and 1.
train 3 moved --servers 1 --set run.steps=11 || fail "first part: $(cat "$work/out")"
train 4 moved --servers 3 --resume --set run.steps=24 || fail "second part: $(cat "$work/out")"
same "$work/one" "$work/moved" "resumed on other ranks"

# Left to itself, a step is as many units as there are workers, and stays so.
train 3 auto --set cluster.sync_shards=auto || fail "auto: $(cat "$work/out")"
grep -Eq 'sync_shards: *2' "$work/auto/config.yaml" || fail "sync_shards: $(grep sync "$work/auto/config.yaml")"

# Evaluations while training change no bit, and find the same on any number of ranks.
"$HANPS" train "$work/config.yaml" --run "$work/valid-one" --set valid.every_steps=8 >"$work/out" 2>&1 ||
    fail "one process, evaluations: $(cat "$work/out")"
train 5 valid --servers 2 --set valid.every_steps=8 || fail "evaluations: $(cat "$work/out")"
same "$work/one" "$work/valid" "evaluations"
for step in 08 16 24; do
    for run in valid-one valid; do
        sed 's/, "seconds".*//' "$work/$run/eval/valid-000000$step.json" >"$work/$run.json" || fail "$run: step $step"
    done
    cmp "$work/valid-one.json" "$work/valid.json" || fail "step $step is not evaluated alike"
done
cmp "$work/valid-one/checkpoints/best" "$work/valid/checkpoints/best" || fail "another best checkpoint"

# From pixels, cropped and rotated, each image of a unit once.
pixels="--set model.image.trunk=cnn --set model.image.filters=[4,4,4,4] --set model.attention.cells=4
    --set data.group_by_image=false --set data.augment.pad=4 --set data.augment.rotate=0.05 --set run.steps=4"
# shellcheck disable=SC2086 # words on purpose
"$HANPS" train "$work/config.yaml" --run "$work/pixels-one" $pixels >"$work/out" 2>&1 || fail "pixels: $(cat "$work/out")"
# shellcheck disable=SC2086
train 4 pixels --servers 2 $pixels || fail "pixels: $(cat "$work/out")"
same "$work/pixels-one" "$work/pixels" "pixels"

train 5 async --servers 2 --set cluster.consistency=async --set run.steps=50 || fail "async: $(cat "$work/out")"
grep -q '"state":"done","step":50,' "$work/async/status" || fail "async: $(cat "$work/async/status")"
for log in "$work"/async/log/worker-*.jsonl; do # a step is a retired unit
    tail -n 1 "$log" | grep -Eq '"step":[1-9]' || fail "async: $log: $(tail -n 1 "$log")"
done
awk '/^ +[0-9]/ { n += $3 } END { exit n != 50 }' "$work/out" || fail "async: units do not add up: $(cat "$work/out")"

# The last checkpoint cannot be written, a file is in its way: one rank says so, all end.
: >"$work/moved/checkpoints/step-00000030.tmp"
train 5 moved --servers 3 --resume --set run.steps=30
code=$?
[ $code = 3 ] || fail "no last checkpoint: exit status $code: $(cat "$work/out")"
[ "$(grep -c '^hanps' "$work/out")" = 1 ] || fail "no last checkpoint: not one line: $(cat "$work/out")"
grep -q '^hanps train: .*step-00000030.tmp' "$work/out" || fail "no last checkpoint: $(cat "$work/out")"
grep -q '"state":"failed"' "$work/moved/status" || fail "no last checkpoint: $(cat "$work/moved/status")"

# Wrong input: every rank ends, hanps says one line, nothing hangs.
refused() { # what the line says, ranks, then arguments
    want=$1
    shift
    train "$@"
    code=$?
    [ $code = 2 ] || fail "$want: exit status $code: $(cat "$work/out")"
    [ "$(grep -c '^hanps' "$work/out")" = 1 ] || fail "$want: not one line: $(cat "$work/out")"
    grep '^hanps' "$work/out" | grep -q "$want" || fail "no '$want': $(cat "$work/out")"
}
refused "leave no worker" 2 x --servers 2
refused "no_such_store" 3 x --set data.store="$work/no_such_store"
refused "model.bogus" 3 x --set model.bogus=1
refused "exists" 3 one
refused "no such option" 3 x --bogus
# One worker is in a folder where the store is another one.
mkdir -p "$work/there" "$work/here"
"$HANPS" data synth sort-of-clevr --out "$work/there/store" --images 41 --valid 10 --test 0 >/dev/null || fail synth
cp -r "$work/store" "$work/here/store"
timeout 100 mpirun --oversubscribe --bind-to none -np 2 -wdir "$work/here" "$HANPS" train "$work/config.yaml" \
    --run "$work/x" --set data.store=store : -np 1 -wdir "$work/there" "$HANPS" train "$work/config.yaml" \
    --run "$work/x" --set data.store=store >"$work/out" 2>&1
code=$?
[ $code = 2 ] || fail "another store: exit status $code: $(cat "$work/out")"
grep -q '^hanps train: rank 2 on .*: .* is not the one rank 0 has' "$work/out" || fail "another store: $(cat "$work/out")"
[ ! -e "$work/x" ] || fail "a refused run left a folder"
exit 0
