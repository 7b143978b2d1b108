# A stopped run ends with a checkpoint and 130, and goes on: TERM to deploy/run, INT to one process. OpenBLAS
# has threads of its own here: a signal may arrive in any of them.
set -u
command -v mpirun >/dev/null || { echo 'no mpirun'; exit 77; }
export OPENBLAS_NUM_THREADS=4
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$HANPS" data synth sort-of-clevr --out "$scratch/store" --images 40 --valid 2 --test 2 >/dev/null || exit 1
cat >"$scratch/config.yaml" <<'END'
run: {steps: 100000000}
data: {store: STORE, batch_size: 16}
model:
  question: {embedding: 8, lstm: 8}
  image: {layers: 1, width: 8}
  classifier: {layers: [8]}
END
sed -i "s,STORE,$scratch/store," "$scratch/config.yaml"

stops() { # run, signal, command...
    local run=$scratch/$1 signal=$2 process
    shift 2
    # A shell without job control has INT ignored in the background: start it as a terminal would.
    python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$@" --run "$run" >"$run.out" 2>&1 &
    process=$!
    # The one process is waited for; deploy/run bears a signal as soon as its own folder is there.
    for _ in $(seq 600); do
        if [ "$1" = "$HANPS" ]; then
            [ -s "$run/log/worker-0000.jsonl" ] && break
        else
            [ -n "$(find "$scratch" -name '.hanps-run*')" ] && break
        fi
        sleep 0.1
    done
    kill -"$signal" $process
    wait $process
    local code=$?
    [ $code = 130 ] && grep -q '"state": *"stopped"' "$run/status" && ls "$run"/checkpoints/step-* >/dev/null && return
    echo "$signal: exit status $code"
    cat "$run.out" "$run/status"
    exit 1
}
stops a INT "$HANPS" train "$scratch/config.yaml"
stops b TERM deploy/run -n 3 --hanps "$HANPS" "$scratch/config.yaml"
stops b INT deploy/run -n 2 --hanps "$HANPS" --resume
"$HANPS" train --run "$scratch/b" --resume --set run.steps=1 >"$scratch/out" 2>&1 || { cat "$scratch/out"; exit 1; }
deploy/run -n 2 --hanps "$HANPS" "$scratch/config.yaml" --run "$scratch/b" 2>"$scratch/out"
[ $? = 2 ] || { echo 'a run folder in use was not refused with 2'; cat "$scratch/out"; exit 1; }

# A store that moved is taken; another one is not.
mv "$scratch/store" "$scratch/moved"
"$HANPS" data synth sort-of-clevr --out "$scratch/other" --images 40 --valid 2 --test 2 --seed 2 >/dev/null || exit 1
"$HANPS" train --run "$scratch/a" --resume --set run.steps=1 --set data.store="$scratch/moved" >"$scratch/out" 2>&1 ||
    { cat "$scratch/out"; exit 1; }
"$HANPS" train --run "$scratch/a" --resume --set run.steps=1 --set data.store="$scratch/other" >"$scratch/out" 2>&1
[ $? = 2 ] && grep -q 'is not the store that the run began with' "$scratch/out" || { cat "$scratch/out"; exit 1; }
