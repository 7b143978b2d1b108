#!/bin/bash
# The PyTorch module of docs/pytorch.md, read from that page: its logits and cells are those of hanps. Needs torch
# in python3, or in the python that HANPS_PYTHON names.
# timeout: 600
set -u
python=
for p in "${HANPS_PYTHON:-python3}" /usr/bin/python3; do
    [ -n "$python" ] || ! "$p" -c 'import torch, numpy' 2>/dev/null || python=$p
done
[ -n "$python" ] || {
    echo "no python with torch and numpy; HANPS_PYTHON may name one"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAIL: $*"
    exit 1
}
sed -n '/^```python$/,/^```$/p' docs/pytorch.md | sed '1d;$d' >"$work/module.py"

# Features on a grid, boxes on none, and pixels; the same questions about all.
"$python" - "$work" <<'END' || fail "data"
import json, os, random, struct, sys, zlib
import numpy as np
work, r = sys.argv[1], np.random.default_rng(5)
for d in ("grid", "boxes", "clevr/images/train", "clevr/questions"):
    os.makedirs(f"{work}/{d}")
def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
questions, annotations, clevr, boxes, ends = [], [], [], [], [0]
for i in range(24):
    np.save(f"{work}/grid/{i}.npy", np.maximum(r.normal(size=(4, 5, 12)), 0).astype("f4"))
    np.save(f"{work}/boxes/{i}.npy", r.normal(size=(9, 12)).astype("f4"))
    pixels = r.integers(0, 256, size=(18, 14, 3), dtype="u1")
    np.save(f"{work}/pixels-{i}.npy", pixels)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 14, 18, 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))) + chunk(b"IEND", b"")
    open(f"{work}/clevr/images/train/CLEVR_train_{i:06d}.png", "wb").write(png)
    for k in range(3):
        text = random.Random(i * 3 + k).choice(["What's on the man's T-shirt?", "Is it red/blue - or green?", "How many?",
                                                "What colour is the large metal thing, next to it; or not?",
                                                "Isn't this \"the dogs' house\"?"])
        answer = ["yes", "no", "2", "red"][(i * 7 + k) % 4]
        questions.append({"question_id": len(questions), "image_id": i, "question": text})
        annotations.append({"question_id": len(annotations), "image_id": i, "question_type": "t", "answer_type": "other",
                            "multiple_choice_answer": answer, "answers": [{"answer": answer, "answer_id": 1}]})
        clevr.append({"split": "train", "image_index": i, "image_filename": f"CLEVR_train_{i:06d}.png", "question": text,
                      "answer": answer, "program": [{"function": "count", "inputs": [], "value_inputs": []}]})
json.dump({"questions": questions}, open(work + "/q.json", "w"))
json.dump({"annotations": annotations}, open(work + "/a.json", "w"))
json.dump({"info": {}, "questions": clevr}, open(work + "/clevr/questions/CLEVR_train_questions.json", "w"))
END
vqa="data import vqa --questions $work/q.json --annotations $work/a.json --metric exact --dtype f32"
# shellcheck disable=SC2086 # several words
"$HANPS" $vqa --features "$work/grid" --out "$work/s.grid" >"$work/out" 2>&1 || fail "$(cat "$work/out")"
# shellcheck disable=SC2086
"$HANPS" $vqa --features "$work/boxes" --layout ncellsc --tokenizer kaihua --out "$work/s.plain" >"$work/out" 2>&1 ||
    fail "$(cat "$work/out")"
ln -s boxes "$work/plain"
# shellcheck disable=SC2086
"$HANPS" $vqa --features "$work/boxes" --layout ncellsc --tokenizer mcan --out "$work/s.boxes" >"$work/out" 2>&1 ||
    fail "$(cat "$work/out")"
# Where nltk is: the tokeniser that follows its version.
nltk=$("$python" -c 'import nltk; print("nltk" if tuple(map(int, nltk.__version__.split("."))) > (3, 10) else "nltk3.9")' 2>/dev/null)
if [ -n "$nltk" ]; then
    # shellcheck disable=SC2086
    "$HANPS" $vqa --features "$work/boxes" --layout ncellsc --tokenizer "$nltk" --out "$work/s.quoted" >"$work/out" 2>&1 ||
        fail "$(cat "$work/out")"
    ln -s boxes "$work/quoted"
fi
"$HANPS" data import clevr "$work/clevr" --size 18x14 --out "$work/s.clevr" >"$work/out" 2>&1 || fail "$(cat "$work/out")"

cat >"$work/base.yaml" <<END
run: {seed: 3, steps: 30}
data: {train: train, valid: train, batch_size: 16}
model:
  question: {embedding: 8, lstm: 16}
  image: {layers: 2, width: 24}
  attention: {kind: han, cells: 5, width: 10}
  aggregate: {head_width: 6, layers: [20, 14]}
  classifier: {layers: [32], dropout: 0.1}
optimizer: {lr: 3.0e-3}
cluster: {consistency: sync, sync_shards: 1, threads: 1}
checkpoint: {every_steps: 0, every_minutes: 0}
END
compare() { # a name, the store, then assignments
    name=$1 store=$2
    shift 2
    rm -rf "$work/run"
    set=()
    for s in "data.store=$work/s.$store" "$@"; do set+=(--set "$s"); done
    "$HANPS" train "$work/base.yaml" --run "$work/run" "${set[@]}" >"$work/out" 2>&1 || fail "$name: train: $(cat "$work/out")"
    for format in npz safetensors; do
        "$HANPS" export "$work/run" --format $format --out "$work/m.$format" >"$work/out" || fail "$name: export"
    done
    "$HANPS" eval "$work/run" --predictions "$work/p.jsonl" --logits >"$work/out" 2>&1 || fail "$name: $(cat "$work/out")"
    PYTHONPATH=$work:${PYTHONPATH:-} "$python" -W ignore - "$work" "$name" "$store" <<'END' || fail "$name"
import json, sys
import numpy as np, torch
from module import load
work, name, store = sys.argv[1:]
torch.set_num_threads(1)
models = [load(work + "/m.npz")]
try:
    import safetensors
    models.append(load(work + "/m.safetensors"))
except ImportError:
    pass
worst = largest = 0
rows = [json.loads(line) for line in open(work + "/p.jsonl")]
assert len(rows) == 72
for model in models:
    for row in rows:
        i = int(row["image"].split("_")[-1].split(".")[0])
        image = np.load(f"{work}/pixels-{i}.npy" if store == "clevr" else f"{work}/{store}/{i}.npy")
        with torch.no_grad():
            logits, cells = model(image if store == "clevr" else image.reshape(-1, 12), model.words(row["question"]))
        want = torch.tensor(row["logits"])
        worst = max(worst, (logits - want).abs().max().item())
        largest = max(largest, want.abs().max().item())
        assert cells.tolist() == row["cells"], (cells.tolist(), row["cells"])
print(f"{name}: largest difference {worst:.2e} of logits up to {largest:.2f}")
sys.exit(worst > 2e-5 * max(1, largest) or largest < 0.1)
END
}
compare han+sum grid
compare han+sum,image,xy grid data.feature_norm=image data.coords=xy model.image.layers=1
compare adahan+sum,cell grid model.attention.kind=adahan data.feature_norm=cell
compare adahan+pairwise grid model.attention.kind=adahan model.aggregate.kind=pairwise
compare pairwise,all,unscaled boxes model.attention.kind=all model.aggregate.kind=pairwise model.aggregate.scale=false data.feature_norm=none
compare san grid model.attention.kind=soft model.image.activation=tanh
compare san,1hop boxes model.attention.kind=soft model.attention.hops=1
compare relation,all grid model.attention.kind=all model.aggregate.kind=relation data.coords=xy
compare relation,han grid model.aggregate.kind=relation
compare relation,straight_through boxes model.attention.kind=straight_through model.aggregate.kind=relation
compare concat grid model.attention.kind=all model.aggregate.kind=concat
compare plain,1hop plain model.attention.kind=soft model.attention.hops=1
[ -z "$nltk" ] || compare "$nltk,1hop" quoted model.attention.kind=soft model.attention.hops=1
compare 0layers boxes model.image.layers=0 model.attention.kind=image_only
compare lowest grid model.attention.kind=lowest 'model.classifier.layers=[]'
compare cnn+bn clevr model.image.trunk=cnn 'model.image.filters=[6, 8]' data.coords=xy
compare cnn,median clevr model.image.trunk=cnn 'model.image.filters=[6, 8]' data.pixel_norm=median
compare cnn,inverted clevr model.image.trunk=cnn 'model.image.filters=[6, 8]' data.pixel_norm=inverted model.question.dropout=0.2
compare cnn+relation clevr model.image.trunk=cnn 'model.image.filters=[5, 7]' 'model.image.kernels=[5, 3]' \
    model.image.batch_norm=false model.image.layers=0 model.attention.kind=all model.aggregate.kind=relation
compare cnn,padded clevr model.image.trunk=cnn 'model.image.filters=[6, 8]' 'model.image.kernels=[4, 3]' 'model.image.paddings=[0, 2]'

# And back: PyTorch's own files, and an export, give runs with the same answers.
PYTHONPATH=$work "$python" -W ignore - "$work" <<'END' || fail "saving in torch"
import shutil, sys
import numpy as np
from module import load
work = sys.argv[1]
state = load(work + "/m.npz").state_dict()
np.savez(work + "/t.npz", **{k: v.numpy() for k, v in state.items()})
shutil.copy(work + "/m.npz.json", work + "/t.npz.json")
try:
    from safetensors.torch import save_file
    save_file(state, work + "/t.safetensors")
    shutil.copy(work + "/m.npz.json", work + "/t.safetensors.json")
except ImportError:
    pass
END
for file in m.npz t.npz t.safetensors; do
    [ -e "$work/$file" ] || continue
    rm -rf "$work/new"
    "$HANPS" import-weights "$work/$file" --run "$work/new" || fail "import of $file"
    "$HANPS" eval "$work/new" --predictions "$work/n.jsonl" --logits >"$work/out" 2>&1 || fail "eval of $file"
    cmp <(sort "$work/p.jsonl") <(sort "$work/n.jsonl") || fail "the weights of $file answer something else"
done
