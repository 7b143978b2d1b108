# Every file in configs/ is allowed, what `hanps config` prints reads back to the same, and its model
# trains in reduced size, from a loss near that of guessing; wrong input is one line and exit status 2.
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail=0
# Shape and recipe are the file's; sizes and the data are small ones. Two of its steps.
reduced=(data.train=train data.valid=train "data.store=$scratch/store" data.batch_size=4 data.group_by_image=false
    model.question.embedding=4 model.question.lstm=6 model.image.width=8 'model.image.filters=[4, 4, 4]'
    'model.image.kernels=[3]' model.attention.cells=5 model.attention.width=6 model.aggregate.head_width=4
    'model.aggregate.layers=[8, 6]' 'model.classifier.layers=[8, 8]' run.steps=2 cluster.threads=1
    optimizer.schedule.warmup_from=0)
"$HANPS" data synth sort-of-clevr --out "$scratch/store" --images 4 --valid 1 --test 0 >"$scratch/out" 2>&1 || {
    cat "$scratch/out"
    fail=1
}
small() { # file: trains, and says how many parameters that were
    local run=$scratch/run
    rm -rf "$run"
    "$HANPS" train "$1" --run "$run" "${reduced[@]/#/--set=}" >"$scratch/out" 2>&1 || {
        echo "$1 does not train: $(tail -n 1 "$scratch/out")"
        fail=1
        return
    }
    # ln(10 answers) is 2.30, and no wild guess is much worse, whatever is added up.
    grep -om1 '"loss":[0-9.e+-]*' "$run/log/worker-0000.jsonl" | awk -F: '{exit !($2 > 1.9 && $2 < 3.5)}' || {
        echo "$1 starts with $(grep -om1 '"loss":[0-9.e+-]*' "$run/log/worker-0000.jsonl")"
        fail=1
    }
    echo "$1: $(grep -om1 '[0-9]* parameters' "$scratch/out") in reduced size"
}
while read -r file; do
    small "$file"
    "$HANPS" config "$file" >"$scratch/a" || { echo "$file is not allowed"; fail=1; }
    "$HANPS" config "$scratch/a" | cmp - "$scratch/a" || { echo "$file: does not read back"; fail=1; }
done < <(find configs -name '*.yaml' | sort)
"$HANPS" config configs/daquar/adahan-pairwise.yaml --set 'model.classifier.layers=[1, 2]' >"$scratch/a"
for line in 'kind: adahan' 'kind: pairwise' 'width: 512' 'layers: \[1, 2\]' 'store: "data/daquar"'; do
    grep -q "$line" "$scratch/a" || { echo "missing: $line"; fail=1; }
done
"$HANPS" config --keys | grep -q '^model.attention.cells: 16$' || { echo '--keys misses a key'; fail=1; }

wrong() { # wanted line, arguments...
    local wanted=$1
    shift
    "$HANPS" config "$@" >"$scratch/out" 2>"$scratch/err"
    local code=$?
    if [ $code != 2 ] || [ -s "$scratch/out" ] || [ "$(cat "$scratch/err")" != "hanps config: $wanted" ]; then
        echo "config $*: exit status $code: $(cat "$scratch/err")"
        fail=1
    fi
}
printf 'model:\n  attention: {kind: han, cells: 65537}\n' >"$scratch/c.yaml"
wrong "$scratch/c.yaml:2:33: model.attention.cells: 65537 is not allowed: an integer from 1 to 65536" "$scratch/c.yaml"
wrong '/none.yaml: No such file or directory' /none.yaml
wrong '--set run.step: no such key; did you mean run.steps?' --set run.step=1
wrong '--st: no such option, or its value is missing; see --help' --st
wrong 'b: one CONFIG is allowed' configs/demo.yaml b
exit $fail
