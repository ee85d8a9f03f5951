#!/usr/bin/env python3
"""Whom the orchestrator talks to: in a network namespace of its own, nftables counts its packets.

    namespace.py [TEST...]

Gateway, token service and Azure run in the namespace too; the orchestrator runs under a user that nothing else
has, so that each packet can be told from theirs. What goes to the gateway's port and to the token service's is
counted apart from everything else, which must be nothing at all: no Azure, no name server, no telemetry.
Everything has a route here: a packet to the world would leave, and be counted. Needs root, ip and nft.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

from stage import FLOW, Stage  # noqa: E402
from world import free_port, options, program, run, until  # noqa: E402

NAMESPACE = 0x40000000  # CLONE_NEWNET
# Nobody's: no account has it, and no other process of the namespace.
USER = 61_234
# Seconds that `serve` is watched while nothing is due.
IDLE = 4.0
# Listening, or, of those that do not listen, bound: as /proc/net says it.
OPEN = {"tcp": "0A", **dict.fromkeys(("udp", "udplite", "raw"), "07")}
# A packet whose socket is gone belongs to nobody: each rule says whose it counts.
RULES = """table inet closed {{
  counter gateway {{}}
  counter tokens {{}}
  counter elsewhere {{}}
  chain redirected {{
    type nat hook output priority -100; policy accept;
    ip daddr 127.0.0.1 tcp dport {tokens} redirect to :{azure}
  }}
  chain counted {{
    type filter hook output priority -150; policy accept;
    meta skuid {user} ip daddr 127.0.0.1 tcp dport {gateway} counter name gateway accept
    meta skuid {user} ip6 daddr ::1 tcp dport {gateway} counter name gateway accept
    meta skuid {user} ip daddr 127.0.0.1 tcp dport {tokens} counter name tokens accept
    meta skuid {user} ip6 daddr ::1 tcp dport {tokens} counter name tokens accept
    meta skuid {user} counter name elsewhere
  }}
}}
"""
SIX = pathlib.Path("/proc/net/if_inet6").is_file()


class NotHere(Exception):
    """This machine cannot do it."""


def ran(*words, told=None):
    try:
        done = subprocess.run(words, input=told, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError as missing:
        raise NotHere(f"{words[0]} is missing; hint: tests/run tools") from missing
    if done.returncode != 0:
        raise NotHere(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def enter():
    """This process and all that it starts are alone, on a loopback that leads everywhere."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NAMESPACE) != 0:
        raise NotHere(f"unshare: {os.strerror(ctypes.get_errno())}")
    ran("setpriv", "--version")
    ran("ip", "link", "set", "lo", "up")
    # Without a route a connection fails before there is a packet, and nothing would be counted.
    ran("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    ran("ip", "route", "add", "default", "dev", "lo")
    if SIX:
        ran("ip", "-6", "address", "add", "2001:db8::1/128", "dev", "lo")
        ran("ip", "-6", "route", "add", "default", "dev", "lo")
    # As it will be used: the kernel must know all of it.
    ran("nft", "-f", "-", told=RULES.format(user=USER, gateway=1, tokens=2, azure=3))
    ran("nft", "flush", "ruleset")


def as_user(*words):
    return ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--no-new-privs", *words]


@contextlib.contextmanager
def as_fork(does):
    """The user's own process, by the time that it has done something and until it is no longer needed. A fork: what
    runs this test may lie where only its owner can look."""
    (done, ready), (needed, over) = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            kept = does()
            os.write(ready, b"." if kept else b"")
            select.select([needed], [], [], 30)
        finally:
            os._exit(0)
    os.close(ready)
    try:
        readable, _, _ = select.select([done], [], [], 30)
        if not readable or not os.read(done, 1):
            raise AssertionError("the control did not do it")
        yield
    finally:
        for end in (over, needed, done):
            os.close(end)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def asks(kind, address, port):
    """Sends something to somebody; nobody waits for an answer."""
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    one.setblocking(False)
    one.connect_ex((address, port))
    if kind == socket.SOCK_DGRAM:
        one.send(b"where is it")
    return [one]


def opens():
    """A door of each kind."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    return [socket.create_server(("127.0.0.1", 0)), datagrams]


class Apart(Stage):
    """A stage whose orchestrator is a user of its own, with a token service at an address of its own."""

    own = None

    def part(self):
        """From here on."""
        azure = urllib.parse.urlsplit(self.world.env["SIM_ISSUER_OIDC"]).port
        tokens = free_port()
        # The emulator is Azure and token service at one address; here Azure's is not on the list.
        text = self.config.read_text(encoding="utf-8")
        told = f"{self.world.env['SIM_ISSUER_OIDC']}/token"
        if told not in text:
            raise AssertionError(f"`{told}` is not in the configuration")
        text = text.replace(told, told.replace(str(azure), str(tokens)))
        # What is built may lie where only its builder can look.
        self.own = shutil.copy(program("vaultgate-orchestrator"), self.folder / "vaultgate-orchestrator")
        authority = shutil.copy(self.world.ca, self.folder / "authority.pem")
        self.config.write_text(text.replace(self.world.ca, str(authority)), encoding="utf-8")
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, USER, USER)
        gateway = urllib.parse.urlsplit(self.world.url).port
        ran("nft", "-f", "-", told=RULES.format(user=USER, gateway=gateway, tokens=tokens, azure=azure))
        return azure

    def command(self, *words, config=True):
        command = super().command(*words, config=config)
        return as_user(str(self.own), *command[1:]) if self.own else command


def counted():
    """Packets so far, by where they went."""
    found = json.loads(ran("nft", "-j", "list", "ruleset"))["nftables"]
    return {one["counter"]["name"]: one["counter"]["packets"] for one in found if "counter" in one}


def doors():
    """The user's sockets that somebody could come in by."""
    found = set()
    for name, state in [(name + six, state) for name, state in OPEN.items() for six in ("", "6")]:
        path = pathlib.Path("/proc/thread-self/net", name)
        for line in path.read_text(encoding="ascii").splitlines()[1:] if path.is_file() else ():
            fields = line.split()
            if fields[3] == state and fields[7] == str(USER):
                found.add((name, fields[1]))
    return found


class Watch:
    """Looks at the user's doors until it is told to stop."""

    def __init__(self):
        self.found, self.looks, self.over = set(), 0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.over.wait(0.02):
            self.found |= doors()
            self.looks += 1

    def stop(self):
        self.over.set()
        self.thread.join(30)


class Namespace(unittest.TestCase):
    """One run and a while of serving, seen from outside."""

    @classmethod
    def setUpClass(cls):
        stage = Apart()
        cls.addClassCleanup(stage.stop)
        cls.azure = stage.part()
        watch = Watch()
        cls.addClassCleanup(watch.stop)
        cls.told = stage.does("run", FLOW, "westeurope", "--wait")
        cls.of_run = counted()
        serving = subprocess.Popen(stage.command("serve"), stdout=subprocess.PIPE)
        cls.addClassCleanup(cls.ended, serving)
        until("it to serve", lambda: b"ready " in serving.stdout.readline())
        number = stage.does("run", FLOW, "westeurope").strip()
        until("the run", lambda: stage.explained(number)["ended"], patience=60)
        time.sleep(IDLE)
        if serving.poll() is not None:
            raise AssertionError("it ended by itself")
        watch.stop()
        cls.counted, cls.doors, cls.looks = counted(), watch.found, watch.looks
        cls.owner = pathlib.Path(f"/proc/{serving.pid}").stat().st_uid
        cls.stage = stage

    @staticmethod
    def ended(process):
        process.terminate()
        process.wait(30)
        process.stdout.close()

    def test_it_talks_to_the_gateway_and_the_token_service_and_to_nobody_else(self):
        print(f"packets of one run: {self.of_run}, with what was served besides: {self.counted}")
        self.assertEqual(self.owner, USER)
        for counts in (self.of_run, self.counted):
            self.assertGreater(counts["gateway"], 0)
            self.assertGreater(counts["tokens"], 0)
            self.assertEqual(counts["elsewhere"], 0)
        self.assertGreater(self.counted["gateway"], self.of_run["gateway"])
        # Every backup was made: it did talk to somebody.
        self.assertEqual({len(sent) for sent in self.stage.backups().values()}, {2})
        self.stage.world.oracle()
        # The counter can tell: a name server, a machine, this one, and Azure without the gateway.
        strangers = [(socket.SOCK_DGRAM, "192.0.2.53", 53), (socket.SOCK_STREAM, "192.0.2.80", 443),
                     (socket.SOCK_STREAM, "127.0.0.1", 443), (socket.SOCK_STREAM, "127.0.0.1", self.azure)]
        strangers += [(socket.SOCK_STREAM, "2001:db8::80", 443)] if SIX else []
        for stranger in strangers:
            with self.subTest(stranger):
                before = counted()["elsewhere"]
                with as_fork(lambda: asks(*stranger)):
                    self.assertGreater(counted()["elsewhere"], before)

    def test_it_opens_no_port(self):
        self.assertGreater(self.looks, 50)
        self.assertEqual(self.doors, set())
        # Whoever looks would have seen one.
        with as_fork(opens):
            self.assertEqual({name for name, _ in doors()}, {"tcp", "udp"})
        self.assertEqual(doors(), set())


def main():
    only = options(__doc__.splitlines()[0]).parse_args().only
    try:
        enter()
    except NotHere as why:
        print(f"namespace: not run: {why}")
        return 1 if os.environ.get("CI") else 0
    return run("namespace", only=only)


if __name__ == "__main__":
    sys.exit(main())
