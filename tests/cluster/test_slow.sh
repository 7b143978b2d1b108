# One host of four is ten times slower than the others: what the others do meanwhile, in each mode. A host's speed is its share
# of the processor (a control group), so that the figures do not depend on how many cores there are for four hosts.
# timeout: 900
[ -n "${HANPS_LONG:-}" ] || { echo 'the long form: make cluster'; exit 77; }
work= # set there
. tests/cluster/net.sh
group=/sys/fs/cgroup/cpu
[ -e $group/cpu.cfs_quota_us ] || group=/sys/fs/cgroup
groups=$group/hanps-${work##*.}
mkdir "$groups-host1" 2>/dev/null && [ -e "$groups-host1/cpu.cfs_quota_us" ] || [ -e "$groups-host1/cpu.max" ] ||
    { rmdir "$groups-host1" 2>/dev/null; echo 'control groups of the processor are not allowed here'; exit 77; }
leave() {
    local folder process
    for folder in "$groups"-*; do
        while read -r process; do echo "$process"; done <"$folder/cgroup.procs" >"$work/processes"
        while read -r process; do echo "$process" >"$group/cgroup.procs"; done <"$work/processes" 2>/dev/null
        rmdir "$folder"
    done
    rm -rf "$work"
}
trap leave EXIT
hosts 4

# speed HOST PERCENT: of one core.
speed() {
    local folder=$groups-$1 process
    mkdir -p "$folder"
    if [ -e "$folder/cpu.max" ]; then
        echo "$(($2 * 500)) 50000" >"$folder/cpu.max"
    else
        echo 50000 >"$folder/cpu.cfs_period_us" && echo $(($2 * 500)) >"$folder/cpu.cfs_quota_us"
    fi || fail "no share of the processor for $1"
    for process in $(processes "$1"); do echo "$process" >"$folder/cgroup.procs"; done 2>/dev/null
}
# Units that the workers of host4, and of the others, have done.
slow_units() { cat "$work/$mode"/log/worker-*.jsonl | grep -c '"host":"host4"'; }
units() { cat "$work/$mode"/log/worker-*.jsonl | grep -vc '"host":"host4"'; }
under_way() { [ "$(cat "$work/$mode"/log/worker-*.jsonl 2>/dev/null | grep -c '"host":"host4"')" -gt 20 ]; }

batch=16 seconds=15
printf '%-8s %28s %28s %12s\n' mode 'others, examples/s, all fast' 'one host ten times slower' 'slow host'
for mode in sync bounded async; do
    launch -n 5 --placement spread "$work/config.yaml" --run "$work/$mode" --set cluster.consistency=$mode --set run.steps=100000000 \
        --set cluster.sync_shards=4 --set cluster.staleness=4 >"$work/$mode.out" 2>&1 &
    launcher=$!
    for _ in $(seq 600); do under_way && break; sleep 0.1; done
    for i in 1 2 3 4; do speed host$i 30; done
    sleep 2
    a=$(units) b=$(slow_units)
    sleep $seconds
    c=$(units) d=$(slow_units)
    speed host4 3
    sleep 2
    e=$(units) f=$(slow_units)
    sleep $seconds
    g=$(units) h=$(slow_units)
    fast=$(((c - a) * batch / seconds)) beside=$(((g - e) * batch / seconds))
    before=$(((d - b) * batch / seconds)) slowed=$(((h - f) * batch / seconds))
    printf '%-8s %28s %28s %12s\n' $mode $fast $beside "$before -> $slowed"
    for i in 1 2 3 4; do speed host$i 100; done
    "$HANPS" stop "$work/$mode" >"$work/out" 2>&1 || fail "stop: $(cat "$work/out")"
    wait $launcher
    [ $? = 130 ] || fail "$mode: $(cat "$work/$mode.out")"
    [ $mode = sync ] || [ $slowed -lt $((before / 2)) ] || fail "$mode: the slow host is not slow"
    [ $mode != async ] || [ $beside -gt $((fast * 7 / 10)) ] || fail "async: the others wait for the slow one"
done
exit 0
