#!/bin/bash
# Images of 10 to 100 boxes, as bottom-up attention gives them, through import, training with every kind of
# attention and aggregation, and evaluation.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
python3 - "$work" << 'END'
import base64, json, random, struct, sys
work = sys.argv[1]
r = random.Random(4)
channels, images = 24, 24
questions, annotations = [], []
with open(work + "/boxes.tsv", "w") as out:
    for i in range(1, images + 1):
        n = 10 if i == 1 else 100 if i == 2 else r.randrange(10, 101)
        width, height, kind = 640, 480, i % 2
        corners, cells = [], []
        for c in range(n):
            x, y = r.uniform(0, 500), r.uniform(0, 400)
            corners += [x, y, x + r.uniform(1, 140), y + r.uniform(1, 80)]
            cells += [max(0.0, r.gauss(-1, 1)) + (4.0 * kind if c == 3 and k == 5 else 0) for k in range(channels)]
        fields = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in (corners, cells)]
        out.write("\t".join([str(i), str(width), str(height), str(n)] + fields) + "\n")
        for k in range(3):
            q = 10 * i + k
            questions.append({"question_id": q, "image_id": i, "question": f"Is it there {k}?"})
            annotations.append({"question_id": q, "image_id": i, "question_type": "is", "answer_type": "yes/no",
                                "multiple_choice_answer": "yes" if kind else "no",
                                "answers": [{"answer": "yes" if kind else "no", "answer_confidence": "yes", "answer_id": 1}]})
json.dump(questions, open(work + "/q.json", "w"))
json.dump(annotations, open(work + "/a.json", "w"))
END
"$HANPS" data import vqa --questions "$work/q.json" --annotations "$work/a.json" --features "$work/boxes.tsv" \
    --encoding auto --metric exact --out "$work/store" > "$work/log"
"$HANPS" data info "$work/store" | grep -q "at most 100 cells of 24 channels, sparse, .* bytes an image, with boxes" ||
    fail "$("$HANPS" data info "$work/store")"
cat > "$work/config.yaml" << END
run: {seed: 3, steps: 3}
data: {store: $work/store, train: train, valid: train, batch_size: 12, coords: box}
model:
  question: {embedding: 8, lstm: 16}
  image: {layers: 2, width: 16}
  classifier: {layers: [16]}
cluster: {consistency: sync, sync_shards: 1, threads: 1}
checkpoint: {every_steps: 0, every_minutes: 0}
END
n=0
for kinds in han/sum adahan/sum all/sum soft/sum straight_through/sum random/sum lowest/sum han/pairwise adahan/pairwise \
    han/relation adahan/relation; do
    n=$((n + 1))
    coords=$([ $((n % 2)) = 0 ] && echo xy || echo box)
    "$HANPS" train "$work/config.yaml" --run "$work/run$n" --set "model.attention.kind=${kinds%/*}" \
        --set "model.aggregate.kind=${kinds#*/}" --set model.attention.cells=16 --set "data.coords=$coords" \
        > "$work/log" 2>&1 || fail "$kinds: $(cat "$work/log")"
    "$HANPS" eval "$work/run$n" --split train --json "$work/eval.json" > "$work/log" 2>&1 ||
        fail "eval $kinds: $(cat "$work/log")"
    python3 - "$work/eval.json" "$kinds" << 'END'
import json, sys
e = json.load(open(sys.argv[1]))
assert e["examples"] == 72, e
kind, cells = sys.argv[2].split("/")[0], e["cells_mean"]
if kind in ("han", "straight_through", "random", "lowest"):
    assert abs(cells - (16 * 23 + 10) / 24) < 0.01, (kind, cells)
else:
    assert 1 <= cells <= 100, (kind, cells)
END
done
# Whatever the encoding, training ends with the same bits.
"$HANPS" data subset "$work/store" --encoding raw --out "$work/raw" > "$work/log"
"$HANPS" train "$work/config.yaml" --run "$work/x" --set "data.store=$work/raw" > "$work/log" 2>&1 || fail "$(cat "$work/log")"
"$HANPS" train "$work/config.yaml" --run "$work/y" > "$work/log" 2>&1 || fail "$(cat "$work/log")"
"$HANPS" checkpoint diff "$work/x" "$work/y" > "$work/log" || fail "raw and sparse train apart: $(cat "$work/log")"
