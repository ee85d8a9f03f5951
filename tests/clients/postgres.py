#!/usr/bin/env python3
"""A PostgreSQL server of this machine's own package, for as long as something needs it.

    postgres.py COMMAND...      runs the command with VAULTGATE_TEST_POSTGRES=ADDRESS

It listens on loopback alone, on a port of its own, with a password, and keeps its data in a
temporary folder. The role that gateways use is no superuser.
"""

import contextlib
import glob
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from world import free_port  # noqa: E402

PATIENCE = 60


def program(name):
    """The newest installed program of this name."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4]))
    if found:
        return found[-1]
    raise SystemExit(f"PostgreSQL is not installed: there is no `{name}`; its package is `postgresql`")


class Postgres:
    """A server; `address` names a database of it, with the gateway's role."""

    def __init__(self, folder=None):
        self.base = pathlib.Path(folder or tempfile.mkdtemp(prefix="vaultgate-postgres-"))
        self.folder = self.base / "data"
        self.port, self.password = free_port(), secrets.token_hex(16)
        self.process = None
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            owner = pwd.getpwnam(self.user)
            os.chown(self.base, owner.pw_uid, owner.pw_gid)
        word = self.base / "password"
        word.write_text(self.password, encoding="utf-8")
        os.chmod(word, 0o644)
        self.run(program("initdb"), "-D", self.folder, "-U", "owner", "--pwfile", word, "-A", "scram-sha-256",
                 "--no-instructions", "-E", "UTF8", "--locale", "C", stdout=subprocess.DEVNULL)
        self.start()
        self.query("CREATE ROLE gateway LOGIN CREATEDB PASSWORD '" + self.password + "'")
        self.database("vaultgate")

    def run(self, *command, **more):
        return subprocess.run(self.command(command), check=True, cwd="/", text=True, **more)

    def command(self, command):
        command = [str(part) for part in command]
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", *command] if self.user \
            else command

    def start(self):
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.base,
                    "max_connections": 200, "shared_buffers": "64MB"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.base / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command([program("postgres"), "-D", self.folder, *words]), cwd="/", stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + PATIENCE
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError((self.base / "server.log").read_text(encoding="utf-8", errors="replace"))
            time.sleep(0.05)

    def query(self, text, database="postgres"):
        """What a query says, as lines of fields that `|` separates."""
        environment = dict(os.environ, PGPASSWORD=self.password)
        done = subprocess.run(
            [program("psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "owner", "-d", database, "-qAt",
             "-v", "ON_ERROR_STOP=1", "-c", text],
            check=False, text=True, capture_output=True, env=environment)
        if done.returncode:
            raise AssertionError(f"{text}: {done.stderr}")
        return done.stdout.strip()

    @contextlib.contextmanager
    def locked(self, statement, wait=True):
        """Holds what a statement locks, at once or as soon as it is given, until the end or the
        call of what this yields."""
        environment = dict(os.environ, PGPASSWORD=self.password)
        command = [program("psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "owner", "-d", "vaultgate",
                   "-qAt", "-v", "ON_ERROR_STOP=1"]
        with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=environment) as client:
            client.stdin.write(f"BEGIN;\n{statement};\nSELECT 'held';\n")
            client.stdin.flush()
            while wait and client.stdout.readline() != "held\n":
                if client.poll() is not None:
                    raise AssertionError("the lock was not given")

            def release():
                if not client.stdin.closed:
                    client.stdin.close()

            try:
                yield release
            finally:
                release()

    def database(self, name):
        """Makes a database of the gateway's role; its address."""
        self.query(f"CREATE DATABASE {name} OWNER gateway")
        return self.address(name)

    def address(self, name="vaultgate"):
        return f"postgres://gateway:{self.password}@127.0.0.1:{self.port}/{name}"

    def stop(self, how=signal.SIGINT):
        """Ends the server: fast by default, `SIGQUIT` as a crash would."""
        if self.process and self.process.poll() is None:
            # The postmaster is the child where it was started by this user, else below setpriv,
            # which becomes it.
            os.kill(self.process.pid, how)
            self.process.wait(PATIENCE)

    def close(self):
        self.stop()
        shutil.rmtree(self.base, ignore_errors=True)


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    with contextlib.closing(Postgres()) as server:
        environment = dict(os.environ, VAULTGATE_TEST_POSTGRES=server.address())
        return subprocess.run(sys.argv[1:], check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
