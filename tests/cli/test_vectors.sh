#!/bin/bash
# model.question.vectors: the embedding begins with a file's vectors, the same in one process and under mpirun.
work= # set there
. tests/support/run.sh

python3 - "$work" <<'END'
import sys
with open(sys.argv[1] + "/v.txt", "w") as out:
    out.write("2 8\n")
    out.write("red " + " ".join(f"{i / 8}" for i in range(8)) + "\n")
    out.write("nothing-like-it 1 2 3 4 5 6 7 8\n")
    out.write("nearest " + " ".join(f"{-i / 4}" for i in range(8)) + "\n")
    out.write("red " + " 9" * 8 + "\n")
END
set -- --set model.question.vectors="$work/v.txt" --set optimizer.lr=0 --set run.steps=1
"$HANPS" train "$work/config.yaml" --run "$work/a" "$@" --set model.question.vectors_missing=zero >"$work/out" 2>&1 ||
    fail "train: $(cat "$work/out")"
grep -q "2 of [0-9]* words have a vector in $work/v.txt; the other [0-9]* begin at zero" "$work/out" || fail "$(cat "$work/out")"
"$HANPS" train "$work/config.yaml" --run "$work/b" "$@" >"$work/out" 2>&1 || fail "train: $(cat "$work/out")"
"$HANPS" train "$work/config.yaml" --run "$work/c" --set optimizer.lr=0 --set run.steps=1 >"$work/out" 2>&1 || fail "train"
for r in a b c; do
    "$HANPS" export "$work/$r" --format safetensors --out "$work/$r.safetensors" >"$work/out" || fail "export"
done
python3 - "$work" <<'END' || fail "the weights are not those of the file"
import json, struct, sys
work = sys.argv[1]
words = json.load(open(work + "/a.safetensors.json"))["words"]
def load(run):
    raw = open(f"{work}/{run}.safetensors", "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    del head["__metadata__"]
    return {k: raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]] for k, v in head.items()}
a, b, c = map(load, "abc")
name = "question.embedding.weight"
assert all(a[k] == b[k] == c[k] for k in c if k != name)
row = lambda w, i: struct.unpack_from("<8f", w[name], 32 * i)
for i, word in enumerate(words):
    want = {"red": [k / 8 for k in range(8)], "nearest": [-k / 4 for k in range(8)]}.get(word)
    assert list(row(a, i)) == (want or [0] * 8), (word, row(a, i))
    assert list(row(b, i)) == (want or list(row(c, i))), word
END
"$HANPS" train "$work/config.yaml" --run "$work/one" --set model.question.vectors="$work/v.txt" >"$work/out" 2>&1 || fail "one"
deploy/run -n 3 "$work/config.yaml" --run "$work/two" --servers 2 --set model.question.vectors="$work/v.txt" >"$work/out" 2>&1 ||
    fail "two servers: $(cat "$work/out")"
same "$work/one" "$work/two" "vectors on two servers"

wrong() { # text, what is said
    printf '%b' "$1" >"$work/bad.txt"
    bad "$2" train "$work/config.yaml" --run "$work/x" --set model.question.vectors="$work/bad.txt"
    [ ! -e "$work/x" ] || fail "$1: left a folder"
}
wrong 'red 1 2 3\n' "bad.txt, line 1: 3 numbers, but model.question.embedding is 8"
wrong 'other 1 2 3\n' "bad.txt, line 1: 3 numbers"
wrong '1 8\nred 1 2 3 4 5 6 7 x\n' "bad.txt, line 2: 'x"
wrong 'a 1 2 3 4 5 6 7 8\nred 1 2 3 4 5 6 7 nan\n' "line 2: 'nan"
wrong '' "is empty"
bad "No such file" train "$work/config.yaml" --run "$work/x" --set model.question.vectors="$work/none.txt"
[ ! -e "$work/x" ] || fail "left a folder"
