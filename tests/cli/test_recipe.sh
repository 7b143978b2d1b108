#!/bin/bash
# What a run is trained on and by which rate: a validation split cut off the training images,
# schedules that do not fit.
work= # set there
. tests/support/run.sh
train() { # RUN, then arguments
    run=$1
    shift
    timeout 100 "$HANPS" train "$work/config.yaml" --run "$work/$run" "$@" >"$work/out" 2>&1 ||
        fail "train $run $*: $(cat "$work/out")"
}
count() { # RUN, split: questions that eval answers
    "$HANPS" eval "$work/$1" --split "$2" --json "$work/eval.json" >"$work/out" 2>&1 ||
        fail "eval $*: $(cat "$work/out")"
    sed -n 's/.*"examples": *\([0-9]*\).*/\1/p' "$work/eval.json"
}

# A quarter of 40 images of 20 questions, more or less; the rest is an epoch.
train cut --set run.steps=0 --set run.epochs=1 --set data.valid=train:0.25
held=$(count cut train:0.25)
[ "$held" -gt 80 ] && [ "$held" -lt 400 ] && [ $((held % 20)) = 0 ] || fail "cut off: $held questions"
"$HANPS" eval "$work/cut" >"$work/out" 2>&1 || fail "eval: $(cat "$work/out")"
grep -q 'split train:0.25' "$work/out" || fail "not the split of the configuration: $(cat "$work/out")"
[ -f "$work/cut/eval/train:0.25-$(printf %08d $(((800 - held + 31) / 32))).json" ] ||
    fail "an epoch is not the rest of $held: $(ls "$work/cut/eval")"
[ "$(count cut train)" = 800 ] || fail "train: $(count cut train) questions"
"$HANPS" masks "$work/cut" --count 6 >"$work/out" 2>&1 || fail "masks: $(cat "$work/out")"
grep -q "accuracy on $held of train:0.25" "$work/out" || fail "masks: $(cat "$work/out")"
train other --set run.steps=0 --set run.epochs=1 --set data.valid=train:0.25 --set data.valid_seed=2
"$HANPS" checkpoint diff "$work/cut" "$work/other" >"$work/out" 2>&1 && fail "another seed cuts off the same images"

bad 'data.valid cannot change' train --run "$work/cut" --resume --set data.valid=train:0.1
bad 'between 0 and 1' train "$work/config.yaml" --run "$work/x" --set data.valid=train:1.5
bad "no split 'nothing'" train "$work/config.yaml" --run "$work/x" --set data.valid=nothing:0.5
bad 'leaves a gap' train "$work/config.yaml" --run "$work/x" --set optimizer.schedule.kind=cosine \
    --set optimizer.schedule.until=20
bad 'is never reached: the run ends at 24' train "$work/config.yaml" --run "$work/x" \
    --set optimizer.schedule.kind=step --set 'optimizer.schedule.milestones=[24]'
[ ! -e "$work/x" ] || fail "a refused run left a folder"
exit 0
