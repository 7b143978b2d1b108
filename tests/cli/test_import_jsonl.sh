#!/bin/bash
# hanps data import jsonl: lines of any origin with pictures or features; splits, vocabularies, types; what is wrong
# is said with file and line and leaves nothing.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAIL: $*"
    exit 1
}
python3 - "$work" <<'END'
import json, os, struct, sys, zlib
work = sys.argv[1]
def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
os.makedirs(work + "/png")
os.makedirs(work + "/npy")
names = ["red one", "b", "17", "unused"]
for i, name in enumerate(names):
    row = b"\0" + bytes([40 * i, 7, 200]) * 4
    open(f"{work}/png/{name}.png", "wb").write(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0)) +
        chunk(b"IDAT", zlib.compress(row * 2)) + chunk(b"IEND", b""))
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 5), }".ljust(117) + b"\n"
    open(f"{work}/npy/{name}.npy", "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head +
                                               struct.pack("<30f", *[i + k / 8 for k in range(30)]))
lines = [
    {"image": "red one", "question": "Is it red?", "answer": "yes"},
    {"image": 17, "question": "How many  cubes, are there?", "answer": 3, "split": "train"},
    {"image": "b", "question": "What colour is the café's door?", "answers": ["red", "blue", "red"], "split": "train"},
    {"image": "b", "question": "Is it blue?", "answers": [{"answer": "no", "answer_id": 4, "answer_confidence": "maybe"},
                                                           {"answer": "yes"}], "answer": "yes", "question_id": 900,
     "question_type": "mine", "answer_type": "also mine", "split": "dev", "other": {"deep": [1, {"x": None}]}},
    {"image": "red one", "question": "What zebra?", "split": "test"},
    {"image": "17", "question": "Is it red?", "answer": True, "split": "dev"},
]
with open(work + "/a.jsonl", "w") as out:
    out.write("\n".join(json.dumps(x, ensure_ascii=False) for x in lines[:4]) + "\n\n")
with open(work + "/b.jsonl", "w") as out:
    out.write("\r\n".join(json.dumps(x) for x in lines[4:]))
END
import() { "$HANPS" data import jsonl "$@" > "$work/log" 2>&1 || fail "$*: $(cat "$work/log")"; }
import "$work/a.jsonl" "$work/b.jsonl" --pixels "$work/png" --pixel-names %s.png --size 2x4 --out "$work/p"
import "$work/a.jsonl" "$work/b.jsonl" --features "$work/npy" --names %s.npy --out "$work/f" --vocabulary all \
    --answer-vocabulary train --min-occurrences 1
for s in p f; do
    "$HANPS" data verify "$work/$s" > "$work/log" || fail "verify $s"
    "$HANPS" data info "$work/$s" --json > "$work/$s.json"
    for n in 0 1 2 3 4 5; do "$HANPS" data info "$work/$s" --question $n > "$work/$s.$n.json"; done
done
python3 - "$work" <<'END'
import json, sys
work = sys.argv[1]
load = lambda name: json.load(open(f"{work}/{name}.json"))
p, f = load("p"), load("f")
for s in (p, f):
    assert {n: x["questions"] for n, x in s["splits"].items()} == {"train": 3, "dev": 2, "test": 1}, s["splits"]
    assert s["metric"] == "vqa" and s["answers"] == 3
assert (p["images"], f["images"]) == (3, 4) and (p["pixel_height"], p["pixel_width"]) == (2, 4)
assert (f["grid_height"], f["grid_width"], f["channels"], f["max_cells"]) == (2, 3, 5, 6)
assert f["words"] == p["words"] + 2  # blue, zebra: not in train
q = [load(f"p.{n}") for n in range(6)]
assert [x["question_id"] for x in q] == [0, 1, 2, 900, 5, 4], [x["question_id"] for x in q]
assert [x["target"] for x in q] == ["yes", "3", "red", "yes", "true", ""]
assert [x["label"] >= 0 for x in q] == [True, True, True, True, False, False]
assert [x["answer_type"] for x in q] == ["yes/no", "number", "other", "also mine", "other", ""]
assert [x["question_type"] for x in q] == ["is it", "how many", "what colour", "mine", "is it", "what zebra"]
assert [a["answer"] for a in q[2]["answers"]] == ["red", "blue", "red"] and q[2]["words"][-2:] == ["'s", "door"]
assert [(a["answer_id"]) for a in q[3]["answers"]] == [4, 2]
assert [x["image_name"] for x in q] == ["red one", "17", "b", "b", "17", "red one"]
END
# Exact match where nobody has two answers; a model that begins with the pixels.
grep -v answers "$work/a.jsonl" > "$work/c.jsonl"
import "$work/c.jsonl" --pixels "$work/png" --pixel-names %s.png --size 16x16 --out "$work/c"
"$HANPS" data info "$work/c" --json | grep -q '"metric": "exact"' || fail "metric"
printf 'run: {steps: 2}\ndata: {store: %s, valid: "", batch_size: 2}\nmodel: {image: {trunk: cnn, width: 8, filters: [4, 4]},
  question: {lstm: 8, embedding: 4}, attention: {cells: 3}, classifier: {layers: [8]}}\n' "$work/c" > "$work/c.yaml"
"$HANPS" train "$work/c.yaml" --run "$work/run" > "$work/log" 2>&1 || fail "train: $(cat "$work/log")"

bad() { # what the message must contain, then the arguments
    want=$1
    shift
    code=0
    out=$("$HANPS" data import jsonl "$@" --out "$work/x" 2>&1) || code=$?
    [ $code = 2 ] || fail "$*: exit status $code: $out"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "$*: more than one line: $out"
    case $out in *"$want"*) ;; *) fail "$*: '$out' does not say '$want'" ;; esac
    [ ! -e "$work/x" ] && [ ! -e "$work/x.partial" ] || fail "$*: something was left"
}
good='{"image": "b", "question": "Is it?", "answer": "no"}'
while IFS='~' read -r text want; do
    printf '%s\n%b\n' "$good" "$text" > "$work/bad.jsonl"
    bad "bad.jsonl, line 2: $want" "$work/bad.jsonl"
done <<'END'
{"question": "a?", "answer": "b"}~"image" is missing, expected a string or a whole number
{"image": "", "question": "a?"}~"image" is empty
{"image": 1.5, "question": "a?"}~"image" is something else
{"image": ["b"], "question": "a?"}~"image" is something else
{"image": "b"}~"question" is missing, expected a string
{"image": "b", "question": 7}~"question" is something else, expected a string
{"image": "b", "question": "a", "answer": null}~"answer" is something else
{"image": "b", "question": "a", "answer": {"x": 1}}~"answer" is something else
{"image": "b", "question": "a", "answers": "yes"}~"answers" is something else, expected a list
{"image": "b", "question": "a", "answers": ["yes", []]}~"answers", entry 2: expected a string
{"image": "b", "question": "a", "answers": [{"answer": "a", "answer_id": -3}]}~"answer_id"
{"image": "b", "question": "a", "split": ""}~"split" is ''
{"image": "b", "question": "a", "split": 3}~"split" is something else
{"image": "b", "question": "a", "question_id": "x"}~"question_id" is something else, expected a whole number
{"image": "b", "question": "a", "question_id": 0}~question_id 0 is there twice (first in line 1)
{"image": "b", "question": "a\\u0000b"}~contains \u0000
{"image": "b", "question": "a\0000b"}~contains NUL
{"image": "b", "question": "\0377"}~expected a JSON object: lexical error: invalid bytes in UTF8
{"image": "b", "question": "a"~expected a JSON object: parse error: premature EOF
[1, 2]~expected a JSON object
nonsense~expected a JSON object: lexical error
END
(echo "$good" && printf '{"a": ' && head -c 200000 /dev/zero | tr '\0' '[' && echo) > "$work/deep.jsonl"
bad "deep.jsonl, line 2: more than 32 levels" "$work/deep.jsonl"
: > "$work/empty.jsonl"
bad "empty.jsonl: no question in it" "$work/empty.jsonl"
bad "No such file" "$work/none.jsonl"
bad "FILE is missing"
bad "are for vqa" "$work/a.jsonl" --questions "$work/a.jsonl"
bad "no split 'valid' to count" "$work/a.jsonl" --vocabulary valid
bad "a.jsonl, record 1 (question_id 0): image red one has no picture in" "$work/a.jsonl" --pixels "$work/png" \
    --pixel-names '%d.png'
bad "image red one has no features in" "$work/a.jsonl" --features "$work/npy" --names '%d.npy'
echo '{"image": "../../etc/passwd", "question": "a", "answer": "b"}' > "$work/path.jsonl"
bad "has no picture in" "$work/path.jsonl" --pixels "$work/png" --pixel-names %s
echo nothing > "$work/png/b.png"
code=0
"$HANPS" data import jsonl "$work/a.jsonl" --pixels "$work/png" --pixel-names %s.png --out "$work/x" > "$work/log" 2>&1 || code=$?
[ $code = 2 ] && grep -q "png/b.png" "$work/log" && [ ! -e "$work/x" ] || fail "a broken picture: $code $(cat "$work/log")"
