# Every file in configs/ is allowed, and what `hanps config` prints reads back to the same; wrong
# input is one line and exit status 2.
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail=0
while read -r file; do
    "$HANPS" config "$file" >"$scratch/a" || { echo "$file is not allowed"; fail=1; }
    "$HANPS" config "$scratch/a" | cmp - "$scratch/a" || { echo "$file: does not read back"; fail=1; }
done < <(find configs -name '*.yaml')
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
