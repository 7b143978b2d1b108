#!/usr/bin/env bash
# The PyTorch twins of `make bench-peer`: they agree with one another, and the table is made.
set -euo pipefail
for python in python3 /usr/bin/python3; do
    "$python" -c 'import torch' 2>/dev/null || continue
    out=$("$python" tests/bench/peer.py --hanps "$HANPS" --small)
    for row in typical expert 'expert shared' hanps; do
        grep -Eq "^$row +[0-9.]+" <<<"$out" || { echo "no row '$row' in: $out"; exit 1; }
    done
    exit 0
done
echo "PyTorch is not installed"
exit 77
