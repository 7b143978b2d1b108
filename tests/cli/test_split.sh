#!/bin/bash
# hanps data split: by chance, by image, and with other priors; nothing is lost, seeds repeat.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH=1700000000
fail() {
    echo "FAIL: $*"
    exit 1
}
python3 - "$work" <<'END'
import json, random, sys
r = random.Random(3)
types = {"is the": ["yes", "no"], "are the": ["no", "yes", "maybe"], "what colour": ["red", "blue", "dark blue", "green"],
         "how many": [str(i) for i in range(8)], "only one": ["sole"]}
with open(sys.argv[1] + "/q.jsonl", "w") as out:
    for i in range(480):
        kind = r.choice(list(types))
        row = {"image": i // 6, "question": f"{kind} thing {i}?", "question_type": kind, "split": "train" if i < 360 else "test"}
        if i % 40:
            row["answer"] = r.choices(types[kind], [2.0 ** -k for k in range(len(types[kind]))])[0]
        out.write(json.dumps(row) + "\n")
END
"$HANPS" data import jsonl "$work/q.jsonl" --out "$work/s" > "$work/log" 2>&1 || fail "$(cat "$work/log")"
split() { "$HANPS" data split "$work/s" --out "$@" > "$work/log" 2>&1 || fail "$*: $(cat "$work/log")"; }
split "$work/random" --by random --share 0.2
split "$work/again" --by random --share 0.2
split "$work/other" --by random --share 0.2 --seed 2
split "$work/image" --by image --name dev
split "$work/priors" --by priors
grep -q "distance of the answers' priors 1.00" "$work/log" && grep -q "^12 questions without an answer are left out" "$work/log" ||
    fail "$(cat "$work/log")"
for s in random image priors; do
    "$HANPS" data verify "$work/$s" > "$work/log" || fail "verify $s"
    "$HANPS" data info "$work/$s" --json > "$work/$s.json"
done
cmp -s "$work/random/data.mdb" "$work/again/data.mdb" || fail "a seed does not repeat"
cmp -s "$work/random/data.mdb" "$work/other/data.mdb" && fail "another seed makes the same"
python3 - "$work" <<'END' || fail "splits"
import json, sys
load = lambda name: {k: v["questions"] for k, v in json.load(open(f"{sys.argv[1]}/{name}.json"))["splits"].items()}
assert load("random") == {"train": 288, "valid": 72, "test": 120}, load("random")
assert load("image") == {"train": 324, "dev": 36, "test": 120}, load("image")
p = load("priors")
assert p["train"] + p["test"] == 468 and 120 < p["test"] < 160, p
images = {k: v["images"] for k, v in json.load(open(sys.argv[1] + "/image.json"))["splits"].items()}
assert images == {"train": 54, "dev": 6, "test": 20}, images
END
# The groups are whole: no type has an answer on both sides; words of the test's answers are known in training.
n=$("$HANPS" data info "$work/priors" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["questions"])')
for ((i = 0; i < n; i += 4)); do "$HANPS" data info "$work/priors" --question $i; done > "$work/rows"
python3 - "$work" <<'END' || fail "priors"
import collections, json, sys
text, at, rows = open(sys.argv[1] + "/rows").read(), 0, []
decoder = json.JSONDecoder()
train = json.load(open(sys.argv[1] + "/priors.json"))["splits"]["train"]["questions"]
while at < len(text.rstrip()):
    row, at = decoder.raw_decode(text, at)
    row["split"] = "train" if 4 * len(rows) < train else "test"
    rows.append(row)
    at += len(text[at:]) - len(text[at:].lstrip())
sides, answers, types = collections.defaultdict(set), collections.defaultdict(set), collections.defaultdict(set)
for r in rows:
    sides[r["question_type"], r["target"]].add(r["split"])
    answers[r["split"]].add(r["target"])
    types[r["split"]].add(r["question_type"])
assert len(rows) == 117 and all(len(s) == 1 for s in sides.values()), sides
assert types["test"] <= types["train"] and "only one" not in types["test"], types
END

bad() { # what the message must contain, then the arguments
    want=$1
    shift
    code=0
    out=$("$HANPS" data split "$@" 2>&1) || code=$?
    [ $code = 2 ] || fail "$*: exit status $code: $out"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "$*: more than one line: $out"
    case $out in *"$want"*) ;; *) fail "$*: '$out' does not say '$want'" ;; esac
    [ ! -e "$work/x" ] && [ ! -e "$work/x.partial" ] || fail "$*: something was left"
}
bad "--by random, image or priors is needed" "$work/s" --out "$work/x"
bad "allowed are random" "$work/s" --by type --out "$work/x"
bad "--out NEW" "$work/s" --by random
bad "STORE is missing" --by random --out "$work/x"
bad "no split 'dev'" "$work/s" --by random --from dev --out "$work/x"
bad "a split 'test' already" "$work/s" --by random --name test --out "$work/x"
bad "both splits are named" "$work/s" --by random --name both --rest both --out "$work/x"
bad "a number from 0 to 1" "$work/s" --by random --share 2 --out "$work/x"
bad "less than 1" "$work/s" --by random --share 1 --out "$work/x"
bad "no question would be left in split 'valid'" "$work/s" --by random --share 0.0001 --out "$work/x"
bad "no question would be left in split 'valid'" "$work/s" --by random --share 0 --out "$work/x"
