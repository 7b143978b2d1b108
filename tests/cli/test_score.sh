#!/bin/bash
# hanps score: the official figures of files of answers, by VQA's annotations and by stores; NLVR's consistency.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAIL: $*"
    exit 1
}
bad() { # what the message must contain, then the arguments
    want=$1
    shift
    code=0
    out=$("$HANPS" score "$@" 2>&1) || code=$?
    [ $code = 2 ] || fail "$*: exit status $code: $out"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "$*: more than one line: $out"
    case $out in *"$want"*) ;; *) fail "$*: '$out' does not say '$want'" ;; esac
}

# Four questions whose scores are worked out by hand: 3 of 10 humans 0.9; all alike 1; 1 of 10 0.3; none.
python3 - "$work" <<'END'
import json, sys
work = sys.argv[1]
answers = [["red"] * 3 + ["a dark red"] * 7, ["yes"] * 10, ["2"] + ["3"] * 9, ["dog"] * 10]
kinds = ["other", "yes/no", "number", "other"]
json.dump({"annotations": [
    {"question_id": i + 10, "image_id": 5, "question_type": "what is" if i != 1 else "is it", "answer_type": kinds[i],
     "multiple_choice_answer": a[-1], "answers": [{"answer": t, "answer_confidence": "yes", "answer_id": k + 1}
                                                  for k, t in enumerate(a)]} for i, a in enumerate(answers)]},
    open(work + "/ann.json", "w"))
json.dump([{"question_id": 13, "answer": "a dog"}, {"question_id": 10, "answer": "The RED"},
           {"question_id": 12, "answer": "two", "more": [{}]}, {"question_id": 11, "answer": "yes"}],
          open(work + "/res.json", "w"))
END
"$HANPS" score "$work/res.json" --annotations "$work/ann.json" --json "$work/out.json" > "$work/log"
python3 - "$work" <<'END'
import json, sys
out = json.load(open(sys.argv[1] + "/out.json"))
# 2021: humans who all agree are compared as they are, so "a dog" is wrong; 2016 drops the article.
assert out["metric"] == "vqa_2021" and out["overall"] == 55.0 and out["examples"] == 4, out
assert out["per_answer_type"] == {"number": 30.0, "other": 45.0, "yes/no": 100.0}, out
assert out["per_question_type"] == {"is it": 100.0, "what is": 40.0}, out
assert out["vqa_2016"]["overall"] == 80.0 and out["vqa_2016"]["per_answer_type"]["other"] == 95.0, out
END
grep -q "^Overall  *4  *55.00  *80.00" "$work/log" || fail "$(cat "$work/log")"

printf '[{"question_id": 10, "answer": "red"}]' > "$work/few.json"
bad "no answer to question_id 11 (3 such" "$work/few.json" --annotations "$work/ann.json"
"$HANPS" score "$work/few.json" --annotations "$work/ann.json" --missing wrong > "$work/log"
grep -q "^Overall  *4  *22.50" "$work/log" || fail "$(cat "$work/log")"
while IFS='|' read -r text want; do
    printf '%b' "$text" > "$work/bad.json"
    bad "$want" "$work/bad.json" --annotations "$work/ann.json"
done <<'END'
[{"question_id": 99, "answer": "red"}]|no question has question_id 99
[{"question_id": 10, "answer": "red"},\n{"question_id": 10, "answer": "red"}]|question_id 10 is there twice
[{"question_id": 10,\n"answer": 3}]|bad.json, line 2: record 1 (question_id 10): "answer" is a number, expected a string
[{"question_id": "10", "answer": "a"}]|record 1: "question_id" is a string, expected a whole number
[{"question_id": 10}]|record 1 (question_id 10): "answer" is missing
[{"answer": "a"}]|record 1: "question_id" is missing
[{"question_id": 1e400, "answer": "a"}]|record 1
[{"question_id": 10, "answer": "\\u0000"}]|has NUL
[{"question_id": 10, "answer": "\xff"}]|record 1: not JSON
[[1]]|record 1: a list, expected an object
{"annotations": []}|an object, expected a list of answers
7|a number, expected a list of answers
[{"question_id": 10, "answer": "red"}|record 2: not JSON
|record 1: not JSON: parse error: premature EOF
END
bad "RESULTS.json is missing" --annotations "$work/ann.json"
bad "either --annotations" "$work/res.json"
bad "--split NAME goes with" "$work/res.json" --annotations "$work/ann.json" --split train
bad "allowed are exact" "$work/res.json" --annotations "$work/ann.json" --metric bleu
bad "No such file" "$work/res.json" --annotations "$work/none.json"
bad "No such file" "$work/none.json" --annotations "$work/ann.json"

# Answers of odd characters, scored by the rules of both official evaluations written down in Python once more.
python3 - "$work" <<'END' > "$work/log" || fail "odd answers: $(cat "$work/log")"
import collections, json, os, random, re, subprocess, sys
work, r = sys.argv[1], random.Random(5)
pairs = re.findall(r'\{"([^"]+)", *"([^"]+)"\}', open("worker/metric_words.c").read())
contraction = dict(p for p in pairs if not p[1].isdigit())
number = dict(zip("none zero one two three four five six seven eight nine ten".split(), "0 0 1 2 3 4 5 6 7 8 9 10".split()))
assert len(contraction) > 100 and contraction["dont"] == "don't"
frag = ["a", "the", "an", "none", "two", "dont", "U.S.", "3,000", "1.5", "5.", ".5", ".", " ", "\t", "\n", "x", "yes", "T-shirt", "somebody'd",
        "Id've", "y'allll", "'s", "\u00a0", "\u3000", "\u00e9", "\u00c9", "\u0416"] + list(";/[]\"{}()=+\\_-><@`,?!:$%#*&|~")


def punctuation(text):
    out = text
    for p in ";/[]\"{}()=+\\_-><@`,?!":
        out = out.replace(p, "" if p + " " in text or " " + p in text or re.search(r"\d,\d", text) else " ")
    return re.sub(r"\.(?!\d)", "", out, count=32)


def words(text):
    kept = [number.get(w, w) for w in text.lower().split()]
    return " ".join(contraction.get(w, w) for w in kept if w not in ("a", "an", "the"))


def accuracy(human, answer):
    return sum(min(1, sum(h == answer for k, h in enumerate(human) if k != i) / 3) for i in range(len(human))) / len(human)


def score(human, answer, new):
    bare = lambda text: text.replace("\n", " ").replace("\t", " ").strip()
    human, answer = [bare(h) for h in human] if new else human, bare(answer)
    if len(set(human)) > 1:
        human = [words(punctuation(h)) if new else punctuation(h) for h in human]
    elif new:
        return accuracy(human, answer)
    return accuracy(human, words(punctuation(answer)))


text = lambda: "".join(r.choice(frag) + " " * (r.random() < 0.3) for _ in range(r.randrange(1, 5)))
rows, results, want = [], [], [collections.defaultdict(list), collections.defaultdict(list)]
for q in range(3000):
    pool = [text() for _ in range(r.randrange(1, 4))]
    human, answer, kind = [r.choice(pool) for _ in range(10)], r.choice(pool), f"type {q // 3}"
    answer = r.choice([answer, answer.lower(), answer.upper(), words(punctuation(answer)), "the " + answer])
    rows.append({"question_id": q, "image_id": 1, "question_type": kind, "answer_type": "other", "multiple_choice_answer": pool[0],
                 "answers": [{"answer": h, "answer_id": i + 1} for i, h in enumerate(human)]})
    results.append({"question_id": q, "answer": answer})
    for new in (0, 1):
        want[new][kind].append(score(human, answer, new))
json.dump(rows, open(work + "/odd.json", "w"))
json.dump(results, open(work + "/odd-results.json", "w"))
subprocess.run([os.environ["HANPS"], "score", work + "/odd-results.json", "--annotations", work + "/odd.json", "--json", work + "/out.json"],
               check=True, stdout=subprocess.DEVNULL)
out = json.load(open(work + "/out.json"))
for new, got in ((1, out), (0, out["vqa_2016"])):
    total = [s for kind in want[new].values() for s in kind]
    assert got["overall"] == round(100 * sum(total) / len(total), 2) and len(set(total)) > 3, (new, got["overall"], sum(total) / len(total))
    for kind, scores in want[new].items():
        assert got["per_question_type"][kind] == round(100 * sum(scores) / len(scores), 2), (new, kind)
END

# NLVR: three sentences of two images; one has both right.
python3 - "$work" <<'END'
import json, os, struct, sys, zlib
work = sys.argv[1]
def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0)) + \
    chunk(b"IDAT", zlib.compress(b"\0" + b"\x40" * 12 + b"\0" + b"\x90" * 12)) + chunk(b"IEND", b"")
os.makedirs(work + "/nlvr/train/images/0")
results = []
with open(work + "/nlvr/train/train.json", "w") as lines:
    for sentence in (7, 8, 1304):
        for image in range(2):
            label = ["true", "false"][(sentence + image) % 2]
            lines.write(json.dumps({"sentence": "There is a box.", "identifier": f"{sentence}-{image}", "directory": "0",
                                    "label": label}) + "\n")
            right = sentence == 8 or image == 0
            results.append({"question_id": sentence * 1000 + image * 10,
                            "answer": (label if right else "maybe").upper()})
            open(f"{work}/nlvr/train/images/0/train-{sentence}-{image}-0.png", "wb").write(png)
json.dump(results, open(work + "/nlvr.json", "w"))
END
"$HANPS" data import nlvr "$work/nlvr" --out "$work/store" --size 2x4 --valid-directories 0 > "$work/log"
"$HANPS" score "$work/nlvr.json" --store "$work/store" --split train --json "$work/out.json" > "$work/log"
python3 - "$work" <<'END'
import json, sys
out = json.load(open(sys.argv[1] + "/out.json"))
assert out["overall"] == 66.67 and out["consistency"] == 33.33 and out["sentences"] == 3, out
END
grep -q "^consistency 33.33" "$work/log" || fail "$(cat "$work/log")"
bad "no split 'dev'" "$work/nlvr.json" --store "$work/store" --split dev

# Four predictors over real questions; the figures are those of the official evaluation.
v=${HANPS_DATA:-/nonexistent}/vqa-v2-sample
[ -d "$v" ] || {
    echo "passed, but for the sample of VQA v2: none in \$HANPS_DATA"
    exit 0
}
python3 - "$work" "$v" <<'END'
import collections, json, sys
work, v = sys.argv[1:]
rows = json.load(open(v + "/annotations.json"))["annotations"]
frequent = collections.defaultdict(collections.Counter)
for a in rows:
    frequent[a["question_type"]][a["multiple_choice_answer"]] += 1
top = {t: c.most_common(1)[0][0] for t, c in frequent.items()}
for name, answer in (("yes", lambda a: "yes"), ("type", lambda a: top[a["question_type"]]),
                     ("target", lambda a: a["multiple_choice_answer"]), ("third", lambda a: a["answers"][2]["answer"])):
    json.dump([{"question_id": a["question_id"], "answer": answer(a)} for a in rows], open(f"{work}/{name}.json", "w"))
END
"$HANPS" data import vqa --questions "$v/questions.json" --annotations "$v/annotations.json" --out "$work/v" > "$work/log"
for pair in yes:20.85 type:35.24 target:96.61 third:87.34; do
    for from in "--annotations $v/annotations.json" "--store $work/v --split train"; do
        # shellcheck disable=SC2086 # two words or four
        "$HANPS" score "$work/${pair%:*}.json" $from > "$work/log"
        grep -q "^Overall  *8977  *${pair#*:} " "$work/log" || fail "$pair $from: $(cat "$work/log")"
    done
done
