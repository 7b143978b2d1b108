# Shared by the scripts that train: a small store, a small configuration. Sourced; sets $work.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAIL: $*"
    exit 1
}

"$HANPS" data synth sort-of-clevr --out "$work/store" --images 40 --valid 10 --test 0 >"$work/out" 2>&1 ||
    fail "synth: $(cat "$work/out")"
cat >"$work/config.yaml" <<END
run: {seed: 3, steps: 24}
data: {store: $work/store, train: train, valid: valid, batch_size: 16, coords: xy}
model:
  question: {embedding: 8, lstm: 16}
  image: {layers: 2, width: 24}
  attention: {kind: han, cells: 16}
  classifier: {layers: [32], dropout: 0.1}
optimizer: {lr: 2.0e-3}
cluster: {consistency: sync, sync_shards: 2, threads: 1}
checkpoint: {every_steps: 0, every_minutes: 0}
END

# same A B WHY: the newest checkpoints of two runs have the same bits.
same() {
    "$HANPS" checkpoint diff "$1" "$2" >"$work/out" 2>&1 || fail "$3: $(cat "$work/out")"
}

# bad WANT ARGUMENT...: exit status 2 and one line that contains WANT.
bad() {
    want=$1
    shift
    out=$("$HANPS" "$@" 2>&1)
    code=$?
    [ $code = 2 ] || fail "$*: exit status $code: $out"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "$*: more than one line: $out"
    case $out in *"$want"*) ;; *) fail "$*: '$out' does not say '$want'" ;; esac
}
