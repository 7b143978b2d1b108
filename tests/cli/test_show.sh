# hanps masks, monitor and report on a small run; what they refuse.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
fail() {
    echo "FAIL: $*"
    exit 1
}

"$HANPS" data synth sort-of-clevr --out store --images 20 --valid 4 --test 6 || fail "synth"
cat >tiny.yaml <<'YAML'
run: {steps: 4}
data: {store: store, batch_size: 16, coords: xy}
model:
  question: {embedding: 8, lstm: 8}
  image: {layers: 1, width: 16}
  attention: {kind: han, cells: 9}
  classifier: {layers: [16]}
checkpoint: {every_steps: 2}
YAML
"$HANPS" train tiny.yaml --run runs/a >train.log 2>&1 || { cat train.log; fail "train"; }

out=$("$HANPS" masks runs/a --split test --count 10) || fail "masks: $out"
case $out in "10 questions"*) ;; *) fail "masks says: $out" ;; esac
page=runs/a/masks/index.html
[ "$(grep -c '<article' $page)" = 10 ] || fail "the page has not ten questions"
[ "$(find runs/a/masks -name 'question-*.png' | wc -l)" = 10 ] || fail "not ten pictures"
grep -q 'https\?://' $page && fail "the page needs the network"
grep -q '<script' $page && fail "the page has a script"
for option in --checkpoint=2 --metric=exact --questions=10000000003,10000000007; do
    "$HANPS" masks runs/a "$option" --out other >/dev/null || fail "masks $option"
done
[ "$(grep -c '<article' other/index.html)" = 2 ] || fail "--questions shows others"

out=$("$HANPS" monitor runs/a) || fail "monitor"
case $out in *"runs/a: done, step 4 of 4"*) ;; *) fail "monitor says: $out" ;; esac
printf '%s\n' "$out" | grep -q '^ *0 .*%' || fail "monitor shows no worker: $out"
timeout 20 "$HANPS" monitor runs/a --follow >/dev/null || fail "--follow does not end with the run"
"$HANPS" eval runs/a >/dev/null || fail "eval"
out=$("$HANPS" table runs/a) || fail "table"
case $out in *"Accuracy (exact) on 80 questions of valid."*HAN+sum*9.00*) ;; *) fail "table says: $out" ;; esac
[ "$(wc -l <runs/a/eval/valid-00000004.tsv)" = 82 ] || fail "not a line for each question"
kept=$(cksum runs/a/eval/*)
"$HANPS" eval runs/a --set model.attention.cells=3 --json three.json >/dev/null || fail "eval with other cells"
grep -q '"cells_mean": 3.00' three.json || fail "not three cells"
[ "$(cksum runs/a/eval/*)" = "$kept" ] || fail "another configuration's figures went into the run"
"$HANPS" table runs/a --format csv --out table.csv || fail "table --out"
grep -q '^"HAN+sum",1,9.0000,"Overall",' table.csv || fail "table.csv: $(cat table.csv)"
out=$("$HANPS" report runs/a runs/a) || fail "report"
[ "$out" = runs/a/report.html ] || fail "report says: $out"
grep -q 'valid <b>' runs/a/report.html || fail "the report has no evaluation"

bad() { # what the message must contain, then the arguments
    want=$1
    shift
    out=$("$HANPS" "$@" 2>&1)
    code=$?
    [ $code = 2 ] || fail "$*: exit status $code: $out"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "$*: more than one line: $out"
    case $out in *"$want"*) ;; *) fail "$*: '$out' does not say '$want'" ;; esac
}
bad "no run in 'none'" masks none
bad "RUN is missing" masks
bad "no split 'nowhere'" masks runs/a --split nowhere
bad "question 5 is not" masks runs/a --split test --questions 5
bad "--questions" masks runs/a --questions 1,,2
bad "--count 0" masks runs/a --count 0
bad "allowed are exact" masks runs/a --metric bleu
bad "step" masks runs/a --checkpoint 3
bad "no run in 'none'" monitor none
bad "--every" monitor runs/a --every 0
bad "no run in 'none'" report runs/a none
bad "1 to" report
bad "cannot write 'none/r.html': folder 'none'" report runs/a --out none/r.html
bad "cannot write 'none/x': folder 'none'" export runs/a --format npz --out none/x
bad "it is a folder" export runs/a --format npz --out runs
bad "cannot write 'none/x': folder 'none'" bench tiny.yaml --small --json none/x
bad "RUN is missing" table
bad "allowed are text, markdown, csv" table runs/a --format pdf
bad "has no evaluation of split 'test': hanps eval runs/a --split test" table runs/a --split test
bad "no run in 'none'" table runs/a none
sed -i 's/  valid: .*/  valid: ""/' runs/a/config.yaml
bad "--split is needed" masks runs/a
mkdir -p empty/log
bad "no log yet" monitor empty
exit 0
