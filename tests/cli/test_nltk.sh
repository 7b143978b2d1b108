#!/bin/bash
# The tokenisers nltk and nltk3.9 against NLTK itself, where it is installed: made-up questions, and the real ones in
# HANPS_DATA, word for word. HANPS_PYTHON names a python.
# timeout: 300
set -u
nltk='' reader=''
for p in "${HANPS_PYTHON:-python3}" /usr/bin/python3; do
    [ -n "$nltk" ] || ! "$p" -c 'import nltk.tokenize' 2>/dev/null || nltk=$p
    [ -n "$reader" ] || ! "$p" -c 'import lmdb, numpy, google.protobuf, xxhash' 2>/dev/null || reader=$p
done
[ -n "$nltk" ] && [ -n "$reader" ] || {
    echo "needs nltk, and lmdb, numpy, protobuf and xxhash, in python; HANPS_PYTHON may name one"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAIL: $*"
    exit 1
}
name=$("$nltk" - "$work" <<'END'
import glob, json, os, random, sys
import nltk
from nltk.tokenize import word_tokenize
work, r = sys.argv[1], random.Random(7)
version = tuple(int(n) for n in nltk.__version__.split("."))
if not (3, 7) <= version <= (3, 9, 2) and version < (3, 10, 1):
    sys.exit()
mark = list("'\"`.,:;?!-()[]{}<>*&@#$%/_ '\" ' ") + ["''", "``", "--", "..", "...", "'s", "n't", "'ll", "'re", "'ve", "'d", "'m", "N'T"]
word = """a b s t n x stop 'stop' 3 12 3.5 3,000 1:30 man the U.S. e.g. n ll re dogs' o'clock can not isn cannot Can't don't d'ye gimme
Gonna gotta lemme more'n wanna 'tis 'Twas it's""".split() + [" "] * 20
other = list("«»“”‘’„–—…éÉЖ日٣½€²😀\u00a0\u3000\t\n")
pools = [mark, mark + word, mark + word + other, word, list("'\". sa"), list("',:. 1a\n"), list("`'\"(< a"), list(".)]}>\"' »”\na")]
questions = {"".join(r.choice(pool) for _ in range(r.randrange(1, 24))) for pool in pools for _ in range(1000)}
data = os.environ.get("HANPS_DATA")
for path in glob.glob(data + "/**/*.json", recursive=True) if data else ():
    for line in open(path):
        try:
            row = json.loads(line)
        except ValueError:
            break
        rows = row.get("questions", [row]) if isinstance(row, dict) else ()
        questions |= {str(q.get("question", q.get("sentence", ""))) for q in rows if isinstance(q, dict)}
if version < (3, 9):  # some of its rules know no other white space
    questions = {" ".join(q.split()) for q in questions}
questions = sorted(q for q in questions if q.strip())
with open(work + "/q.jsonl", "w") as out, open(work + "/want", "w") as want:
    for q in questions:
        out.write(json.dumps({"image": "1", "question": q, "answer": "yes"}) + "\n")
        want.write(json.dumps([q, word_tokenize(q.lower(), preserve_line=True)]) + "\n")
print("nltk" if version > (3, 10) else "nltk3.9")
END
) || fail "words of NLTK"
[ -n "$name" ] || {
    echo "this NLTK has other rules than 3.7 to 3.9.2, or 3.10.1 and later"
    exit 77
}
"$HANPS" data import jsonl "$work/q.jsonl" --tokenizer "$name" --out "$work/store" >"$work/out" 2>&1 || fail "$(cat "$work/out")"
PYTHONPATH=deploy:${PYTHONPATH:-} "$reader" - "$work" "$name" <<'END' || fail "other words"
import json, sys
import hanps_store as hs
work, name = sys.argv[1:]
store = hs.Store(work + "/store")
m, different = store.manifest, 0
lines = [json.loads(line) for line in open(work + "/want")]
assert m.tokenizer == name and m.questions == len(lines) > 5000
for number, (text, want) in enumerate(lines):
    q = store.question(number)
    got = [m.word[t] for t in q.token]
    assert q.text == text
    if got != want:
        different += 1
        print(repr(text), got, want)
print(f"{name}: {different} of {len(lines)} questions differ")
sys.exit(different > 0)
END
