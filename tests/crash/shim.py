"""The failing disk of `fault.c`, as a test gives it orders."""

import errno
import mmap
import os
import pathlib
import shutil
import struct
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
KINDS = {"write": 1, "sync": 2, "rename": 4, "create": 8, "truncate": 16, "unlink": 32}
FAIL, SHORT, TORN, KILL, KILLED = range(5)
# What a call can meet. Half a write is one that returns less than it was given.
FAULTS = {
    "EIO": (FAIL, errno.EIO),
    "ENOSPC": (FAIL, errno.ENOSPC),
    "short": (SHORT, 0),
    "torn": (TORN, errno.EIO),
}
# Not a fault of the disk: the program dies instead of a sync, or just after it.
DEATHS = {"before": (KILL, 0), "after": (KILLED, 0)}
PAGE = 4096
HEAD = struct.Struct("=9I28s512s")


class NotHere(Exception):
    """This machine cannot do it: no C compiler."""


class Shim:
    """The library, built into `folder`, and the page on which it takes orders."""

    def __init__(self, folder, root):
        self.library = folder / "fault.so"
        compiler = shutil.which("cc")
        if not compiler:
            raise NotHere("there is no C compiler `cc`")
        command = [compiler, "-shared", "-fPIC", "-O1", "-fvisibility=hidden", "-Wall", "-Werror"]
        command += ["-o", self.library, HERE / "fault.c", "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"the shim does not compile:\n{done.stderr}")
        file = folder / "order"
        file.write_bytes(bytes(PAGE))
        with open(file, "r+b") as opened:
            self.page = mmap.mmap(opened.fileno(), PAGE)
        self.environment = {
            "LD_PRELOAD": str(self.library),
            "FAULT_ROOT": os.path.realpath(root),
            "FAULT_ORDER": str(file),
        }

    def arm(self, kind, fault, at, again=False, loses=False):
        """From now on the `at`-th call of this kind fails; `again`: every later one too."""
        how, error = (FAULTS | DEATHS)[fault]
        self.disarm()
        fields = (KINDS[kind], at, again, how, error, loses, 0, 0)
        HEAD.pack_into(self.page, 0, 0, *fields, b"", b"")
        # Last: until it is set nothing else on the page is looked at.
        self.page[0:4] = struct.pack("=I", 1)

    def disarm(self):
        self.page[0:4] = bytes(4)

    @property
    def count(self):
        """Calls of the kind since it was armed."""
        return HEAD.unpack_from(self.page)[7]

    @property
    def struck(self):
        """How many of them failed."""
        return HEAD.unpack_from(self.page)[8]

    @property
    def where(self):
        """The first call that failed, and the file below the root that it was of."""
        call, path = HEAD.unpack_from(self.page)[9:]
        return call.rstrip(b"\0").decode(), path.rstrip(b"\0").decode()
