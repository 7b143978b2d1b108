# tests/bench/ratios.py in its small form: every case runs and gives its ratio.
set -eu
command -v mpirun >/dev/null || { echo 'no mpirun'; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
TMPDIR=$work tests/bench/ratios.py --hanps "$HANPS" --small --json "$work/ratios.json"
python3 - "$work/ratios.json" <<'END'
import json, sys
ratios = json.load(open(sys.argv[1]))
assert sorted(ratios) == ["checkpoints", "communication", "slow_worker_async", "slow_worker_sync"], ratios
assert all(0 < ratio < 100 for ratio in ratios.values()), ratios
END
# A worker and a server with a core each.
TMPDIR=$work tests/bench/ratios.py --hanps "$HANPS" --small --workers 1 --only communication --json "$work/one.json"
python3 -c 'import json, sys; assert list(json.load(open(sys.argv[1]))) == ["communication"]' "$work/one.json"
code=0
tests/bench/ratios.py --hanps "$HANPS" --workers 1 >"$work/out" 2>&1 || code=$?
[ $code = 1 ] && grep -q 'without slow_worker' "$work/out"
[ -z "$(find "$work" -name 'hanps-ratios*')" ]
