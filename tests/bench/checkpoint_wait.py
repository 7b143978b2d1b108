#!/usr/bin/env python3
"""How long a training step waits for a checkpoint: checkpoint_wait.py RUN [--window STEPS]

Reads the workers' logs of a run with checkpoints by steps. Compares steps within WINDOW of a checkpoint (from the step before it
on, while its files are written beside training) with all others: seconds of the step, and of them what the worker
waited for servers (push, pull, wait). Run it where nothing else runs, with checkpoints often enough:

    deploy/run -n 4 configs/daquar/han-sum.yaml --run RUN --servers 2 --set cluster.consistency=sync \\
        --set run.steps=400 --set checkpoint.every_steps=40
"""
import argparse
import glob
import json
import re
import statistics
import sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run")
parser.add_argument("--window", type=int, default=5, help="steps (5)")
args = parser.parse_args()

with open(f"{args.run}/config.yaml") as file:
    every = re.search(r"^checkpoint:(?:\n .*)*?\n +every_steps: *(\d+)", file.read(), re.M)
every = int(every.group(1)) if every else 0
if every <= args.window + 1:
    sys.exit(f"checkpoint_wait.py: checkpoint.every_steps is {every}: more than {args.window + 1} is needed")

near, far = [], []
for path in glob.glob(f"{args.run}/log/worker-*.jsonl"):
    with open(path) as file:
        for line in file:
            unit = json.loads(line)
            if "step_s" not in unit or unit["step"] < every // 2:  # the first ones are slower
                continue
            taken = (unit["step_s"], unit["push_s"] + unit["pull_s"] + unit["wait_s"])
            (near if (unit["step"] + 1) % every < args.window else far).append(taken)
if not near or not far:
    sys.exit("checkpoint_wait.py: the run has no steps at a checkpoint, or none far from one")

print(f"{'ms':34}{'steps':>6}{'median':>10}{'mean':>10}{'largest':>10}")
for name, taken in ("far from a checkpoint", far), ("at a checkpoint", near):
    for what, i in ("step", 0), ("of it waiting", 1):
        values = [1000 * t[i] for t in taken]
        print(f"{name + ', ' + what if i == 0 else '  ' + what:34}"[:34].ljust(34)
              + f"{len(values):>6}{statistics.median(values):>10.3f}{statistics.mean(values):>10.3f}{max(values):>10.3f}")
print(f"a step at a checkpoint takes {1000 * (statistics.mean(t[0] for t in near) - statistics.mean(t[0] for t in far)):.3f} ms more, "
      f"of them {1000 * (statistics.mean(t[1] for t in near) - statistics.mean(t[1] for t in far)):.3f} ms of waiting")
