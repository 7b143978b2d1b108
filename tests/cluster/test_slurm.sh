# Slurm on one node, of our own and for as long as this test: sbatch of deploy/slurm/hanps.sbatch. A job told that its time is
# nearly over writes a checkpoint, queues itself again and goes on: the bits are those of one process.
# timeout: 600
for program in slurmctld slurmd sbatch scontrol munged; do
    PATH=$PATH:/usr/sbin command -v $program >/dev/null || { echo "no $program: Slurm is not installed"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo 'Slurm needs root here'; exit 77; }
work= # set there
. tests/cluster/net.sh
PATH=$PATH:/usr/sbin
node=$(hostname -s) slurm=$work/slurm address=10.77.0.254
# Slurm does not take loopback for a network.
ip link set lo up && ip link add bridge0 type bridge && ip addr add $address/24 dev bridge0 && ip link set bridge0 up || fail 'no bridge'
printf '127.0.0.1 localhost\n%s %s\n' $address "$node" >"$work/etc-hosts" && mount --bind "$work/etc-hosts" /etc/hosts
mkdir -p "$slurm/state" "$slurm/spool"
head -c 1024 /dev/urandom >"$slurm/key" && chmod 400 "$slurm/key"
munged --foreground --force --socket="$slurm/munge" --key-file="$slurm/key" --pid-file="$slurm/munge.pid" --log-file="$slurm/munge.log" \
    --seed-file="$slurm/seed" >"$slurm/munged.out" 2>&1 &
cat >"$slurm/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$node($address)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/munge
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/slurmd.log
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd.pid
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=30
NodeName=$node NodeAddr=$address CPUs=8 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$slurm/slurm.conf
# Is it so within some seconds?
within() {
    for _ in $(seq $(($1 * 5))); do "${@:2}" && return; sleep 0.2; done
    return 1
}
within 20 [ -S "$slurm/munge" ] || fail "munged: $(cat "$slurm/munged.out" "$slurm/munge.log")"
slurmctld -D >"$slurm/slurmctld.out" 2>&1 &
slurmd -D >"$slurm/slurmd.out" 2>&1 &
idle() { sinfo -h -o %t 2>/dev/null | grep -q idle; }
within 60 idle || fail "Slurm does not start: $(sinfo 2>&1) $(tail -n 5 "$slurm"/*.log "$slurm"/*.out)"

job=$(sbatch --parsable --nodes=1 --ntasks=3 --ntasks-per-node=3 --cpus-per-task=1 --output="$work/job.out" deploy/slurm/hanps.sbatch \
    --hanps "$HANPS" "$work/config.yaml" --run "$work/run" --set run.steps=4000) || fail sbatch
under_way() { [ "$(cat "$work/run/log/worker-0000.jsonl" 2>/dev/null | wc -l)" -gt 20 ]; }
within 60 under_way || fail "the job does not train: $(cat "$work/job.out" "$slurm"/*.log)"
scancel --batch --signal=TERM "$job" # as Slurm does some minutes before the time limit
stopped() { grep -q '"state": *"stopped"' "$work/run/status"; }
within 60 stopped || fail "TERM does not stop the run: $(cat "$work/job.out" "$work/run/status")"
queued() { scontrol show job "$job" | grep -q 'Restarts=1'; }
within 60 queued || fail "the job is not queued again: $(scontrol show job "$job"; cat "$work/job.out")"
done_now() {
    scontrol update "JobId=$job" StartTime=now >/dev/null 2>&1 # Slurm waits two minutes
    grep -q '"state": *"done"' "$work/run/status"
}
within 250 done_now || fail "the job did not go on: $(scontrol show job "$job"; cat "$work/job.out" "$work/run/status")"
ended() { scontrol show job "$job" | grep -q 'JobState=COMPLETED'; }
within 60 ended || fail "the job did not end well: $(scontrol show job "$job"; cat "$work/job.out")"
"$HANPS" train "$work/config.yaml" --run "$work/one" --set run.steps=4000 >"$work/out" 2>&1 || fail "one process: $(cat "$work/out")"
same "$work/one" "$work/run" 'a job that was queued again'

# No more often than it may.
job=$(HANPS_REQUEUES=0 sbatch --parsable --nodes=1 --ntasks=3 --ntasks-per-node=3 --cpus-per-task=1 --output="$work/once.out" \
    deploy/slurm/hanps.sbatch --hanps "$HANPS" "$work/config.yaml" --run "$work/once" --set run.steps=100000000) || fail sbatch
begun() { [ "$(cat "$work/once/log/worker-0000.jsonl" 2>/dev/null | wc -l)" -gt 20 ]; }
within 60 begun || fail "the second job does not train: $(cat "$work/once.out")"
scancel --batch --signal=TERM "$job"
over() { scontrol show job "$job" | grep -Eq 'JobState=(FAILED|COMPLETED|PENDING|REQUEUED)'; }
within 60 over || fail "the second job goes on: $(scontrol show job "$job")"
scontrol show job "$job" | grep -q 'Restarts=0' && scontrol show job "$job" | grep -q 'JobState=FAILED' ||
    fail "it is queued again: $(scontrol show job "$job")"
grep -q 'queued again 0 times (HANPS_REQUEUES), and not done' "$work/once.out" || fail "it does not say why it ends: $(cat "$work/once.out")"
exit 0
