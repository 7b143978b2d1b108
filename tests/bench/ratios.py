#!/usr/bin/env python3
"""What servers, checkpoints and a slow worker cost the workers: real runs of W1's shape under deploy/run, in turn.

usage: ratios.py --hanps BUILD/hanps [OPTION]...

  communication  the speed of each worker in async, over that of as many processes at once that do forward and backward
                 alone (hanps bench --case own), with as many threads
  checkpoints    the speed with a checkpoint every 100 steps, over that with none
  slow_worker    one worker is stopped half of the time, and the others' speed is compared with that before:
                 in async, and beside it in sync (needs two workers)

Speed is GFLOP/s of products, by the log's multiply-adds, and not examples/s: as a model learns, the questions of an image select
more cells that differ, and an example has more work in it.

Each round runs every case of --only once; the table has the median over the rounds. All ranks are on this machine, and threads is cores
over ranks: where servers and workers have to share cores, the first ratio has their work in it. Nothing else should run.
"""
import argparse
import array
import glob
import json
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--hanps", required=True)
parser.add_argument("--config", default="configs/bench/W1.yaml", help="(configs/bench/W1.yaml)")
parser.add_argument("--workers", type=int, default=2, help="(2)")
parser.add_argument("--servers", type=int, default=1, help="(1)")
parser.add_argument("--only", default="communication,checkpoints,slow_worker", metavar="CASE,...", help="of those above")
parser.add_argument("--seconds", type=float, default=40, help="of a run, after its first fifth (40)")
parser.add_argument("--rounds", type=int, default=3, help="(3)")
parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every run: model.precision=bf16")
parser.add_argument("--small", action="store_true", help="a tiny shape, one round: only to see that it works")
parser.add_argument("--json", metavar="FILE", help="the medians as JSON")
args = parser.parse_args()
only = args.only.split(",")
if set(only) - {"communication", "checkpoints", "slow_worker"}:
    sys.exit(f"ratios.py: --only {args.only}: allowed are communication, checkpoints and slow_worker")
if args.workers < (2 if "slow_worker" in only else 1) or args.servers < 1:
    sys.exit("ratios.py: --workers 2 (1 without slow_worker) and --servers 1 are the least")
if args.small:
    args.rounds, args.seconds = 1, 1

threads = max(1, len(os.sched_getaffinity(0)) // (args.workers + args.servers))
tiny = ["model.question.embedding=16", "model.question.lstm=16", "model.image.width=32", "model.classifier.layers=[16]",
        "data.batch_size=12"] if args.small else []
common = [f"--set={s}" for s in [*tiny, f"cluster.threads={threads}", *args.set]]
every = 20 if args.small else 100  # steps
work = tempfile.TemporaryDirectory(prefix="hanps-ratios-")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"ratios.py: {' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")


def make_store():
    """3.6 questions an image, 7 words each, 1,000 answers; features of 10x10x2048, half of them zero."""
    images, cells, channels = (20, 100, 32) if args.small else (300, 100, 2048)
    generator = random.Random(1)
    block = array.array("f", (max(0.0, generator.gauss(0, 1)) for _ in range(1 << 18)))
    os.mkdir(f"{work.name}/features")
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({cells}, {channels}), }}".encode()
    header += b" " * (-(len(header) + 11) % 16) + b"\n"
    with open(f"{work.name}/questions.jsonl", "w") as questions:
        for i in range(images):
            with open(f"{work.name}/features/{i}.npy", "wb") as out:
                out.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
                wanted, first = cells * channels, generator.randrange(len(block))
                while wanted > 0:
                    part = block[first:first + wanted]
                    part.tofile(out)
                    wanted, first = wanted - len(part), 0
            for q in range(18 * i // 5, 18 * (i + 1) // 5):
                words = " ".join(f"w{generator.randrange(15000)}" for _ in range(7))
                questions.write(json.dumps({"image": str(i), "question": words, "answer": f"a{q % 1000}", "split": "train"}) + "\n")
    run(args.hanps, "data", "import", "jsonl", f"{work.name}/questions.jsonl", "--features", f"{work.name}/features",
        "--layout", "ncellsc", "--out", f"{work.name}/store")


def alone():
    """GFLOP/s of a worker's forward and backward, while as many processes as there are workers do the same."""
    command = [args.hanps, "bench", args.config, "--case", "own", *common, f"--set=run.steps={5 if args.small else 20}"]
    files = [f"{work.name}/alone-{w}.json" for w in range(args.workers)]
    processes = [subprocess.Popen(command + ["--json", file] + (["--small"] if args.small else []),
                                  stdout=subprocess.DEVNULL) for file in files]
    if any([p.wait() for p in processes]):
        sys.exit("ratios.py: hanps bench failed")
    works = [next(iter(json.load(open(file))["works"].values())) for file in files]
    return statistics.mean(w["own"]["flop_per_s"] for w in works) * 1e-9


class Run:
    """A run under deploy/run, for a time."""
    count = 0

    def __init__(self, consistency, *sets):
        Run.count += 1
        self.folder = f"{work.name}/run-{Run.count}"
        self.output = open(f"{self.folder}.out", "w+")
        # The two that are measured alike get the same units a step.
        settings = [f"data.store={work.name}/store", "data.train=train", "run.steps=1000000000",
                    f"cluster.consistency={consistency}", f"cluster.sync_shards={args.workers}", *sets]
        self.process = subprocess.Popen(
            ["deploy/run", "-n", str(args.workers + args.servers), "--hanps", args.hanps, args.config, "--run", self.folder,
             "--servers", str(args.servers), *common, *(f"--set={s}" for s in settings)],
            stdout=self.output, stderr=self.output)
        while min(self.units(w) for w in range(args.workers)) < 4:
            if self.process.poll() is not None:
                self.fail("ended before it was measured")
            time.sleep(0.1)

    def fail(self, why):
        self.output.seek(0)
        sys.exit(f"ratios.py: the run {why}:\n{self.output.read()}")

    def log(self, worker):
        paths = glob.glob(f"{self.folder}/log/worker-{worker:04d}.jsonl")
        return open(paths[0]).read().split("\n")[:-1] if paths else []

    def units(self, worker):
        return len(self.log(worker))

    def rate(self, worker, begin):
        """GFLOP/s of the units from `begin` on."""
        lines = [json.loads(line) for line in self.log(worker)[begin - 1:]]
        if len(lines) < 2:
            self.fail("is too slow to be measured: more --seconds are needed")
        work = sum(line["forward_madds"] + line["backward_madds"] for line in lines[1:])
        return 2e-9 * work / (lines[-1]["time_s"] - lines[0]["time_s"])

    def measure(self, workers):
        """Mean GFLOP/s of workers, from now on."""
        begin = [self.units(w) for w in workers]
        time.sleep(args.seconds)
        return statistics.mean(self.rate(w, b) for w, b in zip(workers, begin))

    def process_of(self, worker):
        with open(f"{self.folder}/ranks/{args.servers + worker:04d}") as file:
            return json.load(file)["pid"]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait() != 130:
            self.fail("did not stop with a checkpoint")
        self.output.close()


def plain(*sets):
    this = Run("async", "checkpoint.every_minutes=0", *sets)
    time.sleep(args.seconds / 5)
    rate = this.measure(range(args.workers))
    this.end()
    return rate


def half_speed(pid, until):
    while time.time() < until:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.02)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.02)


def slowed(consistency):
    """The others' speed while one is slow, over that before."""
    this = Run(consistency, "checkpoint.every_steps=0", "checkpoint.every_minutes=0")
    others = range(args.workers - 1)
    time.sleep(args.seconds / 5)
    before = this.measure(others)
    pid = this.process_of(args.workers - 1)
    child = os.fork()
    if child == 0:
        half_speed(pid, time.time() + 1.3 * args.seconds + 1)
        os._exit(0)
    time.sleep(args.seconds / 5)
    during = this.measure(others)
    os.waitpid(child, 0)
    this.end()
    return during / before


make_store()
found = {}
for number in range(args.rounds):
    rates = {}
    if {"communication", "checkpoints"} & set(only):
        rates["with servers"] = plain("checkpoint.every_steps=0")
    if "communication" in only:
        rates["forward and backward alone"] = alone()
        found.setdefault("communication", []).append(rates["with servers"] / rates["forward and backward alone"])
    if "checkpoints" in only:
        rates["with checkpoints"] = plain(f"checkpoint.every_steps={every}")
        found.setdefault("checkpoints", []).append(rates["with checkpoints"] / rates["with servers"])
    if "slow_worker" in only:
        for mode in "async", "sync":
            found.setdefault(f"slow_worker_{mode}", []).append(slowed(mode))
    print(f"round {number + 1}:", ", ".join(f"{name} {rate:.1f} GFLOP/s a worker" for name, rate in rates.items()), flush=True)

titles = {"communication": "with servers, over forward and backward alone (async)",
          "checkpoints": f"a checkpoint every {every} steps, over none (async)",
          "slow_worker_async": "the others beside a worker slowed by half, async",
          "slow_worker_sync": "the same, sync"}
print(f"\n{args.workers} workers, {args.servers} servers, {threads} threads each, {len(os.sched_getaffinity(0))} cores")
for name, ratios in found.items():
    print(f"{titles[name]:56} {100 * statistics.median(ratios):6.1f} %   ({', '.join(f'{100 * r:.1f}' for r in ratios)})")
if args.json:
    with open(args.json, "w") as file:
        json.dump({name: statistics.median(ratios) for name, ratios in found.items()}, file, indent=1)
