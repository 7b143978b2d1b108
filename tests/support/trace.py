"""Is a trace what docs/trace.md says? RUN NAME START SERVERS WORKERS STEPS [HOST=AHEAD]; STEPS 0: not known;
HOST: not rank 0's, its clock is AHEAD seconds ahead."""
import collections
import glob
import json
import sys

run, _, start, servers, workers, steps = sys.argv[1:7]
other, ahead = sys.argv[7].split("=") if len(sys.argv) > 7 else (None, 0)
start, servers, workers, steps = int(start), int(servers), int(workers), int(steps)
events = json.load(open("%s/trace/start-%04d.json" % (run, start)))
ranks = range(servers + workers)
SLACK = 0.002  # microseconds: times are rounded to thousandths

about, process, thread, rows = {}, {}, {}, collections.defaultdict(list)
for e in events:
    e["pid"] -= 10000  # the rank
    assert e["tid"] > 0, e
    if e["ph"] == "X":
        e["end"] = e["ts"] + e["dur"]
        assert e["dur"] >= 0 and e["ts"] >= 0, e
        rows[e["pid"], e["tid"]].append(e)
    elif e["name"] == "hanps":
        about[e["pid"]] = e["args"]
    elif e["name"] == "process_name":
        process[e["pid"]] = e["args"]["name"]
    elif e["name"] == "thread_name":
        thread[e["pid"], e["tid"]] = e["args"]["name"]


def spans(rank, row, name=None):
    return [e for key, all in rows.items() if key[0] == rank and thread[key].startswith(row)
            for e in all if name in (None, e["name"])]


# Every rank is there, named, and knows rank 0's clock; on one host it is the same.
assert sorted(about) == sorted(process) == list(ranks), process
for r in ranks:
    role = "server %d" % r if r < servers else "worker %d" % (r - servers)
    assert process[r].startswith("rank %d: %s on " % (r, role)), process[r]
    assert about[r]["dropped"] == 0 and about[r]["start"] == start and about[r]["ranks"] == len(ranks), about[r]
    if process[r].endswith(" on %s" % other):
        assert 0 < about[r]["clock_error_us"] < 1e6, about[r]
        assert abs(about[r]["clock_offset_us"] + 1e6 * float(ahead)) <= about[r]["clock_error_us"] + SLACK, about[r]
    else:
        assert about[r]["clock_error_us"] == about[r]["clock_offset_us"] == 0, about[r]
assert other is None or any(about[r]["clock_error_us"] > 0 for r in ranks), "no rank on %s" % other

# Every phase is there.
for r in ranks:
    names = {(thread[key].split(" ")[0], e["name"]) for key, all in rows.items() if key[0] == r for e in all}
    if r < servers:
        want = {("gradients", "push"), ("gradients", "wait"), ("weights", "pull"), ("weights", "wait"),
                ("Adam", "adam"), ("checkpoint", "checkpoint")}
    else:
        want = {("compute", "step"), ("compute", "forward"), ("compute", "backward"), ("compute", "pack"),
                ("compute", "pull"), ("data", "read"), ("gradients", "push"), ("weights", "pull")}
    # A short trace may end before a checkpoint, and a worker whose weights come in time waits for none.
    missing = want - names - {("checkpoint", "checkpoint"), ("compute", "pull")}
    assert not missing, (r, missing)
if (servers, workers) == (2, 2):
    assert any(spans(r, "checkpoint") for r in range(servers)), "no checkpoint"
    assert any(spans(r, "compute", "pull") for r in ranks), "nobody waits for weights"

# In a line spans nest or lie beside one another.
for key, all in rows.items():
    open_until = []
    for e in sorted(all, key=lambda e: (e["ts"], -e["dur"])):
        while open_until and open_until[-1] <= e["ts"] + SLACK:
            open_until.pop()
        assert not open_until or e["end"] <= open_until[-1] + SLACK, (key, thread[key], e)
        open_until.append(e["end"])

# A worker's steps are those of its log, and their parts are the log's seconds.
logged = 0
for r in range(servers, len(ranks)):
    lines = [json.loads(line) for line in open("%s/log/worker-%04d.jsonl" % (run, r - servers))]
    lines = {line["unit"]: line for line in lines if line["start"] == start}
    traced = spans(r, "compute", "step")
    assert len({e["args"]["unit"] for e in traced}) == len(traced)
    if steps:
        assert len(traced) == min(steps, len(lines)), (r, len(traced))
    first = sorted(lines, key=lambda unit: lines[unit]["time_s"])[:len(traced)]
    assert [e["args"]["unit"] for e in sorted(traced, key=lambda e: e["ts"])] == first, (r, first)
    logged += len(traced)
    in_parts = total = 0
    seen, said = collections.Counter(), collections.Counter()
    for step in traced:
        line = lines[step["args"]["unit"]]
        assert abs(step["dur"] - 1e6 * line["step_s"]) < 1 + 1e-6 * step["dur"], (step, line)
        inside = [e for e in spans(r, "compute") if e is not step and e["ts"] >= step["ts"] and e["end"] <= step["end"]]
        outer = [e for e in inside if not any(o is not e and o["ts"] <= e["ts"] and e["end"] <= o["end"] for o in inside)]
        in_parts += sum(e["dur"] for e in outer)
        total += step["dur"]
        for name in ("data", "pull", "push", "wait", "forward", "backward"):
            said[name] += 1e6 * line[name + "_s"]
            for whole in (e for e in inside if e["name"] == name):
                seen[name] += whole["dur"]
                if name in ("forward", "backward"):  # in the log, what lies within is taken off
                    seen[name] -= sum(e["dur"] for e in inside if e["name"] in ("pull", "pack") and
                                      whole["ts"] <= e["ts"] and e["end"] <= whole["end"] + SLACK)
        assert sum(e["name"] == "forward" for e in inside) == sum(e["name"] == "backward" for e in inside) == 1, inside
    # The log counts the report of an evaluation, between steps, as push.
    seen["push"] = sum(e["dur"] for e in spans(r, "compute", "push") if e["ts"] < traced[-1]["end"])
    for name in said:
        assert abs(seen[name] - said[name]) < 0.05 * total, (r, name, seen, said, total)
    assert 0.8 * total < in_parts <= total + SLACK * len(traced), (r, in_parts, total)

# Across ranks, as well as their clocks agree: a server hears of a pull after the worker has asked and has sent it before
# the worker has it all (it learns so a little later); a slot is full after its first chunk was sent.
pulls = pushes = 0
for r in range(servers, len(ranks)):
    worker = r - servers
    asked = {e["args"]["pull"]: e for e in spans(r, "weights", "wait")}
    had = {e["args"]["pull"]: e for e in spans(r, "weights", "pull")}
    sent = {e["args"]["unit"]: e for e in spans(r, "gradients", "push")}
    for s in range(servers):
        apart = SLACK + about[r]["clock_error_us"] + about[s]["clock_error_us"]
        for e in spans(s, "weights to worker", "wait"):
            if e["args"]["worker"] == worker and e["args"]["pull"] in asked:
                assert e["ts"] >= asked[e["args"]["pull"]]["ts"] - apart, (e, asked[e["args"]["pull"]])
        for e in spans(s, "weights to worker", "pull"):
            if e["args"]["worker"] == worker and e["args"]["pull"] in had:
                assert e["ts"] <= had[e["args"]["pull"]]["end"] + apart, (e, had[e["args"]["pull"]])
                pulls += 1
        for e in spans(s, "gradients", "push"):
            if e["args"]["worker"] == worker and e["args"]["unit"] in sent:
                assert e["ts"] >= sent[e["args"]["unit"]]["ts"] - apart, (e, sent[e["args"]["unit"]])
                pushes += 1
assert pulls > 0 and pushes >= logged, (pulls, pushes, logged)
