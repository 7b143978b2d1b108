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

# Checkpoints that are gone: refused with one line, and nothing is touched. Put back, the run goes on.
lost() { # RUN, what the line says beside
    "$HANPS" train --resume --run "$1" > "$work/log" 2>&1
    [ $? = 2 ] && [ "$(wc -l < "$work/log")" = 1 ] && grep -q 'has lost its checkpoints' "$work/log" && grep -q "$2" "$work/log" ||
        fail "lost checkpoints of $1: $(cat "$work/log")"
    cmp -s "$1/status" "$work/status" || fail "$1: another status"
}
cp -r "$work/b" "$work/killed"
sed 's/"done","step":6,\(.*\)"checkpoint":6/"running","step":0,\1"checkpoint":-1/' "$work/b/status" > "$work/killed/status"
for run in "$work/b" "$work/killed"; do # a run that is done; one that was killed in its first start
    c=$run/checkpoints said='the newest of step 6'
    [ "$run" = "$work/b" ] || said="manifest in '$c'"
    cp "$run/status" "$work/status"
    mkdir "$work/kept"
    for step in "$c"/step-*; do mv "$step/manifest.pb" "$work/kept/${step##*/}"; done
    lost "$run" "$said"
    for step in "$c"/step-*; do
        [ -s "$step/shard-0000-of-0001.bin" ] || fail "$step: its shard was removed"
        mv "$work/kept/${step##*/}" "$step/manifest.pb"
    done
    mv "$c" "$work/kept"
    lost "$run" "$said"
    [ ! -e "$c" ] || fail "$c was made anew"
    mkdir "$c"
    [ "$run" = "$work/killed" ] || lost "$run" "$said"
    rmdir "$c"
    mv "$work/kept/checkpoints" "$c"
    rmdir "$work/kept"
    train --resume --run "$run" --set run.steps=8
    grep -q '"state":"done","step":8,"steps":8,"checkpoint":8,' "$run/status" || fail "$run: $(cat "$run/status")"
done

# A run that was killed before its first checkpoint has lost none.
rm -rf "$work"/killed/checkpoints/*
sed 's/"done","step":8,\(.*\)"checkpoint":8/"running","step":0,\1"checkpoint":-1/' "$work/b/status" > "$work/killed/status"
train --resume --run "$work/killed"
grep -q 'no checkpoint yet' "$work/log" || fail "not from the beginning: $(cat "$work/log")"
