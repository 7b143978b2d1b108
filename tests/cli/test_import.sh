#!/bin/bash
# hanps data import on real data: DAQUAR with features, a sample of VQA v2 without; killed and resumed.
set -eu
data=${HANPS_DATA:-}
[ -d "$data/daquar" ] && [ -d "$data/vqa-v2-sample" ] || { echo "needs HANPS_DATA with daquar and vqa-v2-sample"; exit 77; }
# In memory where there is room: a disk takes its time to sync 800 MB.
base=${TMPDIR:-/tmp}
room=$(df --output=avail -k /dev/shm 2> /dev/null | tail -1)
[ "${room:-0}" -gt 4000000 ] && base=/dev/shm
work=$(mktemp -d -p "$base")
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
export SOURCE_DATE_EPOCH=1700000000
d=$data/daquar
run=
daquar() { # where to
    $run "$HANPS" data import vqa --questions $d/daquar_train_questions.json --annotations $d/daquar_train_annotations.json \
        --split test --questions $d/daquar_test_questions.json --annotations $d/daquar_test_annotations.json \
        --features $d/features.h5 --metric exact --pictures $d/thumbs --picture-names 'image%d.jpg' --out "$@"
}

daquar "$work/a" > "$work/log"
grep -q "1449 images, 12468 questions" "$work/log" || fail "$(cat "$work/log")"
"$HANPS" data verify "$work/a" > "$work/log" || fail "verify"
"$HANPS" data info "$work/a" | grep -q "label in the vocabulary: 5124 (90.3 %)" || fail "answers"
"$HANPS" data info "$work/a" --json > "$work/info.json"
"$HANPS" data info "$work/a" --question 0 > "$work/q.json"
python3 - "$work" "$d" <<'END'
import json, sys
work, d = sys.argv[1:]
info, q = json.load(open(work + "/info.json")), json.load(open(work + "/q.json"))
train, test = info["splits"]["train"], info["splits"]["test"]
assert (train["questions"], test["questions"]) == (6795, 5673)
assert (train["images"], test["images"]) == (794, 653)
assert (info["images"], info["pictures"], info["answers"]) == (1449, 1449, 968)
assert (info["grid_height"], info["grid_width"], info["channels"]) == (10, 10, 1280)
assert info["feature_bytes_per_image"] == 256000 and info["metric"] == "exact"
assert max(map(int, train["question_words"])) == 27 and max(map(int, test["question_words"])) == 24
assert train["answer_types"] == {"number": 910, "other": 5885}, train["answer_types"]
want = json.load(open(d + "/daquar_train_questions.json"))["questions"][0]
answers = json.load(open(d + "/daquar_train_annotations.json"))["annotations"][0]
assert q["question"] == want["question"] and q["question_id"] == want["question_id"]
assert q["image_name"] == str(want["image_id"]) and q["image"] == want["image_id"] - 1
assert q["target"] == answers["multiple_choice_answer"] and len(q["answers"]) == 10
END
# The features themselves, by HDF5's own tool, where there is one.
if command -v h5dump > /dev/null; then
    "$HANPS" data info "$work/a" --question 0 | grep -o '"feature_sum": [0-9.]*' | cut -d' ' -f2 > "$work/sum"
    h5dump -d features -s 2,0,0,0 -c 1,10,10,1280 -y -w 1 "$d/features.h5" |
        awk '/DATA/ {on=1; next} on {gsub(/[,}]/, ""); s += $1} END {printf "%.9g\n", s}' > "$work/want"
    awk 'NR == FNR {a = $1; next} {exit !((a - $1)^2 < 1e-8 * a * a && a > 0)}' "$work/sum" "$work/want" ||
        fail "features: $(cat "$work/sum" "$work/want")"
fi

# Killed again and again, it ends with the same bytes in every record.
kills=0
for wait in 0.1 0.3 0.5 0.5 0.5; do
    (run="exec"; daquar "$work/b") > "$work/log" 2>&1 & pid=$!
    sleep $wait
    kill -9 $pid 2> /dev/null && kills=$((kills + 1))
    wait $pid 2> /dev/null || true
    [ ! -e "$work/b" ] || break
    "$HANPS" data info "$work/b" > /dev/null 2> "$work/err" && fail "half a store opened"
done
if [ ! -e "$work/b" ]; then
    [ -d "$work/b.partial" ] || fail "nothing left to go on with"
    daquar "$work/b" --answers 5 > /dev/null 2> "$work/err" && fail "other options were taken"
    grep -q "other options" "$work/err" || fail "$(cat "$work/err")"
    daquar "$work/b" > "$work/log"
fi
[ ! -e "$work/b.partial" ] || fail "the partial store is still there"
"$HANPS" data verify "$work/b" > /dev/null || fail "resumed store is damaged"
for s in a b; do
    for n in 0 5000 12467; do "$HANPS" data info "$work/$s" --question $n; done > "$work/$s.questions"
    "$HANPS" data info "$work/$s" --json | grep -vE '"(store|made|digest|bytes)"' > "$work/$s.info"
done
cmp "$work/a.questions" "$work/b.questions" && cmp "$work/a.info" "$work/b.info" || fail "resumed: another store"
daquar "$work/a" > /dev/null 2> "$work/err" && fail "a store was replaced"
grep -q "exists already" "$work/err" || fail "$(cat "$work/err")"

v=$data/vqa-v2-sample # questions only
"$HANPS" data import vqa --questions "$v/questions.json" --annotations "$v/annotations.json" --answers 3000 \
    --out "$work/v" > "$work/log"
"$HANPS" data verify "$work/v" > /dev/null || fail "verify v"
"$HANPS" data info "$work/v" --json > "$work/info.json"
python3 - "$work" <<'END'
import json, sys
info = json.load(open(sys.argv[1] + "/info.json"))
train = info["splits"]["train"]
assert train["questions"] == 8977 and len(train["question_types"]) == 65
assert train["human_answers"] == 89770 and set(train["answer_types"]) == {"yes/no", "number", "other"}
assert info["feature_dtype"] == "none" and info["metric"] == "vqa"
END

bad() { # what the message must contain, then the arguments
    want=$1
    shift
    code=0
    out=$("$HANPS" data import "$@" 2>&1) || code=$?
    [ $code = 2 ] || fail "$*: exit status $code: $out"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "$*: more than one line: $out"
    case $out in *"$want"*) ;; *) fail "$*: '$out' does not say '$want'" ;; esac
    [ ! -e "$work/x" ] && [ ! -e "$work/x.partial" ] || fail "$*: something was left"
}
q=$v/questions.json
bad "format to import" --out "$work/x" --questions "$q"
bad "--out" vqa --questions "$q"
bad "--questions" vqa --out "$work/x"
bad "No such file" vqa --out "$work/x" --questions "$work/none.json"
bad "split valid has no" vqa --out "$work/x" --questions "$q" --split valid
bad "twice" vqa --out "$work/x" --split a --questions "$q" --split a
bad "allowed are f16" vqa --out "$work/x" --questions "$q" --dtype f64
bad "allowed are nhwc" vqa --out "$work/x" --questions "$q" --layout hwc
bad "--answers 0" vqa --out "$work/x" --questions "$q" --answers 0
bad "--grid" vqa --out "$work/x" --questions "$q" --grid 10
bad "has no features" vqa --out "$work/x" --questions "$q" --features "$d/features.h5"
bad "no split 'dev'" vqa --out "$work/x" --questions "$q" --vocabulary dev
bad "--bogus" vqa --bogus
echo "killed $kills times"
