# Evaluation and extraction over three hosts: what one process writes; a store that one host does not have.
work= # set there
. tests/cluster/net.sh
hosts 3
"$HANPS" train "$work/config.yaml" --run "$work/run" --set model.image.trunk=cnn --set "model.image.filters=[6,8]" \
    --set run.steps=4 >"$work/out" 2>&1 || fail "train: $(cat "$work/out")"
"$HANPS" eval "$work/run" --predictions "$work/one.jsonl" --logits >"$work/one" 2>&1 || fail "eval: $(cat "$work/one")"
"$HANPS" extract "$work/run" --out "$work/one-features" --batch 8 >"$work/out" 2>&1 || fail "extract: $(cat "$work/out")"
launch --eval -n 5 --placement spread "$work/run" --predictions "$work/three.jsonl" --logits >"$work/three" 2>&1 ||
    fail "three hosts: $(cat "$work/three")"
cmp "$work/one.jsonl" "$work/three.jsonl" || fail 'three hosts predict otherwise'
grep '^Overall' "$work/one" >"$work/out" && grep -qxFf "$work/out" "$work/three" || fail "three hosts: $(cat "$work/three")"
launch --extract -n 3 --placement spread "$work/run" --out "$work/three-features" --batch 8 >"$work/out" 2>&1 ||
    fail "three hosts: $(cat "$work/out")"
cmp "$work/one-features/data.mdb" "$work/three-features/data.mdb" || fail 'three hosts make another store'

cat >"$work/hanps" <<END
#!/bin/sh
[ "\$(hostname)" = host3 ] && exec $HANPS "\$@" --set data.store=/no_such_store
exec $HANPS "\$@"
END
chmod +x "$work/hanps"
HANPS=$work/hanps launch --eval -n 3 --placement spread "$work/run" >"$work/out" 2>&1
[ $? = 2 ] && grep -q '^hanps eval: rank 2 on host3: .*/no_such_store' "$work/out" && [ "$(wc -l <"$work/out")" = 1 ] ||
    fail "a host without the store: $(cat "$work/out")"
exit 0
