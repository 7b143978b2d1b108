# hanps bench works in its small form, and its JSON holds what scripts read.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch
"$HANPS" bench configs/bench/*.yaml --small --json "$scratch/bench.json" >"$scratch/out"
grep -q '^sgemm: [0-9]* GFLOP/s$' "$scratch/out"
python3 - "$scratch/bench.json" <<'END'
import json, sys
bench = json.load(open(sys.argv[1]))
assert bench["machine"]["sgemm_flop_per_s"] > 0 and bench["machine"]["cores"] >= 1
cases = bench["works"]["W1"]
for name in "same", "own", "different", "all", "own_ungrouped", "all_ungrouped":
    case = cases[name]
    images = 12 if "ungrouped" in name else 3
    assert case["questions"] == 12 and case["images"] == images and case["examples_per_s"] > 0, name
    assert 0 < case["embed_backward_s"] <= case["backward_s"], name
    assert abs(case["step_s"] * case["examples_per_s"] - 12) < 0.01
for work in "W2", "W3", "W4-rn", "W4-han-rn":
    assert list(bench["works"][work]) == ["own"] and bench["works"][work]["own"]["backward_flop"] > 0, work
pairs = [bench["works"][work]["own"]["forward_flop"] for work in ("W4-rn", "W4-han-rn")]
assert pairs[0] != pairs[1]
assert len(bench["passes"]) == 8
for name, one in bench["passes"].items():
    assert one["bytes_per_s"] > 0 and abs(one["share_of_copy"] * bench["machine"]["copy_bytes_per_s"] / one["bytes_per_s"] - 1) < 1e-3, name
server = cases["server"]
assert server["updates_per_s"] > 0 and server["bytes_per_s"] > 0 and server["small_pull_s"] > 0
assert 0 <= server["idle_share"] < 2 and server["parameters"] > 1000
train = cases["train"]
assert abs(train["examples_per_s"] * train["seconds"] - 12) < 0.01, "steps that warm up are counted"
assert train["examples_per_s"] > 0 and train["forward_s"] > 0 and train["seconds"] >= train["backward_s"]
evaluation = cases["evaluation"]
forward = 12 / cases["own"]["forward_s"]
assert evaluation["examples_per_s"] > 0 and abs(evaluation["share_of_forward"] * forward / evaluation["examples_per_s"] - 1) < 1e-3
same, different, everything = (cases[n] for n in ("same", "different", "all"))
assert same["cells_selected"] == 3 * 16 and different["cells_selected"] == 12 * 16 and everything["cells_selected"] == 300
assert same["forward_flop"] <= everything["forward_flop"]
assert same["backward_flop"] < different["backward_flop"] < everything["backward_flop"]
END
"$HANPS" bench configs/bench/W1.yaml --small --case all --json "$scratch/one.json" >"$scratch/out"
python3 -c 'import json, sys; assert list(json.load(open(sys.argv[1]))["works"]["W1"]) == ["all"]' "$scratch/one.json"
code=0
"$HANPS" bench configs/bench/W3.yaml --small --case all >"$scratch/out" 2>"$scratch/err" || code=$?
[ $code = 2 ] && grep -q 'W3 has none of that name' "$scratch/err"
code=0
"$HANPS" bench configs/bench/W1.yaml --small --set run.steps=0 2>"$scratch/err" || code=$?
[ $code = 2 ] && [ "$(wc -l <"$scratch/err")" = 1 ]
# A schedule that fits the run's own steps is none of the server's that is measured alone.
"$HANPS" bench configs/bench/W1.yaml --small --set run.steps=8 --set optimizer.schedule.kind=step \
    --set 'optimizer.schedule.milestones=[6]' --set cluster.spares=1 >"$scratch/out" 2>"$scratch/err"
[ -z "$(find "$scratch" -name 'hanps-bench*')" ]

# Threads of oneDNN that wait leave their cores to others soon.
if ldd "$HANPS" | grep -q libgomp; then
    environment=$(env -u GOMP_SPINCOUNT -u OMP_WAIT_POLICY OMP_DISPLAY_ENV=verbose "$HANPS" --help 2>&1 >"$scratch/out")
    echo "$environment" | grep 'GOMP_SPINCOUNT' | tail -n 1 | grep -q "'1000'"
fi
