"""A disk whose power can be cut: ext4 on a file, and what of it a power cut would leave.

The backing file holds what the file system has written to its device. What a program wrote and
did not sync stands in the page cache of the mounted file system and nowhere else, so a copy of
the backing file is the disk as a power cut would leave it. That holds only while nobody
flushes: no sync, no unmount, no writeback that comes by itself. So:

- the loop device uses direct I/O where the machine can: file and device are then the same;
- the *file* is copied, never /dev/loopN: reading the device would show its own page cache,
  and with it metadata that was not written yet;
- periodic writeback is switched off for the machine (`vm.dirty_writeback_centisecs`), dirty
  pages do not expire (`vm.dirty_expire_centisecs`), the journal commits by itself only after
  an hour (`commit=`), and a rename flushes nothing (`noauto_da_alloc`).

A disk that loses writes which it said to have done (no FLUSH was sent) is not imitated.
Everything is undone by `close`, in whatever state it was left. What a killed run could not undo
stands in a note beside its files (`left`): the next run finds it and undoes it. Needs root.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

SIZE = 64 << 20
PREFIX = "vaultgate-disk-"
NOTE = "left.json"
LOCK = "vaultgate-disk.lock"
OPTIONS = "noatime,commit=3600,noauto_da_alloc"
KNOBS = {"dirty_writeback_centisecs": "0", "dirty_expire_centisecs": "360000"}


class NotHere(Exception):
    """This machine cannot do it: no root, no loop devices, no ext4."""


def command(*words):
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NotHere(f"{words[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise NotHere(f"{words[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


class Disk:
    """The mounted file system at `path`, and copies of it as a power cut would leave them."""

    def __init__(self):
        self.undo = contextlib.ExitStack()
        # One at a time: the knobs are the machine's, and a second run would take the first
        # one's values for those to go back to.
        lock = self.undo.enter_context(open(pathlib.Path(tempfile.gettempdir()) / LOCK, "w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        clean_up()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        self.knobs = {}
        self.note()
        self.undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.image = self.folder / "disk.img"
        self.path = self.folder / "disk"
        self.direct = False
        try:
            self.prepare()
        except BaseException:
            self.close()
            raise

    def prepare(self):
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        # Nothing is left to be initialised in the background: it would be written meanwhile.
        command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        for name, value in KNOBS.items():
            self.turn(pathlib.Path("/proc/sys/vm") / name, value)
        self.mount(self.image, self.path, OPTIONS, self.undo)

    def turn(self, knob, value):
        """Sets one of the machine's knobs for as long as this lives, if it may be set."""
        try:
            before = knob.read_text()
            # First: a kill in between must not leave a knob that nobody knows of.
            self.knobs[str(knob)] = before
            self.note()
            knob.write_text(value)
        except OSError:
            # The negative control tells whether it mattered.
            return
        self.undo.callback(knob.write_text, before)

    def note(self):
        """Writes down what must be undone if this process cannot do it."""
        left = {"pid": os.getpid(), "began": began(os.getpid()), "knobs": self.knobs}
        new = self.folder / "left.new"
        new.write_text(json.dumps(left), encoding="utf-8")
        new.rename(self.folder / NOTE)

    def mount(self, image, path, options, undo):
        try:
            device = command("losetup", "--find", "--show", "--direct-io=on", image)
            self.direct = True
        except NotHere:
            device = command("losetup", "--find", "--show", image)
        undo.callback(command, "losetup", "--detach", device)
        path.mkdir(exist_ok=True)
        command("mount", "-t", "ext4", "-o", options, device, path)
        undo.callback(command, "umount", path)

    def cut(self):
        """The disk as it would be now after a power cut, as an image beside it."""
        copy = self.folder / "cut.img"
        copy.unlink(missing_ok=True)
        # By reading: a clone of the file system below could wait for its writeback.
        with open(self.image, "rb") as here, open(copy, "wb") as there:
            while chunk := here.read(1 << 20):
                if chunk.count(0) == len(chunk):
                    there.seek(len(chunk), 1)
                else:
                    there.write(chunk)
            there.truncate()
        return copy

    @contextlib.contextmanager
    def opened(self, copy):
        """Mounts a copy, which replays its journal as the next start would."""
        path = self.folder / "cut"
        with contextlib.ExitStack() as undo:
            # Read-only for us; the device is writable, since the journal is replayed into it.
            self.mount(copy, path, "ro", undo)
            yield path

    def close(self):
        self.undo.close()


def began(pid):
    """When a process began, in ticks: a number that came round again is another process."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return stat.rsplit(")", 1)[1].split()[19]


def clean_up():
    """Undoes what runs that were killed have left behind; those that live are let be."""
    for note in pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{NOTE}"):
        try:
            left = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if began(left["pid"]) != left["began"]:
            undo(note.parent, left["knobs"])


def undo(folder, knobs):
    """Unmounts what stands in the folder, frees its loop devices, puts the knobs back."""
    for path in ("cut", "disk"):
        # Lazily: a gateway that the killed run left may still have files open.
        subprocess.run(["umount", "--lazy", folder / path], capture_output=True, check=False)
    for image in folder.glob("*.img"):
        listed = subprocess.run(["losetup", "--noheadings", "--output", "NAME", "-j", image],
                                capture_output=True, text=True, check=False)
        for device in listed.stdout.split():
            subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)
    for knob, value in knobs.items():
        with contextlib.suppress(OSError):
            pathlib.Path(knob).write_text(value)
    shutil.rmtree(folder, ignore_errors=True)
