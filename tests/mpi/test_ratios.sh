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
[ -z "$(find "$work" -name 'hanps-ratios*')" ]
