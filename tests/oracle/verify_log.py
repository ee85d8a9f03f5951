#!/usr/bin/env python3
"""Judges a Vaultgate decision log, in a second language and with none of the product's code.

    python3 verify_log.py DIR --key VKEY [--anchor FILE]... [--pure]

Written from the published formats alone: JSON lines, RFC 6962 hashing, C2SP
tlog-tiles, tlog-checkpoint and signed-note. Needs nothing but the standard library;
signatures are checked with `cryptography` if that is there and --pure is not given.

Exit codes: 0 verified and anchored, 1 broken, 2 cannot tell, 3 intact, but nothing
kept outside vouches for it.
"""

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import sys

MAX_LEAF = 65535
WIDTH = 256
MARK = "\u2014 "
HEAD = re.compile(
    rb'\{"schema":"vaultgate\.record/1","seq":(0|[1-9][0-9]{0,19}),"time":"([^"]{24})",'
    rb'"kind":"([^"]{0,80})","id":"([^"]{0,80})"[,}]'
)
NAME = re.compile(r"[!-~]{1,200}")
BESIDE = b'"input":{"blob":"sha256:'


class Unusable(Exception):
    """The question cannot be answered: exit code 2."""


# --- Ed25519, RFC 8032, from its text -----------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def unpack(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else (0, y, 1, 0)
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P:
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(n, p):
    q = (0, 1, 1, 0)
    while n:
        if n & 1:
            q = add(q, p)
        p = add(p, p)
        n >>= 1
    return q


BASE = unpack((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def pure_verify(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    key, r = unpack(public), unpack(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= L:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    h = int.from_bytes(digest, "little") % L
    left, right = times(s, BASE), add(r, times(h, key))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % P == 0


def library_verify():
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return pure_verify

    def verify(public, message, signature):
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
            return True
        except (InvalidSignature, ValueError):
            return False

    return verify


ed25519 = pure_verify


# --- notes, keys, checkpoints, anchors ----------------------------------------

def sha256(data):
    return hashlib.sha256(data).digest()


def unbase64(text):
    """Strict standard base64, or None."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def is_name(text):
    return bool(NAME.fullmatch(text)) and not set(text) & set('+"\\')


def decimal(text):
    return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,19}", text) and int(text) < 2**64 else None


class Key:
    def __init__(self, text):
        self.text = text
        parts = text.split("+", 2)
        data = unbase64(parts[2]) if len(parts) == 3 else None
        if data is None or len(data) != 33 or data[0] != 1 or not is_name(parts[0]):
            raise ValueError("not an Ed25519 verifier key")
        self.name, self.public = parts[0], data[1:]
        self.id = sha256(self.name.encode() + b"\n" + data)[:4]
        if parts[1] != self.id.hex():
            raise ValueError("a verifier key with another key's id")

    def __eq__(self, other):
        return self.text == other.text

    def __hash__(self):
        return hash(self.text)


class Note:
    def __init__(self, note):
        if any(c < " " and c != "\n" for c in note):
            raise ValueError("a control character in a note")
        text, separator, lines = note.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise ValueError("not a signed note")
        self.text, self.signatures = text + "\n", []
        for line in lines[:-1].split("\n"):
            if not line.startswith(MARK) or line.count(" ") != 2:
                raise ValueError("a malformed signature line")
            name, encoded = line[len(MARK):].split(" ")
            data = unbase64(encoded)
            if not name or "+" in name or data is None or len(data) < 5:
                raise ValueError("a malformed signature line")
            self.signatures.append((name, data[:4], data[4:]))
        if len(self.signatures) > 100:
            raise ValueError("too many signatures")

    def signed_by(self, key):
        own = [s for n, i, s in self.signatures if n == key.name and i == key.id]
        return bool(own) and all(ed25519(key.public, self.text.encode(), s) for s in own)


class Checkpoint:
    def __init__(self, note):
        self.note = Note(note)
        lines = self.note.text[:-1].split("\n")
        if len(lines) < 3 or not all(lines):
            raise ValueError("the text is not a checkpoint")
        self.origin, self.size = lines[0], decimal(lines[1])
        self.root = unbase64(lines[2])
        if not is_name(self.origin) or self.size is None or self.root is None or len(self.root) != 32:
            raise ValueError("the text is not a checkpoint")


class Receipt:
    def __init__(self, text):
        parts = text.strip().rsplit(":", 2)
        if len(parts) != 3:
            raise ValueError("not a receipt")
        self.origin, self.index, self.leaf = parts[0], decimal(parts[1]), unbase64(parts[2])
        if not is_name(self.origin) or self.index is None or self.leaf is None or len(self.leaf) != 32:
            raise ValueError("not a receipt")


def as_receipt(line, following):
    if following.isascii() and following.isdigit():
        return None
    header = "x-vaultgate-receipt:"
    if line[: len(header)].lower() == header:
        line = line[len(header):]
    try:
        return Receipt(line)
    except ValueError:
        return None


def read_anchors(path):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = file.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"anchor file {path}: {error}") from error
    # Half a line at the end, from a writer that was stopped, anchors nothing.
    if len(lines) > 1 and (lines[-1].startswith("checkpoint ") or "checkpoint ".startswith(lines[-1])):
        lines.pop()
    anchors, at = [], 0
    while at < len(lines):
        line, start = lines[at], at
        at += 1
        if not line.strip():
            continue
        try:
            if line.startswith("checkpoint "):
                note = line[len("checkpoint "):].rstrip().replace(" | ", "\n") + "\n"
                anchors.append(Checkpoint(note))
                continue
            receipt = as_receipt(line, lines[at] if at < len(lines) else "")
            if receipt:
                anchors.append(receipt)
                continue
            note = line + "\n"
            while at < len(lines) and lines[at]:
                note += lines[at] + "\n"
                at += 1
            at, note = at + 1, note + "\n"
            while at < len(lines) and lines[at].startswith(MARK):
                note += lines[at] + "\n"
                at += 1
            anchors.append(Checkpoint(note))
        except ValueError as error:
            raise Unusable(f"anchor file {path}, line {start + 1}: {error}") from error
    return anchors


# --- the tree: a stack of complete subtrees -----------------------------------

class Tree:
    def __init__(self):
        self.size = 0
        self.stack = []     # (height, hash), heights falling
        self.tiles = {}     # level -> hashes of its incomplete tile
        self.full = None    # called with (level, index, hashes)

    def push(self, leaf):
        self.size += 1
        self.note(0, leaf)
        height, hash_ = 0, leaf
        while self.stack and self.stack[-1][0] == height:
            hash_ = sha256(b"\x01" + self.stack.pop()[1] + hash_)
            height += 1
            if height % 8 == 0:
                self.note(height // 8, hash_)
        self.stack.append((height, hash_))

    def note(self, level, hash_):
        tile = self.tiles.setdefault(level, [])
        if len(tile) == WIDTH:
            tile.clear()
        tile.append(hash_)
        if len(tile) == WIDTH:
            self.full(level, (self.size >> (8 * (level + 1))) - 1, tile)

    def edges(self):
        for level, tile in self.tiles.items():
            if len(tile) < WIDTH:
                yield level, self.size >> (8 * (level + 1)), tile

    def root(self):
        if not self.stack:
            return sha256(b"")
        hash_ = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            hash_ = sha256(b"\x01" + left + hash_)
        return hash_


def list_tiles(root):
    """(level, index) -> {width: path}, for the names that are tiles."""
    tiles = {}
    for directory, _, files in os.walk(root):
        for name in files:
            path = os.path.join(directory, name)
            found = re.fullmatch(
                r"([0-7])/((?:x[0-9]{3}/)*)([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
                os.path.relpath(path, root),
            )
            width = int(found[4] or WIDTH) if found else 0
            if found and (width < WIDTH or not found[4]):
                index = int(found[2].replace("x", "").replace("/", "") + found[3])
                if index < 2**64:
                    tiles.setdefault((int(found[1]), index), {})[width] = path
    return tiles


# --- the judge ----------------------------------------------------------------

class Judge:
    def __init__(self, directory, key, anchors):
        self.dir, self.key = directory, key
        self.heads = sorted((a for a in anchors if isinstance(a, Checkpoint)), key=lambda a: a.size)
        self.receipts = [a for a in anchors if isinstance(a, Receipt)]
        self.bad = None             # (first bad seq, what)
        self.difference = None      # first record over which a tile differs
        self.rotations, self.forks = [], []
        self.roots, self.times, self.leaves = {}, {}, {}
        self.first_time = self.last_time = None
        self.torn = self.missing_tiles = self.disowned = self.signed = 0
        self.anchored = None
        self.tree = Tree()
        self.tree.full = self.compare

    def broken(self, seq, what):
        if self.bad is None or seq < self.bad[0]:
            self.bad = (seq, what)

    def run(self):
        own = self.own_checkpoint()
        self.tiles = list_tiles(os.path.join(self.dir, "tile"))
        heads = self.heads + ([own] if isinstance(own, Checkpoint) else [])
        self.wanted = {0} | {h.size for h in heads} | {r.index + 1 for r in self.receipts}
        self.kept = {r.index for r in self.receipts}
        self.walk()
        self.judge_heads(own)
        self.judge_receipts()
        if self.difference is not None:
            self.broken(self.difference, "a tile differs from the records")

    def own_checkpoint(self):
        try:
            with open(os.path.join(self.dir, "checkpoint"), encoding="utf-8", newline="") as file:
                own = Checkpoint(file.read())
        except FileNotFoundError:
            return "the checkpoint beside the log is missing"
        except ValueError as error:
            return f"the checkpoint beside the log is spoilt: {error}"
        except OSError as error:
            raise Unusable(f"checkpoint: {error}") from error
        if own.origin != self.key.name:
            return f"the checkpoint beside the log is of the log {own.origin}"
        return own

    def walk(self):
        folder = os.path.join(self.dir, "segments")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        names = [n for n in names if re.fullmatch(r"[0-9]{20}\.jsonl", n) and int(n[:20]) < 2**64]
        for at, name in enumerate(names):
            first = int(name[:20])
            if first != self.tree.size:
                self.broken(min(first, self.tree.size), f"a segment begins with record {first}")
                break
            with open(os.path.join(folder, name), "rb") as file:
                data = file.read()
            if not self.segment(data, at + 1 == len(names)):
                break
        self.reached(None)
        for level, index, tile in list(self.tree.edges()):
            self.compare(level, index, tile)
        size = self.tree.size
        for (level, index), widths in self.tiles.items():
            if any((index * WIDTH + width) << (8 * level) > size for width in widths):
                self.broken(size, "records are missing: a tile covers more")

    def segment(self, data, is_last):
        at = 0
        while True:
            end = data.find(b"\n", at, at + MAX_LEAF + 1)
            line = data[at:end] if end >= 0 else b""
            if end < 0 or b"\0" in line:
                break
            try:
                self.record(line)
            except ValueError as error:
                self.broken(self.tree.size, str(error))
                return False
            at = end + 1
        if is_last:
            self.torn = len(data[at:].rstrip(b"\0"))
        elif at < len(data):
            self.broken(self.tree.size, "a segment that is not the last does not end with a record")
            return False
        return True

    def record(self, line):
        seq = self.tree.size
        head = HEAD.match(line)
        if not head or not line.endswith(b"}") or int(head[1]) >= 2**64:
            raise ValueError("its line is not a record")
        if int(head[1]) != seq:
            raise ValueError(f"in its place stands record {head[1].decode()}")
        line.decode("utf-8")
        time = head[2].decode()
        self.reached(time)
        if head[3] == b"lifecycle":
            self.event(seq, line)
        if BESIDE in line:
            self.beside(seq, line)
        self.first_time = self.first_time or time
        self.last_time = time
        leaf = sha256(b"\0" + line)
        if seq in self.kept:
            self.leaves[seq] = leaf
        self.tree.push(leaf)

    def reached(self, time):
        if self.tree.size in self.wanted:
            self.roots[self.tree.size] = self.tree.root()
            if time:
                self.times[self.tree.size] = time

    def event(self, seq, line):
        try:
            record = json.loads(line)
        except ValueError:
            return
        kind = record.get("event")
        texts = {"key-rotation": ("from", "to", "note"), "fork": ("reason", "root")}.get(kind, ())
        if not all(isinstance(record.get(name), str) for name in texts):
            return  # an event of the gateway that happens to have this name
        if kind == "key-rotation":
            old, new = Key(record["from"]), Key(record["to"])
            note = Note(record["note"])
            meant = f"vaultgate.key-rotation/1\n{self.key.name}\n{seq}\n{new.text}\n"
            named = old.name == self.key.name == new.name
            if note.text != meant or not named or not note.signed_by(old):
                raise ValueError("a key change that the old key did not sign")
            self.rotations.append((seq, old, new))
        elif kind == "fork":
            root = base64.b64encode(self.tree.root()).decode()
            if record.get("size") != seq or record["root"] != root:
                raise ValueError("a fork record of another place")
            self.forks.append((seq, record.get("old_size"), record["reason"]))

    def beside(self, seq, line):
        try:
            record = json.loads(line)
        except ValueError:
            return
        place = record.get("input")
        if not isinstance(place, dict) or set(place) != {"blob", "bytes"}:
            return
        digest = re.fullmatch(r"sha256:([0-9a-f]{64})", str(place["blob"]))
        if not digest:
            return
        try:
            with open(os.path.join(self.dir, "blobs", "sha256", digest[1]), "rb") as file:
                same = hashlib.sha256(file.read()).hexdigest() == digest[1]
        except OSError:
            same = False
        if not same:
            self.broken(seq, f"its input {digest[0]} beside the log is missing or changed")

    def compare(self, level, index, hashes):
        widths = self.tiles.get((level, index), {})
        if len(hashes) == WIDTH and WIDTH not in widths:
            self.missing_tiles += 1
        for width, path in widths.items():
            try:
                with open(path, "rb") as file:
                    data = file.read()
            except OSError:
                data = b""
            if len(data) != 32 * width:
                self.missing_tiles += 1
                continue
            if data == b"".join(hashes[:width]):
                continue
            for entry in range(min(width, len(hashes))):
                if data[32 * entry:32 * entry + 32] != hashes[entry]:
                    place = (index * WIDTH + entry) << (8 * level)
                    if self.difference is None or (level == 0 and place < self.difference):
                        self.difference = place
                    break

    def gave_up(self, size):
        return any(seq < size and old is not None and size <= old for seq, old, _ in self.forks)

    def judge_heads(self, own):
        keys, pinned_from = [(0, self.rotations[0][1] if self.rotations else self.key)], None
        for seq, old, new in self.rotations:
            if old != keys[-1][1]:
                return self.broken(seq, "a key change by another key than that of the log")
            keys.append((seq + 1, new))
        for since, key in keys:
            if key == self.key and pinned_from is None:
                pinned_from = since
        if pinned_from is None:
            return self.broken(self.rotations[0][0], "the pinned key is none of this log's keys")
        for head in self.heads:
            if self.fulfilled(head, keys, "a checkpoint kept outside"):
                self.anchored = max(self.anchored or 0, head.size)
        if isinstance(own, str):
            return self.broken(self.anchored or 0, own)
        if self.fulfilled(own, keys, "the checkpoint beside the log"):
            self.signed = own.size
        if own.size < pinned_from:
            self.broken(self.anchored or 0, "nothing is signed by the pinned key or a later one")

    def fulfilled(self, head, keys, whose):
        held, root = min(self.anchored or 0, head.size), self.roots.get(head.size)
        whose = f"{whose}, of size {head.size}"
        if root != head.root and self.gave_up(head.size):
            if any(head.note.signed_by(key) for _, key in keys):
                self.disowned += 1
            else:
                self.broken(held, f"{whose}, is not signed by a key of this log")
            return False
        key = [key for since, key in keys if since <= head.size][-1]
        if not head.note.signed_by(key):
            self.broken(held, f"{whose}, is not signed by the key of that time")
            return False
        if root is None:
            self.broken(self.tree.size, f"records are missing: {whose}")
            return False
        if root != head.root:
            place = self.difference
            place = place if place is not None and place < head.size else held
            self.broken(place, f"records differ from {whose}")
            return False
        return True

    def judge_receipts(self):
        for receipt in sorted(self.receipts, key=lambda r: r.index):
            index, leaf = receipt.index, self.leaves.get(receipt.index)
            if leaf == receipt.leaf:
                if index < self.signed:
                    self.anchored = max(self.anchored or 0, index + 1)
            elif self.gave_up(index + 1):
                self.disowned += 1
            elif leaf is None:
                self.broken(self.tree.size, f"records are missing: there is a receipt for record {index}")
            else:
                self.broken(index, "it differs from its receipt")


def main():
    global ed25519
    parser = argparse.ArgumentParser(description="Judges a Vaultgate decision log.")
    parser.add_argument("dir")
    parser.add_argument("--key", required=True, help="verifier key, name+id+base64, pinned outside")
    parser.add_argument("--anchor", action="append", default=[], help="file of checkpoints or receipts")
    parser.add_argument("--pure", action="store_true", help="check signatures with this file's own code")
    options = parser.parse_args()
    if not options.pure:
        ed25519 = library_verify()
    try:
        try:
            key = Key(options.key)
        except ValueError as error:
            raise Unusable(f"key {options.key}: {error}") from error
        if not os.path.isdir(options.dir):
            raise Unusable(f"{options.dir} is not a directory")
        anchors = [anchor for path in options.anchor for anchor in read_anchors(path)]
        for anchor in anchors:
            if anchor.origin != key.name:
                raise Unusable(f"an anchor of the log {anchor.origin}, but a key of {key.name}")
        judge = Judge(options.dir, key, anchors)
        judge.run()
    except (Unusable, OSError) as error:
        print(f"cannot tell: {error}")
        return 2
    if judge.bad:
        print(f"broken: first_bad_seq={judge.bad[0]}: {judge.bad[1]}")
        return 1
    size = judge.tree.size
    print(f"intact: size={size} root={base64.b64encode(judge.tree.root()).decode()}")
    print(f"signed_to={judge.signed} key_changes={len(judge.rotations)} forks={len(judge.forks)} "
          f"disowned={judge.disowned} torn_bytes={judge.torn} missing_tiles={judge.missing_tiles}")
    print(f"first={judge.first_time} last={judge.last_time}")
    held = judge.anchored or 0
    if held < size:
        print(f"tail not anchored since {judge.times.get(held)}")
    if judge.anchored is None:
        return 3
    print(f"anchored_to={judge.anchored}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
