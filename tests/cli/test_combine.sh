#!/bin/bash
# hanps data merge and hanps data subset: what comes out is what went in, to the bit; what does not fit is refused.
set -eu
/usr/bin/python3 -c 'import lmdb, numpy, google.protobuf' 2> /dev/null ||
    { echo "needs python3-lmdb, python3-numpy, python3-protobuf"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
protoc --python_out="$work" proto/store.proto
sed -n '/^```python$/,/^```$/p' docs/store.md | sed '1d;$d' > "$work/reader.py"
cat > "$work/run.py" << 'END'
import json, os, shutil, signal, subprocess, sys, time
import numpy as np
from reader import Store

work, hanps = sys.argv[1], os.environ["HANPS"]
os.chdir(work)
r = np.random.default_rng(3)
C = 40
images = {i: np.maximum(r.standard_normal((1 + i % 5, C)) - 1, 0).astype("f2") for i in range(1, 21)}
boxes = {i: r.random((len(x), 4)).astype("f4") for i, x in images.items()}
colours = ["red", "green", "blue", "grey"]
count = 0


def hanps_data(*arguments):
    return subprocess.run([hanps, "data", *arguments], capture_output=True, text=True)


def ok(*arguments):
    done = hanps_data(*arguments)
    assert done.returncode == 0 and done.stderr == "", (arguments, done.stderr)
    return done.stdout


def make(name, ids, splits, *options, change=None):
    """A store of these images; splits: name -> [(question_id, image, colour)]."""
    shutil.rmtree("files", ignore_errors=True)
    os.mkdir("files")
    for i in ids:
        np.savez(f"files/{i}.npz", x=images[i] if i != change else images[i] + 1, b=boxes[i])
    arguments = []
    for split, rows in splits.items():
        json.dump([{"question_id": q, "image_id": i, "question": f"Is {c} of {name} there?"} for q, i, c in rows],
                  open(f"{split}.q", "w"))
        json.dump([{"question_id": q, "image_id": i, "question_type": "is", "answer_type": "colour",
                    "multiple_choice_answer": c, "answers": [{"answer": c, "answer_confidence": "yes", "answer_id": 1}]}
                   for q, i, c in rows], open(f"{split}.a", "w"))
        arguments += ["--split", split, "--questions", f"{split}.q", "--annotations", f"{split}.a"]
    ok("import", "vqa", *arguments, "--features", "files", "--names", "%d.npz", "--features-dataset", "x",
       "--boxes-dataset", "b", "--layout", "ncellsc", "--out", name, *options)


def content(path):
    """split -> [(question_id, image's name, its words, its answers, target, label's answer)]; and features by name."""
    store = Store(path)
    m = store.manifest
    names = [bytes(store.get("names", i)).decode() for i in range(m.images)]
    splits = {}
    for s in m.split:
        splits[s.name] = rows = []
        for n in range(s.first, s.first + s.count):
            q = store.question(n)
            assert store.labels()[n] == q.label
            rows.append((q.question_id, names[q.image], q.text, [m.word[t] for t in q.token], [a.text for a in q.answer],
                         q.target, m.answer[q.label] if q.label >= 0 else None))
    features = {n: (store.features(i).tobytes(), bytes(store.get("boxes", i))) for i, n in enumerate(names)}
    assert hanps_data("verify", path).returncode == 0
    return splits, features


def sparse(path):  # the records as they are
    store = Store(path)
    return {bytes(store.get("names", i)): bytes(store.get("features", i)) for i in range(store.manifest.images)}


rows = lambda first, ids, of: [(first + k, i, of[k % len(of)]) for k, i in enumerate(ids)]
make("a", range(1, 13), {"train": rows(100, range(1, 9), colours[:2]), "val": rows(200, range(9, 13), colours[:3])})
make("b", range(8, 21), {"train": rows(300, range(8, 18), colours[1:]), "test": rows(400, range(18, 21), ["grey"])},
     "--encoding", "auto")
a, b = content("a"), content("b")

# ---- merge ----
out = ok("merge", "a", "b", "--out", "both")
assert "5 images were there more than once" in out, out
both = content("both")
assert both[1] == {**a[1], **b[1]} and Store("both").manifest.feature_encoding == 1
bare = lambda rows: [r[:3] + r[4:6] for r in rows]
assert bare(both[0]["train"]) == bare(a[0]["train"] + b[0]["train"]) and list(both[0]) == ["train", "val", "test"]
assert both[0]["val"] == a[0]["val"][:2] + [a[0]["val"][2][:6] + ("blue",)] + a[0]["val"][3:]  # b knows blue
m, of_a = Store("both").manifest, Store("a").manifest
assert m.word[:len(of_a.word)] == of_a.word and "b" in m.word and m.answer[:2] == of_a.answer and len(m.answer) == 4
assert sum(r[6] is None for rows in both[0].values() for r in rows) == 0
assert [r[3] for r in both[0]["train"]] == [r[3] for r in a[0]["train"] + b[0]["train"]]
ok("merge", "a", "b", "--out", "first", "--vocabulary", "first", "--encoding", "raw")
first = content("first")
m = Store("first").manifest
assert m.word == of_a.word and m.answer == of_a.answer and first[1] == both[1] and m.feature_encoding == 0
assert {r[6] for r in first[0]["test"]} == {None} and "<unknown>" in first[0]["train"][-1][3]

# ---- subset ----
ok("subset", "both", "--out", "s1", "--split", "train,test")
s1 = content("s1")
assert s1[0] == {n: both[0][n] for n in ("train", "test")}
assert set(s1[1]) == {r[1] for rows in s1[0].values() for r in rows} and all(s1[1][n] == both[1][n] for n in s1[1])
assert Store("s1").manifest.word == Store("both").manifest.word
assert all(sparse("both")[n] == record for n, record in sparse("s1").items())  # copied as they are
ok("subset", "a", "--out", "s2", "--questions", "3")
assert content("s2")[0] == {n: rows[:3] for n, rows in a[0].items()} and len(content("s2")[1]) == 6
open("list", "w").write("2\n4\n\n9\n")
ok("subset", "a", "--out", "s3", "--images", "list")
assert [[r[1] for r in rows] for rows in content("s3")[0].values()] == [["2", "4"], ["9"]]
assert set(content("s3")[1]) == {"2", "4", "9"}
ok("subset", "a", "--out", "s4", "--encoding", "sparse")  # a smaller copy
assert content("s4")[0] == a[0] and content("s4")[1] == {n: f for n, f in a[1].items()}
size = lambda path: sum(map(len, sparse(path).values()))
assert size("s4") < size("a") / 2, (size("s4"), size("a"))

# ---- what does not fit ----


def bad(says, *arguments):
    global count
    done = hanps_data(*arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr, (says, done.returncode, done.stderr)
    assert not os.path.exists("refused") and not os.path.exists("refused.partial"), says
    count += 1


to = ("--out", "refused")
make("changed", range(8, 10), {"train": rows(500, [8, 9], colours)}, change=9)
bad("image '9' of changed is not the same as that of a", "merge", "a", "changed", *to)
make("again", range(1, 4), {"train": rows(100, [1, 2, 3], colours)})
done = hanps_data("merge", "a", "again", *to)
assert done.returncode == 2 and "question_id 100 is in split train twice" in done.stderr, done.stderr
assert not os.path.exists("refused")
shutil.rmtree("refused.partial")
for options, says in ((["--dtype", "f32"], "dtypes"), (["--metric", "exact"], "metrics"), (["--tokenizer", "ban"], "tokenizers")):
    make("other", range(1, 4), {"train": rows(600, [1, 2, 3], colours)}, *options)
    bad(f"a and other have different feature {says}" if says == "dtypes" else f"a and other have different {says}",
        "merge", "a", "other", *to)
    shutil.rmtree("other")
shutil.copytree("a", "copy")
bad("a and copy are the same store", "merge", "a", "copy", *to)
bad("1 stores: 2 to 64", "merge", "a", *to)
bad("2 stores: one is needed", "subset", "a", "b", *to)
bad("--out NEW", "subset", "a")
bad("no store nothing", "merge", "a", "nothing", *to)
bad("has no split 'dev'", "subset", "a", "--split", "dev", *to)
bad("an empty name", "subset", "a", "--split", "train,", *to)
bad("--questions 0", "subset", "a", "--questions", "0", *to)
bad("--encoding zip", "subset", "a", "--encoding", "zip", *to)
bad("--vocabulary", "merge", "a", "b", "--vocabulary", "last", *to)
bad("No such file", "subset", "a", "--images", "none", *to)
open("list", "w").write("2\n../../2\n")
bad("list: a has no image '../../2'", "subset", "a", "--images", "list", *to)
open("list", "w").write("13\n14\n")
bad("no question is left", "subset", "both", "--images", "list", "--split", "val", *to)
done = hanps_data("subset", "a", "--out", "b")
assert done.returncode == 2 and "exists already" in done.stderr

# ---- a damaged record is no image of the result ----
shutil.copytree("s4", "hurt")
data = bytearray(open("hurt/data.mdb", "rb").read())
record = sparse("s4")[b"5"]
at = data.index(record)
data[at + 16] ^= 1  # of the bitmap
open("hurt/data.mdb", "wb").write(data)
done = hanps_data("subset", "hurt", *to)
assert done.returncode == 2 and "damaged" in done.stderr and not os.path.exists("refused"), done.stderr
print(count, "refused")
END
PYTHONPATH="$work" /usr/bin/python3 "$work/run.py" "$work"
