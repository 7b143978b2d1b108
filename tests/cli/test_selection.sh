# hanps selection: what it says of selections is what Python finds in the predictions and the store.
work= # set there
. tests/support/run.sh
/usr/bin/python3 -c 'import lmdb, numpy, google.protobuf' 2>/dev/null ||
    { echo "needs python3-lmdb, python3-numpy, python3-protobuf"; exit 77; }
"$HANPS" train "$work/config.yaml" --run "$work/han" --set checkpoint.every_steps=12 >"$work/out" 2>&1 ||
    fail "train: $(cat "$work/out")"
"$HANPS" selection "$work/han" --json "$work/own.json" >"$work/out" 2>&1 || fail "selection: $(cat "$work/out")"
"$HANPS" selection "$work/han" --attention han,adahan,all --cells 7,100 --checkpoint all --json "$work/all.json" \
    >"$work/out" 2>&1 || fail "all: $(cat "$work/out")"
for kind in han adahan; do
    "$HANPS" eval "$work/han" --set model.attention.kind=$kind --json "$work/$kind.json" \
        --predictions "$work/$kind.jsonl" >"$work/out" 2>&1 || fail "eval $kind: $(cat "$work/out")"
done
protoc --python_out="$work" proto/store.proto
sed -n '/^```python$/,/^```$/p' docs/store.md | sed '1d;$d' >"$work/reader.py"
cat >>"$work/reader.py" <<'END'

import itertools, json, sys
work = sys.argv[1]
load = lambda name: json.load(open(work + "/" + name))
store = Store(work + "/store")
names = {bytes(store.get("names", i)).decode(): i for i in range(store.manifest.images)}
own, every = load("own.json"), load("all.json")
assert [l["attention"] for l in own] == ["han", "random", "lowest", "image_only"]
assert [(l["step"], l["attention"], l["cells_mean"]) for l in every if l["attention"] != "adahan"] == [
    (s, a, c) for s in (12, 24) for a, c in (("han", 7), ("han", 100), ("all", 100))]

def touched(image):
    boxes = np.frombuffer(store.get("objects", image), "<f4").reshape(-1, 4)
    assert len(boxes) == 6
    return {r * 10 + c for r in range(10) for c in range(10) for x1, y1, x2, y2 in boxes
            if x1 < 7.5 * (c + 1) and x2 > 7.5 * c and y1 < 7.5 * (r + 1) and y2 > 7.5 * r}

def expected(kind):
    by_image = {}
    for line in open(f"{work}/{kind}.jsonl"):
        q = json.loads(line)
        by_image.setdefault(q["image"], []).append(set(q["cells"]))
    overlap, chance, on, at_random, total = [], [], 0, 0, 0
    for image, sets in by_image.items():
        objects = touched(names[image])
        for a, b in itertools.combinations(sets, 2):
            overlap.append(2 * len(a & b) / (len(a) + len(b)))
            chance.append(2 * len(a) * len(b) / (len(a) + len(b)) / 100)
        on += sum(len(s & objects) for s in sets)
        at_random += sum(len(s) * len(objects) / 100 for s in sets)
        total += sum(len(s) for s in sets)
    assert len(overlap) == 10 * 190
    return {"overlap": np.mean(overlap) * 100, "overlap_chance": np.mean(chance) * 100,
            "on_objects": on / total * 100, "on_objects_chance": at_random / total * 100}

for kind, line in (("han", own[0]), ("adahan", [l for l in every if l["attention"] == "adahan"][1])):
    for key, value in expected(kind).items():
        assert abs(line[key] - value) < 0.006, (kind, key, line[key], value)
    scores = load(kind + ".json")
    assert all(line[k] == scores[k] for k in ("overall", "per_answer_type", "cells_mean", "examples", "step"))
everything = [l for l in every if l["cells_mean"] == 100]
assert len(everything) == 4
for line in everything: # all cells: no choice is left
    assert line["overlap"] == 100 and line["on_objects"] == line["on_objects_chance"]
    assert line["overall"] == [l for l in everything if l["step"] == line["step"]][0]["overall"]
assert own[3]["overlap"] == 100 # the image alone chooses the same for every question
assert abs(own[1]["overlap"] - 16) < 2
print("the same")
END
PYTHONPATH="$work" /usr/bin/python3 "$work/reader.py" "$work" || fail "Python finds something else"

bad "no run in 'none'" selection none
bad "--cells: a list" selection "$work/han" --cells 4,,5
bad "model.attention.kind: most is not allowed" selection "$work/han" --attention most
bad "no split 'nowhere'" selection "$work/han" --split nowhere
bad "do not fit the checkpoint's model" selection "$work/han" --attention soft
exit 0
