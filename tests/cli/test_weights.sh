#!/bin/bash
# hanps export's description and hanps import-weights: a run that answers like the one it came from and goes on;
# what is no file of its weights.
work= # set there
. tests/support/run.sh

"$HANPS" train "$work/config.yaml" --run "$work/run" >"$work/out" 2>&1 || fail "train: $(cat "$work/out")"
"$HANPS" export "$work/run" --format safetensors --out "$work/m.safetensors" >"$work/out" || fail "export"
"$HANPS" import-weights "$work/m.safetensors" --run "$work/new" >"$work/out" || fail "import"
"$HANPS" checkpoint verify "$work/new" >"$work/out" || fail "verify: $(cat "$work/out")"
for r in run new; do
    "$HANPS" eval "$work/$r" --json "$work/$r.json" --results "$work/$r.results" >"$work/out" || fail "eval $r"
done
cmp "$work/run.results" "$work/new.results" || fail "other answers"
python3 - "$work" <<'END' || fail "description or accuracies"
import json, sys
work = sys.argv[1]
a, b = (json.load(open(f"{work}/{r}.json")) for r in ("run", "new"))
assert (a["step"], b["step"]) == (24, 0)
for r in (a, b):
    del r["step"], r["seconds"]
assert a == b, (a, b)
about = json.load(open(work + "/m.safetensors.json"))
assert about["hanps_model"] == 1 and about["weights"] == "m.safetensors" and about["step"] == 24
assert about["config"]["model.attention.cells"] == 16 and about["config"]["data.coords"] == "xy"
assert about["config"]["model.classifier.layers"] == [32] and about["config"]["data.shuffle"] is True
assert len(about["words"]) > 9 and len(about["answers"]) > 3 and about["tokenizer"]["possessive"] is True
assert about["image"]["grid_height"] == 10 and about["image"]["max_cells"] == 100
END
# From an .npz: the same weights, to the bit.
"$HANPS" export "$work/run" --format npz --out "$work/m.npz" >"$work/out" || fail "export"
"$HANPS" import-weights "$work/m.npz" --run "$work/zip" >"$work/out" || fail "import of an npz: $(cat "$work/out")"
same "$work/new" "$work/zip" "an npz and a safetensors file of the same run differ"
"$HANPS" export "$work/zip" --format npz --out "$work/z.npz" --weights-only >"$work/out" || fail "export"
cmp "$work/m.npz" "$work/z.npz" || fail "other weights than the run's"

"$HANPS" train --run "$work/new" --resume >"$work/out" 2>&1 || fail "resume: $(cat "$work/out")"
grep -q '"state":"done","step":24' "$work/new/status" || fail "it did not go on: $(cat "$work/new/status")"

# Another configuration is another model; the folder of a failed import is gone.
refuse() {
    bad "$@" --run "$work/x"
    [ ! -e "$work/x" ] || fail "$*: left a folder"
}
refuse "question.lstm.weight_ih_l0 is 64 x 8, the model's is 48 x 8" import-weights "$work/m.safetensors" \
    --set model.question.lstm=12
refuse "the model has no parameter 'question.mlp.1.weight'" import-weights "$work/m.safetensors" --set model.image.layers=1
refuse "No such file" import-weights "$work/none" --config "$work/config.yaml"
refuse "--config CONFIG is needed" import-weights "$work/none"
bad "exists" import-weights "$work/m.safetensors" --run "$work/run"
bad "--run RUN is missing" import-weights "$work/m.safetensors"
bad "weights-only" export "$work/run" --format npz --out "$work/y" --set data.store="$work/none"
[ ! -e "$work/y" ] || fail "an export without its description"
"$HANPS" export "$work/run" --format npz --out "$work/y" --weights-only --set data.store="$work/none" >"$work/out" || fail "only"
[ -e "$work/y" ] && [ ! -e "$work/y.json" ] || fail "weights only"

python3 - "$work" <<'END'
import json, struct, sys
work = sys.argv[1]
raw = open(work + "/m.safetensors", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
def write(name, head=head, data=data, text=None):
    text = json.dumps(head).encode() if text is None else text
    open(f"{work}/{name}.bad", "wb").write(struct.pack("<Q", len(text)) + text + data)
def change(name, **what):
    write(name, {**head, "question.mlp.0.bias": {**head["question.mlp.0.bias"], **what}})
begin, end = head["question.mlp.0.bias"]["data_offsets"]
write("missing", {k: v for k, v in head.items() if k != "question.mlp.0.bias"})
write("truncated", data=data[:-1])
write("nan", data=data[:begin + 8] + struct.pack("<f", float("nan")) + data[begin + 12:])
change("dtype", dtype="I32")
change("shape", shape=[2, 12])
change("negative", shape=[-24])
change("bytes", data_offsets=[begin, end - 4])
change("order", data_offsets=[end, begin])
change("huge", data_offsets=[begin, 2 ** 62])
write("deep", text=b'{"a":' + b"[" * 100000)
write("list", text=b"[1]")
write("json", text=b'{"a": ')
open(work + "/short.bad", "wb").write(b"abc")
open(work + "/header.bad", "wb").write(struct.pack("<Q", 2 ** 60) + b"{}")
half = {k: dict(v) if k != "__metadata__" else v for k, v in head.items()}
parts, at = [], 0
for k, v in half.items():
    if k != "__metadata__":
        b, e = v["data_offsets"]
        floats = struct.unpack(f"<{(e - b) // 4}f", data[b:e])
        parts.append(struct.pack(f"<{len(floats)}e", *floats))
        v["dtype"], v["data_offsets"] = "F16", [at, at + 2 * len(floats)]
        at += 2 * len(floats)
write("half", half, b"".join(parts))
END
for pair in "missing:no tensor 'question.mlp.0.bias'; it has: " "truncated:truncated: a tensor ends at byte" \
    "nan:question.mlp.0.bias: number 2 is not finite" "dtype:allowed are F32, F16, BF16" "shape:is 2 x 12, the model's is 24" \
    "negative:dtype, shape" "bytes:do not fit each other" "order:do not fit each other" "huge:truncated: a tensor ends" \
    "deep:nested too deeply" "list:no object" "json:parse error" "short:the first eight bytes" "header:no length"; do
    refuse "${pair#*:}" import-weights "$work/${pair%%:*}.bad" --config "$work/config.yaml"
done
refuse "no regular file" import-weights "$work" --config "$work/config.yaml"
"$HANPS" import-weights "$work/half.bad" --config "$work/config.yaml" --run "$work/half" >"$work/out" || fail "half floats"

python3 - "$work" <<'END'
import struct, sys, zipfile
work = sys.argv[1]
with zipfile.ZipFile(work + "/m.npz") as z:
    good = {name: z.read(name) for name in z.namelist()}
name = "question.mlp.0.weight.npy"
size = len(good[name]) - 24 * 16 * 4
numbers = good[name][size:]
floats = struct.unpack("<384f", numbers)
def npy(descr="<f4", order="False", shape="(24, 16)", numbers=numbers):
    head = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + numbers
def write(file, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(f"{work}/{file}.bad", "w", method) as z:
        for key, data in members.items():
            z.writestr(key, data)
def change(file, data):
    write(file, {**good, name: data})
write("packed", {"readme.txt": b"no array", **good, "bn.num_batches_tracked.npy": npy("<i8", "False", "()", b"\7" * 8)},
      zipfile.ZIP_DEFLATED)
change("half", npy("<f2", numbers=struct.pack("<384e", *floats)))
write("missing", {k: v for k, v in good.items() if k != name})
write("other", {**good, "a\nb.npy": npy()})
write("up", {**good, "../../up.npy": npy()})
write("root", {**good, "/etc/passwd.npy": npy()})
change("shape", npy(shape="(16, 24)"))
change("axes", npy(shape="(24, 16, 1)"))
change("scalar", npy(shape="()"))
change("fortran", npy(order="True"))
change("double", npy("<f8", numbers=struct.pack("<384d", *floats)))
change("whole", npy("<i4"))
change("big", npy(">f4"))
change("less", npy(numbers=numbers[:-4]))
change("more", npy(numbers=numbers + b"1234"))
change("nan", npy(numbers=numbers[:-4] + struct.pack("<f", float("nan"))))
change("text", b"no array")
change("axis", npy(shape="(99999999999999999999,)"))
write("none", {})
raw = open(work + "/m.npz", "rb").read()
at = raw.index(good[name]) + size + 100
for file, data in (("cut", raw[:-30]), ("middle", raw[:len(raw) // 2]), ("four", raw[:4]),
                   ("flipped", raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:])):
    open(f"{work}/{file}.bad", "wb").write(data)
END
for pair in "missing:no array 'question.mlp.0.weight'; it has: " "other:the model has no parameter 'a?b'" \
    "up:the model has no parameter '../../up'" "root:the model has no parameter '/etc/passwd'" \
    "shape:is 16 x 24, the model's is 24 x 16" "axes:is 24 x 16 x 1, the model's" "scalar:is one number" \
    "fortran:question.mlp.0.weight is in Fortran order" "double:dtype <f8; allowed are <f4, <f2" "whole:dtype <i4; allowed" \
    "big:dtype >f4; allowed" "less:bytes, expected" "more:bytes, expected" "nan:number 383 is not finite" \
    "text:question.mlp.0.weight: not a .npy file" "axis:header that is not understood" "cut:no directory at the end" \
    "middle:no directory at the end" "four:no directory at the end" "flipped:its CRC differs" "none:first eight bytes"; do
    refuse "${pair#*:}" import-weights "$work/${pair%%:*}.bad" --config "$work/config.yaml"
done
"$HANPS" import-weights "$work/packed.bad" --config "$work/config.yaml" --run "$work/packed" >"$work/out" || fail "deflated"
same "$work/zip" "$work/packed" "deflated arrays differ"
rm -rf "$work/half"
"$HANPS" import-weights "$work/half.bad" --config "$work/config.yaml" --run "$work/half" >"$work/out" || fail "an array of halves"
"$HANPS" checkpoint verify "$work/half" >"$work/out" || fail "verify: $(cat "$work/out")"
