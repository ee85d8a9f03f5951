#!/usr/bin/env python3
"""Two gateways on one PostgreSQL: what one of them knows the other holds to, and what a server
that is away, read-only, older or another one lets nobody do.

    replicas.py [TEST...]
"""

import concurrent.futures
import contextlib
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest
import uuid

from pair import APPROVALS, AUDIENCE, BUNDLE, CONSOLE, Line, Pair, approve, asked, backup, trigger
from postgres import Postgres, program
from world import API, REPOSITORY, UNLIMITED, VAULT, World, item, options, run, until

DELETES = REPOSITORY / "tests/bundles/allow-deletes"
QUARANTINE = "/_vaultgate/v1/quarantine"
INCIDENT = "/_vaultgate/v1/incident"
# The lock that every change of the store takes, and how many wait for it.
LOCK = "SELECT pg_advisory_xact_lock(8530216706389827956)"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND NOT granted"
NUMBERS = iter(range(1, 1_000_000))


class Case(unittest.TestCase):
    policies = BUNDLE

    def setUp(self):
        self.pair = self.enterContext(Pair(self.policies))
        self.lines = [self.pair.line(0), self.pair.line(1)]
        self.desks = [self.pair.desk(0), self.pair.desk(1)]

    def ask(self, at=0):
        """A backup that waits for approval: its body, id and digest."""
        body = backup(next(NUMBERS))
        return body, *asked(self.lines[at].send("POST", trigger(), body))

    def approved(self, at=0):
        body, approval, digest = self.ask(at)
        approve(self.desks[1 - at], approval, digest)
        return body, approval

    def use(self, at, body, approval):
        self.lines[at].close()
        return self.lines[at].send("POST", trigger(), body, {"Vaultgate-Approval": approval})

    def soc(self, at):
        return self.pair.desk(at, "soc")

    def restart(self, which):
        self.pair.worlds[which].kill_gateway()
        self.pair.worlds[which].start_gateway()
        self.lines[which].close()
        self.desks[which].close()

    def works(self, at):
        """Whether changes are taken: asking for an approval is one."""
        self.lines[at].close()
        answer = self.lines[at].send("POST", trigger(), backup(next(NUMBERS)))
        return answer.header("x-vaultgate-decision") == "approval"


class Shared(Case):
    def test_asked_here_approved_there_used_there(self):
        body, approval = self.approved(0)
        line = self.lines[1]
        answer = line.send("POST", f"{APPROVALS}/{approval}/execute")
        self.assertEqual(answer.status, 202, answer)
        self.assertEqual(self.use(0, body, approval).reason(), "approval-used")
        print(self.pair.oracle(), end=" ")

    def test_a_key_is_known_to_both(self):
        body, approval = self.approved(0)
        key = {"Idempotency-Key": str(uuid.uuid4()), "Vaultgate-Approval": approval}
        first = self.lines[0].send("POST", trigger(), body, key)
        self.assertEqual(first.status, 202, first)
        again = self.lines[1].send("POST", trigger(), body, key)
        self.assertIn(again.reason() or again.status, (202, "approval-used"))
        self.assertEqual(len(self.pair.first.forwarded(method="POST")), 1)

    def test_who_is_stopped_here_is_stopped_there_within_a_second(self):
        body, approval = self.approved(1)
        read = lambda: self.lines[1].send("GET", f"{VAULT}?{API}")  # noqa: E731
        self.assertEqual(read().status, 200)
        stop = {"target": {"kind": "subject", "issuer": self.pair.first.env["SIM_IDP_ISSUER"],
                           "value": "operator"}, "reason": "a drill"}
        said = self.soc(0).send("POST", QUARANTINE, stop)
        self.assertEqual(said.status, 200, said)
        began = time.monotonic()
        until("the stop", lambda: read().reason() == "quarantined")
        took = time.monotonic() - began
        self.assertLess(took, 1.0)
        # Verified before, approved before: neither helps.
        self.assertEqual(self.use(1, body, approval).reason(), "quarantined")
        print(f"{took:.2f} s", end=" ")

    def test_what_is_frozen_here_is_frozen_there_within_a_second(self):
        answer = self.soc(1).send("POST", f"{INCIDENT}/freeze", {"reason": "a drill"})
        self.assertEqual(answer.status, 200, answer)
        began = time.monotonic()
        delete = f"{item('vm1')}?{API}"
        until("the freeze", lambda: self.lines[0].send("DELETE", delete).reason() == "incident-freeze")
        self.assertLess(time.monotonic() - began, 1.0)

    def test_who_is_stopped_while_a_request_waits_for_the_store_sends_nothing(self):
        body, approval = self.approved(0)
        server = self.pair.postgres
        stop = {"target": {"kind": "subject", "issuer": self.pair.first.env["SIM_IDP_ISSUER"],
                           "value": "operator"}, "reason": "a drill"}
        waiting = lambda n: until("the wait", lambda: server.query(WAITING) >= str(n))  # noqa: E731
        # The lock is given in turn: to the request's place in the budgets, to the stop, to us
        # again, and only then to what the request does next.
        with concurrent.futures.ThreadPoolExecutor(2) as pool, server.locked(LOCK) as first:
            used = pool.submit(self.use, 0, body, approval)
            waiting(1)
            stopped = pool.submit(self.soc(0).send, "POST", QUARANTINE, stop)
            waiting(2)
            with server.locked(LOCK, wait=False) as second:
                waiting(3)
                first()
                self.assertEqual(stopped.result().status, 200)
                waiting(1)
                second()
            self.assertEqual(used.result().reason(), "quarantined")
        self.assertEqual(self.pair.first.forwarded(method="POST"), [])
        print(self.pair.oracle(), end=" ")

    def test_two_gateways_of_one_name_do_not_start(self):
        first = self.pair.first
        twin = World(dict(first.env), first.folder / "twin")
        twin.write_config(*self.pair.settings, twin.folder)
        with self.assertRaisesRegex(AssertionError, "a gateway named .* already.*log.origin"):
            twin.start_gateway()
        self.assertTrue(self.works(0) and self.works(1))


class Budgets(Case):
    policies = DELETES

    def test_a_budget_of_one_lets_one_through_at_both_together(self):
        items = [f"{item(f'vm{n % 5 + 1}')}?{API}" for n in range(40)]

        def delete(n):
            with contextlib.closing(self.pair.line(n % 2)) as line:
                answer = line.send("DELETE", items[n])
            return answer.header("x-vaultgate-decision"), answer.status

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            told = list(pool.map(delete, range(40)))
        self.assertEqual([verdict for verdict, _ in told].count("allow"), 1, told)
        self.assertEqual(len(self.pair.first.forwarded(method="DELETE")), 1)
        # And after a crash of either: the budget is spent.
        for which in (0, 1):
            self.restart(which)
            self.assertEqual(delete(which)[0], "deny")
        print(self.pair.oracle(), end=" ")


class Troubled(Case):
    """The server in trouble."""

    def refused(self, at, body=None, approval=None):
        answer = self.use(at, body, approval) if approval else None
        if answer is None:
            self.lines[at].close()
            answer = self.lines[at].send("POST", trigger(), backup(next(NUMBERS)))
        self.assertEqual((answer.status, answer.reason()), (503, "store-unavailable"), answer)

    def test_a_server_that_is_away_refuses_changes_until_it_is_back(self):
        body, approval = self.approved(0)
        sent = len(self.pair.first.forwarded(method="POST"))
        self.pair.postgres.stop()
        for at in (0, 1):
            self.refused(at, body, approval)
            self.refused(at)
        self.assertEqual(len(self.pair.first.forwarded(method="POST")), sent)
        self.pair.postgres.start()
        for at in (0, 1):
            until("changes to be taken again", lambda at=at: self.works(at))
        self.assertEqual(self.use(1, body, approval).status, 202)
        self.assertEqual(self.use(0, body, approval).reason(), "approval-used")

    def test_a_server_that_crashed_forgets_nothing(self):
        body, approval = self.approved(0)
        self.assertEqual(self.use(0, body, approval).status, 202)
        self.pair.postgres.stop(signal.SIGQUIT)
        self.pair.postgres.start()
        until("changes to be taken again", lambda: self.works(1))
        self.assertEqual(self.use(1, body, approval).reason(), "approval-used")

    def test_a_server_that_only_reads_refuses_changes(self):
        body, approval = self.approved(0)
        query = self.pair.postgres.query
        query("ALTER ROLE gateway SET default_transaction_read_only = on")
        query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'")
        until("the refusal", lambda: self.use(0, body, approval).reason() == "store-unavailable")
        query("ALTER ROLE gateway RESET default_transaction_read_only")
        query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'")
        until("changes to be taken again", lambda: self.works(0))
        self.assertEqual(self.use(0, body, approval).status, 202)

    def test_a_server_that_was_set_back_makes_nothing_good_again(self):
        body, approval = self.approved(0)
        server = self.pair.postgres
        server.stop()
        kept = server.base / "kept"
        shutil.copytree(server.folder, kept, symlinks=True)
        server.start()
        until("changes to be taken again", lambda: self.works(0) and self.works(1))
        # Used by the second: only its own log, and the store, know.
        self.assertEqual(self.use(1, body, approval).status, 202)
        server.stop()
        shutil.rmtree(server.folder)
        shutil.copytree(kept, server.folder, symlinks=True)
        subprocess.run(["chown", "-R", "--reference", server.base, server.folder], check=True)
        server.folder.chmod(0o700)
        server.start()
        # In the store it is approved and unused. Nobody believes the store.
        for at in (0, 1):
            until("the gateway to see it", lambda at=at: "went back" in str(self.use(at, body, approval)))
        # A start does not forget it, although the server is the one it was and fits itself.
        self.restart(0)
        self.assertEqual(self.use(0, body, approval).reason(), "approval-void")
        delete = f"{item('vm1')}?{API}"
        self.assertEqual(self.lines[0].send("DELETE", delete).reason(), "incident-freeze")
        self.restart(1)
        self.assertIn(self.use(1, body, approval).reason(), ("approval-void", "approval-used"))
        # It was seen to by the first: what was asked for since is good.
        body, approval = self.approved(0)
        self.assertEqual(self.use(1, body, approval).status, 202)
        self.assertEqual(len(self.pair.first.forwarded(method="POST")), 2)
        print(self.pair.oracle(), end=" ")

    def test_who_saw_that_the_server_was_set_back_tells_the_others(self):
        body, approval = self.approved(0)
        server = self.pair.postgres
        # What a backup from before the last change would say, of which the first knows nothing.
        self.pair.worlds[0].kill_gateway()
        self.assertEqual(self.use(1, body, approval).status, 202)
        server.query("UPDATE history SET changes = changes - 1", "vaultgate")
        until("the gateway to see it", lambda: "went back" in str(self.use(1, body, approval)))
        self.pair.worlds[0].start_gateway()
        self.lines[0].close()
        delete = f"{item('vm1')}?{API}"
        self.assertEqual(self.lines[0].send("DELETE", delete).reason(), "incident-freeze")

    def test_on_another_server_no_consent_holds_and_destruction_is_frozen(self):
        body, approval = self.approved(0)
        old = self.pair.postgres
        dump = subprocess.run([program("pg_dump"), "-h", "127.0.0.1", "-p", str(old.port), "-U", "owner",
                               "--no-owner", "vaultgate"], check=True, capture_output=True,
                              env={"PGPASSWORD": old.password}).stdout
        with contextlib.closing(Postgres()) as other:
            subprocess.run([program("psql"), "-h", "127.0.0.1", "-p", str(other.port), "-U", "gateway", "-q",
                            "-v", "ON_ERROR_STOP=1", "vaultgate"], input=dump, check=True, stdout=subprocess.DEVNULL,
                           env={"PGPASSWORD": other.password})
            (self.pair.folder / "store.url").write_text(other.address(), encoding="utf-8")
            for which in (0, 1):
                self.restart(which)
            for at in (1, 0):
                self.assertEqual(self.use(at, body, approval).reason(), "approval-void")
            answer = self.lines[0].send("DELETE", f"{item('vm1')}?{API}")
            self.assertEqual(answer.reason(), "incident-freeze")
            # What is asked for now is good.
            body, approval = self.approved(1)
            self.assertEqual(self.use(0, body, approval).status, 202)
            self.pair.worlds[0].stop_gateway()
            self.pair.worlds[1].stop_gateway()
        print(self.pair.oracle(), end=" ")


class Configured(unittest.TestCase):
    def test_another_machine_is_not_taken_without_its_certificate(self):
        with World.start() as world:
            config = pathlib.Path(world.env["VAULTGATE_CONFIG"])
            world.kill_gateway()
            address = config.with_name("store.url")
            address.write_text("postgres://u:hunter2@db.example/vaultgate", encoding="utf-8")
            text = config.read_text(encoding="utf-8").replace('path = "store.db"', f'postgres = "file:{address}"')
            config.write_text(text, encoding="utf-8")
            with self.assertRaises(AssertionError) as told:
                world.start_gateway()
            self.assertIn("verify-full", str(told.exception))
            self.assertNotIn("hunter2", str(told.exception))
            # A password in the file itself would be kept with the configuration.
            config.write_text(text.replace(f"file:{address}", "postgres://u:hunter2@db.example/v"), encoding="utf-8")
            with self.assertRaises(AssertionError) as told:
                world.start_gateway()
            self.assertIn("by reference", str(told.exception))


def main():
    chosen = options(__doc__.splitlines()[0]).parse_args()
    return run("replicas", only=chosen.only)


if __name__ == "__main__":
    sys.exit(main())
