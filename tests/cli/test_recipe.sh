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
bad 'needs data.valid' train "$work/config.yaml" --run "$work/x" --set valid.every_steps=5 --set 'data.valid=""'
bad 'needs valid.every_steps' train "$work/config.yaml" --run "$work/x" --set valid.patience=5
[ ! -e "$work/x" ] || fail "a refused run left a folder"

# One answer to each question: sampling finds it, and as a soft label it has the score 1.
train sampled --set data.labels=sampled
train plain
same "$work/plain" "$work/sampled" "the only answer, sampled"
for loss in binary cross_entropy; do
    train soft-$loss --set data.labels=soft --set model.classifier.soft_loss=$loss --set run.steps=80
    "$HANPS" eval "$work/soft-$loss" --json "$work/eval.json" >/dev/null || fail "eval of soft labels, $loss"
    awk "BEGIN { exit !($(sed -n 's/.*"overall": *\([0-9.]*\).*/\1/p' "$work/eval.json" | head -n 1) > 40) }" ||
        fail "soft labels, $loss, teach nothing: $(cat "$work/eval.json")"
done

# Several people: of eight questions, "grey" is the most frequent answer of two and no class; of one of
# these somebody else said "red". An epoch has what can be learnt.
for answers in '"red", "red", "blue"' '"blue", "blue", "red"' '"red", "red", "red"' '"blue", "blue", "blue"' \
    '"red", "red"' '"blue", "blue"' \
    '"grey", "grey", "red"' '"grey", "grey", "dark"'; do
    echo "{\"image\": \"train-0\", \"question\": \"which?\", \"answers\": [$answers]}"
done >"$work/people.jsonl"
sed -n '$s/}$/, "split": "odd"}/p' "$work/people.jsonl" >"$work/odd.jsonl"
"$HANPS" data import jsonl "$work/people.jsonl" "$work/odd.jsonl" --features "$work/store" --answers 2 --out "$work/people" \
    >"$work/out" 2>&1 || fail "import: $(cat "$work/out")"
for labels in most_frequent=6 sampled=7 soft=7; do
    train "people-$labels" --set "data.store=$work/people" --set 'data.valid=""' --set run.steps=0 --set run.epochs=1 \
        --set data.batch_size=1 --set cluster.sync_shards=1 --set "data.labels=${labels%=*}"
    grep -q "\"step\":${labels#*=}," "$work/people-$labels/status" ||
        fail "people, $labels: $(cat "$work/people-$labels/status")"
done
bad 'odd of '"'$work/people'"': the split has no question whose answer is among the classes' train "$work/config.yaml" \
    --run "$work/x" --set "data.store=$work/people" --set data.train=odd --set data.labels=soft --set 'data.valid=""'

# Evaluations beside training: the same bits as without, the same figures as `hanps eval` finds, the
# best checkpoint kept, a curve in the report.
train valid --set valid.every_steps=4 --set checkpoint.keep=1
same "$work/plain" "$work/valid" "evaluations change the training"
overall() { sed -n 's/.*"overall": *\([0-9.]*\).*/\1/p' "$1" | head -n 1; }
best=0
for step in 4 8 12 16 20 24; do
    json=$(printf "$work/valid/eval/valid-%08d.json" $step)
    [ -f "$json" ] || fail "step $step was not evaluated"
    grep -q '"per_answer_type": {"[a-z]*' "$json" || fail "step $step: $(cat "$json")"
    of[step]=$(overall "$json")
    awk "BEGIN { exit !(${of[step]} > $best) }" && best=${of[step]} at=$step
done
"$HANPS" checkpoint ls "$work/valid" >"$work/out"
grep -q "^ *$at .*best" "$work/out" || fail "step $at with $best is the best: $(cat "$work/out")"
[ "$(ls -d "$work"/valid/checkpoints/step-* | wc -l)" -le 2 ] || fail "checkpoint.keep: $(ls "$work/valid/checkpoints")"
cp -r "$work/valid/eval" "$work/eval.before"
for which in best last; do
    "$HANPS" eval "$work/valid" --checkpoint $which --json "$work/eval.json" >"$work/out" 2>&1 || fail "eval: $(cat "$work/out")"
    step=$(sed -n 's/.*"step": *\([0-9]*\).*/\1/p' "$work/eval.json")
    json=$(printf "$work/eval.before/valid-%08d.json" "$step")
    for key in examples overall cells_mean loss; do
        want=$(sed -n "s/.*\"$key\": *\([0-9.]*\).*/\1/p" "$work/eval.json" | head -n 1)
        got=$(sed -n "s/.*\"$key\": *\([0-9.]*\).*/\1/p" "$json" | head -n 1)
        awk "BEGIN { d = $want - $got; exit !(d < 0.011 && d > -0.011) }" || fail "$which: $key: $want while training, $got after"
    done
done
"$HANPS" report "$work/valid" "$work/plain" >/dev/null || fail report
grep -q 'Accuracy on valid' "$work/valid/report.html" || fail "no curve in the report"

# Too patient for nothing: a rate of 0 is never better than the first.
train early --set valid.every_steps=2 --set valid.patience=2 --set optimizer.lr=0
grep -q '"state":"done","step":8,' "$work/early/status" || fail "early stop: $(cat "$work/early/status")"
exit 0
