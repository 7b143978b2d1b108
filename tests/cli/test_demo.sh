# The demo, shortened, twice: the second replaces the first.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HANPS_DEMO_DATA=$scratch/data/demo HANPS_DEMO_RUN=$scratch/runs/demo HANPS_DEMO_STEPS=4 HANPS_DEMO_IMAGES=60
for _ in 1 2; do
    deploy/demo.sh >"$scratch/out" 2>&1 || { cat "$scratch/out"; exit 1; }
    grep -qE '^relational +[0-9.]+% +43.75%$' "$scratch/out"
    [ -s "$HANPS_DEMO_RUN/masks/index.html" ]
    [ ! -e "$HANPS_DEMO_RUN.lock" ]
done
