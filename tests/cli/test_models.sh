# Every attention and aggregation, and the trunk from pixels, train, repeat and evaluate from the
# command line.
work= # set there
. tests/support/run.sh
train() { # run, then arguments
    run=$1
    shift
    "$HANPS" train "$work/config.yaml" --run "$work/$run" --set run.steps=4 \
        --set 'model.aggregate.layers=[12, 8]' --set model.attention.width=8 "$@" >"$work/out" 2>&1
}

train soft --set model.attention.kind=soft --set model.image.activation=tanh || fail "soft: $(cat "$work/out")"
train relation --set model.aggregate.kind=relation || fail "relation: $(cat "$work/out")"
train straight --set model.attention.kind=straight_through || fail "straight: $(cat "$work/out")"
cnn="--set model.image.trunk=cnn --set model.image.filters=[6,8,8,8] --set model.aggregate.kind=relation"
# shellcheck disable=SC2086 # words on purpose
train trunk $cnn --set model.attention.cells=4 || fail "trunk: $(cat "$work/out")"
# shellcheck disable=SC2086
train plain $cnn --set model.attention.cells=4 --set model.image.batch_norm=false || fail "plain: $(cat "$work/out")"

# Running averages are the servers': the same bits over a stop and a resume, on two shards.
# shellcheck disable=SC2086
train again $cnn --set model.attention.cells=4 --set run.steps=2 || fail "again: $(cat "$work/out")"
"$HANPS" train --run "$work/again" --resume --set run.steps=4 >"$work/out" 2>&1 || fail "resume: $(cat "$work/out")"
same "$work/trunk" "$work/again" "a trunk, stopped and resumed"

# Crops and rotations are the same over a stop, and are in training alone.
aug="$cnn --set model.attention.cells=4 --set data.group_by_image=false --set data.augment.pad=5 --set data.augment.rotate=0.1"
# shellcheck disable=SC2086
train cropped $aug --set data.augment.fill=1 || fail "cropped: $(cat "$work/out")"
# shellcheck disable=SC2086
train halves $aug --set data.augment.fill=1 --set run.steps=2 || fail "halves: $(cat "$work/out")"
"$HANPS" train --run "$work/halves" --resume --set run.steps=4 >"$work/out" 2>&1 || fail "halves: $(cat "$work/out")"
same "$work/cropped" "$work/halves" "crops over a stop"
# shellcheck disable=SC2086
train black $aug || fail "black: $(cat "$work/out")"
"$HANPS" checkpoint diff "$work/cropped" "$work/black" >/dev/null && fail "data.augment.fill changes nothing"
for pad in 0 5; do
    "$HANPS" eval "$work/cropped" --set data.augment.pad=$pad --json "$work/pad-$pad.json" >/dev/null || fail "eval"
    sed -i 's/"seconds.*//' "$work/pad-$pad.json"
done
cmp "$work/pad-0.json" "$work/pad-5.json" || fail "crops change the evaluation"

for run in soft relation straight trunk plain; do
    "$HANPS" eval "$work/$run" --json "$work/$run.json" >"$work/out" 2>&1 || fail "eval $run: $(cat "$work/out")"
done
grep -q '"cells_mean": *4' "$work/trunk.json" || fail "cells: $(cat "$work/trunk.json")"
"$HANPS" masks "$work/trunk" --out "$work/masks" >"$work/out" 2>&1 || fail "masks: $(cat "$work/out")"

refused() { # expected, then settings
    want=$1
    shift
    bad "$want" train "$work/config.yaml" --run "$work/refused" "$@"
}
refused 'soft attention pools by its own weights' --set model.attention.kind=soft --set model.aggregate.kind=relation
refused 'does not go with straight_through' --set model.attention.kind=straight_through --set model.aggregate.kind=pairwise
refused 'a number of cells that is known' --set model.attention.kind=adahan --set model.aggregate.kind=concat
refused 'data.augment: not allowed' --set data.augment.pad=4
refused 'data.augment.rotate' --set model.image.trunk=cnn --set data.augment.rotate=9
refused 'model.image.kernels: 2 of them; allowed: 1 or 4' --set model.image.trunk=cnn --set 'model.image.kernels=[3,5]'
