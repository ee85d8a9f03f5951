#!/usr/bin/env python3
"""The flows on a real Prefect server and worker, through the real gateway, judged by what reached Azure.

    prefect.py [TEST...]
"""

import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "prefect"), str(HERE.parent / "flows")]

import crashes  # noqa: E402
import flows  # noqa: E402
from serving import BIN, LONG, Prefect, process_of, rss  # noqa: E402
from stage import FLOW, Stage, item  # noqa: E402
from world import options, run, until  # noqa: E402

DEPLOYMENT = f"{FLOW}-westeurope"
MACHINES = [f"vm{number}" for number in range(1, 6)]


def slot(seconds=30):
    """An instant that is over, as a scheduler writes it."""
    at = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) - datetime.timedelta(seconds=seconds)
    return at.isoformat()


class OnPrefect(unittest.TestCase):
    """One server for all, one gateway and one worker for each: what is done to them stays with the test."""

    @classmethod
    def setUpClass(cls):
        cls.prefect = Prefect()
        print(f"server: {cls.prefect.took:.1f} s to start, {rss(cls.prefect.server.pid)} MB", flush=True)

    @classmethod
    def tearDownClass(cls):
        print(f"server: {rss(cls.prefect.server.pid)} MB in the end")
        cls.prefect.stop()

    def bend(self, path, values):
        """Writes other values into a file; each has to be there."""
        text = path.read_text(encoding="utf-8")
        for old, new in values:
            self.assertIn(old, text)
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    def staged(self, worker=True, bent=(), rules=(), **how):
        """A gateway, and its flow on Prefect: as `export prefect` writes it."""
        stage = Stage(**how)
        self.addCleanup(stage.stop)
        stage.exported = stage.folder / "export"
        stage.does("export", "prefect", stage.file, "--out", stage.exported, config=False)
        path = stage.exported / "prefect.yaml"
        # What this environment says of the worker is not to be replaced.
        values = [*bent, ("/etc/vaultgate/flow.secret", str(stage.folder / "flow.secret")),
                  ("/etc/vaultgate/ca.pem", stage.world.ca)]
        self.bend(path, values)
        self.bend(stage.exported / "automations.yaml", rules)
        stage.deployment = self.prefect.deployed(stage.exported, DEPLOYMENT)
        # With its runs: what one test leaves behind holds no place in the next.
        self.addCleanup(self.prefect.ask, "DELETE", f"/deployments/{stage.deployment['id']}")
        stage.identity = {"VAULTGATE_URL": stage.world.url, "VAULTGATE_CLIENT_ID": "flow",
                          "VAULTGATE_TOKEN_URL": stage.world.env["SIM_ISSUER_OIDC"] + "/token",
                          "VAULTGATE_SCOPE": "api://vaultgate/.default"}
        if worker:
            self.worker(stage)
        return stage

    def worker(self, stage):
        stage.worker = self.prefect.worker(stage.identity)
        self.addCleanup(self.prefect.end_worker, stage.worker)

    def asked(self, stage):
        """Requests for backups that the gateway has judged."""
        return [record for record in stage.world.records() if record["kind"] == "decision"
                and "protecteditems/backup/action" in json.dumps(record["input"]["operation"]).lower()]

    def once(self, stage, names):
        """Each of these was backed up once, and nothing else."""
        sent = {name: len(entries) for name, entries in stage.backups().items()}
        self.assertEqual(sent, {item(name).lower(): 1 for name in names})

    def test_parts_are_those_of_the_bundled_engine(self):
        done = subprocess.run([BIN / "python", HERE / "prefect/units.py"], capture_output=True, text=True, check=False,
                              env={**self.prefect.env}, timeout=LONG)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_scheduled_run_backs_up_every_item_once_and_again_nothing(self):
        stage = self.staged(bent=[("30 2 * * *", "* * * * *")])

        def begun():
            begun = [one for one in self.prefect.runs(stage.deployment) if one["start_time"]]
            return begun and begun[0]

        one = until("the scheduler", begun, LONG)
        for schedule in stage.deployment["schedules"]:
            path = f"/deployments/{stage.deployment['id']}/schedules/{schedule['id']}"
            self.prefect.ask("PATCH", path, {"active": False})
        pid = until("its process", lambda: process_of(one["id"]) or self.prefect.found(one["id"])["end_time"])
        print(f"worker: {rss(stage.worker.pid)} MB, flow: {rss(pid) if isinstance(pid, int) else '-'} MB", flush=True)
        state = self.prefect.reaches(one["id"], "Completed")
        self.assertEqual(state["message"], "5 Completed")
        self.assertTrue(one["auto_scheduled"])
        self.once(stage, MACHINES)
        stage.world.oracle()
        before = len(self.asked(stage))
        again = self.prefect.run(stage.deployment, one["expected_start_time"])
        self.prefect.reaches(again, "Completed")
        self.once(stage, MACHINES)
        # They were sent, and the gateway answered for Azure.
        self.assertEqual((before, len(self.asked(stage))), (5, 10))

    def test_a_definition_that_was_not_reviewed_runs_nothing(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/vm2"')
        stage.file.write_text(stage.text.replace("cap: 2s", "cap: 3s"), encoding="utf-8")
        stage.review()
        number = self.prefect.run(stage.deployment, slot())
        state = self.prefect.reaches(number, "Denied")
        self.assertEqual(state["type"], "FAILED")
        self.assertIn("flow-not-covered", state["message"])
        self.assertEqual(stage.backups(), {})
        asked = self.asked(stage)
        self.assertEqual(len(asked), 2, asked)
        for record in asked:
            self.assertIn(record["id"], state["message"])

    def test_an_item_that_needs_approval_waits_without_a_process_and_goes_on(self):
        stage = self.staged(items='"vm:rg1/vm1"', settings=flows.Flows.APPROVED)
        number = self.prefect.run(stage.deployment, slot())
        approval = self.suspended(number)
        self.assertEqual(stage.backups(), {})
        # Whoever is too early changes nothing.
        self.prefect.ask("POST", f"/flow_runs/{number}/resume", {})
        until("the second look", lambda: self.prefect.names(number).count("Suspended") == 2, LONG)
        stage.answers(approval, "approve")
        self.prefect.ask("POST", f"/flow_runs/{number}/resume", {})
        self.prefect.reaches(number, "Completed")
        self.once(stage, ["vm1"])

    def test_an_item_whose_approval_is_refused_is_denied(self):
        stage = self.staged(items='"vm:rg1/vm1"', settings=flows.Flows.APPROVED)
        number = self.prefect.run(stage.deployment, slot())
        stage.answers(self.suspended(number), "reject")
        self.prefect.ask("POST", f"/flow_runs/{number}/resume", {})
        self.prefect.reaches(number, "Denied")
        self.assertEqual(stage.backups(), {})

    def test_an_approval_that_was_used_before_a_crash_is_not_asked_for_again(self):
        stage = self.staged(items='"vm:rg1/vm1"', settings=flows.Flows.APPROVED, time_scale=1.0)
        stage.world.control("POST", "jobs", {"lasts_ms": 15_000})
        number = self.prefect.run(stage.deployment, slot())
        stage.answers(self.suspended(number), "approve")
        self.prefect.ask("POST", f"/flow_runs/{number}/resume", {})
        until("its backup", stage.backups, LONG)
        os.kill(until("its process", lambda: process_of(number)), signal.SIGKILL)
        self.prefect.reaches(number, "Crashed")
        self.prefect.reaches(self.again(stage, number), "Completed")
        self.once(stage, ["vm1"])

    def suspended(self, number):
        """The approval that a run waits for."""
        until(f"{number}: Suspended", lambda: self.prefect.found(number)["state"]["name"] == "Suspended", LONG)
        until("the end of its process", lambda: process_of(number) is None)
        [key] = self.prefect.found(number)["empirical_policy"]["pause_keys"]
        return key.partition("/")[0]

    def again(self, stage, number):
        """The run that is begun for one that crashed."""
        def begun():
            return [one for one in self.prefect.runs(stage.deployment) if one["parameters"].get("rerun_of") == number]

        [one] = until("the run that follows a crash", begun, LONG)
        return one["id"]

    def test_a_job_that_is_there_already_is_adopted(self):
        stage = self.staged(items='"vm:rg1/vm1"', time_scale=1.0)
        stage.world.control("POST", "jobs", {"lasts_ms": 20_000, "exclusive": True})
        body = {"properties": {"objectType": "IaasVMBackupRequest"}}
        answer = stage.world.send("POST", f"{item('vm1')}/backup?api-version=2026-08-01",
                                  stage.world.token("operator"), body)
        self.assertEqual(answer.status, 202, answer)
        number = self.prefect.run(stage.deployment, slot())
        self.prefect.reaches(number, "Completed")
        until("its log", lambda: "Adopted: Azure has a job on this item already" in self.prefect.logs(number))

    def test_faults_are_tried_again_under_the_same_key(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/vm2"')
        throttled = {"kind": "status", "status": 429, "retry_after": 1, "effect": False}
        for match, fault in (
            ({"method": "POST", "path_contains": "/backup"}, throttled),
            ({"method": "GET", "path_contains": "backupJobs"}, {"kind": "status", "status": 503}),
            ({"method": "GET", "path_contains": "backupProtectedItems"}, {"kind": "status", "status": 503}),
            ({"method": "GET", "path_contains": "backupJobs"}, {"kind": "reset"}),
        ):
            stage.world.control("POST", "faults", {"match": match, "times": 2, "fault": fault})
        number = self.prefect.run(stage.deployment, slot())
        self.prefect.reaches(number, "Completed")
        # A job each, by the decision of the request that was not throttled.
        sent = stage.backups()
        self.assertEqual(sum(map(len, sent.values())), 4, sent)
        begun = {job["properties"]["activityId"] for job in crashes.jobs(stage)}
        for entries in sent.values():
            self.assertEqual(sum(entry["client_request_id"] in begun for entry in entries), 1, entries)
        stage.world.oracle()

    def test_a_gateway_that_is_away_costs_no_run(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/vm2"')
        stage.world.stop_gateway()
        number = self.prefect.run(stage.deployment, slot())
        until("the first attempt", lambda: "are not known, again in" in self.prefect.logs(number), LONG)
        stage.world.start_gateway()
        self.prefect.reaches(number, "Completed")
        self.once(stage, ["vm1", "vm2"])

    def test_a_process_that_is_killed_after_its_request_backs_up_nothing_twice(self):
        stage = self.staged(items='"vm:rg1/vm1"', time_scale=1.0)
        stage.world.control("POST", "jobs", {"lasts_ms": 10_000})
        # The answer is on its way for so long that the process never has it.
        stage.world.control("POST", "faults", {"match": {"method": "POST", "path_contains": "/backup"}, "times": 1,
                                               "fault": {"kind": "slow", "ms": 3_000}})
        at = slot()
        number = self.prefect.run(stage.deployment, at)
        until("its backup", stage.backups, LONG)
        os.kill(process_of(number), signal.SIGKILL)
        self.prefect.reaches(number, "Crashed")
        self.prefect.reaches(self.again(stage, number), "Completed")
        self.once(stage, ["vm1"])
        # Nor does whoever makes a run of the same slot by hand.
        self.prefect.reaches(self.prefect.run(stage.deployment, at), "Completed")
        self.once(stage, ["vm1"])

    def test_another_gateway_than_the_workers_gets_no_token(self):
        stage = self.staged(items='"vm:rg1/vm1"')
        spec = {**stage.deployment["parameters"]["spec"], "gateway": "https://127.0.0.1:9"}
        number = self.prefect.run(stage.deployment, slot(), spec=spec)
        state = self.prefect.reaches(number, "Failed")
        self.assertIn("VAULTGATE_URL", state["message"])

    def test_a_slot_that_nobody_ran_in_time_is_missed(self):
        stage = self.staged(items='"vm:rg1/vm1"')
        self.prefect.reaches(self.prefect.run(stage.deployment, slot(1300)), "Missed")
        self.assertEqual(stage.backups(), {})

    def test_a_run_that_no_worker_takes_is_cancelled_in_the_end(self):
        stage = self.staged(items='"vm:rg1/vm1"', worker=False, rules=[("within: 1200", "within: 10")])
        self.prefect.reaches(self.prefect.run(stage.deployment, slot()), "Cancelled")
        self.assertEqual(stage.backups(), {})

    def test_a_run_whose_worker_died_with_it_is_found_and_run_again(self):
        stage = self.staged(items='"vm:rg1/vm1"', time_scale=1.0, rules=[("within: 540", "within: 60")])
        stage.world.control("POST", "jobs", {"lasts_ms": 60_000})
        number = self.prefect.run(stage.deployment, slot())
        until("its backup", stage.backups, LONG)
        # The worker first, which would tell.
        stage.worker.kill()
        os.kill(process_of(number), signal.SIGKILL)
        self.assertEqual(self.prefect.found(number)["state"]["name"], "Running")
        self.worker(stage)
        until("its state", lambda: self.prefect.found(number)["state"]["name"] == "Crashed", LONG)
        self.prefect.reaches(self.again(stage, number), "Completed")
        self.once(stage, ["vm1"])


if __name__ == "__main__":
    sys.exit(run("prefect", only=options(__doc__.splitlines()[0]).parse_args().only))
