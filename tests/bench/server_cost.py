#!/usr/bin/env python3
"""What a server costs, by the number of workers: server_cost.py CONFIG [--workers 1,2,4,8] [--set KEY=VALUE]...

Trains CONFIG under deploy/run with one server and each number of workers, in a folder that is removed after, and says of the
server's process: the most memory it ever had (VmHWM), the share of a core it uses while the workers train, and while they stand
still (they are stopped for some seconds); and of a worker, the time from asking for the weights to having them, after its own
last gradient was applied (pulled_s: median and 95th percentile). Run it where nothing else runs. Memory, with the model of a real run:

    tests/bench/server_cost.py configs/daquar/han-sum.yaml --set cluster.consistency=async

The latency of a small pull over MPI, while another worker trains, with a model of one chunk:

    tests/bench/server_cost.py configs/daquar/han-sum.yaml --workers 1,2 --set cluster.consistency=async \\
        --set model.question.embedding=8 --set model.question.lstm=8 --set model.image.width=8 --set model.classifier.layers=[8]
"""
import argparse
import glob
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SETTLE = 1.5  # seconds until an idle server naps for longer

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("config")
parser.add_argument("--workers", default="1,2,4,8", help="numbers of workers (1,2,4,8)")
parser.add_argument("--seconds", type=float, default=10, help="of training that are measured (10)")
parser.add_argument("--idle", type=float, default=5, help="seconds for which the workers stand still (5)")
parser.add_argument("--hanps", default=os.path.join(HERE, "../../build/hanps"))
parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
args = parser.parse_args()


def fail(text, log):
    with open(log) as file:
        sys.exit(f"server_cost.py: {text}\n{file.read()[-2000:]}")


def lines_of(run, worker):
    """Whole lines of a worker's log."""
    try:
        with open(f"{run}/log/worker-{worker:04d}.jsonl") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share(pid, seconds):
    """Of a core, over that time."""
    begin, before = time.monotonic(), processor_seconds(pid)
    time.sleep(seconds)
    return (processor_seconds(pid) - before) / (time.monotonic() - begin)


def peak_memory(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024


def ranks_of(run, workers, launcher, log):
    """Process ids, when every worker has done some units."""
    limit = time.monotonic() + 300
    while any(len(lines_of(run, w)) < 3 for w in range(workers)):
        if launcher.poll() is not None or time.monotonic() > limit:
            fail("the run does not train", log)
        time.sleep(0.2)
    pids = {}
    for path in glob.glob(f"{run}/ranks/*"):
        with open(path) as file:
            note = json.load(file)
        pids[note["rank"]] = note["pid"]
    return [pids[rank] for rank in range(1 + workers)]


def measure(workers, folder):
    run, log = f"{folder}/run-{workers}", f"{folder}/out-{workers}"
    command = [os.path.join(HERE, "../../deploy/run"), "-n", str(1 + workers), "--hanps", args.hanps, args.config,
               "--run", run, "--servers", "1"]
    for assignment in ["run.steps=1000000000", *args.set]:
        command += ["--set", assignment]
    with open(log, "w") as out:
        launcher = subprocess.Popen(command, stdout=out, stderr=out)
    stopped = []
    try:
        server, *others = ranks_of(run, workers, launcher, log)
        first = [len(lines_of(run, w)) for w in range(workers)]
        busy = share(server, args.seconds)
        pulls = [1000 * line["pulled_s"] for w in range(workers) for line in lines_of(run, w)[first[w]:] if "pulled_s" in line]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        time.sleep(SETTLE)
        idle = share(server, args.idle)
        memory = peak_memory(server)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        launcher.send_signal(signal.SIGTERM)
        launcher.wait()
    if not pulls:
        fail("no weights were pulled while it was measured: --seconds is too short", log)
    pulls.sort()
    print(f"{workers:7d}{memory:14.1f}{100 * busy:12.1f}{100 * idle:12.2f}{len(pulls):8d}"
          f"{statistics.median(pulls):12.3f}{pulls[int(0.95 * (len(pulls) - 1))]:12.3f}", flush=True)


counts = [int(n) for n in args.workers.split(",")]
work = tempfile.mkdtemp(prefix="hanps-cost-")
print(f"{'workers':>7}{'server MiB':>14}{'busy core %':>12}{'idle core %':>12}{'pulls':>8}{'pull ms':>12}{'95 % ms':>12}")
try:
    for count in counts:
        measure(count, work)
finally:
    shutil.rmtree(work, ignore_errors=True)
