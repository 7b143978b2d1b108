#!/bin/bash
# hanps train --resume after a run that was asked to stop when it had ended, and killed while a
# checkpoint was replaced; stop, checkpoint and export on what it leaves.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

"$HANPS" data synth sort-of-clevr --out "$work/s" --images 60 > /dev/null || fail "synth"
cat > "$work/c.yaml" <<EOF
run: {steps: 4}
data: {store: $work/s, train: train, valid: "", batch_size: 16}
model: {question: {embedding: 16, lstm: 16}, image: {layers: 0}, classifier: {layers: [16]}}
cluster: {consistency: sync, sync_shards: 2}
checkpoint: {every_steps: 2}
EOF
train() { "$HANPS" train "$@" > "$work/log" 2>&1 || { cat "$work/log"; fail "train $*"; }; }
a=$work/a/checkpoints
train "$work/c.yaml" --run "$work/a"
train "$work/c.yaml" --run "$work/b" --set run.steps=6

"$HANPS" stop "$work/a" | grep -q "done at step 4" || fail "stop of a run that is done"
touch "$work/a/stop"
mv "$a/step-00000004" "$a/step-00000004.old"
mkdir "$a/step-00000004.tmp"
touch "$a/step-00000004.tmp/shard-0000-of-0001.bin.part"
train --resume --run "$work/a" --set run.steps=6
grep -q '"state":"done","step":6' "$work/a/status" || fail "it did not go on to the end: $(cat "$work/a/status")"
[ -z "$(find "$a" -name '*.old' -o -name '*.tmp')" ] || fail "something is left over"
"$HANPS" checkpoint diff "$work/a" "$work/b" || fail "stopping and resuming changed the bytes"

"$HANPS" checkpoint verify "$work/a" || fail "verify"
"$HANPS" checkpoint show "$work/a" --config | grep -q 'sync_shards: 2' || fail "show --config"
for format in npz safetensors; do
    "$HANPS" export "$work/a" --format $format --out "$work/x.$format" || fail "export $format"
done
