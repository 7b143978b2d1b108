# A host with two workers dies: the others compute its units, and the run ends by itself; in sync with the bits of one
# process. HANPS_LONG: in every mode; and a host with a server, after which the run is resumed on those that are left, by hand
# and by deploy/supervise.
# timeout: 600
work= # set there
. tests/cluster/net.sh
hosts 3

# lose HOST RUN MODE STEPS ARGUMENT...: the host dies when worker 0 has done some units; $code is the launcher's.
lose() {
    launch -n 6 "$work/config.yaml" --run "$work/$2" --set cluster.consistency=$3 --set run.steps=$4 \
        --set cluster.suspend_seconds=1 --set cluster.dead_seconds=4 "${@:5}" >"$work/$2.out" 2>&1 &
    launcher=$!
    for _ in $(seq 600); do
        [ "$(cat "$work/$2/log/worker-0000.jsonl" 2>/dev/null | wc -l)" -gt 20 ] && break
        sleep 0.1
    done
    kill_host "$1"
    wait $launcher
    code=$?
}
"$HANPS" train "$work/config.yaml" --run "$work/one" --set run.steps=1000 >"$work/out" 2>&1 || fail "one process: $(cat "$work/out")"

for mode in sync ${HANPS_LONG:+bounded async}; do
    [ $mode = sync ] || host 3
    lose host3 $mode $mode 1000
    [ $code = 0 ] || fail "$mode: exit status $code: $(cat "$work/$mode.out")"
    [ "$(grep -c 'on host3 is lost' "$work/$mode.out")" = 2 ] || fail "$mode: nobody says which workers are lost: $(cat "$work/$mode.out")"
done
same "$work/one" "$work/sync" 'a lost host'
[ -n "${HANPS_LONG:-}" ] || exit 0

host 3
lose host3 server sync 1000 --servers 3 --placement spread --set checkpoint.every_steps=20
[ $code = 3 ] || fail "a server: exit status $code: $(cat "$work/server.out")"
sed -i '/host3/d' "$work/hostfile"
launch -n 4 --run "$work/server" --resume --servers 2 >"$work/out" 2>&1 || fail "resumed: $(cat "$work/out")"
same "$work/one" "$work/server" 'resumed on the hosts that are left'

host 3
with='deploy/supervise --pause 1' lose host3 again sync 1000 --servers 3 --placement spread --set checkpoint.every_steps=20 \
    --set cluster.server_seconds=6
[ $code = 0 ] || fail "supervised: exit status $code: $(cat "$work/again.out")"
grep -q 'host host3 does not answer: going on without it' "$work/again.out" || fail "nobody says who is left out: $(cat "$work/again.out")"
grep -Eq 'is lost.*; restart 1 of 10 in 1 s, from step [0-9]+$' "$work/again.out" || fail "it did not go on: $(cat "$work/again.out")"
same "$work/one" "$work/again" 'started again on the hosts that are left'
exit 0
