#!/usr/bin/env python3
"""The oracle must be able to fail: an honest journal passes, each doctored one is caught.

The journals and records beside this file were made by hand. What is doctored further
here (an altered body, a record too late, a gap in the log) starts from the honest ones.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
RECORDS = os.path.join(HERE, "records")
HONEST = os.path.join(HERE, "journals", "honest.json")
DECISION = "0199a1b2-0000-7000-8000-000000000003"
with open(os.path.join(RECORDS, "segments", f"{0:020}.jsonl"), encoding="utf-8") as records:
    # What policy judged in the decision of that id.
    INPUT = json.loads(records.read().splitlines()[4])["input"]


def ask(journal, log=RECORDS):
    command = [sys.executable, "-S", os.path.join(HERE, "oracle.py")]
    command += ["--journal", journal, "--log", log]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


class Journals(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def judged(self, change):
        """The verdict on the honest journal after `change`."""
        with open(HONEST, encoding="utf-8") as file:
            entries = json.load(file)
        change(entries)
        path = os.path.join(self.folder.name, "journal.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in entries)
        return ask(path)

    def caught(self, verdict, *words):
        code, told = verdict
        self.assertEqual(code, 1, told)
        for word in words:
            self.assertIn(word, told)

    def test_the_honest_journal_passes_in_both_forms(self):
        code, told = ask(HONEST)
        self.assertEqual((code, told.split(":")[0]), (0, "ok"), told)
        self.assertIn("2 requests forwarded, 2 reads observed", told)
        code, told = self.judged(lambda entries: None)
        self.assertEqual(code, 0, told)

    def test_a_request_without_a_record_is_caught(self):
        verdict = ask(os.path.join(HERE, "journals", "sent-without-record.json"))
        self.caught(verdict, "journal 5", "no decision of this id", "DELETE")

    def test_a_request_sent_twice_is_caught(self):
        verdict = ask(os.path.join(HERE, "journals", "sent-twice.json"))
        self.caught(verdict, "journal 5", "sent before, as journal 4")

    def test_a_read_is_tried_thrice_at_most(self):
        def again(times):
            def change(entries):
                read = next(e for e in entries
                            if e["identity"] == "operator" and e["method"] == "GET")
                entries += [{**read, "seq": len(entries) + n} for n in range(times)]
            return change

        code, told = self.judged(again(2))
        self.assertEqual(code, 0, told)
        self.caught(self.judged(again(3)), "sent before")

    def test_a_read_that_is_not_listed_is_caught(self):
        verdict = ask(os.path.join(HERE, "journals", "read-not-listed.json"))
        self.caught(verdict, "journal 5", "seq 3 does not list this read")

    def test_every_altered_part_is_caught(self):
        for part, value in [
            ("method", "PUT"),
            ("path", "/subscriptions/x"),
            ("query", "api-version=2016-12-01"),
            ("body_sha256", "0" * 64),
        ]:
            verdict = self.judged(lambda entries: entries[4].update({part: value}))
            self.caught(verdict, f"id {DECISION}: {part} is", "seq 4")

    def test_a_request_that_the_emulator_reads_as_another_is_caught(self):
        verdict = ask(os.path.join(HERE, "journals", "read-as-another.json"))
        self.caught(verdict, "journal 4", "recoveryPoints/restore/action', seq 4 judged",
                    "reads the resource", "'IaasVMRestoreRequest' at /properties/objectType")
        backup = "/properties/objectType"
        for change, words in [
            ({"action": "Microsoft.RecoveryServices/vaults/read"}, "the emulator reads"),
            ({"resource": "/subscriptions/other"}, "reads the resource"),
            ({"deciding": {backup: "AzureWorkloadBackupRequest"}}, "AzureWorkloadBackupRequest"),
            ({"deciding": {backup: None, "/properties/isRehydrate": False}}, "isRehydrate"),
            ({"canonical": False}, "not spelled in the one canonical way"),
            ({"destructive": True}, "calls it destructive"),
            ({"effect": "stop"}, "reads the effect 'stop'"),
        ]:
            verdict = self.judged(lambda entries: entries[4]["reading"].update(change))
            self.caught(verdict, words, "seq 4")
        for nothing in (None, "x"):
            verdict = self.judged(lambda entries: entries[4].update(reading=nothing))
            self.caught(verdict, "knows no such operation")
        # A name in ARM has no case.
        lower = json.loads(json.dumps(INPUT).lower())["resource"]
        code, told = self.judged(
            lambda entries: entries[4]["reading"].update(resource=lower["id"]))
        self.assertEqual(code, 0, told)

    def test_a_record_after_the_fact_is_caught(self):
        early = {"at": "2026-11-23T03:00:02.199Z"}
        self.caught(self.judged(lambda entries: entries[4].update(early)), "before seq 4")
        same = {"at": "2026-11-23T03:00:02.200999Z"}
        code, told = self.judged(lambda entries: entries[4].update(same))
        self.assertEqual(code, 0, told)

    def test_what_was_denied_or_replayed_may_not_arrive(self):
        for place in ("4", "5"):
            own = f"0199a1b2-0000-7000-8000-00000000000{place}"
            verdict = self.judged(lambda entries: entries[1].update(client_request_id=own))
            self.caught(verdict, "forwards nothing")

    def test_the_reader_may_only_get_and_must_be_announced(self):
        self.caught(self.judged(lambda entries: entries[2].update(method="POST")), "only GET")
        nobody = {"client_request_id": None}
        self.caught(self.judged(lambda entries: entries[2].update(nobody)), "no observation")

    def test_nobody_and_unknown_identities_are_caught(self):
        for identity in ("none", "someone"):
            verdict = self.judged(lambda entries: entries[1].update(identity=identity))
            self.caught(verdict, f"identity '{identity}'")

    def test_the_guard_counts_where_it_names_a_decision(self):
        extra = {"identity": "guard", "client_request_id": "elsewhere"}
        code, told = self.judged(lambda entries: entries.append(dict(entries[1], **extra)))
        self.assertEqual(code, 0, told)
        again = {"identity": "guard", "client_request_id": DECISION}
        verdict = self.judged(lambda entries: entries.append(dict(entries[4], **again)))
        self.caught(verdict, "sent before")


    def test_the_guard_s_identity_may_only_unlock(self):
        def change(entries):
            [entry] = [entry for entry in entries if entry.get("client_request_id") == DECISION]
            entry["identity"] = "guard"

        self.caught(self.judged(change), "is a step of None, sent as 'guard'", "the guard's identity sent")


class Logs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = os.path.join(folder.name, "log")
        shutil.copytree(RECORDS, self.log)
        self.first = os.path.join(self.log, "segments", f"{0:020}.jsonl")
        self.second = os.path.join(self.log, "segments", f"{5:020}.jsonl")

    def lines(self, path, change):
        with open(path, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        change(lines)
        with open(path, "wb") as file:
            file.writelines(lines)

    def test_prepared_space_and_a_torn_tail_are_no_records(self):
        self.lines(self.second, lambda lines: lines.append(b'{"schema":"vaultgate.rec' + bytes(99)))
        code, told = ask(HONEST, self.log)
        self.assertEqual(code, 0, told)
        self.assertIn("8 records", told)

    def test_a_gap_is_caught(self):
        self.lines(self.first, lambda lines: lines.pop(2))
        code, told = ask(HONEST, self.log)
        self.assertEqual(code, 1, told)
        self.assertIn("seq 2: the record there calls itself 3", told)

    def test_a_missing_segment_is_caught(self):
        os.remove(self.first)
        code, told = ask(HONEST, self.log)
        self.assertEqual(code, 1, told)
        self.assertIn("record 0 should come next", told)

    def test_a_torn_record_inside_the_log_is_caught(self):
        self.lines(self.first, lambda lines: lines.append(b'{"schema"'))
        self.assertEqual(ask(HONEST, self.log)[0], 1)

    def test_a_second_record_of_one_id_is_caught(self):
        for kind in ("decision", "refusal"):
            def again(lines):
                record = json.loads(lines[1])
                record.update(id=DECISION, kind=kind)
                lines[1] = json.dumps(record).encode() + b"\n"

            self.lines(self.first, again)
            code, told = ask(HONEST, self.log)
            self.assertEqual(code, 1, told)
            self.assertIn(f"a second record {DECISION}", told)

    def approved(self, people, event="used", quorum=2):
        """The verdict when the first change owed an approval that these people gave."""
        def change(lines):
            record = json.loads(lines[4])
            record["input"]["principal"] = {"issuer": "https://idp", "subject": "asker", "person": "asker"}
            record["decision"] = {"obligations": [{"type": "approval", "quorum": quorum}]}
            given = [{"issuer": "https://idp", "subject": name, "person": name} for name in people]
            record["approval"] = {"event": event, "id": "a-1", "approvers": given}
            lines[4] = json.dumps(record).encode() + b"\n"

        self.lines(self.first, change)
        return ask(HONEST, self.log)

    def test_two_other_people_are_enough(self):
        code, told = self.approved(["ann", "ben"])
        self.assertEqual(code, 0, told)

    def test_an_approval_that_nobody_gave_is_caught(self):
        for people, event, word in ((["ann"], "used", "1 of 2"), (["ann", "ann"], "used", "1 of 2"),
                                    (["ann", "ben"], "shown", "uses none"),
                                    (["ann", "ben", None], "used", "nobody that is known")):
            code, told = self.approved(people, event)
            self.assertEqual(code, 1, told)
            self.assertIn(word, told)

    def test_an_approval_by_who_asks_is_caught(self):
        code, told = self.approved(["ann", "ben", "asker"])
        self.assertEqual(code, 1, told)
        self.assertIn("by who asks", told)

    def test_a_long_input_is_read_beside_the_log(self):
        def beside(digest):
            def change(lines):
                record = json.loads(lines[4])
                record["input"] = {"blob": digest, "bytes": 1}
                lines[4] = json.dumps(record).encode() + b"\n"
            return change

        folder = os.path.join(self.log, "blobs", "sha256")
        os.makedirs(folder)
        text = json.dumps(INPUT).encode()
        digest = hashlib.sha256(text).hexdigest()
        with open(os.path.join(folder, digest), "wb") as file:
            file.write(text)
        self.lines(self.first, beside(f"sha256:{digest}"))
        code, told = ask(HONEST, self.log)
        self.assertEqual(code, 0, told)
        with open(os.path.join(folder, digest), "wb") as file:
            file.write(text.replace(b"backup/action", b"delete"))
        self.assertEqual(ask(HONEST, self.log)[0], 2)
        os.remove(os.path.join(folder, digest))
        self.assertEqual(ask(HONEST, self.log)[0], 2)

    def test_a_member_named_twice_is_no_record(self):
        twice = b'"verdict":"deny","verdict":"allow"'
        self.lines(self.first, lambda lines: lines.__setitem__(
            4, lines[4].replace(b'"verdict":"allow"', twice)))
        code, told = ask(HONEST, self.log)
        self.assertEqual(code, 1, told)
        self.assertIn("seq 4: not a record", told)

    def test_a_denial_that_forwards_is_caught(self):
        self.lines(self.first, lambda lines: lines.__setitem__(
            4, lines[4].replace(b'"verdict":"allow"', b'"verdict":"deny"')))
        code, told = ask(HONEST, self.log)
        self.assertEqual(code, 1, told)
        self.assertIn("seq 4 denied it", told)

    def test_what_cannot_be_read_is_no_verdict(self):
        self.assertEqual(ask(HONEST, os.path.join(self.log, "nowhere"))[0], 2)
        self.assertEqual(ask(self.first)[0], 2)
        self.assertEqual(ask(os.path.join(HERE, "journals", "missing.json"))[0], 2)


class Flows(unittest.TestCase):
    """The judge of flows: one item of one run that was backed up, and what is not so."""

    def judged(self, change=lambda journal, jobs, run: None):
        item = {"item": "/v/a", "name": "vm:rg/a", "key": "k1", "state": "Completed", "reason": "", "decision": "d1",
                "job": "j1", "recovery_point": "2026-11-23T02:31:00.5Z"}
        run = {"id": "r1", "state": "Completed", "ended": "2026-11-23T02:40:00Z", "items": [item]}
        journal = [{"method": "POST", "path": "/v/A/backup?x=1", "client_request_id": "d1"}]
        jobs = [{"name": "j1", "properties": {"activityId": "d1", "status": "Completed",
                                              "startTime": "2026-11-23T02:30:00.1234567Z"}}]
        change(journal, jobs, run)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-S", os.path.join(HERE, "flows.py")]
            for name, text in (("journal", json.dumps(journal)), ("jobs", json.dumps(jobs)), ("runs", json.dumps(run))):
                path = os.path.join(folder, name)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                command += [f"--{name}", path]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_what_was_backed_up_once_is_good(self):
        code, told = self.judged()
        self.assertEqual(code, 0, told)

        # Throttled and sent again: one job.
        def again(journal, *_):
            journal += [{**journal[0], "client_request_id": "d0"}, dict(journal[0])]
        code, told = self.judged(again)
        self.assertEqual(code, 0, told)

    def test_everything_that_is_not_so_is_caught(self):
        def item(**how):
            return lambda journal, jobs, run: run["items"][0].update(how)

        def job(**how):
            return lambda journal, jobs, run: jobs[0]["properties"].update(how)

        def twice(journal, jobs, run):
            jobs.append({**jobs[0], "name": "j2"})

        def stray(journal, jobs, run):
            journal.append({**journal[0], "client_request_id": "d2"})
            jobs.append({"name": "j2", "properties": {**jobs[0]["properties"], "activityId": "d2"}})

        def shared(journal, jobs, run):
            run["items"].append({**run["items"][0], "item": "/v/b", "key": "k2"})

        def refused(state, **how):
            def change(journal, jobs, run):
                run.update(state=state)
                run["items"][0].update(state=state, **how)
            return change

        for change, words in [
            (item(decision=None), "its job is that of d1"),
            (item(job=None), "no such job"),
            (item(recovery_point=None), "its recovery point is of None"),
            (item(recovery_point="2026-11-22T02:31:00Z"), "its recovery point is of 2026-11-22"),
            (item(state="Failed"), "Completed with ['Failed']"),
            (job(status="Failed"), "its job is Failed"),
            (job(activityId="d9"), "its job is that of d9"),
            (twice, "2 jobs of the decision d1"),
            (stray, "taken by Azure and in no run: d2"),
            (shared, "the job j1 stands for 2 items"),
            (refused("Denied"), "and yet Azure took it"),
            (refused("Failed"), "and yet it is backed up"),
            (refused("Failed", job=None), "and yet Azure has its job"),
            (lambda journal, jobs, run: run.update(ended=None), "has not ended"),
            (lambda journal, jobs, run: run.update(state="Failed"), "though all of it is Completed"),
        ]:
            code, told = self.judged(change)
            self.assertEqual(code, 1, told)
            self.assertIn(words, told)


if __name__ == "__main__":
    unittest.main()
