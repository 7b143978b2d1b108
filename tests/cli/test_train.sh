# hanps train and eval in one process: it learns, runs repeat bit for bit, a stop and a resume change
# nothing, signals, and what a user can get wrong.
work= # set there
. tests/support/run.sh
train() { # run, then arguments
    run=$1
    shift
    "$HANPS" train "$work/config.yaml" --run "$work/$run" "$@" >"$work/out" 2>&1
}
status_is() { # run, state, step
    grep -q "\"state\":\"$2\",\"step\":$3," "$work/$1/status" || fail "$1: $(cat "$work/$1/status")"
}

# ---- learning, log, closing table ----
train a || fail "train: $(cat "$work/out")"
grep -q '^done after step 24 of 24: 48 units' "$work/out" || fail "closing: $(cat "$work/out")"
grep -Eq '^ +0 +[^ ]+ +48 +768 ' "$work/out" || fail "no line for the worker: $(cat "$work/out")"
status_is a "done" 24
python3 - "$work/a" <<'END' || fail "log"
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1] + "/log/worker-0000.jsonl")]
assert len(lines) == 48 and [l["unit"] for l in lines] == list(range(48))
for l in lines:
    for key in ("step time_s examples examples_per_s loss accuracy data_s forward_s backward_s push_s pull_s "
                "wait_s pushed_bytes pulled_bytes staleness cells_mean").split():
        assert key in l, key
    assert l["cells_mean"] == 16 and l["examples"] == 16 and l["pushed_bytes"] > 0
loss = [l["loss"] for l in lines]
assert sum(loss[-8:]) < 0.95 * sum(loss[:8]), loss
json.loads(open(sys.argv[1] + "/log/server-0000.jsonl").readline())
END

# ---- progress: one line that is written over on a terminal, lines elsewhere ----
python3 - "$HANPS" "$work" <<'END' || fail "progress"
import os, re, subprocess, sys
hanps, work = sys.argv[1:]
command = [hanps, "train", work + "/config.yaml", "--set", "run.steps=100000000", "--set", "run.max_minutes=0.05",
           "--set", "log.console_seconds=1", "--run"]
ours, theirs = os.openpty()
train = subprocess.Popen(command + [work + "/terminal"], stdout=subprocess.DEVNULL, stderr=theirs)
os.close(theirs)
text = b""
try:
    while part := os.read(ours, 4096):
        text += part
except OSError:  # its other end is closed
    pass
assert train.wait() == 130, text
wanted = rb"step \d+/100000000  loss [\d.]+  accuracy [\d.]+ %  \d+ examples/s"
assert len(re.findall(rb"\r" + wanted + rb"[^\r\n]*\x1b\[K", text)) >= 2, text
lines = subprocess.run(command + [work + "/lines"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
assert lines.returncode == 130 and b"\r" not in lines.stderr and b"\x1b" not in lines.stderr, lines.stderr
assert len(re.findall(rb"^" + wanted + rb".*$", lines.stderr, re.M)) >= 1, lines.stderr
END

# ---- the same bits again, and after a stop and a resume ----
train b || fail "train: $(cat "$work/out")"
same "$work/a" "$work/b" "two runs"
train c --set run.steps=10 || fail "train: $(cat "$work/out")"
"$HANPS" train --run "$work/c" --resume --set run.steps=24 >"$work/out" 2>&1 || fail "resume: $(cat "$work/out")"
same "$work/a" "$work/c" "stopped at step 10 and resumed"
status_is c "done" 24
grep -q '"start":2' "$work/c/log/worker-0000.jsonl" || fail "the log does not tell the starts apart"
train other --set run.seed=4 || fail "train: $(cat "$work/out")"
"$HANPS" checkpoint diff "$work/a" "$work/other" >/dev/null 2>&1 && fail "another seed, the same bits"
train async --set cluster.consistency=async --set data.group_by_image=false || fail "async: $(cat "$work/out")"
status_is async "done" 24

# ---- evaluation ----
"$HANPS" eval "$work/a" --json "$work/a.json" --results "$work/a.results" >"$work/out" 2>&1 ||
    fail "eval: $(cat "$work/out")"
grep -Eq '^Overall +200 ' "$work/out" || fail "eval: $(cat "$work/out")"
python3 - "$work" <<'END' || fail "eval --json"
import json, sys
work = sys.argv[1]
report = json.load(open(work + "/a.json"))
assert report["split"] == "valid" and report["step"] == 24 and report["examples"] == 200
assert report["cells_mean"] == 16 and 0 <= report["overall"] <= 100
types = report["per_answer_type"]
assert set(types) == {"relational", "non-relational"}
assert abs(report["overall"] - sum(types.values()) / 2) < 0.011  # 100 questions each
assert len(report["per_question_type"]) > 3
results = json.load(open(work + "/a.results"))
assert len(results) == 200 and all(set(r) == {"question_id", "answer"} for r in results)
assert len({r["question_id"] for r in results}) == 200
assert json.load(open(work + "/a/eval/valid-00000024.json"))["overall"] == report["overall"]
END
"$HANPS" eval "$work/a" --split train --checkpoint 24 --set data.batch_size=7 >"$work/out" 2>&1 || fail "eval"
grep -Eq '^Overall +800 ' "$work/out" || fail "eval: $(cat "$work/out")"

# ---- signals ----
train d --set run.steps=100000000 &
pid=$!
for _ in $(seq 200); do
    [ -s "$work/d/log/worker-0000.jsonl" ] && break
    sleep 0.05
done
bad "in use by process" train --run "$work/d" --resume
child=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
kill -INT ${child:-$pid}
wait $pid
code=$?
[ $code = 130 ] || fail "SIGINT: exit status $code: $(cat "$work/out")"
grep -q '"state":"stopped"' "$work/d/status" || fail "SIGINT: $(cat "$work/d/status")"
grep -q '"requeue":true' "$work/d/status" || fail "SIGINT: $(cat "$work/d/status")"
"$HANPS" checkpoint verify "$work/d" >"$work/out" 2>&1 || fail "SIGINT left no whole checkpoint: $(cat "$work/out")"
train e --set run.steps=100000000 --set run.max_minutes=0.01
code=$?
[ $code = 130 ] || fail "max_minutes: exit status $code"

# ---- a server's log that cannot be written, line after line: said once ----
ln -sf /dev/full "$work/e/log/server-0000.jsonl"
"$HANPS" train --run "$work/e" --resume --set run.max_minutes=0.05 >"$work/out" 2>&1
code=$?
[ $code = 130 ] || fail "a full log: exit status $code: $(cat "$work/out")"
[ "$(grep -c 'cannot write log file' "$work/out")" = 1 ] || fail "a full log: $(cat "$work/out")"

# ---- wrong input: one line, exit status 2, nothing left behind ----
config=$work/config.yaml
bad "CONFIG is missing" train --run "$work/x"
bad "--run RUN is missing" train "$config"
bad "--bogus" train "$config" --run "$work/x" --bogus
bad "one CONFIG is allowed" train "$config" "$config" --run "$work/x"
bad "none.yaml" train "$work/none.yaml" --run "$work/x"
bad "data.bogus" train "$config" --run "$work/x" --set data.bogus=1
bad "data.batch_size" train "$config" --run "$work/x" --set data.batch_size=0
bad "no_such_store" train "$config" --run "$work/x" --set data.store="$work/no_such_store"
bad "it has: train, valid" train "$config" --run "$work/x" --set data.train=tarin
bad "data.valid (\"\": none)" train "$config" --run "$work/x" --set data.valid=vaild
bad "--servers" train "$config" --run "$work/x" --servers 0
bad "mpirun" train "$config" --run "$work/x" --servers 2
bad "exists" train "$config" --run "$work/a"
bad "in_the_way" train "$config" --run "$work/a/status/in_the_way"
bad "no run in" train --run "$work/x" --resume
bad "model.image.width" train --run "$work/a" --resume --set model.image.width=32
cp -r "$work/store" "$work/cut" && truncate -s -8192 "$work/cut/data.mdb"
bad "cut" train "$config" --run "$work/x" --set data.store="$work/cut"
cp -r "$work/store" "$work/flipped" &&
    printf '\377' | dd of="$work/flipped/manifest.pb" bs=1 seek=40 conv=notrunc 2>/dev/null
bad "flipped" train "$config" --run "$work/x" --set data.store="$work/flipped"
[ ! -e "$work/x" ] || fail "a refused run left a folder"
bad "RUN is missing" eval
bad "no run in" eval "$work/x"
bad "it has: train, valid" eval "$work/a" --split tset
bad "allowed are exact" eval "$work/a" --metric f1
bad "checkpoint" eval "$work/a" --checkpoint 77
bad "allowed are a step, last" eval "$work/a" --checkpoint newest
bad "--json: cannot write '$work/none/a.json'" eval "$work/a" --json "$work/none/a.json"
bad "--results: cannot write '$work/none/a'" eval "$work/a" --results "$work/none/a"
bad "--json: cannot write" eval "$work/a" --json "$work/config.yaml/a.json"
bad "it is a folder" eval "$work/a" --json "$work/a"
bad "do not fit" eval "$work/a" --set data.coords=none
exit 0
