"""The executables of a run: built from this checkout, or prebuilt in a folder."""
import os
import subprocess
import sys

from stage import CACHE, ROOT

PROGRAMS = ("vaultgate", "vaultgate-sim", "vaultgate-demo", "vaultgate-bench", "vaultgate-orchestrator")


def folder():
    """Where they are; `VAULTGATE_BIN_DIR` names a folder that holds all of them."""
    named = os.environ.get("VAULTGATE_BIN_DIR")
    if named:
        missing = [name for name in PROGRAMS if not os.access(os.path.join(named, name), os.X_OK)]
        if missing:
            sys.exit(f"`{named}` lacks {', '.join(missing)}")
        return os.path.abspath(named)
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(CACHE, "target"))
    flags = [flag for name in PROGRAMS for flag in ("-p", name)]
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", *flags], cwd=ROOT,
                   env={**os.environ, "CARGO_TARGET_DIR": target}, check=True)
    return os.path.join(target, "release")


def commit():
    """The commit of this checkout; a `+` when files differ from it."""
    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True,
                              check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        "+" if git("status", "--porcelain", "--untracked-files=no", "--", "gateway", "policies",
                   "tests/bench", "Cargo.lock") else "")
