#!/usr/bin/env python3
"""Kill, stop, crash and end ranks of real runs, and see that every run ends right.

Each trial is a run of `hanps train` in sync under deploy/supervise, with a number of servers and workers of its own. One
rank gets a signal in a moment of a phase: start, training, checkpoint (its files are half there), end (the last
checkpoint, the goodbyes), restart (the second start, after a server was killed). Then the run must be done, with every
checkpoint whole, the newest with the bits of one process, and no process left. A table says what happened.

Kinds: kill (SIGKILL), segv (SIGSEGV), exit (the process calls _exit), stop (SIGSTOP, and SIGCONT after 5 s).
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

KINDS = ("kill", "segv", "exit", "stop")
PHASES = ("start", "training", "checkpoint", "end", "restart")
ROLES = ("server 0", "server", "worker")
STOP_S, TRIAL_S = 5, 150
SIGNALS = {"kill": signal.SIGKILL, "segv": signal.SIGSEGV, "exit": signal.SIGUSR1, "stop": signal.SIGSTOP}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--build", default="build")
parser.add_argument("--seed", type=int, default=int(os.environ.get("HANPS_SEED", "1")))
parser.add_argument("--trials", type=int, default=100)
parser.add_argument("--only", help="numbers of trials, as in 3,17: a trial depends on seed and number alone")
parser.add_argument("--keep", action="store_true", help="leave the folder of a trial that failed")
args = parser.parse_args()

build = os.path.abspath(args.build)
hanps, preload = f"{build}/hanps", f"{build}/tests/fault/preload.so"
supervise = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../deploy/supervise")
work = tempfile.mkdtemp(prefix="hanps-ranks-")
STEPS, EVERY = 500, 25
CONFIG = f"""
run: {{seed: 3, steps: {STEPS}}}
data: {{store: {work}/store, train: train, valid: valid, batch_size: 16, coords: xy}}
model:
  question: {{embedding: 48, lstm: 64}}
  image: {{layers: 2, width: 96}}
  attention: {{kind: han, cells: 16}}
  classifier: {{layers: [256, 256], dropout: 0.1}}
optimizer: {{lr: 1.0e-3}}
cluster: {{consistency: sync, sync_shards: 2, threads: 1}}
checkpoint: {{every_steps: {EVERY}, every_minutes: 0, keep: 1000}}
"""


class Failed(Exception):
    pass


def call(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit status {done.returncode}: {done.stdout.strip()}")
    return done.stdout


def ranks_of(run):
    """{MPI's rank: pid} of the processes of a run."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if words[0] != hanps.encode() or run.encode() not in words:
                continue
            with open(f"/proc/{name}/environ", "rb") as file:
                rank = re.search(rb"(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)", file.read())
        except OSError:
            continue
        if rank:
            found[int(rank.group(1))] = int(name)
    return found


def status_of(run):
    try:
        with open(f"{run}/status") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def under_way(run):
    """A checkpoint's files are half there."""
    try:
        return any(name.endswith(".tmp") for name in os.listdir(f"{run}/checkpoints"))
    except OSError:
        return False


class Trial:
    def __init__(self, number):
        self.number, self.random = number, random.Random(f"{args.seed} {number}")
        pick = self.random.choice
        self.kind, self.phase = KINDS[number % 4], PHASES[number // 4 % 5]
        self.servers, self.workers = pick((1, 2, 3)), pick((1, 2, 3))
        self.role = pick([r for r in ROLES if r != "server" or self.servers > 1])
        first, last = {"server 0": (0, 0), "server": (1, self.servers - 1),
                       "worker": (self.servers, self.servers + self.workers - 1)}[self.role]
        self.rank = self.random.randint(first, last)
        self.patience = pick((3, 10))  # below and above the time of a stop
        self.run = f"{work}/run-{number:04d}"
        self.hit = self.during = self.launched = None
        self.resume = threading.Timer(0, lambda: None)

    def wait_for(self, condition, busy=False):
        while not condition():
            if self.launched.poll() is not None:
                return False
            time.sleep(0.0003 if busy else 0.01)
        return True

    def send(self, rank, kind):
        pid = ranks_of(self.run).get(rank)
        if pid is None:
            return False
        return self.send_to(pid, kind)

    def send_to(self, pid, kind):
        try:
            os.kill(pid, SIGNALS[kind])
        except ProcessLookupError:
            return False
        if kind == "stop":
            self.resume = threading.Timer(STOP_S, self.go_on, [pid])
            self.resume.start()
        return True

    def go_on(self, pid):
        if pid in ranks_of(self.run).values():
            os.kill(pid, signal.SIGCONT)

    def strike(self):
        wait, uniform = self.wait_for, self.random.uniform
        logged = lambda: os.path.exists(f"{self.run}/log/worker-0000.jsonl")
        if self.phase == "restart":
            if not wait(logged):
                return
            time.sleep(uniform(0, 0.5))
            self.send(0, "kill")
            if not wait(lambda: "going on with" in self.output()):
                return
            time.sleep(uniform(0, 0.3))
        elif self.phase == "start":
            if not wait(lambda: self.rank in ranks_of(self.run)):
                return
            time.sleep(uniform(0, 0.5))
        elif not wait(logged):
            return
        pid = ranks_of(self.run).get(self.rank)
        if self.phase == "training":
            time.sleep(uniform(0, 1))
        elif self.phase == "checkpoint":
            time.sleep(uniform(0, 0.7))
            wait(lambda: under_way(self.run), busy=True)
            time.sleep(uniform(0, 0.004))
        elif self.phase == "end":
            last = f"{self.run}/checkpoints/step-{STEPS:08d}"
            wait(lambda: os.path.exists(f"{last}.tmp") or os.path.exists(last), busy=True)
            time.sleep(uniform(0, 0.02))
        if pid is None:
            return
        step = status_of(self.run).get("state")
        self.hit = self.send_to(pid, self.kind)
        self.during = "checkpoint" if under_way(self.run) else step or "no status"

    def output(self):
        with open(f"{self.run}.out", errors="replace") as file:
            return file.read()

    def play(self):
        command = [supervise, "--pause", "0", "--restarts", "4", "-n", str(self.servers + self.workers), "--start-limit", "15",
                   "--hanps", hanps, "-x", f"LD_PRELOAD={preload}", f"{work}/config.yaml", "--run", self.run,
                   "--servers", str(self.servers), "--set", f"cluster.server_seconds={self.patience}",
                   "--set", f"cluster.dead_seconds={self.patience}", "--set", "cluster.suspend_seconds=1",
                   "--set", "cluster.start_seconds=8"]
        with open(f"{self.run}.out", "w") as out:
            self.launched = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
        striker = threading.Thread(target=self.strike)
        striker.start()
        try:
            code = self.launched.wait(TRIAL_S)
        except subprocess.TimeoutExpired:
            self.launched.send_signal(signal.SIGTERM)
            self.launched.send_signal(signal.SIGTERM)
            raise Failed(f"does not end; status {status_of(self.run)}")
        finally:
            striker.join()
            self.resume.cancel()
        return code

    def judge(self, code):
        status, output = status_of(self.run), self.output()
        if code != 0 or status.get("state") != "done" or status.get("step") != STEPS:
            raise Failed(f"exit status {code}, status {status}")
        if "passed over" in output or "damaged" in output:
            raise Failed("a checkpoint was torn")
        call(hanps, "checkpoint", "verify", self.run)
        call(hanps, "checkpoint", "diff", f"{work}/reference", self.run)
        names = os.listdir(f"{self.run}/checkpoints")
        if sorted(names) != [f"step-{step:08d}" for step in range(EVERY, STEPS + 1, EVERY)] and any("." in n for n in names):
            raise Failed(f"left among the checkpoints: {names}")
        for _ in range(30):
            if not ranks_of(self.run):
                break
            time.sleep(0.1)
        else:
            raise Failed(f"left processes {ranks_of(self.run)}")
        return self.outcome(status, output)

    def outcome(self, status, output):
        froms = re.findall(r"restart \d+ of \d+ in \d+ s, from (the beginning|step \d+)", output)
        if froms:
            return "same bits; resumed from " + ", ".join(f.replace("step ", "") for f in froms)
        if re.search(r"worker \d+ on \S+ is lost", output):
            return "same bits; the others went on"
        if "speaks again" in output:
            return "same bits; suspended, and back"
        return "same bits; nobody noticed" if self.hit else "same bits; it was over already"


def main():
    with open(f"{work}/config.yaml", "w") as file:
        file.write(CONFIG)
    call(hanps, "data", "synth", "sort-of-clevr", "--out", f"{work}/store", "--images", "40", "--valid", "10", "--test", "0")
    call(hanps, "train", f"{work}/config.yaml", "--run", f"{work}/reference")
    print(f"seed {args.seed}, {STEPS} steps, a checkpoint every {EVERY}\n"
          "  no. kind  rank           of    phase       struck in   s     outcome", flush=True)
    failed, counts = 0, {}
    numbers = [int(n) for n in args.only.split(",")] if args.only else range(1, args.trials + 1)
    for number in numbers:
        trial, begun = Trial(number), time.time()
        try:
            outcome = trial.judge(trial.play())
        except (Failed, subprocess.TimeoutExpired) as error:
            failed += 1
            outcome = f"FAILED: {error}"
        ranks = f"{trial.servers}+{trial.workers}"
        print(f"{number:5} {trial.kind:5} {trial.role:9}{trial.rank:3}   {ranks:5}  {trial.phase:10}  {trial.during or '-':10}"
              f"  {time.time() - begun:4.1f}  {outcome}", flush=True)
        counts[(trial.kind, trial.phase)] = counts.get((trial.kind, trial.phase), 0) + 1
        if outcome.startswith("FAILED"):
            print(re.sub("^", "      | ", trial.output(), flags=re.M), flush=True)
        if not (args.keep and outcome.startswith("FAILED")):
            shutil.rmtree(trial.run, ignore_errors=True)
    print(f"\n{'':6}" + "".join(f"{phase:>12}" for phase in PHASES))
    for kind in KINDS:
        print(f"{kind:6}" + "".join(f"{counts.get((kind, phase), 0):12}" for phase in PHASES))
    print(f"{len(numbers)} trials, {failed} failed")
    return failed > 0


try:
    code = main()
finally:
    if not args.keep:
        shutil.rmtree(work, ignore_errors=True)
sys.exit(code)
