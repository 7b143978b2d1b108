# A run over four hosts, one of which has 100 Mbit/s: the weights of one process, bit for bit.
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
exit 0
