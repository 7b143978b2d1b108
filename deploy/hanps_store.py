"""Stores of hanps in Python: a reader and a writer. docs/store.md describes the format.

Needs lmdb, numpy, protobuf and protoc; the writer also xxhash (Debian: python3-lmdb python3-numpy
python3-protobuf protobuf-compiler python3-xxhash).

    with Writer("data/mine", dtype="f2", grid=(10, 10), channels=2048) as out:
        for name, cells in features:            # [100, 2048]
            out.image(name, features=cells)
        out.words(["<unknown>", "is", "it", "red"])
        out.answers(["yes", "no"])
        out.split("train")
        out.question(question_id=1, image=0, text="Is it red?", token=[1, 2, 3], target="yes", label=0)
    store = Store("data/mine")
    store.features(0), store.question(0)
"""
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import lmdb
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK = 4 << 20
DTYPES = {"f2": 1, "f4": 2, "u1": 4}  # those that numpy has; hanps itself also has bf16
DATABASES = ("features", "pixels", "pictures", "boxes", "objects", "names", "questions", "columns", "hashes")
LETTERS = dict(features=b"F", pixels=b"P", pictures=b"I", boxes=b"B", objects=b"O", names=b"N", questions=b"Q")


def messages():
    """The classes of proto/store.proto, whatever the versions of protoc and of protobuf."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    folder = os.environ.get("HANPS_PROTO", os.path.join(HERE, ".."))
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "store.bin")
        subprocess.run(["protoc", "-I", folder, "--include_imports", "--descriptor_set_out=" + out,
                        os.path.join(folder, "proto/store.proto")], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(open(out, "rb").read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    make = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return [make(pool.FindMessageTypeByName("hanps." + n)) for n in ("StoreFile", "StoreManifest", "StoreQuestion")]


StoreFile, StoreManifest, StoreQuestion = messages()


def key(ordinal):
    return struct.pack(">I", ordinal)


class Store:
    """A store that is whole; records are read as they are asked for."""

    def __init__(self, path):
        file = StoreFile.FromString(open(path + "/manifest.pb", "rb").read())
        if file.version not in (1, 2):
            raise ValueError(f"{path}: a store of version {file.version}")
        self.manifest = StoreManifest.FromString(file.manifest)
        self.env = lmdb.open(path, readonly=True, lock=False, max_dbs=16)
        self.txn = self.env.begin(buffers=True)
        self.database = {}

    def get(self, database, k):
        if database not in self.database:
            self.database[database] = self.env.open_db(database.encode(), self.txn, create=False)
        return self.txn.get(key(k) if isinstance(k, int) else k, db=self.database[database])

    def features(self, image):
        """[cells, channels]"""
        m, record = self.manifest, self.get("features", image)
        dtype = np.dtype({1: "<f2", 2: "<f4", 3: "<u2", 4: "u1"}[m.feature_dtype])  # bf16: its bits
        if not m.feature_encoding:
            return np.frombuffer(record, dtype).reshape(-1, m.channels)
        form, cells, kept, _ = struct.unpack_from("<4I", record)
        count, at = cells * m.channels, 16
        out, keep = np.zeros(count, dtype), slice(None)
        if form == 1:
            words = -(-count // 64)
            keep = np.unpackbits(np.frombuffer(record, "u1", 8 * words, at), bitorder="little")[:count] == 1
            at += 8 * words
        out[keep] = np.frombuffer(record, dtype, kept, at)
        return out.reshape(cells, m.channels)

    def pixels(self, image):
        """[height, width, 3], 0 to 255"""
        return np.frombuffer(self.get("pixels", image), "u1").reshape(self.manifest.pixel_height, self.manifest.pixel_width, 3)

    def boxes(self, image):
        """[cells, 4]: x1, y1, x2, y2"""
        return np.frombuffer(self.get("boxes", image), "<f4").reshape(-1, 4)

    def objects(self, image):
        """[objects, 4]: x1, y1, x2, y2 in the image's pixels"""
        return np.frombuffer(self.get("objects", image), "<f4").reshape(-1, 4)

    def picture(self, image):
        """A PNG or JPEG file, or None."""
        record = self.get("pictures", image)
        return None if record is None else bytes(record)

    def name(self, image):
        return bytes(self.get("names", image)).decode()

    def question(self, number):
        return StoreQuestion.FromString(bytes(self.get("questions", number)))

    def labels(self):
        """Of all questions; -1: none."""
        return np.frombuffer(self.get("columns", b"question_label"), "<i4")


class Writer:
    """Builds PATH.partial and renames it to PATH when all is in it; leaving the `with` by an error leaves
    PATH.partial, which `resume` goes on with: image() is then called from number `images` on."""

    def __init__(self, path, dtype=None, grid=(0, 0), max_cells=0, channels=0, boxes=False, pixels=(0, 0),
                 pictures=False, max_objects=0, metric="exact", tokenizer="", command="", sources=(), resume=False):
        if os.path.exists(path):
            raise FileExistsError(f"{path} exists already")
        self.path, self.partial, self.sources = path, path + ".partial", sources
        if not resume:
            shutil.rmtree(self.partial, ignore_errors=True)
        os.makedirs(self.partial, exist_ok=True)
        self.dtype = None if dtype is None else np.dtype("<" + dtype)
        self.manifest = m = StoreManifest(
            feature_dtype=0 if dtype is None else DTYPES[dtype], grid_height=grid[0], grid_width=grid[1],
            max_cells=grid[0] * grid[1] or max_cells, channels=channels, boxes=boxes, pixel_height=pixels[0],
            pixel_width=pixels[1], pictures=pictures, max_objects=max_objects, metric={"vqa": 0, "exact": 1}[metric], tokenizer=tokenizer,
            command=command, made_by="hanps_store.py", block_bytes=BLOCK)
        self.env = lmdb.open(self.partial, subdir=True, lock=False, max_dbs=16, map_size=1 << 42, writemap=False)
        self.txn = self.env.begin(write=True)
        self.db = {name: self.env.open_db(name.encode(), self.txn) for name in DATABASES}
        self.pending, self.image_of, self.label_of = 0, [], []
        self.images = m.images = self.txn.stat(self.db["names"])["entries"]
        m.picture_count = self.txn.stat(self.db["pictures"])["entries"]
        self.seen = {bytes(v) for _, v in self.txn.cursor(self.db["names"])}

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        if kind is None:
            self.finish()
        else:
            self.txn.commit()
            self.env.close()

    def put(self, database, ordinal, data):
        import xxhash
        data = bytes(data)
        self.txn.put(key(ordinal), data, db=self.db[database])
        self.txn.put(LETTERS[database] + key(ordinal), struct.pack("<Q", xxhash.xxh3_64_intdigest(data)), db=self.db["hashes"])
        self.pending += len(data)

    def commit(self):
        """Now and then, so that an interrupted run loses little."""
        self.txn.commit()
        self.txn, self.pending = self.env.begin(write=True), 0

    def image(self, name, features=None, boxes=None, pixels=None, picture=None, objects=None):
        """features [cells, channels], boxes [cells, 4], pixels [height, width, 3], objects [objects, 4],
        picture: the bytes of a file. Returns its number."""
        m, number = self.manifest, self.images
        if not name or name.encode() in self.seen:
            raise ValueError(f"image {name!r}: empty, or there already")
        cells = None
        if m.feature_dtype:
            array = np.ascontiguousarray(features, dtype=self.dtype)
            cells = len(array)
            if array.shape[1:] != (m.channels,) or not 1 <= cells <= m.max_cells or m.grid_height and cells != m.max_cells:
                raise ValueError(f"image {name}: features of shape {array.shape}, expected {(m.max_cells, m.channels)}")
            if self.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"image {name}: features that are not finite")
            self.put("features", number, array.tobytes())
        if m.boxes:
            array = np.ascontiguousarray(boxes, dtype="<f4")
            if array.shape != (cells, 4):
                raise ValueError(f"image {name}: boxes of shape {array.shape}, expected {(cells, 4)}")
            self.put("boxes", number, array.tobytes())
        if m.pixel_height:
            array = np.ascontiguousarray(pixels, dtype="u1")
            if array.shape != (m.pixel_height, m.pixel_width, 3):
                raise ValueError(f"image {name}: pixels of shape {array.shape}")
            self.put("pixels", number, array.tobytes())
        if m.max_objects:
            array = np.ascontiguousarray(objects, dtype="<f4")
            if array.shape[1:] != (4,) or len(array) > m.max_objects:
                raise ValueError(f"image {name}: objects of shape {array.shape}, expected at most {(m.max_objects, 4)}")
            self.put("objects", number, array.tobytes())
        if picture is not None:
            self.put("pictures", number, picture)
            m.picture_count += 1
        self.put("names", number, name.encode())
        self.seen.add(name.encode())
        self.images = m.images = number + 1
        if self.pending > 64 << 20:
            self.commit()
        return number

    def words(self, words):
        """words[0] stands for every unknown word."""
        self.manifest.word[:] = words

    def answers(self, answers):
        self.manifest.answer[:] = answers

    def split(self, name):
        """The questions that follow belong to it."""
        self.manifest.split.add(name=name, first=self.manifest.questions, count=0)

    def question(self, question_id, image, text, token, target="", label=-1, answers=(), question_type="", answer_type="", code=0):
        """answers: (text, answer_id, confidence) of each human; -1 and 0 where there is none."""
        m = self.manifest
        if not 0 <= image < self.images or not len(token) or not max(token) < len(m.word) or not -1 <= label < len(m.answer):
            raise ValueError(f"question {question_id}: an image, a word or an answer that is not there")
        q = StoreQuestion(question_id=question_id, image=image, text=text, token=token, code=code, question_type=question_type,
                          answer_type=answer_type, target=target, label=label)
        for a in answers:
            q.answer.add(text=a[0], answer_id=a[1], confidence=a[2])
        self.put("questions", m.questions, q.SerializeToString())
        self.image_of.append(image)
        self.label_of.append(label)
        m.questions += 1
        m.split[-1].count += 1
        m.max_tokens = max(m.max_tokens, len(token))

    def finish(self):
        import xxhash
        m = self.manifest
        for name, column, kind in (("question_image", self.image_of, "<u4"), ("question_label", self.label_of, "<i4")):
            self.txn.put(name.encode(), np.array(column, kind).tobytes(), db=self.db["columns"])
        self.txn.commit()
        self.env.sync(True)
        self.env.close()
        data = self.partial + "/data.mdb"
        m.data_bytes = os.path.getsize(data)
        with open(data, "rb") as file:
            m.block_xxh3[:] = [xxhash.xxh3_64_intdigest(block) for block in iter(lambda: file.read(BLOCK), b"")]
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
        m.created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
        for source in self.sources:
            m.source.add(name=source, bytes=os.path.getsize(source) if os.path.isfile(source) else 0)
        inner = m.SerializeToString()
        file = StoreFile(version=1, manifest=inner, digest=xxhash.xxh3_128_digest(inner))
        with open(self.partial + "/manifest.pb", "wb") as out:
            out.write(file.SerializeToString())
            out.flush()
            os.fsync(out.fileno())
        os.rename(self.partial, self.path)


if __name__ == "__main__":
    sys.exit(__doc__)
