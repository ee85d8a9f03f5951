#!/usr/bin/env python3
"""Parts of the flows on Prefect that must be what the bundled engine has: keys, verdicts, waits, names, jobs.
Run with Prefect's own Python; nothing is started and nothing is asked."""

import json
import pathlib
import sys
import unittest
from datetime import datetime, timedelta, timezone
from uuid import UUID

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "orchestrator/prefect"))

from vaultgate_flows import client, items, names, occurrence, retry, settings, spec, verdict  # noqa: E402
from vaultgate_flows.verdict import Kind  # noqa: E402

DUE = datetime(2026, 11, 23, 2, 30, tzinfo=timezone.utc)
APPROVAL = "0199f0aa-0000-7000-8000-000000000001"


def read(status, decision, code, wait=""):
    headers = {name: value for name, value in (("x-vaultgate-decision", decision), ("retry-after", wait)) if value}
    info = {"reason": code, "approval": {"approvalId": APPROVAL}}
    error = {"error": {"code": "X", "message": "m", "additionalInfo": [{"info": info}]}}
    return verdict.of(status, headers, json.dumps(error).encode())


class Units(unittest.TestCase):
    def test_keys_are_those_of_the_bundled_engine(self):
        run = occurrence.run_id("nightly", "westeurope", DUE)
        self.assertEqual(str(run), "b1effa02-a6cc-5a4e-bc1f-6388e58c557a")
        self.assertEqual(occurrence.key(run, "/subscriptions/A"), occurrence.key(run, "/SUBSCRIPTIONS/a"))
        self.assertNotEqual(occurrence.key(run, "/Ä"), occurrence.key(run, "/ä"))
        local = DUE.astimezone(timezone(timedelta(hours=1)))
        self.assertEqual(occurrence.run_id("nightly", "westeurope", local), run)
        self.assertEqual(occurrence.shown(DUE.replace(microsecond=120_000)), "2026-11-23T02:30:00.12Z")

    def test_every_answer_has_its_meaning(self):
        for given, kind in [
            ((202, "allow", ""), Kind.DONE), ((403, "deny", "outside-window"), Kind.DENIED),
            ((403, "approval", "approval-required"), Kind.APPROVAL), ((403, "allow", "Authorization"), Kind.TRANSIENT),
            ((429, "limit", "rate", "7"), Kind.TRANSIENT), ((503, "error", "log-unavailable"), Kind.TRANSIENT),
            ((409, "error", "request-in-flight"), Kind.TRANSIENT), ((502, "error", "outcome-unknown"), Kind.UNKNOWN),
            ((409, "error", "outcome-unknown"), Kind.UNKNOWN), ((401, "deny", "token-expired"), Kind.UNAUTHENTICATED),
            ((409, "allow", "UserErrorBackupOperationInProgress"), Kind.IN_PROGRESS),
            ((404, "allow", "ResourceNotFound"), Kind.MISSING), ((400, "allow", "UserErrorVmNotRunning"), Kind.FAILED),
            ((400, "deny", "body-malformed"), Kind.DENIED), ((302, "allow", "x"), Kind.TRANSIENT),
            *(((status, "", ""), Kind.TRANSIENT) for status in (302, 400, 403, 404, 409)),
        ]:
            self.assertIs(read(*given).kind, kind, given)
        self.assertEqual((read(429, "limit", "rate", "7").wait, read(403, "approval", "x").approval), (7.0, APPROVAL))
        for body in (b"", b"<html>", b"[]", b'{"error": 1}', b"\xff", b"[" * 100_000):
            self.assertIs(verdict.of(403, {}, body).kind, Kind.TRANSIENT, body[:9])
            self.assertIs(verdict.of(400, {"x-vaultgate-decision": "allow"}, body).kind, Kind.TRANSIENT, body[:9])

    def test_only_what_says_so_has_surely_done_nothing(self):
        for given, expected in [((403, "deny", "x"), True), ((409, "error", "request-in-flight"), False),
                                ((503, "error", "log-unavailable"), True), ((502, "error", "x"), False),
                                ((503, "", "x"), True), ((504, "", "x"), False), ((202, "allow", ""), False)]:
            self.assertEqual(verdict.nothing_done(given[0], read(*given)), expected, given)

    def test_waits_grow_to_their_cap_and_are_never_sooner_than_asked(self):
        own = spec.Retry(6, 15, 300)
        self.assertEqual([retry.wait(own, n, None, 1.0) for n in range(1, 7)], [15, 30, 60, 120, 240, 300])
        for attempt, asked, share, expected in [(1, None, 0.0, 0), (1, 60, 0.0, 60), (1, 60, 1.0, 75),
                                                (1, 9_999_999, 0.0, 3_600), (5, 10, 1.0, 240), (10**6, None, 1.0, 300)]:
            self.assertEqual(retry.wait(own, attempt, asked, share), expected)

    def test_a_star_stops_at_a_slash(self):
        for pattern, name, meant in [
            ("web-*", "Web-01", True), ("web-*", "db-01", False), ("rg/*", "rg/web-01", True), ("*", "rg/web", False),
            ("*/*", "rg/web", True), ("a*b*c", "axxbyyc", True), ("a*b*c", "axxbyy", False), ("a*b*c", "a/b/c", False),
            ("abc", "abcd", False), ("*abc", "ababc", True), ("a*" * 15 + "b", "a" * 60, False),
        ]:
            self.assertEqual(names.Pattern.parse(f"vm:{pattern}").meets(f"vm:{name}"), meant, (pattern, name))
            self.assertFalse(names.Pattern.parse(f"vm:{pattern}").meets(f"sql:{name}"))
        for wrong in ("", "web", "vm:", "vm: ", "vm:a**", "vm:a?", "vm:[ab]", "vm:{a}", "vm:!a", "disk:a"):
            self.assertRaises(ValueError, names.Pattern.parse, wrong)

    def test_a_job_is_taken_for_its_own_item_and_no_other(self):
        def job(id_, started, ended=None, **more):
            at = [None if minutes is None else DUE + timedelta(minutes=minutes) for minutes in (started, ended)]
            given = {"container": "", "activity": "somebody", **more}
            status = "InProgress" if ended is None else "Completed"
            return client.Job(id=id_, status=status, friendly="web", started=at[0], ended=at[1], error=None, **given)

        inner = "iaasvmcontainerv2;rg1;web"
        web = items.Item("/v", f"/v/protectionContainers/IaasVMContainer;{inner}/protectedItems/VM;{inner}",
                         "vm:rg1/web", UUID(int=0), step=items.Step.ADOPTING, state="Adopted", sent_at=DUE,
                         decision="d1")
        alone, two = ["vm:rg1/web"], ["vm:rg1/web", "vm:rg2/web"]
        old, running = job("old", -1_440, -1_400), job("running", -60)
        theirs = job("theirs", -60, container="iaasvmcontainerv2;rg2;web")
        for jobs, known, expected in [
            ([old], alone, None), ([old, running], alone, "running"), ([old, job("ended", -60, 3)], alone, "ended"),
            ([running], two, None), ([theirs], two, None), ([job("mine", -60, container=inner)], two, "mine"),
            ([job("own", 0, activity="D1; d1")], two, "own"),
        ]:
            found = items.adopted(web, jobs, known)
            self.assertEqual(found and found.id, expected, jobs)
        self.assertEqual(items.since([web], DUE), DUE - items.BEFORE)

    def test_the_worker_says_whom_it_asks(self):
        env = {f"VAULTGATE_{name}": "https://a.test" for name in
               ("URL", "TOKEN_URL", "CLIENT_ID", "SCOPE", "CLIENT_SECRET_FILE")}
        self.assertEqual(settings.Settings.read(env).gateway, "https://a.test")
        for wrong in ({"VAULTGATE_URL": ""}, {"VAULTGATE_URL": "http://a.test"},
                      {"VAULTGATE_TOKEN_URL": "http://a.test"}, {"VAULTGATE_URL": "https://management.azure.com."}):
            self.assertRaises(ValueError, settings.Settings.read, {**env, **wrong})


if __name__ == "__main__":
    unittest.main()
