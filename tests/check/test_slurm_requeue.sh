# How often deploy/slurm/hanps.sbatch queues itself again, with stand-ins for deploy/run and Slurm.
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/deploy" "$scratch/bin" "$scratch/run"
cat >"$scratch/deploy/run" <<'END'
#!/bin/bash
exit "$LEAVES"
END
cat >"$scratch/bin/scontrol" <<'END'
#!/bin/bash
echo "$*" >>queued
END
chmod +x "$scratch/deploy/run" "$scratch/bin/scontrol"
export PATH=$scratch/bin:$PATH SLURM_SUBMIT_DIR=$scratch SLURM_NTASKS=2 SLURM_JOB_ID=17
fail=0
# try TITLE RESTARTS LEAVES REQUEUE WANTED [HANPS_REQUEUES]: was it queued again?
try() {
    rm -f "$scratch/queued"
    echo "{\"requeue\":$4}" >"$scratch/run/status"
    SLURM_RESTART_COUNT=$2 LEAVES=$3 HANPS_REQUEUES=${6-} bash deploy/slurm/hanps.sbatch c.yaml --run run >"$scratch/out" 2>&1
    local code=$?
    [ $code = "$3" ] && [ "$(cat "$scratch/queued" 2>/dev/null)" = "$5" ] && return
    echo "$1: exit status $code, queued: '$(cat "$scratch/queued" 2>/dev/null)': $(cat "$scratch/out")"
    fail=1
}
try 'stopped with a checkpoint' '' 130 true 'requeue 17'
try 'a host was lost' 3 3 true 'requeue 17'
try 'done' 3 0 false ''
try 'wrong input' 3 2 false ''
try 'the last time' 49 130 true 'requeue 17'
try 'too often' 50 130 true ''
grep -q 'queued again 50 times (HANPS_REQUEUES), and not done' "$scratch/out" || { echo "it does not say so: $(cat "$scratch/out")"; fail=1; }
try 'within a number of its own' 1 130 true 'requeue 17' 2
try 'more than a number of its own' 2 130 true '' 2
HANPS_REQUEUES=often bash deploy/slurm/hanps.sbatch c.yaml --run run >"$scratch/out" 2>&1
[ $? = 2 ] && grep -q 'HANPS_REQUEUES=often: a number is needed' "$scratch/out" || { echo "HANPS_REQUEUES=often: $(cat "$scratch/out")"; fail=1; }
exit $fail
