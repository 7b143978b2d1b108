#!/usr/bin/env python3
"""Synthetic data of any shape, for `hanps data import jsonl`: shaped_data.py FOLDER KIND HEIGHT WIDTH CHANNELS WORDS ANSWERS

KIND is features (a .npy file of fp32 an image) or pixels (a PNG). FOLDER/images has the images, FOLDER/questions.jsonl so many
questions that WORDS words, the unknown one among them, and ANSWERS answers come in the split `train`."""
import array
import json
import os
import random
import struct
import sys
import zlib

IMAGES, LONGEST = 6, 15
folder, kind = sys.argv[1:3]
height, width, channels, words, answers = map(int, sys.argv[3:8])
random.seed(1)
os.makedirs(f"{folder}/images")


def npy(values):
    header = str({"descr": "<f4", "fortran_order": False, "shape": (height, width, channels)}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + array.array("f", values).tobytes()


def png(rows):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows), 1)) + chunk(b"IEND", b""))


for i in range(IMAGES):
    if kind == "features":
        some = [max(random.gauss(0, 1), 0) for _ in range(4099)]  # as after a ReLU
        data = npy(some[(i + k) % len(some)] for k in range(height * width * channels))
    else:
        data = png(random.randbytes(3 * width) for _ in range(height))
    with open(f"{folder}/images/{i}.{'npy' if kind == 'features' else 'png'}", "wb") as file:
        file.write(data)

spelled = ["w" + "".join(chr(ord("a") + int(d)) for d in str(w)) for w in range(words - 1)]
questions = max(answers, -(-len(spelled) // LONGEST), 4 * IMAGES)
with open(f"{folder}/questions.jsonl", "w", encoding="ascii") as file:
    for q in range(questions):
        text = [spelled[(LONGEST * q + k) % len(spelled)] for k in range(LONGEST)]
        line = {"image": str(q % IMAGES), "question": " ".join(text), "answer": f"a{q % answers}", "split": "train"}
        file.write(json.dumps(line) + "\n")
