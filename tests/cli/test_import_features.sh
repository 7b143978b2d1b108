#!/bin/bash
# Features of every container and layout into a store, bit for bit; what is wrong is refused with one line.
set -eu
/usr/bin/python3 -c 'import lmdb, numpy, google.protobuf' 2> /dev/null ||
    { echo "needs python3-lmdb, python3-numpy, python3-protobuf"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
protoc --python_out="$work" proto/store.proto
sed -n '/^```python$/,/^```$/p' docs/store.md | sed '1d;$d' > "$work/reader.py"

cat > "$work/run.py" << 'END'
import io, json, os, shutil, subprocess, sys, zipfile
import numpy as np
from reader import Store

work, hanps = sys.argv[1], os.environ["HANPS"]
os.chdir(work)
r = np.random.default_rng(3)
N, C, H, W = 7, 12, 2, 3
grid = np.maximum(r.standard_normal((N, H, W, C)), 0).astype("f2").astype("f4")  # exact in every dtype but bf16
ragged = [np.maximum(r.standard_normal((n, C)), 0).astype("f2").astype("f4") for n in (3, 1, 10, 4, 2, 10, 5)]
boxes = [r.random((len(x), 4)).astype("f4") for x in ragged]
ids = [10 * (i + 1) for i in range(N)]
json.dump([{"image_id": i, "question": "What?", "question_id": i} for i in ids], open("q.json", "w"))
count = 0


def run(out, *options):
    return subprocess.run([hanps, "data", "import", "vqa", "--questions", "q.json", "--out", out, *options],
                          capture_output=True, text=True)


def good(options, want, want_boxes=None, grid_of=(0, 0), dtypes=("f16", "f32")):
    """All of `want` ([cells, channels] each) comes out of the store, in each dtype and encoding."""
    global count
    for dtype in dtypes:
        for encoding in ("raw", "auto"):
            done = run("store", *options, "--dtype", dtype, "--encoding", encoding)
            assert done.returncode == 0, (options, done.stderr)
            assert subprocess.run([hanps, "data", "verify", "store"], capture_output=True).returncode == 0
            store = Store("store")
            m = store.manifest
            assert m.images == N and (m.grid_height, m.grid_width) == grid_of, (options, m.grid_height)
            assert m.max_cells == max(map(len, want)) and m.boxes == (want_boxes is not None)
            for i in range(N):
                assert bytes(store.get("names", i)).decode() == str(ids[i])
                got = store.features(i)
                assert got.shape == want[i].shape and (got == want[i]).all(), (options, dtype, i)
                if want_boxes is not None:
                    got = np.frombuffer(store.get("boxes", i), "<f4").reshape(-1, 4)
                    assert (got == want_boxes[i]).all(), (options, "boxes", i)
            shutil.rmtree("store")
            count += 1


def folder(write, suffix):
    shutil.rmtree("files", ignore_errors=True)
    os.mkdir("files")
    for i in range(N):
        write(f"files/{ids[i]}.{suffix}", i)
    return ["--features", "files", "--names", f"%d.{suffix}"]


flat = [g.reshape(-1, C) for g in grid]
on_grid = ["--layout", "nhwc"]
# .npy: layouts, number types, Fortran order, a leading axis of one image, differing numbers of cells.
good(folder(lambda p, i: np.save(p, grid[i]), "npy") + on_grid, flat, grid_of=(H, W))
good(folder(lambda p, i: np.save(p, grid[i].astype("f8")), "npy") + on_grid, flat, grid_of=(H, W))
good(folder(lambda p, i: np.save(p, np.asfortranarray(grid[i].transpose(2, 0, 1).astype("f2"))[None]), "npy") +
     ["--layout", "nchw"], flat, grid_of=(H, W))
good(folder(lambda p, i: np.save(p, ragged[i]), "npy") + ["--layout", "ncellsc"], ragged)
good(folder(lambda p, i: np.save(p, np.asfortranarray(ragged[i])), "npy") + ["--layout", "ncellsc"], ragged)
good(folder(lambda p, i: np.save(p, np.ascontiguousarray(ragged[i].T)), "npy") + ["--layout", "nccells"], ragged)
# .npz: stored and deflated, x transposed with boxes beside it, as MCAN has them (numpy writes .T in Fortran order).
for save in (np.savez, np.savez_compressed):
    mcan = folder(lambda p, i: save(p, image_w=640, x=ragged[i].T, bbox=boxes[i], num_bbox=len(boxes[i])), "npz")
    good(mcan + ["--features-dataset", "x", "--layout", "nccells", "--boxes-dataset", "bbox"], ragged, boxes)
    good(folder(lambda p, i: save(p, x=np.ascontiguousarray(ragged[i].T), b=boxes[i].T), "npz") +
         ["--features-dataset", "x", "--layout", "nccells", "--boxes-dataset", "b"], ragged, boxes)
    good(folder(lambda p, i: save(p, grid[i]), "npz") + on_grid, flat, grid_of=(H, W))  # the only array, arr_0
    good(folder(lambda p, i: save(p, x=flat[i].astype("f2")), "npz") + ["--layout", "ncellsc", "--grid", f"{H}x{W}"],
         flat, grid_of=(H, W))
sized = folder(lambda p, i: np.savez(p, x=ragged[i], b=boxes[i] * np.array([64, 32, 64, 32], "f4"), w=64, h=np.float32(32)), "npz")
sized += ["--features-dataset", "x", "--layout", "ncellsc", "--boxes-dataset", "b"]
good(sized + ["--image-sizes", "w,h"], ragged, boxes)
# raw numbers
good(folder(lambda p, i: grid[i].tofile(p), "bin") + ["--shape", f"{H}x{W}x{C}"], flat, grid_of=(H, W))
good(folder(lambda p, i: ragged[i].tofile(p), "bin") + ["--shape", f"*x{C}", "--layout", "ncellsc"], ragged)
good(folder(lambda p, i: ragged[i].T.astype("f2").tofile(p), "bin") +
     ["--shape", f"{C}x*", "--layout", "nccells", "--raw-dtype", "f16"], ragged)


def bf16(x):
    return (x.view("u4") >> 16).astype("u2")


exact = [(bf16(x).astype("u4") << 16).view("f4") for x in ragged]
good(folder(lambda p, i: bf16(ragged[i]).tofile(p), "bin") +
     ["--shape", f"*x{C}", "--layout", "ncellsc", "--raw-dtype", "bf16"], exact, dtypes=("f32",))


def safetensors(path, **tensors):
    """As safetensors.numpy.save_file writes it."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, array) in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(len(text).to_bytes(8, "little") + text + data)


tensor = ["--features", "all.safetensors"]
number = np.array(ids)
for dtype, kind in (("F32", "f4"), ("F16", "f2"), ("F64", "f8")):
    safetensors("all.safetensors", ids=("I64", number), features=(dtype, grid.astype(kind)))
    good(tensor + on_grid, flat, grid_of=(H, W))
safetensors("all.safetensors", f=("F32", grid.transpose(0, 3, 1, 2)), n=("U16", number.astype("u2")))
good(tensor + ["--features-dataset", "f", "--ids-dataset", "n", "--layout", "nchw"], flat, grid_of=(H, W))
open("names.txt", "w").write("".join(f"COCO_val2014_{i:012d}.jpg\n" for i in ids))
ends = np.cumsum([len(x) for x in ragged])
safetensors("all.safetensors", image_features=("F32", np.concatenate(ragged)), image_bb=("F32", np.concatenate(boxes)),
            pos_boxes=("I32", np.stack([ends - [len(x) for x in ragged], ends], 1).astype("i4")))
good(tensor + ["--features-dataset", "image_features", "--layout", "ragged", "--boxes-dataset", "image_bb",
               "--ids", "names.txt", "--names", "COCO_*_%012d.jpg"], ragged, boxes)
safetensors("all.safetensors", features=("F32", np.concatenate(ragged)), ids=("I64", number), w=("I32", np.full(N, 64, "i4")),
            h=("F32", np.full(N, 32, "f4")), b=("F32", np.concatenate(boxes) * np.array([64, 32, 64, 32], "f4")),
            pos_boxes=("I32", np.stack([ends - [len(x) for x in ragged], ends], 1).astype("i4")))
good(tensor + ["--layout", "ragged", "--boxes-dataset", "b", "--image-sizes", "w,h"], ragged, boxes)
safetensors("all.safetensors", features=("BF16", bf16(np.concatenate(ragged))), ids=("I32", number.astype("i4")),
            pos_boxes=("I64", np.stack([ends - [len(x) for x in ragged], ends], 1)))
good(tensor + ["--layout", "ragged"], exact, dtypes=("f32",))

# Several sources, the images of one behind those of the other; and a store, with all it has or with the names of files.
def part(name, first, end, channels=C, **more):
    safetensors(name, ids=("I64", number[first:end]), features=("F32", np.ones((end - first, H, W, channels), "f4") if channels != C
                                                                 else grid[first:end]), **more)
    return ["--features", name]


halves = part("a.safetensors", 0, 3) + part("b.safetensors", 3, 4)
shutil.rmtree("files", ignore_errors=True)
os.mkdir("files")
for i in range(4, N):
    np.save(f"files/{ids[i]}.npy", grid[i].astype("f2"))
good(halves + ["--features", "files"] + on_grid, flat, grid_of=(H, W))
bounds = np.stack([ends - [len(x) for x in ragged], ends], 1)
for name, rows in (("a", slice(0, 2)), ("b", slice(2, N))):
    cut = bounds[rows]
    first, last = cut[0, 0], cut[-1, 1]
    safetensors(f"{name}.safetensors", f=("F32", np.concatenate(ragged)[first:last]), b=("F32", np.concatenate(boxes)[first:last]),
                pos_boxes=("I64", cut - first))
    open(f"{name}.txt", "w").write("".join(f"COCO_{name}_{i:012d}.jpg\n" for i in ids[rows]))
both = ["--features", "a.safetensors", "--features", "b.safetensors", "--ids", "a.txt", "--ids", "b.txt",
        "--features-dataset", "f", "--layout", "ragged", "--boxes-dataset", "b", "--names", "COCO_*_%012d.jpg"]
good(both, ragged, boxes)
for encoding in ("raw", "sparse"):
    done = run("images", *both, "--encoding", encoding, "--dtype", "f32")
    assert done.returncode == 0, done.stderr
    good(["--features", "images"], ragged, boxes)
    shutil.rmtree("images")
json.dump([{"image_id": f"COCO_x_{i:012d}", "question": "What?", "question_id": i} for i in ids], open("q2.json", "w"))
safetensors("all.safetensors", features=("F32", grid))
open("names.txt", "w").write("".join(f"COCO_x_{i:012d}\n" for i in ids))
done = subprocess.run([hanps, "data", "import", "vqa", "--questions", "q2.json", "--out", "images", *tensor, "--ids", "names.txt"],
                      capture_output=True, text=True)
assert done.returncode == 0, done.stderr
good(["--features", "images", "--names", "COCO_*_%012d"], flat, grid_of=(H, W))
# README's way to VQA-CP: a store for each of COCO's halves, whose images are named alike but for the half.
halves = []
for half, rows in (("train2014", slice(0, 3)), ("val2014", slice(3, N))):
    names = [f"COCO_{half}_{i:012d}" for i in ids[rows]]
    json.dump([{"image_id": n, "question": "What?", "question_id": k} for k, n in enumerate(names)], open("half.json", "w"))
    safetensors("half.safetensors", features=("F32", grid[rows]))
    open("half.txt", "w").write("\n".join(names))
    done = subprocess.run([hanps, "data", "import", "vqa", "--questions", "half.json", "--out", half, "--features", "half.safetensors",
                           "--ids", "half.txt", "--names", "%s"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    halves += ["--features", half]
good(halves + ["--names", "COCO_*_%012d"], flat, grid_of=(H, W))

# CLEVR's questions about features whose row is the image's index within its split.
os.makedirs("clevr/questions")
programs = {"count": "count", "query_color": "query attribute", "equal_integer": "compare integer", "exist": "exist"}
asked = {"train": [(i, f) for i in range(4) for f in programs], "val": [(1, "count"), (2, "exist")], "test": [(0, "")]}
for split, rows in asked.items():
    json.dump({"info": {}, "questions": [
        {"split": split, "image_index": i, "image_filename": f"CLEVR_{split}_{i:06d}.png", "question_index": k, "question": f"Is {i} it; a {f}?",
         **({"answer": f"{i % 2} {f}", "program": [{"function": "scene"}, {"function": f}]} if f else {})}
        for k, (i, f) in enumerate(rows)]}, open(f"clevr/questions/CLEVR_{split}_questions.json", "w"))
clevr_features = []
for split, rows in (("train", slice(0, 4)), ("val", slice(1, 4)), ("test", slice(5, 7))):
    safetensors(f"{split}.safetensors", features=("F32", grid[rows].transpose(0, 3, 1, 2)))
    clevr_features += ["--features", f"{split}.safetensors"]


def clevr(*options):
    return subprocess.run([hanps, "data", "import", "clevr", "clevr", *options, "--layout", "nchw", "--ids-dataset", "", "--tokenizer", "iep"],
                          capture_output=True, text=True)


done = clevr(*clevr_features, "--out", "store")
assert done.returncode == 0 and subprocess.run([hanps, "data", "verify", "store"], capture_output=True).returncode == 0, done.stderr
store = Store("store")
m = store.manifest
assert [(s.name, s.count) for s in m.split] == [("train", 16), ("val", 2), ("test", 1)] and m.images == 9 and m.metric == 1
names = [bytes(store.get("names", i)).decode() for i in range(9)]
for n in range(19):
    q, (split, (i, f)) = store.question(n), [(s, r) for s, rows in asked.items() for r in rows][n]
    assert names[q.image] == f"CLEVR_{split}_{i:06d}.png" and q.text == f"Is {i} it; a {f}?"
    assert (store.features(q.image) == grid[{"train": 0, "val": 1, "test": 5}[split] + i].reshape(-1, C)).all()
    assert (q.question_type, q.answer_type, q.target) == ((f, programs[f], f"{i % 2} {f}") if f else ("", "", ""))
    assert (m.answer[q.label] == q.target) if f else q.label == -1
assert ";" in m.word and "Is" in m.word
json.dump([{"question_id": n, "answer": store.question(n).target if n % 4 else "x"} for n in range(16)], open("r.json", "w"))
done = subprocess.run([hanps, "score", "r.json", "--store", "store", "--split", "train", "--json", "s.json"], capture_output=True, text=True)
got = json.load(open("s.json"))
assert done.returncode == 0 and got["overall"] == 75 and got["per_answer_type"] == {
    "compare integer": 100, "count": 0, "exist": 100, "query attribute": 100}, (done.stderr, got)
shutil.rmtree("store")

# ---- what is wrong ----
bad_count = 0
for options, says in ((clevr_features[:4], "clevr, record 1 (question_id 0): image CLEVR_test_000000.png has no features in train.safetensors and the others"),
                      (clevr_features + ["--features", "images"], "one each for train, val and test"),
                      (clevr_features + ["--split", "dev"], "are for vqa"), (["--features-dataset", "x"], "one each")):
    done = clevr(*options, "--out", "refused")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr and not os.path.exists("refused"), done.stderr
done = clevr(*clevr_features[:4], "--out", "store", "--missing-images", "skip")
assert done.returncode == 0 and [(s.name, s.count) for s in Store("store").manifest.split] == [("train", 16), ("val", 2), ("test", 0)]
shutil.rmtree("store")


def bad(says, *options):
    global bad_count
    done = run("refused", *options)
    lines = done.stderr.strip().split("\n")
    assert done.returncode == 2 and len(lines) == 1, (says, done.returncode, done.stderr)
    for part in says if isinstance(says, tuple) else (says,):
        assert part in lines[0], (part, lines[0])
    assert not os.path.exists("refused"), says
    shutil.rmtree("refused.partial", ignore_errors=True)
    bad_count += 1


npz = folder(lambda p, i: np.savez(p, x=ragged[i]), "npz") + ["--features-dataset", "x", "--layout", "ncellsc"]
whole = open("files/30.npz", "rb").read()


def with_file(data):
    open("files/30.npz", "wb").write(data)
    return npz


for n in (0, 3, 21, 60, len(whole) // 2, len(whole) - 1):
    bad("files/30.npz: ", *with_file(whole[:n]))
bad(("files/30.npz", "CRC"), *with_file(whole.replace(ragged[2].tobytes(), ragged[2][::-1].tobytes())))
bad(("files/10.npz", "no array 'y'; it has: x"), *with_file(whole), "--features-dataset", "y")
bad(("files/10.npz", "no array 'bbox'; it has: x"), *npz, "--boxes-dataset", "bbox")


def zip_of(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members:
            z.writestr(name, data)
    return out.getvalue()


def npy_of(array=None, header=None):
    out = io.BytesIO()
    if array is not None:
        np.save(out, array)
        return out.getvalue()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


bad(("30.npz", "no array 'x'; it has: ../../x, ../x"),
    *with_file(zip_of([("../../x.npy", npy_of(ragged[2])), ("../x.npy", b"1")])))
assert not os.path.exists("../x.npy") and not os.path.exists("x.npy")
bad(("30.npz", "truncated"), *with_file(zip_of([("x.npy", npy_of(header="{'descr': '<f4', 'fortran_order': False, "
                                                                  "'shape': (9999999, 12), }"))])))
bad(("30.npz", "not understood"), *with_file(zip_of([("x.npy", npy_of(header="{'descr': '<f4', 'fortran_order': False, "
                                              "'shape': (4294967296, 4294967296, 12), }"))])))
bad(("30.npz", "'<i4', expected '<f2', '<f4' or '<f8'"), *with_file(zip_of([("x.npy", npy_of(ragged[2].astype("i4")))])))
bad(("30.npz", "not understood"), *with_file(zip_of([("x.npy", npy_of(np.array([{}], dtype=object)))])))
bad(("30.npz", "neither stored nor deflated"), *with_file(zip_of([("x.npy", npy_of(ragged[2]))], zipfile.ZIP_BZIP2)))
bad(("30.npz", "cells of 13 channels, the first file has"), *with_file(zip_of([("x.npy", npy_of(np.ones((2, 13), "f4")))])))
bad(("30.npz", "3 axes an image; layout ncellsc has 2"), *with_file(zip_of([("x.npy", npy_of(np.ones((2, 2, 12), "f4")))])))
bad(("image 30", "cell 1, channel 2: inf is no finite number"),
    *with_file(zip_of([("x.npy", npy_of(np.where(np.arange(24).reshape(2, 12) == 14, np.inf, 1).astype("f4")))])))
bomb = bytearray(zip_of([("x.npy", npy_of(ragged[2]))], zipfile.ZIP_DEFLATED))
at = bomb.rindex(b"PK\x01\x02")
bomb[at + 24:at + 28] = (1 << 30).to_bytes(4, "little")  # says that it inflates to a gigabyte
bad("files/30.npz: ", *with_file(bytes(bomb)))
with_file(whole)
os.mkfifo("files/80.npz")
bad("80.npz is no file", *npz)
os.remove("files/80.npz")
bad("pattern '../%d.npz'", *npz, "--names", "../%d.npz")
sized = folder(lambda p, i: np.savez(p, x=ragged[i], b=boxes[i], w=64 if i != 1 else -3, h=32), "npz")
sized += ["--features-dataset", "x", "--layout", "ncellsc", "--boxes-dataset", "b"]
bad(("image 20: a width of 0, a height of 32"), *sized, "--image-sizes", "w,h")
bad(("files/10.npz: no array 'y'"), *sized, "--image-sizes", "w,y")
bad(("files/10.npz: 'x' is no single number"), *sized, "--image-sizes", "w,x")
bad("--image-sizes w: ", *sized, "--image-sizes", "w")
raw = folder(lambda p, i: ragged[i].tofile(p), "bin")
bad(("10.bin", f"{3 * C * 4} bytes, a multiple of 52 of f32"), *raw, "--shape", "*x13", "--layout", "ncellsc")
bad(("10.bin", "of f32 are expected"), *raw, "--shape", "4x12", "--layout", "ncellsc")
for shape in ("36", "x", "*x*", "0x12", "36x", "4x12x1x1", "-1x12", "99999999999x2"):
    bad(f"--shape {shape}: ", *raw, "--shape", shape)
bad("--raw-dtype u8", *raw, "--raw-dtype", "u8")
bad("is for a folder", *tensor, "--shape", "4x12")

boxed = folder(lambda p, i: np.savez(p, x=ragged[i], b=boxes[i] if i != 4 else np.ones((3, 4))), "npz")
bad(("files/50.npz", "'b' has no box for each of 2 cells"), *boxed, "--features-dataset", "x", "--layout", "ncellsc",
    "--boxes-dataset", "b")
safetensors("all.safetensors", ids=("I64", number), features=("F32", grid), w=("I64", number), b=("F32", grid[:, :, :, :4]))
whole = open("all.safetensors", "rb").read()
for n in (0, 5, 8, 30, len(whole) - 200, len(whole) - 1):
    open("all.safetensors", "wb").write(whole[:n])
    bad("all.safetensors", *tensor)
for header in (b"{}", b"[]", b"{" * 5000, b'{"features": 1}', b'{"features": {"dtype": "F32", "shape": [7, 2, 3, 12]}}',
               b'{"features": {"dtype": "F32", "shape": [7, 2, 3, 12], "data_offsets": [0, 99999]}}',
               b'{"features": {"dtype": "F32", "shape": [4294967296, 4294967296, 3, 12], "data_offsets": [0, 0]}}',
               b'{"features": {"dtype": "F32", "shape": [-1, 2, 3, 12], "data_offsets": [8, 0]}}',
               b'{"features": {"dtype": "Q32", "shape": [1, 2, 3, 12], "data_offsets": [0, 288]}}',
               b'{"features": {"dtype": "I32", "shape": [1, 2, 3, 1], "data_offsets": [0, 24]}}', b'{"a\x00b"}'):
    open("all.safetensors", "wb").write(len(header).to_bytes(8, "little") + header + bytes(300))
    bad("all.safetensors", *tensor)
open("all.safetensors", "wb").write((1 << 62).to_bytes(8, "little") + b"{}" + bytes(300))
bad("no length of a safetensors header", *tensor)
open("all.safetensors", "wb").write(whole)
bad(("all.safetensors", "no tensor 'x'; it has: ids, features, w, b"), *tensor, "--features-dataset", "x")
bad("no tensor 'nr'", *tensor, "--ids-dataset", "nr")
bad("ids for 7 images", *tensor, "--ids-dataset", "features")
bad("layout ncellsc has 2", *tensor, "--layout", "ncellsc")
bad("is of I64, expected F16", *tensor, "--layout", "ragged", "--features-dataset", "w")
bad("has no box for each cell", *tensor, "--boxes-dataset", "b")
for ranges in ([[0, 3]] * 6 + [[3, 99]], [[0, 3]] * 6 + [[3, 3]], [[0, 3]] * 6 + [[-1, 3]], [[0, 1 << 62]] * 7):
    safetensors("all.safetensors", ids=("I64", number), features=("F32", flat[0]), pos_boxes=("I64", np.array(ranges)))
    bad(("all.safetensors: 'pos_boxes', row", "empty, too large or outside"), *tensor, "--layout", "ragged")
safetensors("all.safetensors", features=("F32", grid))
open("names.txt", "w").write("1\n2\n1\n")
bad(("names.txt", "id 1 stands at row 0 and again at row 2"), *tensor, "--ids", "names.txt")
open("names.txt", "w").write("1\n2\n")
bad("names.txt has 2 ids for 7 images", *tensor, "--ids", "names.txt")
one = part("one.safetensors", 0, 3)
bad("image 30 is in one.safetensors and in two.safetensors", *one, *part("two.safetensors", 2, N))
bad("one.safetensors and two.safetensors have different numbers of channels", *one, *part("two.safetensors", 3, N, C + 1))
bad(("image 40 has no features in one.safetensors and the others", "2 images"), *one, *part("two.safetensors", 5, N))
bad("No such file", *one, "--features", "none.safetensors")
hurt = grid.copy()
hurt[5, 1, 1, 3] = np.nan
safetensors("two.safetensors", ids=("I64", number[3:]), features=("F32", hurt[3:]))
bad(("two.safetensors: image 60, cell 4, channel 3: nan is no finite number"), *one, "--features", "two.safetensors")
bad("--ids: 1 files for 2 --features", *one, *one, "--ids", "names.txt")
bad("--features: at most 16", *(one * 17))
bad("images is a store: a shape cannot be given", "--features", "images", "--shape", "2x2")
bad("images is a store: a file of ids cannot be given", "--features", "images", "--ids", "names.txt")
bad("image 10 has no features in images", "--features", "images")
assert run("bare").returncode == 0
bad("bare is a store without features", "--features", "bare")
data = bytearray(open("images/manifest.pb", "rb").read())
data[40] ^= 1
open("images/manifest.pb", "wb").write(data)
bad("images", "--features", "images")
# HDF5: contiguous, by the library itself; damaged, it is refused with one line or read, whatever the library thinks.
generator = [sys.executable, os.path.join(sys.argv[2], "tests/bench/gen_features.py")]
if subprocess.run([*generator, "all.h5", "4", "3", "5"], capture_output=True).returncode == 0:
    hdf5 = ["--features", "all.h5", "--layout", "ncellsc", "--questions", "all.h5.json"]
    whole = open("all.h5", "rb").read()
    outcome = set()
    for i in range(60):
        data = bytearray(whole)
        for _ in range(1 + i % 3):
            data[int(r.integers(len(data)))] ^= 1 << int(r.integers(8))
        open("all.h5", "wb").write(data if i else whole)
        done = subprocess.run([hanps, "data", "import", "vqa", "--out", "store", *hdf5], capture_output=True, text=True)
        assert done.returncode == 0 if i == 0 else done.returncode in (0, 2), (i, done.returncode, done.stderr)
        assert done.stderr.count("\n") == (done.returncode == 2), (i, done.stderr)
        assert done.returncode == 0 or "all.h5" in done.stderr or "has no features" in done.stderr, done.stderr
        assert os.path.exists("store") == (done.returncode == 0)
        outcome.add(done.returncode)
        shutil.rmtree("store", ignore_errors=True)
        shutil.rmtree("store.partial", ignore_errors=True)
    assert outcome == {0, 2}, outcome
print(count, "stores read back,", bad_count, "inputs refused")
END
PYTHONPATH="$work" /usr/bin/python3 "$work/run.py" "$work" "$PWD"
