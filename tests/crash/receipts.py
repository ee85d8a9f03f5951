"""What clients were promised: receipts, and whether the log still keeps them.

A receipt is `origin:index:leafhash` in the header `x-vaultgate-receipt`. Its hash is that of
RFC 6962 over the record's line without the newline, so this file needs nothing but the
segments.
"""

import base64
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from world import REPOSITORY, program  # noqa: E402

VERIFY = REPOSITORY / "tests/oracle/verify_log.py"


def hold(condition, what):
    if not condition:
        raise AssertionError(what)


def lines(log):
    """Every whole line of a log, read as bytes: what is no JSON must show as well."""
    found = []
    for path in sorted((pathlib.Path(log) / "segments").glob("*.jsonl")):
        found += path.read_bytes().rstrip(b"\0").split(b"\n")[:-1]
    return found


def leaf(line):
    return base64.b64encode(hashlib.sha256(b"\0" + line).digest()).decode()


class Receipts:
    """Everything that answers promised, from several threads."""

    def __init__(self):
        self.kept = {}
        self.twice = []
        self.lock = threading.Lock()

    def take(self, answer):
        """Notes the receipt of an answer, if it has one."""
        header = answer.header("x-vaultgate-receipt")
        if header is None:
            return
        origin, index, digest = header.rsplit(":", 2)
        with self.lock:
            before = self.kept.setdefault(int(index), (origin, digest))
            # One place, two records: the log went back behind an answer.
            if before != (origin, digest):
                self.twice.append(f"{before} and {header}")

    def __len__(self):
        return len(self.kept)

    def check(self, log):
        """An answer given is a record kept: fails for the first receipt that is of nothing."""
        hold(not self.twice, f"two records were given one place: {self.twice[:3]}")
        with self.lock:
            kept = sorted(self.kept.items())
        # After the receipts: what a client is told meanwhile is judged the next time.
        written = lines(log)
        for index, (_, digest) in kept:
            hold(index < len(written), f"there is a receipt for record {index} of {len(written)}")
            hold(leaf(written[index]) == digest, f"record {index} is not that of its receipt")
        return len(kept)

    def write(self, path):
        """The receipts as a file of anchors."""
        with self.lock:
            kept = sorted(self.kept.items())
        text = "".join(f"x-vaultgate-receipt: {origin}:{index}:{digest}\n\n"
                       for index, (origin, digest) in kept)
        pathlib.Path(path).write_text(text, encoding="utf-8")


def verified(log, key, anchors):
    """The exit code on which the product and the independent verifier agree: 0 or 3."""
    options = ["--key", key]
    for anchor in anchors:
        options += ["--anchor", str(anchor)]
    commands = ([program("vaultgate"), "log", "verify", log, *options],
                [sys.executable, VERIFY, log, *options])
    said = [subprocess.run(c, capture_output=True, text=True, check=False) for c in commands]
    codes = [done.returncode for done in said]
    told = "\n".join(done.stdout[-1500:] + done.stderr[-500:] for done in said)
    hold(codes[0] == codes[1], f"the verifiers differ, {codes}:\n{told}")
    hold(codes[0] in (0, 3), f"the log does not verify, {codes}:\n{told}")
    return codes[0]


def there(*paths):
    """Those of these anchor files that hold anything yet."""
    return [path for path in paths if os.path.isfile(path) and os.path.getsize(path)]


def record_of(log, identifier, kind):
    """The whole line of this kind and id, if it is in the log."""
    for line in lines(log):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record.get("id") == identifier and record.get("kind") == kind:
            return record
    return None
