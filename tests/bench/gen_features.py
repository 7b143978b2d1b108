#!/usr/bin/env python3
"""Write features of any number of images, and a question about each: gen_features.py FILE [IMAGES [CELLS CHANNELS]]

FILE ends in .h5 (contiguous HDF5, by the library through ctypes) or .safetensors; the questions are FILE.json. fp32
after a ReLU: 89 % zeros. For measuring imports; 123,287 images of 100 x 2048 are 101 GB, 5,000 are 4.1 GB:

    tests/bench/gen_features.py /big/f.h5 5000
    sync; echo 3 > /proc/sys/vm/drop_caches     # as root, to read from the disk
    /usr/bin/time -v build/hanps data import vqa --questions /big/f.h5.json --features /big/f.h5 --layout ncellsc \\
        --out /big/store [--encoding auto]
    dd if=/big/f.h5 of=/big/copy bs=4M conv=fsync     # what the disk can do
"""
import array
import ctypes
import ctypes.util
import json
import random
import sys

name, images = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5000
cells, channels = (int(sys.argv[3]), int(sys.argv[4])) if len(sys.argv) > 4 else (100, 2048)


def hdf5():
    """Makes the file with room for its arrays; returns where the features and the ids begin."""
    found = ctypes.util.find_library("hdf5_serial") or ctypes.util.find_library("hdf5")
    lib = ctypes.CDLL(found or sys.exit("no libhdf5"))
    hid = ctypes.c_int64
    for function in ("H5Fcreate", "H5Screate_simple", "H5Dcreate2", "H5Pcreate"):
        getattr(lib, function).restype = hid
    lib.H5Dget_offset.restype = ctypes.c_uint64
    lib.H5open()
    glob = lambda variable: hid.in_dll(lib, variable)
    file = hid(lib.H5Fcreate(name.encode(), 2, hid(0), hid(0)))  # 2: H5F_ACC_TRUNC
    create = hid(lib.H5Pcreate(glob("H5P_CLS_DATASET_CREATE_ID_g")))
    lib.H5Pset_alloc_time(create, 1)  # early
    lib.H5Pset_fill_time(create, 1)  # never
    places = []
    for dataset, shape, kind in (("features", (images, cells, channels), "H5T_IEEE_F32LE_g"), ("ids", (images,), "H5T_STD_I64LE_g")):
        space = hid(lib.H5Screate_simple(len(shape), (ctypes.c_uint64 * len(shape))(*shape), None))
        data = hid(lib.H5Dcreate2(file, dataset.encode(), glob(kind), space, hid(0), create, hid(0)))
        places.append(lib.H5Dget_offset(data))
        lib.H5Dclose(data)
    lib.H5Fclose(file)
    return places


def safetensors():
    size = images * cells * channels * 4
    header = json.dumps({"features": {"dtype": "F32", "shape": [images, cells, channels], "data_offsets": [0, size]},
                         "ids": {"dtype": "I64", "shape": [images], "data_offsets": [size, size + 8 * images]}}).encode()
    header += b" " * (-len(header) % 8)
    with open(name, "wb") as out:
        out.write(len(header).to_bytes(8, "little") + header)
    return 8 + len(header), 8 + len(header) + size


random.seed(1)
features, ids = safetensors() if name.endswith(".safetensors") else hdf5()
numbers = array.array("f", (max(0.0, random.gauss(-1.2265, 1)) for _ in range(cells * channels + 4096)))
with open(name, "r+b") as out:
    out.seek(features)
    for i in range(images):  # other numbers for each image
        first = i * 7 % 4096
        out.write(numbers[first:first + cells * channels].tobytes())
    out.seek(ids)
    out.write(array.array("q", range(1, images + 1)).tobytes())
with open(name + ".json", "w") as out:
    json.dump([{"image_id": i + 1, "question": "What is it?", "question_id": i} for i in range(images)], out)
