#!/usr/bin/env python3
"""Features of a folder of pictures, written as a store: ResNet-101's last convolutional layer over 320x320 pixels, 10x10
cells of 2048 channels, or any layer of any torchvision model.

    deploy/extract_features.py pictures/ --out data/features
    hanps data import vqa --questions ... --features data/features --names 'COCO_*_%012d' --out data/vqa

Needs torch, torchvision, pillow, and what deploy/hanps_store.py needs. What is interrupted goes on where it was when the
same command is given again.
"""
import argparse
import json
import os
import sys

import numpy as np
import torch
import torchvision

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hanps_store

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", help="PNG or JPEG files; an image's id is its name without the ending")
parser.add_argument("--out", required=True, help="the store; must not exist. With --npy a folder of .npy files")
parser.add_argument("--npy", action="store_true", help="write .npy files [height, width, channels], for 'hanps data import'")
parser.add_argument("--model", default="resnet101", help="a torchvision model (resnet101)")
parser.add_argument("--layer", default="layer4", help="the module whose output is taken (layer4)")
parser.add_argument("--weights", default="DEFAULT", help="torchvision's name, a .pth file, or random (DEFAULT)")
parser.add_argument("--size", type=int, default=320, help="pictures become SIZE x SIZE pixels (320)")
parser.add_argument("--dtype", default="f2", choices=["f2", "f4"], help="numbers in the store (f2)")
parser.add_argument("--batch", type=int, default=8, help="pictures at once (8)")
parser.add_argument("--seed", type=int, default=1, help="of random weights (1)")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def stop(text):
    print(f"extract_features: {text}", file=sys.stderr)
    sys.exit(2)


def build(args):
    torch.manual_seed(args.seed)
    known = args.weights not in ("random",) and not os.path.exists(args.weights)
    if args.model not in torchvision.models.list_models(module=torchvision.models):
        stop(f"--model {args.model}: torchvision has no such model")
    try:
        model = torchvision.models.get_model(args.model, weights=args.weights if known else None)
    except (ValueError, KeyError) as error:
        stop(f"--weights {args.weights}: {str(error).splitlines()[0]}")
    if os.path.exists(args.weights):
        model.load_state_dict(torch.load(args.weights, map_location="cpu", weights_only=True))
    modules = dict(model.named_modules())
    if args.layer not in modules:
        stop(f"--layer {args.layer}: allowed are " + ", ".join(n for n in list(modules)[1:] if "." not in n) + ", and their parts")
    caught = {}

    class Enough(Exception):
        pass

    def catch(module, inputs, output):
        caught["output"] = output
        raise Enough

    modules[args.layer].register_forward_hook(catch)
    model.eval().to(args.device)

    def run(pixels):
        try:
            with torch.no_grad():
                model(pixels.to(args.device))
        except Enough:
            pass
        out = caught["output"]
        if not torch.is_tensor(out) or out.dim() != 4:
            stop(f"--layer {args.layer}: its output is no grid of cells")
        return out.permute(0, 2, 3, 1).float().cpu().numpy()  # [images, height, width, channels]

    return run


def load(path, size):
    from PIL import Image
    try:
        picture = Image.open(path).convert("RGB").resize((size, size), Image.BILINEAR)
    except OSError as error:
        stop(f"{path}: {error}")
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    return (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def main():
    args = parser.parse_args()
    if not os.path.isdir(args.folder):
        stop(f"{args.folder}: no such folder")
    files = sorted(f for f in os.listdir(args.folder) if f.lower().endswith((".png", ".jpg", ".jpeg")))
    names = [os.path.splitext(f)[0] for f in files]
    if not files or len(set(names)) != len(names):
        stop(f"{args.folder}: " + ("no PNG or JPEG file" if not files else "two files with one name"))
    if os.path.exists(args.out) and not args.npy:
        stop(f"{args.out}: exists already")
    run, partial = build(args), args.out + ".partial"
    batch = lambda at: run(torch.stack([load(os.path.join(args.folder, f), args.size) for f in files[at:at + args.batch]]))
    if args.npy:
        os.makedirs(args.out, exist_ok=True)
        todo = [i for i, n in enumerate(names) if not os.path.exists(os.path.join(args.out, n + ".npy"))]
        files, names = [files[i] for i in todo], [names[i] for i in todo]
        for at in range(0, len(files), args.batch):
            for name, cells in zip(names[at:], batch(at)):
                with open(os.path.join(args.out, name + ".part"), "wb") as out:
                    np.save(out, cells.astype("<" + args.dtype))
                os.rename(out.name, os.path.join(args.out, name + ".npy"))
        return print(f"{args.out}: {len(files)} pictures")
    identity = json.dumps([vars(args)[k] for k in ("model", "layer", "weights", "size", "dtype", "seed")] + names)
    mark = partial + "/extract.json"
    resume = os.path.exists(mark)
    if resume and open(mark).read() != identity:
        stop(f"{partial} was begun with other options or pictures: remove it")
    height, width, channels = run(torch.zeros(1, 3, args.size, args.size)).shape[1:]
    store = hanps_store.Writer(args.out, args.dtype, (height, width), channels=channels, resume=resume,
                               command="extract_features " + " ".join(sys.argv[1:]), sources=[args.folder])
    if not resume:
        with open(mark, "w") as out:
            out.write(identity)
    kept = store.images
    with store:
        for at in range(kept, len(files), args.batch):
            for name, cells in zip(names[at:], batch(at)):
                store.image(name, features=cells.reshape(-1, channels))
            store.commit()
            if sys.stderr.isatty():
                print(f"\r{min(at + args.batch, len(files))} of {len(files)}", end="", file=sys.stderr)
        os.remove(mark)
    print(f"{args.out}: {len(files)} images of {height}x{width} cells, {channels} channels" + (f" ({kept} kept)" if kept else ""))


if __name__ == "__main__":
    main()
