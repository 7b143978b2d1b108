#!/bin/bash
# deploy/hanps_store.py: a store copied with it has the same records and manifest as the one hanps wrote; hanps verifies it,
# trains on it. deploy/extract_features.py with random weights, where torch and torchvision are. HANPS_PYTHON names a python.
# timeout: 600
set -u
python=
for p in "${HANPS_PYTHON:-python3}" /usr/bin/python3; do
    [ -n "$python" ] || ! "$p" -c 'import lmdb, numpy, google.protobuf, xxhash' 2>/dev/null || python=$p
done
[ -n "$python" ] || {
    echo "no python with lmdb, numpy, protobuf and xxhash; HANPS_PYTHON may name one"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH=1700000000
fail() {
    echo "FAIL: $*"
    exit 1
}
"$python" - "$work" <<'END' || fail "data"
import json, os, sys
import numpy as np
work, r = sys.argv[1], np.random.default_rng(3)
os.mkdir(work + "/f")
with open(work + "/q.jsonl", "w") as out:
    for i in range(30):
        np.save(f"{work}/f/{i}.npy", np.maximum(r.normal(size=(3, 4, 10)), 0).astype("f4"))
        for k in range(3):
            out.write(json.dumps({"image": i, "question": f"What is {k}?", "answers": ["a", "b", "a"], "split": "train" if i < 20 else "test"}) + "\n")
END
"$HANPS" data import jsonl "$work/q.jsonl" --features "$work/f" --out "$work/raw" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
"$HANPS" data import jsonl "$work/q.jsonl" --features "$work/f" --encoding sparse --out "$work/sparse" >"$work/log" 2>&1 ||
    fail "$(cat "$work/log")"
"$HANPS" data synth sort-of-clevr --images 6 --valid 2 --test 0 --out "$work/soc" >"$work/log" || fail "synth"
PYTHONPATH=deploy "$python" - "$work" <<'END' || fail "copies"
import sys
import lmdb, numpy as np
import hanps_store as hs
work = sys.argv[1]
def copy(name, to):
    s = hs.Store(f"{work}/{name}")
    m = s.manifest
    dtype = {1: "f2", 2: "f4", 4: "u1"}[m.feature_dtype]
    out = hs.Writer(f"{work}/{to}", dtype, (m.grid_height, m.grid_width), m.max_cells, m.channels, m.boxes, (m.pixel_height, m.pixel_width),
                    m.pictures, m.max_objects, ["vqa", "exact"][m.metric], m.tokenizer, m.command)
    with out:
        out.manifest.code_bits = m.code_bits
        out.words(m.word)
        out.answers(m.answer)
        for i in range(m.images):
            out.image(s.name(i), s.features(i), pixels=s.pixels(i) if m.pixel_height else None,
                      picture=s.picture(i), objects=s.objects(i) if m.max_objects else None)
        for split in m.split:
            out.split(split.name)
            for n in range(split.first, split.first + split.count):
                q = s.question(n)
                out.question(q.question_id, q.image, q.text, list(q.token), q.target, q.label,
                             [(a.text, a.answer_id, a.confidence) for a in q.answer], q.question_type, q.answer_type, q.code)
def records(path):
    env, out = lmdb.open(path, readonly=True, lock=False, max_dbs=16), {}
    with env.begin() as txn:
        for name in hs.DATABASES:
            db = env.open_db(name.encode(), txn, create=False)
            out.update({(name, k): v for k, v in txn.cursor(db)})
    return out
def manifest(path):
    m = hs.Store(path).manifest
    for field in ("data_bytes", "block_xxh3", "made_by", "source"):
        m.ClearField(field)
    return m.SerializeToString()
for name in ("raw", "soc"):
    copy(name, name + "-py")
    a, b = records(f"{work}/{name}"), records(f"{work}/{name}-py")
    assert a == b and len(a) > 30, [k for k in a.keys() | b.keys() if a.get(k) != b.get(k)][:5]
    assert manifest(f"{work}/{name}") == manifest(f"{work}/{name}-py")
raw, sparse = hs.Store(work + "/raw"), hs.Store(work + "/sparse")
assert sparse.manifest.feature_encoding == 1
assert all(raw.features(i).tobytes() == sparse.features(i).tobytes() for i in range(30))
for bad in (lambda w: w.image("", np.zeros((2, 3))), lambda w: w.image("a", np.zeros((3, 3))),
            lambda w: w.image("a", np.full((2, 3), np.nan))):
    try:
        with hs.Writer(work + "/bad", "f4", (1, 2), channels=3) as w:
            bad(w)
    except ValueError:
        continue
    sys.exit("a wrong image was taken")
import os
assert not os.path.exists(work + "/bad")
END
for s in raw-py soc-py; do
    "$HANPS" data verify "$work/$s" >"$work/log" 2>&1 || fail "$s: $(cat "$work/log")"
done
for n in 0 7 89; do
    cmp <("$HANPS" data info "$work/raw" --question $n) <("$HANPS" data info "$work/raw-py" --question $n) || fail "question $n"
done
printf 'run: {steps: 2}\ndata: {store: %s, valid: test, batch_size: 4}\nmodel: {image: {width: 8}, question: {lstm: 8, embedding: 4},
  attention: {cells: 3}, classifier: {layers: [8]}}\n' "$work/raw-py" >"$work/c.yaml"
"$HANPS" train "$work/c.yaml" --run "$work/run" >"$work/log" 2>&1 || fail "train: $(cat "$work/log")"

"$python" -c 'import torch, torchvision, PIL' 2>/dev/null || {
    echo "passed, but for extract_features.py: no torch and torchvision"
    exit 0
}
"$python" - "$work" <<'END' || fail "pictures"
import os, sys
import numpy as np
from PIL import Image
os.mkdir(sys.argv[1] + "/p")
for i in range(5):
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 30 + i, 3), dtype="u1")).save(f"{sys.argv[1]}/p/{i}.{'png' if i % 2 else 'jpg'}")
END
extract() { "$python" deploy/extract_features.py "$work/p" --weights random --model resnet18 --size 96 --batch 2 "$@" >"$work/log" 2>&1; }
extract --out "$work/x" || fail "extract: $(cat "$work/log")"
"$HANPS" data verify "$work/x" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
"$HANPS" data info "$work/x" --json >"$work/x.json"
PYTHONPATH=deploy "$python" - "$work" <<'END' || fail "features"
import json, sys
import numpy as np, torch, torchvision
import hanps_store as hs
work = sys.argv[1]
info = json.load(open(work + "/x.json"))
assert (info["grid_height"], info["grid_width"], info["channels"], info["images"]) == (3, 3, 512, 5), info
sys.argv = ["x", "p", "--out", "o"]
import extract_features as e
torch.manual_seed(1)
model = torchvision.models.resnet18(weights=None).eval()
body = torch.nn.Sequential(*list(model.children())[:-2])
s = hs.Store(work + "/x")
for i in range(5):
    name = s.name(i)
    with torch.no_grad():
        want = body(e.load(f"{work}/p/{name}.{'png' if int(name) % 2 else 'jpg'}", 96)[None])[0].flatten(1).T.numpy()
    assert np.abs(s.features(i).astype("f4") - want).max() < 2e-3 * max(1, np.abs(want).max())
END
echo '{"image": "p3", "question": "a", "answer": "b"}' >"$work/one.jsonl"
"$HANPS" data import jsonl "$work/one.jsonl" --features "$work/x" --out "$work/missing" >"$work/log" 2>&1 &&
    fail "p3 was found"
sed -i 's/p3/3/' "$work/one.jsonl"
"$HANPS" data import jsonl "$work/one.jsonl" --features "$work/x" --out "$work/asked" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
PYTHONPATH=deploy "$python" - "$work" <<'END' || fail "features of a store with questions"
import sys
import hanps_store as hs
a, b = (hs.Store(f"{sys.argv[1]}/{s}") for s in ("x", "asked"))
assert b.manifest.questions == 1 and b.name(b.question(0).image) == "3"
assert all(a.name(i) == b.name(i) and a.features(i).tobytes() == b.features(i).tobytes() for i in range(5))
END
# Interrupted after two pictures, it goes on and ends with the same records.
cat >"$work/stop.py" <<'END'
import sys
import extract_features as e, hanps_store
count, image = [0], hanps_store.Writer.image
def limited(self, *a, **k):
    count[0] += 1
    if count[0] == 4:
        raise KeyboardInterrupt
    return image(self, *a, **k)
hanps_store.Writer.image = limited
sys.argv[0] = "deploy/extract_features.py"
e.main()
END
PYTHONPATH=deploy "$python" "$work/stop.py" "$work/p" --weights random --model resnet18 --size 96 --batch 2 --out "$work/y" >"$work/log" 2>&1 &&
    fail "it was not interrupted"
[ ! -e "$work/y" ] && [ -d "$work/y.partial" ] || fail "half a store looks whole"
extract --out "$work/y" --size 64 && fail "other options were taken"
grep -q "begun with other options" "$work/log" || fail "$(cat "$work/log")"
extract --out "$work/y" || fail "resume: $(cat "$work/log")"
grep -q "(3 kept)" "$work/log" || fail "$(cat "$work/log")"
"$HANPS" data verify "$work/y" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
PYTHONPATH=deploy "$python" - "$work" <<'END' || fail "resumed: other features"
import sys
import hanps_store as hs
a, b = (hs.Store(f"{sys.argv[1]}/{s}") for s in "xy")
assert [a.name(i) for i in range(5)] == [b.name(i) for i in range(5)]
import numpy as np
assert all(np.abs(a.features(i).astype("f4") - b.features(i).astype("f4")).max() < 2e-3 for i in range(5))
END
extract --npy --out "$work/npy" || fail "npy: $(cat "$work/log")"
"$HANPS" data import jsonl <(echo '{"image": 3, "question": "a", "answer": "b"}') --features "$work/npy" --out "$work/z" >"$work/log" 2>&1 ||
    fail "import of .npy: $(cat "$work/log")"
for bad in "--model nonesuch" "--layer nowhere" "--layer fc" "--weights nonesuch"; do
    # shellcheck disable=SC2086 # two words
    extract --out "$work/w" $bad
    [ $? = 2 ] && [ "$(wc -l <"$work/log")" = 1 ] && [ ! -e "$work/w" ] || fail "$bad: $(cat "$work/log")"
done
