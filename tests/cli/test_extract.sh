# hanps extract: a model over extracted features answers as the whole model does over pixels.
work= # set there
. tests/support/run.sh
cnn=("--set=model.image.trunk=cnn" "--set=model.image.filters=[6,8,12]" --set=model.attention.cells=9)
"$HANPS" train "$work/config.yaml" --run "$work/run" "${cnn[@]}" >"$work/out" 2>&1 || fail "train: $(cat "$work/out")"
logits() { # file, then settings
    file=$1
    shift
    "$HANPS" eval "$work/run" --split train --predictions "$work/$file.jsonl" --logits "$@" >"$work/out" 2>&1 ||
        fail "eval $file: $(cat "$work/out")"
}
over=(--set model.image.trunk=features --set data.feature_norm=none)
logits pixels
for dtype in f16 f32; do
    "$HANPS" extract "$work/run" --out "$work/$dtype" --dtype $dtype --batch 7 --keep-pixels >"$work/out" 2>&1 ||
        fail "extract: $(cat "$work/out")"
    grep -q '10 x 10 cells of 12 channels, of step 24' "$work/out" || fail "extract says: $(cat "$work/out")"
    "$HANPS" data verify "$work/$dtype" >"$work/out" 2>&1 || fail "verify: $(cat "$work/out")"
    logits $dtype "${over[@]}" --set data.store="$work/$dtype"
done
/usr/bin/python3 - "$work" <<'END' || fail "the logits differ"
import json, sys
def read(name):
    lines = map(json.loads, open(f"{sys.argv[1]}/{name}.jsonl"))
    return {l["question_id"]: l for l in lines}
whole = read("pixels")
assert len(whole) == 800
scale = max(max(map(abs, l["logits"])) for l in whole.values())
for name, rounding in (("f32", 1e-5), ("f16", 4e-3)):
    worst, moved = 0, 0
    for key, line in read(name).items():
        if line["cells"] != whole[key]["cells"]: # a tie that rounding decides otherwise
            moved += 1
            continue
        worst = max(worst, *(abs(a - b) for a, b in zip(line["logits"], whole[key]["logits"])))
    print(name, "off by", worst, "of", scale, "; other cells in", moved)
    assert worst <= rounding * scale and moved <= (0 if name == "f32" else 40)
    assert (worst > 0) == (name == "f16") or name == "f32"
END

# It trains; and the masks have the pixels that were kept.
"$HANPS" train "$work/config.yaml" --run "$work/features" --set data.store="$work/f16" "${over[@]}" \
    >"$work/out" 2>&1 || fail "train on features: $(cat "$work/out")"
"$HANPS" masks "$work/features" --count 2 >"$work/out" 2>&1 || fail "masks: $(cat "$work/out")"
# Other questions about other images of the same size: only the trunk is the run's.
"$HANPS" data synth sort-of-clevr --out "$work/other" --images 3 --valid 0 --test 2 --features none >"$work/out" 2>&1
"$HANPS" extract "$work/run" --store "$work/other" --out "$work/others" >"$work/out" 2>&1 || fail "$(cat "$work/out")"
"$HANPS" data info "$work/others" >"$work/out"
grep -q 'pixels' "$work/out" && fail "pixels were kept: $(cat "$work/out")"
grep -q '5 images, 100 questions' "$work/out" || fail "info: $(cat "$work/out")"

bad "a run with a cnn is needed" extract "$work/features" --out "$work/x"
bad "--out STORE is needed" extract "$work/run"
bad "exists" extract "$work/run" --out "$work/f16"
bad "allowed are f16, bf16, f32" extract "$work/run" --out "$work/x" --dtype u8
[ ! -e "$work/x" ] || fail "a store that nobody asked for"
exit 0
