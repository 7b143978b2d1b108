#!/bin/bash
# The demo: data, training by servers and workers under mpirun, accuracy, a page of what was selected.
# Run by `make demo` after the build; it replaces its own former data and run.
# HANPS_DEMO_STEPS and HANPS_DEMO_IMAGES make it shorter.
set -eu
cd "$(dirname "$0")/.."
hanps=${HANPS:-build/hanps} data=${HANPS_DEMO_DATA:-data/demo} run=${HANPS_DEMO_RUN:-runs/demo}
images=${HANPS_DEMO_IMAGES:-20000}
export OPENBLAS_NUM_THREADS=1

say() { printf '\n== %s\n' "$*"; }
show() {
    echo "\$ $*"
    "$@"
}

mkdir -p "$(dirname "$run")" "$(dirname "$data")"
exec 9>"$run.lock"
flock -n 9 || { echo "demo: another demo uses $run" >&2; exit 2; }
trap 'rm -f "$run.lock"' EXIT

say "1 of 5: data. Sort-of-CLEVR: images of six coloured shapes, questions as English sentences"
rm -rf "$data" "$data.partial" "$run"
show "$hanps" data synth sort-of-clevr --out "$data" --images "$images" --valid 200 --test 500 --features none

say "2 of 5: training. One parameter server and two workers, each an MPI process"
code=0
show deploy/run -n 3 --hanps "$hanps" configs/demo.yaml --run "$run" --set "data.store=$data" \
    ${HANPS_DEMO_STEPS:+--set "run.steps=$HANPS_DEMO_STEPS"} || code=$?
# 130: stopped with a checkpoint, by run.max_minutes or Ctrl-C; what was learnt is shown.
[ $code = 0 ] || [ $code = 130 ] || exit $code

say "3 of 5: accuracy on images that training has not seen"
echo "\$ $hanps eval $run --split test"
"$hanps" eval "$run" --split test --json "$run/eval/demo.json" --predictions "$run/eval/demo.jsonl" >"$run/eval/demo.txt"
/usr/bin/python3 - "$run/eval/demo.json" "$run/eval/demo.jsonl" <<'END'
import json, sys
scores = json.load(open(sys.argv[1]))
cells = json.loads(open(sys.argv[2]).readline())["cells_of_image"]
chance = {"non-relational": 50.0, "relational": 43.75}
print(f"\n{'questions':16} {'accuracy':>9} {'without the image':>18}")
for kind, guess in chance.items():
    print(f"{kind:16} {scores['per_answer_type'][kind]:8.2f}% {guess:17.2f}%")
print(f"\n{scores['cells_mean']:.0f} of {cells} cells of the image take part in an answer.")
END

say "4 of 5: does the choice matter? The same weights with cells chosen otherwise"
echo "\$ $hanps selection $run --split test"
"$hanps" selection "$run" --split test >"$run/eval/selection.txt"
cat "$run/eval/selection.txt"

say "5 of 5: what the model looked at"
show "$hanps" masks "$run" --split test --count 24
cat <<END

Look at:
  $run/masks/index.html     questions, answers and the selected cells, in a browser
  $run/eval/demo.txt        the accuracy in full
  $run/eval/selection.txt   overlap: cells that two questions of an image share; objects: cells on an object
  $run/log/                 what each worker and server logged, a JSON line a step
  hanps monitor $run        the same as a table
Next: README.md, "Your own data".
END
