#!/usr/bin/env python3
"""Cables that delay: wires.py MBIT_PER_S DELAY_MS READY PID...

Makes an eth0 in the network namespace of each process, and is the switch between them. Every cable takes so many Mbit/s each way;
from one host to another a frame needs that delay. READY is created when all are there. Runs until it is killed. Without a PID it
only tries: exit status 77 where tap devices cannot be made. (Linux delays by sch_netem, which not every kernel has.)
"""
import ctypes
import fcntl
import heapq
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x2, 0x1000
QUEUE = 0.05  # seconds that a cable's queue holds; what comes when it is full is lost
rate, delay, ready = float(sys.argv[1]) * 1e6 / 8, float(sys.argv[2]) * 1e-3, sys.argv[3]


def cable(pid):
    """The other end of that process's eth0."""
    with open(f"/proc/{pid}/ns/net") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0) != 0:
            sys.exit(f"wires.py: setns: {os.strerror(ctypes.get_errno())}")
    return tap(b"eth0")


def tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name, IFF_TAP | IFF_NO_PI))
    return fd


if len(sys.argv) == 4:
    try:
        os.close(tap(b"tried"))
    except OSError as error:
        print(f"no tap devices here: {error}")
        sys.exit(77)
    sys.exit(0)
cables = [cable(pid) for pid in sys.argv[4:]]
with open(ready, "w"):
    pass
up_free, down_free = dict.fromkeys(cables, 0.0), dict.fromkeys(cables, 0.0)  # when a cable has sent what it took
at = {}  # cable of a hardware address
due = []  # (when it is there, number, cable, frame)
count = 0


def take(fd, frame, now):
    """A frame that a host sent."""
    global count
    at[frame[6:12]] = fd
    up_free[fd] = max(now, up_free[fd]) + len(frame) / rate
    known = at.get(frame[:6])
    for to in [known] if known is not None else cables:
        if to == fd:
            continue
        arrives = up_free[fd] + delay
        if down_free[to] > arrives + QUEUE:
            continue
        down_free[to] = max(arrives, down_free[to] + len(frame) / rate)
        heapq.heappush(due, (down_free[to], count, to, frame))
        count += 1


while True:
    now = time.monotonic()
    while due and due[0][0] <= now:
        _, _, to, frame = heapq.heappop(due)
        try:
            os.write(to, frame)
        except OSError:  # its queue is full, or the host is down
            pass
    free = [fd for fd in cables if up_free[fd] < now + 0.002]  # the others' frames wait in their hosts
    wait = min([due[0][0] - now] if due else [1.0], default=1.0)
    if len(free) < len(cables):
        wait = min(wait, 0.001)
    for fd in select.select(free, [], [], max(0.0, wait))[0]:
        try:
            take(fd, os.read(fd, 65536), time.monotonic())
        except BlockingIOError:
            pass
        except OSError:  # its host is gone
            cables.remove(fd)
