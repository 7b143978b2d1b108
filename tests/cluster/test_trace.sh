# A trace of two hosts, of which one has been up 1000 s longer: their clocks are set right, to the error it states.
work= # set there
. tests/cluster/net.sh
unshare --time --monotonic 1000 --fork true 2>/dev/null || { echo 'time namespaces are not allowed here'; exit 77; }
hosts 2
sed -i 's/width: 24/width: 256/; s/batch_size: 16/batch_size: 64/' "$work/config.yaml"
cat >"$work/hanps" <<END
#!/bin/sh
[ "\$(hostname)" = host2 ] && exec unshare --time --monotonic 1000 --fork "$HANPS" "\$@"
exec "$HANPS" "\$@"
END
chmod +x "$work/hanps"
launch -n 4 --hanps "$work/hanps" --placement spread "$work/config.yaml" --run "$work/two" --servers 2 --set run.steps=10 \
    --set checkpoint.every_steps=3 --trace 6 >"$work/out" 2>&1 || fail "two hosts: $(cat "$work/out")"
"$HANPS" report "$work/two" --trace >/dev/null || fail 'no trace'
python3 tests/support/trace.py "$work/two" two 0001 2 2 6 host2=1000 || fail 'the trace of two hosts'
exit 0
