# Every file in configs/ is allowed, what `hanps config` prints reads back to the same, and its model trains
# in reduced size, on data of the kind and shape that it is for, from a loss near that of guessing; its number
# of parameters is printed, at full size and reduced. Wrong input is one line and exit status 2.
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail=0
failed() {
    echo "$*"
    fail=1
}

# The data that the files name: kind, height, width and channels of an image, words, answers; full, then reduced.
while read -r name full small; do
    for made in "full $full" "small $small"; do
        shape=${made#* } store=$scratch/${made%% *}/$name
        mkdir -p "${store%/*}"
        if [ "$shape" = synth ]; then
            "$HANPS" data synth sort-of-clevr --features none --images 20 --valid 1 --test 0 --out "$store"
        else
            IFS=, read -r kind height width channels words answers <<<"$shape"
            python3 tests/support/shaped_data.py "$store.made" "$kind" "$height" "$width" "$channels" "$words" "$answers"
            option=(--features "$store.made/images")
            [ "$kind" = features ] || option=(--pixels "$store.made/images" --pixel-names '%d.png' --size "${height}x$width")
            "$HANPS" data import jsonl "$store.made/questions.jsonl" "${option[@]}" --out "$store"
        fi >"$scratch/out" 2>&1 || failed "$name: $(cat "$scratch/out")"
        rm -rf "$store.made"
    done
done <<'END'
vqacp          features,10,10,2048,15000,1000  features,4,4,24,30,10
vqacp-pixels   pixels,320,320,3,15000,1000     pixels,96,96,3,30,10
daquar         features,10,10,1280,866,968     features,4,4,20,30,10
clevr          pixels,128,128,3,85,28          pixels,64,64,3,30,10
nlvr           pixels,100,400,3,215,2          pixels,32,128,3,30,2
sort-of-clevr  synth                           synth
demo           synth                           synth
END

# Shape and recipe are the file's; its widths are small ones. Two of its steps.
reduced=(data.train=train data.valid=train data.batch_size=4 model.question.embedding=4 model.question.lstm=6
    model.image.width=8 model.attention.cells=5 model.attention.width=6 model.aggregate.head_width=4
    'model.aggregate.layers=[8, 6]' 'model.classifier.layers=[8, 8]' run.steps=2 cluster.threads=1
    optimizer.schedule.warmup_from=0)
small() { # file: trains, and says how many parameters that were
    local run=$scratch/run store filters answers full
    store=$(sed -n 's/^  store: "data\/\(.*\)"$/\1/p' "$scratch/a")
    filters=$(sed -n 's/^ *filters: \[\(.*\)\]$/\1/p' "$scratch/a" | sed 's/[0-9]\{1,\}/4/g')
    full=$("$HANPS" config "$1" --parameters --set "data.store=$scratch/full/$store" 2>"$scratch/out" | sed -n 's/^all weights *//p')
    [ -n "$full" ] || failed "$1: no number of parameters: $(cat "$scratch/out")"
    rm -rf "$run"
    "$HANPS" train "$1" --run "$run" "${reduced[@]/#/--set=}" --set "data.store=$scratch/small/$store" \
        --set "model.image.filters=[$filters]" >"$scratch/out" 2>&1 || {
        failed "$1 does not train: $(tail -n 1 "$scratch/out")"
        return
    }
    # No wild guess is much worse than guessing evenly, ln(answers), whatever is added up.
    answers=$("$HANPS" data info "$scratch/small/$store" | sed -n 's/^vocabulary:.* words, \([0-9]*\) answers.*/\1/p')
    grep -om1 '"loss":[0-9.e+-]*' "$run/log/worker-0000.jsonl" |
        awk -F: -v a="$answers" '{ exit !($2 > log(a) - 0.8 && $2 < log(a) + 1.2) }' ||
        failed "$1 starts with $(grep -om1 '"loss":[0-9.e+-]*' "$run/log/worker-0000.jsonl"), $answers answers"
    echo "$1: $full parameters; $(grep -om1 '[0-9]* parameters' "$scratch/out") in reduced size"
    of[$1]=$full
}
declare -A of
while read -r file; do
    "$HANPS" config "$file" >"$scratch/a" || failed "$file is not allowed"
    "$HANPS" config "$scratch/a" | cmp - "$scratch/a" || failed "$file: does not read back"
    small "$file"
done < <(find configs -name '*.yaml' | sort)

# The paper's rows, and the same models elsewhere.
for name in vqacp/{{han-sum-{16,32,48,64},sum,han-pairwise-{16,32,48},pairwise,adahan-sum,adahan-pairwise,san,san-pos},han-sum-{16,32,48}-0layers,simple-han,simple-san} \
    clevr/{rn,han-rn,han-sum,st-rn,han-sum-large,han-rn-large} sort-of-clevr/{cnn-mlp,rn,han-rn,han-sum,st-rn,small} \
    nlvr/{han-rn,han-sum} daquar/{all-sum,han-sum,han-pairwise,adahan-sum,adahan-pairwise} demo; do
    [ -n "${of[configs/$name.yaml]:-}" ] || failed "configs/$name.yaml is missing, or its number of parameters"
done

# The number, counted by hand. HAN+sum: words of 300, an LSTM of 512 with PyTorch's two biases, 1x1 layers and the question's
# network to d = 2048, the classifier, 1,000 answers.
lstm=$((15000 * 300 + 4 * 512 * (300 + 512 + 2)))
d=$((2048 * 2048 + 2048))
tail=$((2048 * 1024 + 1024 + 1024 * 2048 + 2048 + 2048 * 1000 + 1000))
equal() { [ "${of[configs/$1.yaml]}" = "$2" ] || failed "$1 has ${of[configs/$1.yaml]} parameters, not $2"; }
equal vqacp/han-sum-16 $((lstm + 512 * 2048 + 2048 + d + 2 * d + tail))
# Of the Relation Network: 43 words of 32, an LSTM of 128; convolutions without biases, batch normalisation's two; g over
# two cells of 24 and their places with the question; f, 10 answers.
words=$((43 * 32 + 4 * 128 * (32 + 128 + 2)))
cnn=$((3 * 24 * 9 + 3 * 24 * 24 * 9 + 4 * 2 * 24))
square=$((256 * 256 + 256))
equal sort-of-clevr/rn $((words + cnn + (2 * 26 + 128) * 256 + 256 + 3 * square + 2 * square + 256 * 10 + 10))
"$HANPS" config configs/daquar/adahan-pairwise.yaml --set 'model.classifier.layers=[1, 2]' >"$scratch/a"
for line in 'kind: adahan' 'kind: pairwise' 'width: 512' 'layers: \[1, 2\]' 'store: "data/daquar"'; do
    grep -q "$line" "$scratch/a" || failed "missing: $line"
done
"$HANPS" config --keys | grep -q '^model.attention.cells: 16$' || failed '--keys misses a key'

wrong() { # wanted line, arguments...
    local wanted=$1
    shift
    "$HANPS" config "$@" >"$scratch/out" 2>"$scratch/err"
    local code=$?
    if [ $code != 2 ] || [ -s "$scratch/out" ] || [ "$(cat "$scratch/err")" != "hanps config: $wanted" ]; then
        failed "config $*: exit status $code: $(cat "$scratch/err")"
    fi
}
printf 'model:\n  attention: {kind: han, cells: 65537}\n' >"$scratch/c.yaml"
wrong "$scratch/c.yaml:2:33: model.attention.cells: 65537 is not allowed: an integer from 1 to 65536" "$scratch/c.yaml"
wrong '/none.yaml: No such file or directory' /none.yaml
wrong '--set run.step: no such key; did you mean run.steps?' --set run.step=1
wrong '--st: no such option, or its value is missing; see --help' --st
wrong 'no store /none: No such file or directory' configs/demo.yaml --parameters --set data.store=/none
wrong 'b: one CONFIG is allowed' configs/demo.yaml b
exit $fail
