#!/bin/bash
# The Python reader in docs/store.md reads what `hanps data info` says; an image that is missing is found.
set -eu
/usr/bin/python3 -c 'import lmdb, numpy, google.protobuf' 2>/dev/null ||
    { echo "needs python3-lmdb, python3-numpy, python3-protobuf"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$HANPS" data synth sort-of-clevr --images 6 --valid 2 --test 3 --out "$work/store" > "$work/log"
"$HANPS" data info "$work/store" --json > "$work/info.json"
for n in 0 37 219; do "$HANPS" data info "$work/store" --question $n > "$work/q$n.json"; done
protoc --python_out="$work" proto/store.proto
sed -n '/^```python$/,/^```$/p' docs/store.md | sed '1d;$d' > "$work/reader.py"
[ "$(wc -l < "$work/reader.py")" -gt 15 ]
cat >> "$work/reader.py" <<'END'

import json, sys
work = sys.argv[1]
load = lambda name: json.load(open(work + "/" + name))
store, info = Store(work + "/store"), load("info.json")
m = store.manifest
assert (m.images, m.questions) == (info["images"], info["questions"]) == (11, 220)
assert len(m.word) == info["words"] and len(m.answer) == info["answers"]
assert {s.name: s.count for s in m.split} == {n: s["questions"] for n, s in info["splits"].items()}
assert m.max_cells == info["max_cells"] and m.channels == info["channels"]
for n in (0, 37, 219):
    q, want = store.question(n), load(f"q{n}.json")
    assert (q.question_id, q.image, q.text) == (want["question_id"], want["image"], want["question"])
    assert [m.word[t] for t in q.token] == want["words"] and q.code == want["code"]
    assert (q.target, q.label) == (want["target"], want["label"]) and store.labels()[n] == q.label
    assert [a.text for a in q.answer] == [a["answer"] for a in want["answers"]]
    f = store.features(q.image)
    assert f.shape == (want["cells"], m.channels)
    total = (f.astype(np.float32) / np.float32(255)).sum(dtype=np.float64)
    assert abs(total - want["feature_sum"]) < 1e-6 * abs(total) and total != 0, (total, want["feature_sum"])
    assert bytes(store.get("names", q.image)).decode() == want["image_name"]
print("read", m.questions, "questions")
END
PYTHONPATH="$work" /usr/bin/python3 "$work/reader.py" "$work"

# Encoded features: the same bits as in the files they came from; zeros of both signs, subnormal numbers.
mkdir "$work/npy"
/usr/bin/python3 - "$work" <<'PYTHON'
import json, sys
import numpy as np
work = sys.argv[1]
r = np.random.default_rng(5)
for i in range(6):
    f = np.maximum(r.standard_normal((3, 3, 70)) - (1 if i else -9), 0).astype("<f2") * np.float16(1 if i % 2 else -1e-6)
    np.save(f"{work}/npy/{i}.npy", f)
questions = [{"image_id": i, "question": "What?", "question_id": i} for i in range(6)]
json.dump(questions, open(work + "/q.json", "w"))
PYTHON
{
    sed '/^import json, sys$/,$d' "$work/reader.py"
    cat <<'END'
import sys
work = sys.argv[1]
forms, size = set(), {}
for encoding in ("raw", "sparse", "auto"):
    store = Store(f"{work}/{encoding}")
    assert store.manifest.feature_encoding == (encoding != "raw")
    for i in range(6):
        want = np.load(f"{work}/npy/{i}.npy").reshape(9, 70)
        assert store.features(i).tobytes() == want.tobytes(), (encoding, i)
    size[encoding] = sum(len(store.get("features", i)) for i in range(6))
    if encoding == "auto": forms = {bytes(store.get("features", i))[0] for i in range(6)}
assert forms == {0, 1} and size["auto"] < size["sparse"] < size["raw"], (forms, size)
print("bytes", size)
END
} > "$work/encoded.py"
for e in raw sparse auto; do
    "$HANPS" data import vqa --questions "$work/q.json" --features "$work/npy" --encoding $e --out "$work/$e" > "$work/log"
    "$HANPS" data verify "$work/$e" > "$work/log"
    "$HANPS" data info "$work/$e" --json > "$work/$e.json"
done
grep -q '"feature_encoding": "sparse"' "$work/auto.json"
for e in raw sparse; do
    "$HANPS" data bench "$work/$e" --images 4 --rounds 2 --json > "$work/bench.json"
    /usr/bin/python3 - "$work/bench.json" $e << 'PYTHON'
import json, sys
w = json.load(open(sys.argv[1]))["works"]["W6"]
assert w["images"] == 4 and w["encoding"] == sys.argv[2] and 0 < w["zeros_percent"] < 100, w
assert w["memcpy"]["bytes_per_image"] == w["raw"]["bytes_per_image"] == 1260
assert w["store"]["bytes_per_image"] == w[sys.argv[2]]["bytes_per_image"]
assert all(w[f][f"{to}_raw_gb_per_s"] > 0 for f in ("memcpy", "raw", "sparse", "store") for to in ("batch", "cache"))
PYTHON
    "$HANPS" data bench "$work/$e" --images 4 | grep -q "^sparse to fp32 "
done
"$HANPS" data bench "$work/raw" --rounds 0 > "$work/log" 2>&1 && exit 1
grep -q "1 to 1000 is allowed" "$work/log"
PYTHONPATH="$work" /usr/bin/python3 "$work/encoded.py" "$work"

# A store made elsewhere that lacks an image's features: verify names it.
cp -r "$work/store" "$work/lacks"
/usr/bin/python3 - "$work/lacks/data.mdb" <<'PYTHON'
import lmdb, struct, sys
env = lmdb.open(sys.argv[1], subdir=False, max_dbs=16, lock=False, map_size=1 << 26)
features = env.open_db(b"features", create=False)
with env.begin(write=True) as txn:
    assert txn.delete(struct.pack(">I", 3), db=features)
env.close()
PYTHON
code=0
"$HANPS" data verify "$work/lacks" > "$work/log" 2>&1 || code=$?
[ $code = 2 ] && grep -q "^features of image 3 is missing$" "$work/log" || { cat "$work/log"; exit 1; }
