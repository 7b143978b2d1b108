# tests/bench/checkpoint_wait.py: steps at a checkpoint are told from the others.
work= # set there
. tests/support/run.sh
"$HANPS" train "$work/config.yaml" --run "$work/run" --set run.steps=60 --set checkpoint.every_steps=20 >"$work/out" 2>&1 ||
    fail "$(cat "$work/out")"
tests/bench/checkpoint_wait.py "$work/run" --window 3 >"$work/table" || fail "$(cat "$work/table")"
# Two units a step; steps 10 to 59: 19, 20, 21 and 39, 40, 41 and 59 are at a checkpoint.
grep -Eq '^at a checkpoint, step +14 ' "$work/table" && grep -Eq '^far from a checkpoint, step +86 ' "$work/table" || fail "$(cat "$work/table")"
grep -Eq '^a step at a checkpoint takes -?[0-9.]+ ms more' "$work/table" || fail "$(cat "$work/table")"
tests/bench/checkpoint_wait.py "$work/run" --window 30 >"$work/out" 2>&1 && fail 'a window as long as the interval'
exit 0
