#!/usr/bin/env python3
"""The Azure CLI, unaltered, through the gateway: what operators do, and what they are told.

    azure_cli.py [--env-file FILE | --emulator] [TEST...]

With --emulator the CLI talks to the emulator itself, to try emulator and commands without
the gateway; tests of refusals are skipped then.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

from world import API, CACHE, PROD, REPOSITORY, TENANT, VAULT, World, item, options, program, run, until

CONSOLE = (REPOSITORY / "tests/data/console.toml").read_text(encoding="utf-8")
# The shared configuration lists those who come with a secret of their own.
CUSTODIAN = ('  { id = "reader", kind = "human" },\n',
             '  { id = "reader", kind = "human" },\n  { id = "custodian", kind = "human" },\n')
AZ = CACHE / "venv/bin/az"
VM = ["-g", "rg1", "-v", "v1", "-c", "vm1", "-i", "vm1", "--backup-management-type", "AzureIaasVM"]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")

world = None
direct = False


class Cli:
    """One signed-in profile of the CLI, in a folder of its own."""

    def __init__(self, origin, ca, user, secret):
        self.folder = tempfile.TemporaryDirectory(prefix="vaultgate-az-")
        root = pathlib.Path(self.folder.name)
        self.env = {
            **os.environ,
            "AZURE_CONFIG_DIR": str(root / "config"),
            "REQUESTS_CA_BUNDLE": str(self.bundle(root, ca)),
            # Without these the CLI calls out to the public cloud.
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
            "AZURE_CORE_COLLECT_TELEMETRY": "false",
            "AZURE_CORE_NO_COLOR": "true",
        }
        self.must("cloud", "register", "-n", "vaultgate", "--endpoint-resource-manager", origin)
        self.must("cloud", "set", "-n", "vaultgate")
        login = ["--service-principal", "-u", user, "-p", secret, "--tenant", TENANT]
        self.accounts = self.must("login", *login)
        self.must("account", "set", "--subscription", PROD)

    @staticmethod
    def bundle(root, ca):
        """The CLI's own authorities and ours: nothing is switched off."""
        script = "import certifi; print(certifi.where())"
        own = subprocess.run([CACHE / "venv/bin/python", "-c", script], capture_output=True,
                             text=True, check=True).stdout.strip()
        both = root / "bundle.pem"
        both.write_bytes(pathlib.Path(own).read_bytes() + b"\n" + pathlib.Path(ca).read_bytes())
        return both

    def ask(self, *words):
        command = [str(AZ), *words, "-o", "json"]
        return subprocess.run(command, env=self.env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=240, check=False)

    def must(self, *words):
        done = self.ask(*words)
        if done.returncode != 0:
            raise AssertionError(f"az {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, *words):
        """What the CLI tells when this is refused."""
        done = self.ask(*words)
        if done.returncode == 0:
            raise AssertionError(f"az {' '.join(words)} was not refused:\n{done.stdout}")
        return done.stderr


class AzureCli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        origin = world.env["SIM_AZURE_URL"] if direct else world.url
        user = "vaultgate-operator" if direct else "operator"
        cls.cli = Cli(origin, world.ca, user, f"{user}-secret")

    @classmethod
    def tearDownClass(cls):
        cls.cli.folder.cleanup()

    def through_the_gateway(self):
        if direct:
            self.skipTest("needs the gateway")

    def decision(self, told):
        """The decision that a refusal names, from the log."""
        named = UUID.search(told)
        self.assertIsNotNone(named, f"no decision id in what the CLI printed:\n{told}")
        for record in world.records():
            if record["id"] == named[0]:
                return record
        self.fail(f"{named[0]} is not in the log:\n{told}")

    def job_end(self, name):
        """The job once it has ended; Azure's clock is wound, nobody waits."""
        world.advance()
        self.cli.must("backup", "job", "wait", "-g", "rg1", "-v", "v1", "-n", name, "--timeout", "60")
        return self.cli.must("backup", "job", "show", "-g", "rg1", "-v", "v1", "-n", name)

    def test_login_lists_the_subscriptions(self):
        self.assertIn(PROD, [a["id"] for a in self.cli.accounts])

    def test_backup_now_to_the_end_of_its_job(self):
        keep = (datetime.date.today() + datetime.timedelta(days=30)).strftime("%d-%m-%Y")
        job = self.cli.must("backup", "protection", "backup-now", *VM, "--retain-until", keep)
        ended = self.job_end(job["name"])
        self.assertEqual(ended["properties"]["status"], "Completed")
        self.assertEqual(ended["properties"]["operation"], "Backup")
        sent = world.forwarded(method="POST", path_contains="/protectedItems/")
        self.assertIn(ended["properties"]["activityId"], [e["client_request_id"] for e in sent])

    def test_job_list_follows_every_page(self):
        # Eleven jobs: one more than the emulator puts on a page.
        for number in range(11):
            vm = f"vm{number % 5 + 1}"
            self.backup(vm)
            world.advance()
        before = len(world.journal(method="GET", path_contains="/backupJobs", surface="arm"))
        jobs = self.cli.must("backup", "job", "list", "-g", "rg1", "-v", "v1")
        pages = world.journal(method="GET", path_contains="/backupJobs", surface="arm")[before:]
        names = [job["name"] for job in jobs]
        self.assertGreaterEqual(len(names), 11)
        self.assertEqual(len(set(names)), len(names), "a job is listed twice")
        self.assertGreaterEqual(len(pages), 2, "there was one page only")

    def backup(self, vm):
        body = {"properties": {"objectType": "IaasVMBackupRequest"}}
        target = f"{item(vm)}/backup?{API}"
        if direct:
            self.cli.must("rest", "--method", "post", "--url", target, "--body", json.dumps(body))
            return
        answer = world.send("POST", target, world.token("operator"), body)
        self.assertEqual(answer.status, 202, answer)

    def test_restore_disks_to_the_end_of_its_job(self):
        points = self.cli.must("backup", "recoverypoint", "list", *VM)
        self.assertTrue(points)
        job = self.cli.must(
            "backup", "restore", "restore-disks", "-g", "rg1", "-v", "v1", "-c", "vm1", "-i", "vm1",
            "-r", points[0]["name"], "--storage-account", "sa1", "--target-resource-group", "rg1",
        )
        self.assertEqual(job["properties"]["operation"], "Restore")
        self.assertEqual(self.job_end(job["name"])["properties"]["status"], "Completed")
        if direct:
            return
        sent = world.forwarded(method="POST", path_contains="/restore")
        record = world.record(sent[-1]["client_request_id"])
        self.assertEqual(record["input"]["operation"]["class"], "restore")

    def test_a_refused_delete_says_why_and_changes_nothing(self):
        self.through_the_gateway()
        words = ["backup", "protection", "disable", *VM, "--delete-backup-data", "true", "--yes"]
        told = self.cli.refused(*words)
        self.assertIn("PolicyDenied", told)
        self.assertIn("refused by policy", told)
        record = self.decision(told)
        self.assertEqual((record["kind"], record["verdict"]), ("decision", "deny"))
        self.assertEqual(record["input"]["operation"]["class"], "delete")
        self.assertIsNone(record["forward"])
        self.assertEqual(world.journal(method="DELETE", surface="arm"), [])

    def test_run_waits_for_approval_and_finishes(self):
        """`vaultgate run -- az …`: no profile of one's own, and two people in between."""
        self.through_the_gateway()
        entra = {"issuer": "entra", "claims": {"groups": ["backup-custodians"], "acrs": ["c1"]}}
        token = pathlib.Path(self.cli.folder.name) / "token"
        token.write_text(world.token("custodian", **entra), encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
        words = ["backup", "protection", "disable", "-g", "rg1", "-v", "v1", "-c", "vm2", "-i", "vm2",
                 "--backup-management-type", "AzureIaasVM", "--delete-backup-data", "true", "--yes"]
        command = [program("vaultgate"), "run", "--url", world.url, "--ca", world.ca, "--token-file", token,
                   "--wait", "120", "--", AZ, *words, "-o", "json"]
        started = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        told = []
        reader = threading.Thread(target=lambda: told.extend(started.stderr), daemon=True)
        reader.start()
        # Not before the command itself was refused, and nothing was sent for it.
        until("the wait", lambda: any("waiting for approval" in line for line in told)
              or started.poll() is not None, 120)
        self.assertIsNone(started.poll(), "".join(told))
        self.assertEqual(world.journal(method="DELETE", surface="arm"), [])
        approval = UUID.search("".join(line for line in told if "waiting for approval" in line))[0]
        console = ["--console-url", world.env["VAULTGATE_CONSOLE_URL"], "--ca", world.ca]

        def vaultgate(who, *more):
            own = dict(os.environ, VAULTGATE_CONSOLE_TOKEN=world.token(who, audience="api://vaultgate-console"))
            return subprocess.run([program("vaultgate"), "approvals", *more, *console], env=own, text=True,
                                  capture_output=True, check=True).stdout

        digest = json.loads(vaultgate("approver-a", "show", approval, "--json"))["digest"]
        for who in ("approver-a", "approver-b"):
            vaultgate(who, "approve", approval, "--digest", digest)
        started.wait(120)
        reader.join()
        self.assertEqual(started.returncode, 0, "".join(told))
        self.assertEqual(len(world.journal(method="DELETE", surface="arm", identity="operator")), 1)
        # Of the profile nothing is left.
        self.assertEqual(list(pathlib.Path(tempfile.gettempdir()).glob("vaultgate-run-*")), [])

    def test_run_hands_out_nothing_but_its_own_token(self):
        """What a command finds in its environment: the token for the gateway, and no other way in."""
        self.through_the_gateway()
        token = pathlib.Path(self.cli.folder.name) / "token"
        token.write_text("a.b.c", encoding="utf-8")
        script = """
import json, os, urllib.error, urllib.parse, urllib.request

def asked(resource, header=os.environ["IDENTITY_HEADER"]):
    query = urllib.parse.urlencode({"resource": resource, "api-version": "2019-08-01"})
    request = urllib.request.Request(os.environ["IDENTITY_ENDPOINT"] + "?" + query,
                                     headers={"X-IDENTITY-HEADER": header})
    try:
        return json.load(urllib.request.urlopen(request))["access_token"]
    except urllib.error.HTTPError as error:
        return error.code

print(json.dumps([asked("api://vaultgate"), asked("api://vaultgate/"), asked(os.environ["VAULTGATE_URL"]),
                  asked("https://vault.azure.net"), asked(""), asked("api://vaultgate", "guessed"),
                  sorted(name for name in os.environ if "TOKEN" in name)]))
"""
        environment = {name: value for name, value in os.environ.items() if "TOKEN" not in name}
        environment.update(VAULTGATE_CONSOLE_TOKEN="x.y.z", VAULTGATE_TOKEN="u.v.w")
        command = [program("vaultgate"), "run", "--url", world.url, "--ca", world.ca, "--token-file", token,
                   "--", sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, text=True, capture_output=True, check=True)
        self.assertEqual(json.loads(done.stdout), ["a.b.c", "a.b.c", "a.b.c", 400, 400, 403, []])

    def test_az_rest_reads_and_what_is_not_understood_is_refused(self):
        vault = self.cli.must("rest", "--method", "get", "--url", f"{VAULT}?{API}")
        self.assertEqual(vault["name"], "v1")
        self.through_the_gateway()
        url = f"{VAULT}/somethingNew/x?{API}"
        told = self.cli.refused("rest", "--method", "put", "--url", url, "--body", "{}")
        self.assertIn("operation-unknown", told)
        self.assertEqual(self.decision(told)["kind"], "refusal")
        self.assertEqual(world.journal(path_contains="somethingNew"), [])

    def test_z_nothing_went_unrecorded(self):
        self.through_the_gateway()
        until("the outcomes", lambda: world.forwarded())
        print(world.oracle(), end=" ")


def main():
    global world, direct
    parser = options(__doc__)
    parser.add_argument("--emulator", action="store_true", help="talk to the emulator itself")
    chosen = parser.parse_args()
    direct = chosen.emulator
    if chosen.env_file:
        world = World.at(chosen.env_file)
    elif direct:
        world = World({}, pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-")))
        world.start_emulator(4.0)
    else:
        world = World.start(extra=CONSOLE, replace=[CUSTODIAN])
    with world:
        return run("azure cli", only=chosen.only)


if __name__ == "__main__":
    sys.exit(main())
