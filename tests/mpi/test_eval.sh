# hanps eval and hanps extract on several ranks: byte for byte what one process writes; what fails on one rank ends all
# with one line and the exit status.
work= # set there
. tests/support/run.sh
command -v mpirun >/dev/null || { echo 'no mpirun'; exit 77; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ranks() { # ranks, then the command
    timeout 100 mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -np "$1" "$HANPS" "${@:2}" >"$work/out" 2>&1
}

# evaluates NAME RANKS RUN ARGUMENT...: all that an evaluation writes, to $work/NAME.*; how long it took is no result.
evaluates() {
    rm -f "$work/$3"/eval/*
    files=(--json "$work/$1.json" --results "$work/$1.results" --predictions "$work/$1.jsonl")
    ranks "$2" eval "$work/$3" "${files[@]}" "${@:4}" || fail "eval on $2: $(cat "$work/out")"
    grep -v '^\[\|questions/s$' "$work/out" >"$work/$1.says"
    sed -i '/"seconds"/d' "$work/$1.json" "$work/$3"/eval/*.json
    rm -rf "$work/$1.eval" && mkdir "$work/$1.eval"
    mv "$work/$3"/eval/* "$work/$1.eval"
}
alike() { # NAME RANKS: as `one`
    for file in json results jsonl says; do
        [ -s "$work/one.$file" ] && cmp "$work/one.$file" "$work/$1.$file" || fail "$1, $2 ranks: another $file"
    done
    diff -r "$work/one.eval" "$work/$1.eval" >"$work/out" || fail "$1, $2 ranks: $(cat "$work/out")"
    [ "$(ls "$work/$1.eval" | wc -l)" = 2 ] || fail "$1: files in eval: $(ls "$work/$1.eval")"
}
settings=(--split valid --logits)
"$HANPS" train "$work/config.yaml" --run "$work/run" >"$work/out" 2>&1 || fail "train: $(cat "$work/out")"
evaluates one 1 run "${settings[@]}"
[ "$(wc -l <"$work/one.jsonl")" = 200 ] || fail "predictions: $(wc -l <"$work/one.jsonl")"
for n in 2 3 5; do # 13 batches
    evaluates more $n run "${settings[@]}"
    alike more $n
done
# Two batches for four ranks, and no lines.
settings=(--split valid --set data.batch_size=128)
evaluates one 1 run "${settings[@]}"
evaluates more 4 run "${settings[@]}"
alike more 4

# Images of different numbers of boxes.
python3 - "$work" <<'END2'
import json, struct, sys, random, os
work, r = sys.argv[1], random.Random(1)
os.mkdir(work + "/boxes")
with open(work + "/boxes.jsonl", "w") as out:
    for i in range(23):
        cells = r.randrange(3, 12)
        rows = [r.gauss(0, 1) for _ in range(cells * 8)]
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({cells}, 8), }}".encode()
        header += b" " * (-(len(header) + 11) % 16) + b"\n"
        with open(f"{work}/boxes/{i}.npy", "wb") as f:
            f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack(f"<{len(rows)}f", *rows))
        for k in range(1 + i % 4):
            out.write(json.dumps({"image": str(i), "question": f"is it {k} there", "answer": "yes" if i % 2 else "no",
                                  "split": "train"}) + "\n")
END2
"$HANPS" data import jsonl "$work/boxes.jsonl" --features "$work/boxes" --layout ncellsc --out "$work/ragged" >"$work/out" 2>&1 ||
    fail "import: $(cat "$work/out")"
sed "s,$work/store,$work/ragged,; s/valid: valid/valid: train/; s/coords: xy/coords: none/; s/kind: han, cells: 16/kind: adahan/" \
    "$work/config.yaml" >"$work/ragged.yaml"
"$HANPS" train "$work/ragged.yaml" --run "$work/boxrun" >"$work/out" 2>&1 || fail "train on boxes: $(cat "$work/out")"
settings=(--logits --set data.batch_size=7)
evaluates one 1 boxrun "${settings[@]}"
evaluates more 3 boxrun "${settings[@]}"
alike more 3

# Features of a trunk: the same store, whoever computes them.
cnn=("--set=model.image.trunk=cnn" "--set=model.image.filters=[6,8,12]" --set=model.attention.cells=9)
"$HANPS" train "$work/config.yaml" --run "$work/cnn" "${cnn[@]}" --set run.steps=2 >"$work/out" 2>&1 ||
    fail "train a cnn: $(cat "$work/out")"
options=(--dtype f32 --batch 14 --keep-pixels) # 4 batches of 50 images
"$HANPS" extract "$work/cnn" --out "$work/one-features" "${options[@]}" >"$work/out" 2>&1 || fail "extract: $(cat "$work/out")"
for n in 3 5; do
    ranks $n extract "$work/cnn" --out "$work/features-$n" "${options[@]}" || fail "extract on $n: $(cat "$work/out")"
    grep -q '50 images, 1000 questions$' "$work/out" || fail "extract on $n says: $(cat "$work/out")"
    "$HANPS" data verify "$work/features-$n" >"$work/out" 2>&1 || fail "verify: $(cat "$work/out")"
    cmp "$work/one-features/data.mdb" "$work/features-$n/data.mdb" || fail "another store from $n ranks"
done

# What is wrong on all ranks, and what on one of them, is one line and the exit status.
fails() { # STATUS LINE ARGUMENT...: as deploy/run has it
    deploy/run --eval -n 3 --hanps "${HANPS_RANKS:-$HANPS}" "${@:3}" >"$work/out" 2>&1
    code=$?
    [ $code = "$1" ] || fail "exit status $code, not $1: $(cat "$work/out")"
    [ "$(wc -l <"$work/out")" = 1 ] || fail "more than one line: $(cat "$work/out")"
    grep -Eq "$2" "$work/out" || fail "not '$2': $(cat "$work/out")"
}
deploy/run --eval -n 3 --hanps "$HANPS" "$work/run" --split valid >"$work/out" 2>&1 || fail "deploy/run: $(cat "$work/out")"
grep -q '^Overall  *200 ' "$work/out" || fail "deploy/run: $(cat "$work/out")"
fails 2 '^hanps eval: no run in .*/none' "$work/none" --split valid
fails 2 '^hanps eval: .*bogus' "$work/run" --bogus
fails 2 '^hanps eval: .*no_such_split' "$work/run" --split no_such_split
cat >"$work/ranks" <<'END2'
#!/bin/bash
if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then
    [ -n "$STORE" ] && exec "$HANPS" "$@" --set data.store="$STORE"
    kill -KILL $$
fi
exec "$HANPS" "$@"
END2
chmod +x "$work/ranks"
"$HANPS" data synth sort-of-clevr --out "$work/other" --images 40 --valid 10 --test 0 --seed 9 >"$work/out" 2>&1
export HANPS_RANKS=$work/ranks STORE=$work/none
fails 2 '^hanps eval: rank 1 on .*/none' "$work/run" --split valid
export STORE=$work/other
fails 2 "^hanps eval: rank 1 on [^:]*: store '.*/other' is not the one rank 0 has" "$work/run" --split valid
export STORE=
deploy/run --eval -n 3 --hanps "$HANPS_RANKS" "$work/run" --split valid >"$work/out" 2>&1
[ $? = 3 ] && grep -q '^deploy/run: a rank was lost' "$work/out" || fail "a rank that is killed: $(cat "$work/out")"
[ -z "$(find "$work" -name '*.part*')" ] || fail "left behind: $(find "$work" -name '*.part*')"
exit 0
