#!/usr/bin/env python3
"""The training step of W1 in PyTorch, in turn with hanps's own, and the ratio of both.

usage: peer.py --hanps BUILD/hanps [--rounds N] [--steps N] [--small]

W1 is HAN+sum, 16 of 100 cells, on VQA-CP's shape (see `hanps bench --help`): features of 10x10x2048,
two layers of 2048, LSTM of 512, classifier 1024-2048-1000, 128 questions of 3.6 an image, Adam.
The twins, each in fp32 and in bf16 (autocast):

  typical        every question embeds all cells of its image; autograd through all of it
  expert         cells are selected without a gradient, then only the selected ones are embedded
                 with one
  expert shared  the same, and the questions of an image share its embedding, as hanps does

Each round runs every twin and hanps once; the table has the median over the rounds of examples/s
and of the ratio within a round. Data lies in memory for PyTorch; hanps reads it from a store, and
its figure includes its server, the pushes and the pulls.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--hanps", required=True)
parser.add_argument("--config", default="configs/bench/W1.yaml")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--small", action="store_true", help="a tiny shape, one round: only to see that it works")
args = parser.parse_args()

try:
    import torch
    from torch import nn
except ImportError:
    print("peer.py: PyTorch is not installed (apt-get install python3-torch)", file=sys.stderr)
    sys.exit(77)

CORES = len(os.sched_getaffinity(0))
torch.set_num_threads(CORES)
torch.manual_seed(1)

SMALL = args.small
CELLS, K, QUESTIONS = 100, 16, 12 if SMALL else 128
CHANNELS, WIDTH, HIDDEN = (32, 32, 16) if SMALL else (2048, 2048, 512)
WORDS, ANSWERS, EMBEDDING = (50, 10, 16) if SMALL else (15000, 1000, 300)
CLASSIFIER = [16] if SMALL else [1024, 2048]
IMAGES = max(1, round(QUESTIONS / 3.6))


def stack(sizes):
    layers = []
    for before, after in zip(sizes, sizes[1:]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


class Han(nn.Module):
    """HAN+sum; `way` says how its step is computed, not what."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.words = nn.Embedding(WORDS, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.question = stack([HIDDEN, WIDTH, WIDTH])
        self.image = stack([CHANNELS, WIDTH, WIDTH])
        self.classifier = nn.Sequential(stack([WIDTH] + CLASSIFIER), nn.Linear(CLASSIFIER[-1], ANSWERS))

    def select(self, embedded, q, image):
        """The k cells of largest presence: |x|^2 + 2 x.q ranks as |x + q| does."""
        embedded, q = embedded.float(), q.float()
        scores = torch.bmm(embedded[image], q.unsqueeze(2)).squeeze(2) * 2 + embedded.square().sum(2)[image]
        return scores.topk(K, dim=1).indices

    def forward(self, cells, image, tokens, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(self.words(tokens), lengths, batch_first=True, enforce_sorted=False)
        q = self.question(self.lstm(packed)[1][0][0])
        if self.way == "typical":
            m = self.image(cells[image]) + q.unsqueeze(1)
            index = m.detach().float().norm(dim=2).topk(K, dim=1).indices
            pooled = m.gather(1, index.unsqueeze(2).expand(-1, -1, m.shape[2])).sum(1)
        elif self.way == "expert":
            own = cells[image]
            with torch.no_grad():
                index = self.select(self.image(own), q, torch.arange(QUESTIONS))
            chosen = own.gather(1, index.unsqueeze(2).expand(-1, -1, CHANNELS))
            pooled = (self.image(chosen) + q.unsqueeze(1)).sum(1)
        else:
            with torch.no_grad():
                index = self.select(self.image(cells), q, image)
                place = image.unsqueeze(1) * CELLS + index
                row, back = place.unique(return_inverse=True)
            x = self.image(cells.view(-1, CHANNELS)[row])
            pooled = x[back].sum(1) + K * q
        return self.classifier(pooled)


def batch():
    generator = torch.Generator().manual_seed(1)
    cells = torch.rand(IMAGES, CELLS, CHANNELS, generator=generator)
    cells *= torch.rand(IMAGES, CELLS, CHANNELS, generator=generator) < 0.5
    cells *= CELLS ** 0.5 / cells.flatten(1).norm(dim=1).view(-1, 1, 1)
    image = torch.arange(QUESTIONS) * IMAGES // QUESTIONS
    lengths = torch.tensor([5 + i % 5 for i in range(QUESTIONS)])
    tokens = torch.randint(WORDS, (QUESTIONS, 9), generator=generator)
    return cells, image, tokens, lengths, torch.randint(ANSWERS, (QUESTIONS,), generator=generator)


def twin(way, bf16):
    """Examples/s of a whole step: median over the steps."""
    cells, image, tokens, lengths, label = batch()
    model = Han(way)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    seconds = []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(cells, image, tokens, lengths)
        loss = nn.functional.cross_entropy(logits.float(), label)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    assert loss.isfinite()
    return QUESTIONS / statistics.median(seconds[1:])


def ours(bf16):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [args.hanps, "bench", args.config, "--json", out.name, "--set", f"run.steps={args.steps}"]
        command += ["--set", "model.precision=bf16"] if bf16 else []
        command += ["--small"] if SMALL else []
        if SMALL:
            command += ["--set", "run.steps=1"]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"peer.py: {' '.join(command)}: {done.stderr.strip()}")
        with open(out.name) as file:
            return json.load(file)["works"]["W1"]["train"]["examples_per_s"]


WAYS = ["typical", "expert", "shared"]


def check_twins():
    """The three ways compute the same logits."""
    models = [Han(way) for way in WAYS]
    data = batch()[:4]
    logits = []
    for model in models:
        model.load_state_dict(models[0].state_dict())
        with torch.no_grad():
            logits.append(model(*data))
    for other in logits[1:]:
        assert torch.allclose(logits[0], other, rtol=1e-4, atol=1e-5), (logits[0] - other).abs().max()


TITLE = {"typical": "typical", "expert": "expert", "shared": "expert shared"}
check_twins()
found = {}
for _ in range(1 if SMALL else args.rounds):
    for bf16 in (False, True):
        found.setdefault(("hanps", bf16), []).append(ours(bf16))
        for way in WAYS:
            found.setdefault((way, bf16), []).append(twin(way, bf16))

print(f"PyTorch {torch.__version__}, {CORES} threads; examples/s, medians of {len(found['hanps', False])} rounds")
print(f"{'':14} {'fp32':>9} {'hanps is':>9} {'bf16':>9} {'hanps is':>9}")
for way in WAYS:
    cell = []
    for bf16 in (False, True):
        ratios = [h / t for h, t in zip(found["hanps", bf16], found[way, bf16])]
        cell += [f"{statistics.median(found[way, bf16]):9.1f}", f"{statistics.median(ratios):8.2f}x"]
    print(f"{TITLE[way]:14} {' '.join(cell)}")
print(f"{'hanps':14} {statistics.median(found['hanps', False]):9.1f} {'':9} {statistics.median(found['hanps', True]):9.1f}")
