#!/bin/bash
# hanps eval --predictions and hanps ask: the same answers, probabilities and cells; what ask refuses.
work= # set there
. tests/support/run.sh

"$HANPS" train "$work/config.yaml" --run "$work/run" >"$work/out" 2>&1 || fail "train: $(cat "$work/out")"
"$HANPS" eval "$work/run" --predictions "$work/p.jsonl" --top 3 --logits --results "$work/r.json" >"$work/out" 2>&1 ||
    fail "eval: $(cat "$work/out")"
[ ! -e "$work/p.jsonl.part" ] || fail "a part is left"
python3 - "$work" <<'END' || fail "predictions"
import json, math, sys
work = sys.argv[1]
rows = [json.loads(line) for line in open(work + "/p.jsonl")]
results = {r["question_id"]: r["answer"] for r in json.load(open(work + "/r.json"))}
assert len(rows) == 200 and {r["question_id"]: r["answer"] for r in rows} == results
for r in rows:
    top = r["top"]
    assert len(top) == 3 and top[0]["answer"] == r["answer"]
    logits = sorted(r["logits"], reverse=True)
    total = sum(math.exp(x) for x in logits)
    for t, x in zip(top, logits):
        assert abs(t["probability"] - math.exp(x) / total) < 2e-6, (t, math.exp(x) / total)
    assert len(r["cells"]) == 16 and r["cells"] == sorted(set(r["cells"])) and max(r["cells"]) < r["cells_of_image"] == 100
    assert r["grid"] == [10, 10]
with open(work + "/lines", "w") as lines:
    for r in rows[:40]:
        lines.write(r["image"] + "\t" + r["question"] + "\n")
    lines.write("\n")
END
"$HANPS" ask "$work/run" --json --top 3 <"$work/lines" >"$work/a.jsonl" || fail "ask"
python3 - "$work" <<'END' || fail "ask answers something else than eval"
import json, sys
work = sys.argv[1]
want = [json.loads(line) for line in open(work + "/p.jsonl")][:40]
got = [json.loads(line) for line in open(work + "/a.jsonl")]
assert len(got) == 40
for g, w in zip(got, want):
    assert (g["image"], g["question"], g["answer"], g["cells"]) == tuple(w[k] for k in ("image", "question", "answer", "cells"))
    assert all(abs(a["probability"] - b["probability"]) < 1e-4 for a, b in zip(g["top"], w["top"]))
END

image=$(head -n 1 "$work/lines" | cut -f 1)
"$HANPS" ask "$work/run" --image "$image" --question "What is the shape of the zebra?" >"$work/out" || fail "ask one"
grep -q "^  1 word the model does not know" "$work/out" || fail "$(cat "$work/out")"
grep -q "^  looked at 16 of 100 cells" "$work/out" || fail "$(cat "$work/out")"
[ "$(grep -c ' %  ' "$work/out")" = 5 ] || fail "$(cat "$work/out")"
[ "$(grep -o '##' "$work/out" | wc -l)" = 16 ] && [ "$(grep -cE '^    (##| \.){10}$' "$work/out")" = 10 ] || fail "$(cat "$work/out")"
printf 'Is it red?\n\nIs it blue?\n' | "$HANPS" ask "$work/run" --image "$image" --json >"$work/out" || fail "lines"
[ "$(wc -l <"$work/out")" = 2 ] || fail "$(cat "$work/out")"

bad "has no image '77777'" ask "$work/run" --image 77777 --question "Is it red?"
bad "has no words" ask "$work/run" --image "$image" --question "?"
bad "goes with --image" ask "$work/run" --question "Is it red?"
bad "RUN is missing" ask
bad "no run in" ask "$work/none" --image 1 --question a
bad "1 to 1000000" ask "$work/run" --image 1 --question a --top 0
bad "--predictions" eval "$work/run" --predictions "$work/none/p.jsonl"
long=$(printf 'w %.0s' $(seq 1100))
bad "1100 words; 1024 at most" ask "$work/run" --image "$image" --question "$long"
out=$(printf '%s\tIs it red?\nno tab\n' "$image" | "$HANPS" ask "$work/run" --json 2>&1 >/dev/null)
[ "$out" = "hanps ask: standard input, line 2: expected an image's id, a tab, and a question; or --image" ] || fail "$out"
