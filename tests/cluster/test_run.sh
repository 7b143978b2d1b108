# Runs over four hosts, one of which has 100 Mbit/s: the weights of one process, bit for bit, wherever the servers are.
work= # set there
. tests/cluster/net.sh
hosts 4
rate host3 100mbit
"$HANPS" train "$work/config.yaml" --run "$work/one" >"$work/out" 2>&1 || fail "one process: $(cat "$work/out")"
launch -n 8 "$work/config.yaml" --run "$work/four" --servers 2 >"$work/out" 2>&1 || fail "four hosts: $(cat "$work/out")"
same "$work/one" "$work/four" 'four hosts'
for host in host2 host3 host4; do
    grep -q "\"host\":\"$host\"" "$work"/four/log/worker-*.jsonl || fail "no worker on $host"
done

# placed RUN SAYS ARGUMENT...
placed() {
    launch -n 8 "${@:3}" "$work/config.yaml" --run "$work/$1" >"$work/out" 2>&1 || fail "$1: $(cat "$work/out")"
    grep -q "rank 0: $2\$" "$work/out" || fail "$1: not '$2': $(cat "$work/out")"
    same "$work/one" "$work/$1" "$1"
}
rate host3 none
placed spread 'host1: 1 server, 1 worker; host2: 1 server, 1 worker; host3: 1 server, 1 worker; host4: 2 workers' \
    --placement spread -- --servers 3
placed packed 'host1: 2 servers; host2: 1 server, 1 worker; host3: 2 workers; host4: 2 workers' --placement packed -- --servers 3
placed alone 'host1: 2 servers; host2: 2 workers; host3: 2 workers; host4: 2 workers' --placement alone -- --servers 2
launch -n 8 "$work/config.yaml" --run "$work/refused" --placement alone --servers 3 >"$work/out" 2>&1
[ $? = 2 ] && grep -q '^hanps train: cluster.placement: alone: 3 servers .* allowed here: 2, 4, 6 servers$' "$work/out" ||
    fail "alone, 3 servers: $(cat "$work/out")"
exit 0
