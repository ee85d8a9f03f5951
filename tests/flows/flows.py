#!/usr/bin/env python3
"""Flows of the real orchestrator through the real gateway, judged by what reached Azure.

    flows.py [TEST...]
"""

import base64
import http.server
import json
import pathlib
import subprocess
import sys
import threading
import unittest
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

import jsonschema  # noqa: E402
import yaml  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402
from stage import FLOW, Stage, VAULT, item  # noqa: E402
from world import REPOSITORY, options, program, run, until  # noqa: E402

MACHINES = [f"vm{number}" for number in range(1, 6)]


class Receiver:
    """Whoever is told: a receiver of webhooks on this machine."""

    def __init__(self):
        notices = self.notices = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                notices.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Flows(unittest.TestCase):
    """One gateway each: what is done to it stays with the test."""

    def staged(self, **how):
        stage = Stage(**how)
        self.addCleanup(stage.stop)
        return stage

    def test_a_run_backs_up_every_item_once_and_looks_at_it(self):
        stage = self.staged()
        told = stage.does("run", FLOW, "westeurope", "--wait")
        number = told.splitlines()[0]
        whole = stage.explained(number)
        self.assertEqual(whole["state"], "Completed", told)
        self.assertEqual([one["name"] for one in whole["items"]], [f"vm:rg1/{name}" for name in MACHINES])
        backups = stage.backups()
        self.assertEqual(sorted(backups), sorted(item(name).lower() for name in MACHINES))
        for one in whole["items"]:
            [entry] = backups[one["item"].lower()]
            # What Azure saw names the decision that let it through.
            self.assertEqual(entry["client_request_id"], one["decision"])
            self.assertEqual(one["state"], "Completed")
            self.assertIsNotNone(one["recovery_point"])
        stage.world.oracle()
        # Asked by vault, and not by item.
        lists = [r for r in stage.world.records() if r["kind"] == "decision" and "backupJobs" in str(r.get("input"))]
        self.assertTrue(lists)
        self.assertFalse([r for r in lists if any(f"vm{n}" in json.dumps(r["input"]["request"]) for n in range(1, 6))])

    def test_a_definition_that_was_not_reviewed_runs_nothing(self):
        stage = self.staged()
        stage.file.write_text(stage.text.replace("cap: 2s", "cap: 3s"), encoding="utf-8")
        number = stage.does("run", FLOW, "westeurope", "--wait", code=1).splitlines()[0]
        whole = stage.explained(number)
        self.assertEqual(whole["state"], "Denied")
        self.assertEqual({one["state"] for one in whole["items"]}, {"Denied"})
        self.assertTrue(all("flow-not-covered" in one["reason"] for one in whole["items"]), whole)
        self.assertEqual(stage.backups(), {})

    def test_a_stolen_identity_touches_no_item_outside_of_its_definition(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/vm2"')
        token = stage.world.token("flow")
        definition = stage.explained(stage.does("run", FLOW, "westeurope", "--wait").splitlines()[0])["definition_digest"]
        self.assertEqual(sorted(stage.backups()), [item("vm1").lower(), item("vm2").lower()])
        body = {"properties": {"objectType": "IaasVMBackupRequest"}}
        headers = {"x-vaultgate-flow-digest": definition}
        for path in (f"{item('vm3')}/backup", f"{item('vm1')}/backup"):
            for given in ({}, {"x-vaultgate-flow-digest": "sha256:0"}, headers):
                answer = stage.world.send("POST", f"{path}?api-version=2026-08-01", token, body, given)
                allowed = "vm1" in path and given is headers
                self.assertEqual(answer.status, 202 if allowed else 403, (path, given, answer))
        for method, path in (("DELETE", item("vm1")), ("DELETE", VAULT), ("PUT", item("vm1"))):
            body = {"properties": {"protectedItemType": "Microsoft.Compute/virtualMachines"}} if method == "PUT" else None
            answer = stage.world.send(method, f"{path}?api-version=2026-08-01", token, body, headers)
            self.assertEqual((answer.status, answer.headers["x-vaultgate-decision"]), (403, "deny"), answer)
        self.assertEqual(sorted(stage.backups()), [item("vm1").lower(), item("vm2").lower()])

    def test_what_is_named_and_not_protected_is_no_success(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/nothing"')
        number = stage.does("run", FLOW, "westeurope", "--wait", code=1).splitlines()[0]
        whole = stage.explained(number)
        self.assertEqual(whole["state"], "CompletedWithFailures")
        self.assertEqual({one["name"]: one["state"] for one in whole["items"]},
                         {"vm:rg1/vm1": "Completed", "vm:rg1/nothing": "Failed"})

    def test_a_vault_that_is_not_there_costs_the_others_nothing(self):
        stage = self.staged(items='"vm:rg1/vm1"')
        vault = VAULT.split("/")[2] + "/rg1/gone"
        stage.file.write_text(f'{stage.text}      - vault: {vault}\n        items: ["vm:rg1/vm2"]\n', encoding="utf-8")
        stage.review()
        number = stage.does("run", FLOW, "westeurope", "--wait", code=1).splitlines()[0]
        whole = stage.explained(number)
        states = {one["name"]: one["state"] for one in whole["items"]}
        self.assertEqual(states, {"vm:rg1/vm1": "Completed", "gone": "Failed"}, whole)
        self.assertEqual(whole["state"], "CompletedWithFailures")

    def test_a_job_that_is_there_already_is_adopted(self):
        stage = self.staged(items='"vm:rg1/vm1"', time_scale=1.0)
        stage.world.control("POST", "jobs", {"lasts_ms": 6_000, "exclusive": True})
        body = {"properties": {"objectType": "IaasVMBackupRequest"}}
        answer = stage.world.send("POST", f"{item('vm1')}/backup?api-version=2026-08-01",
                                  stage.world.token("operator"), body)
        self.assertEqual(answer.status, 202, answer)
        number = stage.does("run", FLOW, "westeurope", "--wait").splitlines()[0]
        [one] = stage.explained(number)["items"]
        self.assertEqual(one["state"], "Completed", one)
        told = stage.does("logs", number)
        self.assertIn("Adopted", told)

    def test_a_gateway_that_is_away_costs_no_run(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/vm2"')
        stage.world.stop_gateway()

        running = subprocess.Popen(stage.command("run", FLOW, "westeurope", "--wait"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(running.kill)
        number = running.stdout.readline().strip()
        until("the first attempt", lambda: "AwaitingRetry" in stage.does("status"))
        stage.world.start_gateway()
        running.communicate(timeout=60)
        self.assertEqual(running.returncode, 0, stage.does("logs", number))
        self.assertEqual({len(sent) for sent in stage.backups().values()}, {1})

    def reviewed(self, stage, text, *bindings):
        """The stage with another file, and roles that its identity has besides."""
        path = stage.policies / "vaultgate/data.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        data["bindings"]["role:backup.flow"] += [
            {"role": role, "scopes": [scope]} for role, scope in bindings]
        data["landing"]["regions"].append("westeurope")
        path.write_text(json.dumps(data), encoding="utf-8")
        stage.file.write_text(text, encoding="utf-8")
        stage.text = text
        stage.review()

    def drill(self, stage, mode):
        landing = "33333333-3333-3333-3333-333333333333/landing"
        return stage.text.replace("owner:", "kind: restore-drill\nowner:").replace("regions:", f"""  drill:
    mode: {mode}
    resource_group: {landing}
    storage_account: {landing}/stagingsa
    location: westeurope
regions:""", 1)

    def test_a_drill_asks_azure_whether_the_newest_points_could_be_restored(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/vm2"')
        self.reviewed(stage, self.drill(stage, "validate"))
        whole = stage.explained(stage.does("run", FLOW, "westeurope", "--wait").splitlines()[0])
        self.assertEqual({one["name"]: one["state"] for one in whole["items"]},
                         {"vm:rg1/vm1": "Completed", "vm:rg1/vm2": "Completed"})
        self.assertTrue(all("could be restored" in one["reason"] for one in whole["items"]), whole)
        sent = [entry["path"] for entry in stage.world.forwarded() if entry["method"] == "POST"]
        self.assertEqual(len(sent), 2)
        self.assertTrue(all("/backupValidateOperation" in path for path in sent), sent)
        # What would fail is told: there is no such account.
        self.reviewed(stage, stage.text.replace("landing/stagingsa", "landing/nothere"))
        number = stage.does("run", FLOW, "westeurope", "--wait", code=1).splitlines()[0]
        whole = stage.explained(number)
        self.assertEqual(whole["state"], "Failed")
        self.assertIn("UserErrorStorageAccountNotFound", json.dumps(whole))

    def test_a_drill_restores_into_the_landing_zone_and_says_what_it_leaves(self):
        stage = self.staged(items='"vm:rg1/vm1"')
        self.reviewed(stage, self.drill(stage, "restore"), ("operator", "/subscriptions/" + VAULT.split("/")[2]))
        whole = stage.explained(stage.does("run", FLOW, "westeurope", "--wait").splitlines()[0])
        [one] = whole["items"]
        self.assertEqual(one["state"], "Completed", one)
        self.assertIn("left in /subscriptions/33333333", one["reason"])
        [sent] = [entry for entry in stage.world.forwarded() if entry["method"] == "POST"]
        self.assertTrue(sent["path"].partition("?")[0].endswith("/restore"), sent["path"])
        self.assertEqual(sent["client_request_id"], one["decision"])
        # The drill's identity backs up nothing and restores nowhere else.
        token, digest = stage.world.token("flow"), whole["definition_digest"]
        body = {"properties": {"objectType": "IaasVMBackupRequest"}}
        answer = stage.world.send("POST", f"{item('vm1')}/backup?api-version=2026-08-01", token, body,
                                  {"x-vaultgate-flow-digest": digest})
        self.assertEqual((answer.status, answer.headers["x-vaultgate-decision"]), (403, "deny"), answer)
        stage.world.oracle()

    def test_a_review_says_what_is_kept_too_short(self):
        stage = self.staged(items='"vm:rg1/vm1"')
        review = stage.text.replace("owner:", "kind: retention-review\nowner:").replace(
            "regions:", "  retention: { daily: 7d, soft_delete: [Enabled, AlwaysON] }\nregions:", 1)
        self.reviewed(stage, review)
        whole = stage.explained(stage.does("run", FLOW, "westeurope", "--wait").splitlines()[0])
        self.assertIn("kept for", whole["items"][0]["reason"])
        self.reviewed(stage, review.replace("7d", "3000d").replace("[Enabled, AlwaysON]", "[AlwaysON]"))
        number = stage.does("run", FLOW, "westeurope", "--wait", code=1).splitlines()[0]
        reason = stage.explained(number)["items"][0]["reason"]
        self.assertIn("days, not 3000", reason)
        self.assertIn("soft delete is Enabled, not AlwaysON", reason)
        self.assertFalse([entry for entry in stage.world.forwarded() if entry["method"] != "GET"])

    def test_items_by_tag_are_those_that_had_it_when_it_was_reviewed(self):
        stage = self.staged(items='"vm:rg1/vm1"')
        tagged = stage.text.replace('items: ["vm:rg1/vm1"]', 'tag: "backup=nightly"')
        stage.file.write_text(tagged, encoding="utf-8")
        told = subprocess.run(stage.command("export", "policy-data", stage.file, "--bundle", stage.policies, config=False),
                              capture_output=True, text=True, check=False)
        self.assertEqual(told.returncode, 1)
        self.assertIn("hint: give `--config`", told.stderr)
        stage.does("export", "policy-data", stage.file, "--bundle", stage.policies)
        stage.world.stop_gateway()
        stage.world.start_gateway()
        whole = stage.explained(stage.does("run", FLOW, "westeurope", "--wait").splitlines()[0])
        self.assertEqual({one["name"]: one["state"] for one in whole["items"]},
                         {"vm:rg1/vm1": "Completed", "vm:rg1/vm2": "Completed"})
        # What has the tag and was not reviewed is refused.
        path = stage.policies / "flows" / FLOW / "data.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        data["targets"][0]["items"] = [one for one in data["targets"][0]["items"] if "vm1" in one]
        path.write_text(json.dumps(data), encoding="utf-8")
        stage.world.stop_gateway()
        stage.world.start_gateway()
        number = stage.does("run", FLOW, "westeurope", "--wait", code=1).splitlines()[0]
        states = {one["name"]: one["state"] for one in stage.explained(number)["items"]}
        self.assertEqual(states, {"vm:rg1/vm1": "Completed", "vm:rg1/vm2": "Denied"})

    def test_a_plan_says_what_the_gateway_would_say_and_sends_nothing(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/gone"')
        plan = json.loads(stage.does("plan", "--json", code=1))
        self.assertEqual({one["name"]: one["verdict"] for one in plan["items"]},
                         {"vm:rg1/vm1": "allow", "vm:rg1/gone": "deny"})
        self.assertEqual(plan["first_hour"]["writes"], 2)
        stage.file.write_text(stage.text.replace('"vm:rg1/vm1", "vm:rg1/gone"', '"vm:rg1/vm1", "vm:rg1/vm2"'), encoding="utf-8")
        told = stage.does("plan", code=1)
        self.assertIn("deny      vm:rg1/vm2  flow-not-covered", told)
        self.assertIn("0 allowed, 0 with approval, 2 refused", told)
        self.assertEqual(stage.backups(), {})

    def test_coverage_finds_what_nobody_backs_up(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/vm2", "vm:rg1/gone"')
        found = [json.loads(line) for line in stage.does("coverage", "--json", code=1).splitlines()]
        by_name = {(one["what"], one["item"]) for one in found}
        self.assertIn(("unprotected", "vm:rg1/vm11"), by_name)
        self.assertIn(("in-no-flow", "vm:rg1/vm3"), by_name)
        self.assertIn(("gone", "vm:rg1/gone"), by_name)
        self.assertNotIn(("in-no-flow", "vm:rg1/vm1"), by_name)
        # The seeded points are of yesterday: a flow that wants younger ones is told.
        stage.file.write_text(stage.text.replace("defaults:", "defaults:\n  validate: [{ newest_recovery_point: { younger_than: 1s } }]"),
                              encoding="utf-8")
        told = stage.does("coverage", code=1)
        self.assertIn("stale       v1  vm:rg1/vm1: its newest recovery point is of", told)
        self.assertEqual(stage.backups(), {})

    def test_a_collector_is_sent_a_trace_of_each_run_and_gauges(self):
        # The reader is OpenTelemetry's own: what it does not know is an error.
        taken = {"/v1/traces": [], "/v1/metrics": []}
        forms = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}

        class Collector(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                text = self.rfile.read(int(self.headers["content-length"]))
                taken[self.path].append(json_format.Parse(text, forms[self.path]()))
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/nothing"',
                            channels=f'\n[otlp]\nurl = "http://127.0.0.1:{server.server_port}"\n')
        serving = subprocess.Popen(stage.command("serve"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(serving.kill)
        serving.stdout.readline()
        number = stage.does("run", FLOW, "westeurope").strip()
        until("the trace", lambda: taken["/v1/traces"])
        [resource] = taken["/v1/traces"][0].resource_spans
        spans = resource.scope_spans[0].spans
        root = next(span for span in spans if not span.parent_span_id)
        # OTLP writes ids in hexadecimal digits where the reader expects base64.
        self.assertEqual((root.name, base64.b64encode(root.trace_id).decode()),
                         (f"{FLOW} westeurope", number.replace("-", "")))
        by_name = {span.name: span for span in spans if span.parent_span_id == root.span_id}
        self.assertEqual({name: span.status.code for name, span in by_name.items()},
                         {"vm:rg1/vm1": 1, "vm:rg1/nothing": 2})
        one = by_name["vm:rg1/vm1"]
        self.assertLess(one.start_time_unix_nano, one.end_time_unix_nano)
        until("the gauges", lambda: any(metric.name == "vaultgate.flow.items" for sent in taken["/v1/metrics"]
                                        for metric in sent.resource_metrics[0].scope_metrics[0].metrics))

    def test_the_schema_takes_good_files_and_refuses_what_is_misspelt(self):
        shipped = (REPOSITORY / "orchestrator/flow.schema.json").read_text(encoding="utf-8")
        told = subprocess.run([program("vaultgate-orchestrator"), "export", "schema"], capture_output=True, text=True,
                              check=True).stdout
        self.assertEqual(shipped, told, "hint: vaultgate-orchestrator export schema > orchestrator/flow.schema.json")
        schema = json.loads(shipped)
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)

        class Loader(yaml.SafeLoader):
            """YAML 1.2 in what matters here: `on` and `off` are words."""

        Loader.yaml_implicit_resolvers = {
            first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool"]
            for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()}
        text = (REPOSITORY / "orchestrator/src/flow/nightly.yaml").read_text(encoding="utf-8")
        good = yaml.load(text, Loader)  # noqa: S506, a safe loader
        self.assertEqual(list(validator.iter_errors(good)), [])

        def objects(value, path=()):
            if isinstance(value, dict):
                yield path
            for name, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
                yield from objects(inner, (*path, name))

        # Maps of names are open; everything else knows its keys.
        closed = [path for path in objects(good) if path not in (("regions",), ("notify",))]
        self.assertGreater(len(closed), 20)
        for path in closed:
            broken = json.loads(json.dumps(good))
            inner = broken
            for name in path:
                inner = inner[name]
            inner["shedule"] = 1
            self.assertTrue(list(validator.iter_errors(broken)), path)
        for change in ({"kind": "backups"}, {"version": "one"}, {"owner": 1}):
            self.assertTrue(list(validator.iter_errors({**good, **change})), change)

    def test_the_pipeline_of_the_example_backs_up_with_its_own_token(self):
        stage = self.staged(items='"vm:rg1/vm1"')
        asked, mint = [], stage.world.token

        class Tokens(http.server.BaseHTTPRequestHandler):
            """What a job asks for its token."""

            def do_GET(self):
                asked.append((self.path, self.headers["authorization"]))
                body = json.dumps({"value": mint("operator")}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = stage.config.read_text(encoding="utf-8")
        config = config.replace("client-secret", "workload-identity").replace('secret_file = "flow.secret"', 'token_file = "job.token"')
        stage.config.write_text(config, encoding="utf-8")
        text = (REPOSITORY / "orchestrator/examples/github-actions.yml").read_text(encoding="utf-8")
        job = yaml.safe_load(text)["jobs"]["backup"]
        [script] = [step["run"] for step in job["steps"] if "run" in step]
        folder = stage.folder / "bin"
        folder.mkdir()
        (folder / "vaultgate-orchestrator").symlink_to(program("vaultgate-orchestrator"))
        environment = {"PATH": f"{folder}:/usr/bin:/bin", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-this-job",
                       "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{server.server_port}/token?api-version=2"}
        # As runners do.
        command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=stage.folder, env=environment, capture_output=True, text=True, check=False,
                              timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(asked, [("/token?api-version=2&audience=api%3A%2F%2FAzureADTokenExchange", "Bearer of-this-job")])
        self.assertEqual(list(stage.backups()), [item("vm1").lower()])
        self.assertFalse((stage.folder / "job.token").exists())
        # What is not backed up stops the pipeline.
        stage.file.write_text(stage.text.replace("cap: 2s", "cap: 3s"), encoding="utf-8")
        done = subprocess.run(command, cwd=stage.folder, env=environment, capture_output=True, text=True, check=False,
                              timeout=120)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)

    def test_who_serves_a_file_is_one_and_the_others_stand_by(self):
        stage = self.staged(items='"vm:rg1/vm1"')
        serving = []
        for _ in range(2):
            process = subprocess.Popen(stage.command("serve"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.addCleanup(process.kill)
            serving.append(process)
            line = process.stdout.readline()
            self.assertIn("standing by" if len(serving) > 1 else "ready ", line)
        waiting = subprocess.Popen(stage.command("run", FLOW, "westeurope", "--wait"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(waiting.kill)
        waiting.stdout.readline()
        until("the backup", stage.backups)
        serving[0].kill()
        # Not who waits takes its place, but who serves.
        self.assertTrue(serving[1].stdout.readline().startswith("ready "))
        waiting.communicate(timeout=60)
        self.assertEqual(waiting.returncode, 0)
        self.assertEqual([len(sent) for sent in stage.backups().values()], [1])

    def test_a_flow_that_asks_and_restores_has_no_definition(self):
        stage = self.staged(items='"vm:rg1/vm1"')
        other = """
  northeurope:
    schedule: { cron: "30 2 * * *", timezone: Europe/Dublin }
    drill: { mode: restore, resource_group: 33333333-3333-3333-3333-333333333333/landing, storage_account: 33333333-3333-3333-3333-333333333333/landing/stagingsa, location: westeurope }
    targets:
      - { vault: 22222222-2222-2222-2222-222222222222/rg1/v2, items: ["vm:rg1/vm6"] }
"""
        stage.file.write_text(self.drill(stage, "validate") + other, encoding="utf-8")
        told = subprocess.run(stage.command("export", "policy-data", stage.file, "--bundle", stage.policies, config=False),
                              capture_output=True, text=True, check=False)
        self.assertEqual(told.returncode, 1)
        self.assertIn("hint: write two flows", told.stderr)

    def test_nothing_of_an_azure_sdk_is_linked_in(self):
        done = subprocess.run(["cargo", "tree", "-p", "vaultgate-orchestrator", "--locked", "--prefix", "none"], check=True,
                              capture_output=True, text=True, cwd=REPOSITORY)
        crates = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
        self.assertIn("vaultgate-notify", crates)
        self.assertFalse([name for name in crates if "azure" in name or name == "vaultgate"], crates)

    def asked(self, stage):
        """A run that waits for people: its process, its number, and the approval."""
        running = subprocess.Popen(stage.command("run", FLOW, "westeurope", "--wait"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(running.kill)
        number = running.stdout.readline().strip()

        def waits():
            items = stage.explained(number)["items"]
            return items[0]["approval"] if items else None

        return running, number, until("the approval", waits)

    def test_the_gateway_is_told_how_runs_stand_and_people_read_it_there(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/nothing"')
        stage.file.write_text(stage.text.replace("defaults:", "defaults:\n  controls: [SOC2 A1.2]"), encoding="utf-8")
        stage.review()
        number = stage.does("run", FLOW, "westeurope", "--wait", code=1).splitlines()[0]
        [run] = stage.asks("soc", "GET", "/_vaultgate/v1/runs")["value"]
        self.assertEqual((run["id"], run["state"], run["items"]),
                         (number, "CompletedWithFailures", {"Completed": 1, "Failed": 1}))
        refused = stage.asks("approver-a", "GET", "/_vaultgate/v1/runs", status=403)
        self.assertEqual(refused["error"]["additionalInfo"][0]["info"]["reason"], "reviewer-needed")
        # On record, and by whom; it is evidence for the controls that its file names.
        self.assertEqual(run["controls"], ["SOC2 A1.2"])
        told = [record for record in stage.world.records() if record["kind"] == "run"]
        self.assertEqual(told[-1]["report"]["state"], "CompletedWithFailures")
        self.assertEqual((told[-1]["principal"]["kind"], told[-1]["report"]["flow"]), ("flow", FLOW))
        # Nobody else tells of it, and it has ended as it was told.
        body = {name: run[name] for name in ("flow", "region", "state", "reason", "due", "started", "ended",
                                             "definition_digest", "items", "controls")}
        path, unknown = f"/_vaultgate/v1/runs/{number}", f"/_vaultgate/v1/runs/{number[:-1]}{'0' if number[-1] != '0' else '1'}"
        for who, change, status, reason in (
                ("flow", {}, 200, None),
                ("flow", {"state": "Completed"}, 409, "run-ended"),
                ("flow", {"flow": "another"}, 403, "run-foreign"),
                ("operator", {}, 403, "run-foreign"),
                ("flow", {"state": "<b>"}, 400, "run-malformed"),
                ("flow", {"reason": "a\u0000b"}, 400, "run-malformed"),
                ("flow", {"controls": ["x"] * 40}, 400, "run-malformed"),
                ("flow", {"more": 1}, 400, "run-malformed")):
            # Nobody has told of the other one yet: whose it is, the token says alone.
            answer = stage.world.send("PUT", unknown if status == 403 else path, stage.world.token(who), {**body, **change})
            self.assertEqual((answer.status, answer.reason()), (status, reason), (who, change, answer))
        [run] = stage.asks("soc", "GET", "/_vaultgate/v1/runs")["value"]
        self.assertEqual(run["state"], "CompletedWithFailures")

    APPROVED = {"approvals": {"snapshot": {"quorum": 1, "ttl": "1h", "cooling_off": "0s"}}}

    def test_an_item_that_needs_approval_waits_for_it_and_goes_on(self):
        stage = self.staged(items='"vm:rg1/vm1"', settings=self.APPROVED)
        running, number, approval = self.asked(stage)
        self.assertIn("AwaitingApproval", stage.does("status"))
        self.assertEqual(stage.backups(), {})
        stage.answers(approval, "approve")
        running.communicate(timeout=60)
        [one] = stage.explained(number)["items"]
        self.assertEqual((running.returncode, one["state"]), (0, "Completed"), one)
        [sent] = stage.backups().values()
        self.assertEqual([entry["client_request_id"] for entry in sent], [one["decision"]])

    def test_an_item_whose_approval_is_refused_is_denied(self):
        stage = self.staged(items='"vm:rg1/vm1"', settings=self.APPROVED)
        running, number, approval = self.asked(stage)
        stage.answers(approval, "reject")
        running.communicate(timeout=60)
        self.assertEqual((running.returncode, stage.explained(number)["state"]), (1, "Denied"))
        self.assertEqual(stage.backups(), {})

    def test_whoever_is_to_know_is_told_that_it_fails_and_that_it_is_well(self):
        heard = Receiver()
        self.addCleanup(heard.stop)
        stage = self.staged(
            items='"vm:rg1/vm1"', notify="notify:\n  ops: { on: [Failed, Recovered] }\n",
            channels='\n[[notify]]\nname = "ops"\nkind = "webhook"\nurl_file = "ops.url"\nsecret_file = "ops.secret"\n')
        (stage.folder / "ops.url").write_text(heard.url, encoding="utf-8")
        secret = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
        (stage.folder / "ops.secret").write_text(secret, encoding="utf-8")
        serving = subprocess.Popen(stage.command("serve"), stdout=subprocess.PIPE)
        self.addCleanup(serving.kill)
        self.assertTrue(serving.stdout.readline().startswith(b"ready "))
        until("the channels", lambda: (stage.folder / "outbox").is_dir())
        stage.world.control("POST", "jobs", {"fail_next": 2})
        for code, kinds in ((1, ["flow.Failed"]), (1, ["flow.Failed"]), (0, ["flow.Failed", "flow.Recovered"])):
            stage.does("run", FLOW, "westeurope", "--wait", code=code)
            until(kinds, lambda: [one["type"] for one in heard.notices] == kinds)
        self.assertIn("vm:rg1/vm1", json.dumps(heard.notices[0]))

    def test_a_job_that_fails_fails_its_item_alone(self):
        stage = self.staged(items='"vm:rg1/vm1", "vm:rg1/vm2"', parallel=1)
        stage.world.control("POST", "jobs", {"fail_next": 1})
        number = stage.does("run", FLOW, "westeurope", "--wait", code=1).splitlines()[0]
        whole = stage.explained(number)
        self.assertEqual(whole["state"], "CompletedWithFailures", whole)
        self.assertEqual(sorted(one["state"] for one in whole["items"]), ["Completed", "Failed"])

    def test_who_is_cancelled_leaves_its_jobs_alone(self):
        stage = self.staged(items='"vm:rg1/vm1"', time_scale=1.0)
        stage.world.control("POST", "jobs", {"lasts_ms": 60_000})

        running = subprocess.Popen(stage.command("run", FLOW, "westeurope", "--wait"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(running.kill)
        number = running.stdout.readline().strip()
        until("the job", lambda: "job" in stage.does("status") and stage.backups())
        stage.does("cancel", number)
        running.communicate(timeout=30)
        self.assertEqual(running.returncode, 1)
        self.assertEqual(stage.explained(number)["state"], "Cancelled")
        cancels = [entry for entry in stage.world.forwarded() if entry["path"].partition("?")[0].endswith("/cancel")]
        self.assertEqual(cancels, [])
        stage.does("cancel", number, code=1)


if __name__ == "__main__":
    sys.exit(run("flows", only=options(__doc__.splitlines()[0]).parse_args().only))
