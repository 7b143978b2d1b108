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
refused 'model.attention.cells: 101, and an image has 100' --set model.attention.cells=101
refused 'model.attention.cells: 26, and an image has 25' --set model.attention.cells=26 --set model.image.trunk=cnn
refused 'a number of cells that is known' --set model.attention.kind=adahan --set model.aggregate.kind=concat
refused 'data.augment: not allowed' --set data.augment.pad=4
refused 'data.augment.rotate' --set model.image.trunk=cnn --set data.augment.rotate=9
refused 'model.image.kernels: 2 of them; allowed: 1 or 4' --set model.image.trunk=cnn --set 'model.image.kernels=[3,5]'
refused 'model.image.paddings: 2 of them' --set model.image.trunk=cnn --set 'model.image.paddings=[3,5]'
# One line, also where there would be something else to say.
refused 'model.attention.cells: 101' --set model.attention.cells=101 --set cluster.servers=2

# A photo that is cut off: one line that names it, and no store.
mkdir "$work/photos"
/usr/bin/python3 - "$work" <<'END'
import json, struct, sys, zlib
work = sys.argv[1]
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
def png(seed, height, width):
    rows = b"".join(b"\0" + bytes((seed * 7 + x * y) % 256 for x in range(3 * width)) for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
for i in range(4):
    open(f"{work}/photos/{i}.png", "wb").write(png(i, 30 + i, 44 - i))
json.dump([{"question_id": i, "image_id": i % 4, "question": "what is it?"} for i in range(16)], open(work + "/q.json", "w"))
json.dump([{"question_id": i, "image_id": i % 4, "question_type": "what", "answer_type": "other",
            "multiple_choice_answer": "abc"[i % 3], "answers": []} for i in range(16)], open(work + "/a.json", "w"))
END
import=(data import vqa --questions "$work/q.json" --annotations "$work/a.json" --pixels "$work/photos"
    --pixel-names '%d.png' --size 40x40 --out "$work/photo-store")
cp "$work/photos/2.png" "$work/whole.png"
head -c 900 "$work/whole.png" >"$work/photos/2.png"
bad '2.png' "${import[@]}"
printf '\377\330\377\340 no more of a JPEG' >"$work/photos/2.png"
bad '2.png' "${import[@]}"
[ ! -e "$work/photo-store" ] || fail "a store with half a photo"
cp "$work/whole.png" "$work/photos/2.png"
"$HANPS" "${import[@]}" >"$work/out" 2>&1 || fail "import of photos: $(cat "$work/out")"
for model in han san; do
    "$HANPS" train configs/vqacp/simple-$model.yaml --run "$work/simple-$model" --set data.store="$work/photo-store" \
        --set 'model.image.filters=[4,4]' --set 'model.image.kernels=[7,3]' --set model.image.width=8 \
        --set model.question.lstm=8 --set model.attention.width=8 --set 'model.classifier.layers=[8]' \
        --set data.batch_size=8 --set run.steps=2 >"$work/out" 2>&1 || fail "simple-$model: $(cat "$work/out")"
done

# The same photos in another size: the trunk would make other cells of them.
import[-3]=30x50 import[-1]=$work/other-store
"$HANPS" "${import[@]}" >"$work/out" 2>&1 || fail "import of photos: $(cat "$work/out")"
"$HANPS" checkpoint show "$work/simple-han" | grep -q 'images *40 x 40 pixels' || fail "checkpoint show"
other='has images of 30x50 pixels; the run was trained on 40x40'
bad "$other" eval "$work/simple-han" --split train --set data.store="$work/other-store"
bad "$other" extract "$work/simple-han" --store "$work/other-store" --out "$work/extracted"
[ ! -e "$work/extracted" ] && [ ! -e "$work/extracted.partial" ] || fail "features of photos of another size"
"$HANPS" extract "$work/simple-han" --out "$work/extracted" >"$work/out" 2>&1 || fail "extract: $(cat "$work/out")"
exit 0
