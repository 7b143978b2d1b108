# hanps plan: from rates that it measures and keeps, what it says of links that are the limit is what the bytes over the
# bandwidth say; it needs no store; wrong input is one line and exit status 2.
work= # set there
. tests/support/run.sh

plan() { # arguments: to $work/plan.json and $work/out
    "$HANPS" plan "$@" --json "$work/plan.json" >"$work/out" 2>&1 || fail "plan $*: $(cat "$work/out")"
}
rates=$work/rates.json
plan "$work/config.yaml" --hosts 4 --bandwidth 1Gbit --rates "$rates"
grep -q 'those of .*store' "$work/out" || fail "not the store's data: $(cat "$work/out")"
grep -q "rates of this machine" "$work/out" || fail "not measured: $(cat "$work/out")"

# Rates of another machine, made up.
python3 - "$rates" <<'END' || fail 'the rates'
import json, sys
rates = json.load(open(sys.argv[1]))
step, server, machine = rates["step"], rates["server"], rates["machine"]
assert step["forward_s"] > 0 and step["backward_s"] > 0 and machine["cores"] >= 1
assert server["adam_s"]["1"] > 0 and machine["message_bytes_per_s"] > 1e6 and 0 < machine["reply_s"] < 1
# The embedding is read first and its gradient comes last; the classifier's the other way round.
first, last = "question.embedding.weight", [n for n in step["need"] if n.startswith("classifier")][-1]
assert step["need"][first] < step["need"][last] and step["final"][first] > step["final"][last]
step.update(forward_s=0.01, backward_s=0.02, threads=1)
machine.update(cores=1, memory_bytes=1e10, copy_bytes_per_s=1e11, message_bytes_per_s=1e10, reply_s=1e-4)
for name in "adam_s", "fold_s":
    server[name] = {t: 1e-9 for t in server[name]}
json.dump(rates, open(sys.argv[1], "w"))
END
plan "$work/config.yaml" --hosts 1000 --bandwidth 10Gbit --latency 0.1ms --rates "$rates" --set cluster.consistency=async
grep -q "rates of $rates" "$work/out" || fail "not read: $(cat "$work/out")"
cp "$work/plan.json" "$work/first.json"
plan "$work/config.yaml" --hosts 1000 --bandwidth 10Gbit --latency 0.1ms --rates "$rates" --set cluster.consistency=async
cmp "$work/first.json" "$work/plan.json" || fail 'the same rates give another plan'
python3 - "$work/plan.json" <<'END' || fail "1000 hosts: $(cat "$work/out")"
import json, sys
plan = json.load(open(sys.argv[1]))
rows = plan["rows"]
assert [r["hosts"] for r in rows] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]
assert all(r["workers"] == r["hosts"] and 1 <= r["servers"] <= r["hosts"] for r in rows)
speeds = [r["examples_per_s"] for r in rows]
assert all(b > 0.99 * a for a, b in zip(speeds, speeds[1:]))
compute = plan["batch_size"] / 0.03
assert 0.9 * compute < speeds[0] <= compute and abs(rows[0]["efficiency"] - speeds[0] / compute) < 1e-3
assert all(r["efficiency"] <= 1.001 and r["worker_memory_bytes"] > 1e5 and r["server_memory_bytes"] > 1e4 for r in rows)
assert max(r["server_link_bytes_per_s"] for r in rows) <= 0.95 * 1.25e9
END

# One server of three workers, a link of 1 Mbit/s: pushes of all go over it, and nothing else counts.
plan "$work/config.yaml" --hosts 4 --workers 3 --servers 1 --bandwidth 1Mbit --latency 0ms --rates "$rates" \
    --set cluster.consistency=async --set cluster.placement=alone --set cluster.slots=8
python3 - "$work/plan.json" <<'END' || fail "a slow link: $(cat "$work/out")"
import json, sys
plan = json.load(open(sys.argv[1]))
row, = plan["rows"]
bytes = max(row["push_bytes"], row["pull_bytes"])
assert 3.9 * plan["parameters"] < bytes < 4.5 * plan["parameters"], bytes
assert abs(row["step_s"] / (3 * bytes / (0.94 * 1e6 / 8)) - 1) < 1e-3, row
assert row["bottleneck"] == "servers' links" and row["advice_gain"] > 1.3
END
plan "$work/config.yaml" --hosts 4 --workers 3 --servers 1 --bandwidth 1Mbit --rates "$rates" --memory 1MB
grep -q ' memory ' "$work/out" || fail "1 MB is enough: $(cat "$work/out")"

# Without a store, and with a trunk.
for config in configs/vqacp/han-sum-16.yaml configs/clevr/han-rn.yaml; do
    for rates in 'this machine' "$work/${config//\//-}.json"; do # the second time they are read
        plan $config --hosts 2 --bandwidth 10Gbit --set data.store="$work/none" --set data.batch_size=4 --set model.image.width=16 \
            --rates "$work/${config//\//-}.json" --set model.question.lstm=8 --set 'model.classifier.layers=[8]' \
            --set 'model.aggregate.layers=[8, 8]' --set 'model.image.filters=[4]'
        grep -q 'as in hanps bench' "$work/out" && grep -q "rates of $rates" "$work/out" || fail "$config: $(cat "$work/out")"
    done
done

config=$work/config.yaml rates=$work/rates.json
bad 'hosts N is missing' plan "$config" --bandwidth 1Gbit
bad 'bandwidth RATE is missing' plan "$config" --hosts 2
bad 'CONFIG is missing' plan --hosts 2 --bandwidth 1Gbit
bad 'bandwidth 10: a number from 0 with one of the units' plan "$config" --hosts 2 --bandwidth 10
bad 'bandwidth 0Gbit: more than 0' plan "$config" --hosts 2 --bandwidth 0Gbit
bad 'latency 1: a number' plan "$config" --hosts 2 --bandwidth 1Gbit --latency 1
bad 'hosts 0: a whole number from 1' plan "$config" --hosts 0 --bandwidth 1Gbit
bad 'measure anew' plan "$config" --hosts 2 --bandwidth 1Gbit --rates "$rates" --set data.batch_size=8
bad 'rates of a model of' plan "$config" --hosts 2 --bandwidth 1Gbit --rates "$rates" --set model.image.width=8
bad 'no rates of' plan "$config" --hosts 2 --bandwidth 1Gbit --rates "$work/plan.json"
bad 'alone needs two hosts' plan "$config" --hosts 1 --workers 1 --servers 1 --bandwidth 1Gbit --rates "$rates" --set cluster.placement=alone
sed 's/"forward_s": *0.01/"forward_s": -1/' "$rates" >"$work/damaged.json"
bad 'step.forward_s: a number from' plan "$config" --hosts 2 --bandwidth 1Gbit --rates "$work/damaged.json"
exit 0
