#!/usr/bin/env python3
"""Azure's Python SDKs, unaltered, through the gateway: pollers, pages and refusals.

    sdk.py [--env-file FILE | --emulator] [TEST...]
"""

import os
import pathlib
import sys
import tempfile
import threading
import unittest

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from azure.mgmt.dataprotection import DataProtectionMgmtClient
from azure.mgmt.recoveryservices import RecoveryServicesClient
from azure.mgmt.recoveryservicesbackup import RecoveryServicesBackupClient
from azure.mgmt.recoveryservicesbackup import models

from world import PROD, TENANT, World, options, run

VM = ("v1", "rg1", "Azure", "IaasVMContainer;iaasvmcontainerv2;rg1;vm2",
      "VM;iaasvmcontainerv2;rg1;vm2")
GROUP = f"/subscriptions/{PROD}/resourceGroups/rg1"

world = None
direct = False


class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        origin = world.env["SIM_AZURE_URL"] if direct else world.url
        user = "vaultgate-operator" if direct else "operator"
        os.environ["REQUESTS_CA_BUNDLE"] = world.ca
        credential = ClientSecretCredential(
            TENANT, user, f"{user}-secret", authority=world.env["SIM_AZURE_URL"],
            disable_instance_discovery=True,
        )
        scope = "https://management.azure.com/.default" if direct else "api://vaultgate/.default"
        common = {"base_url": origin, "credential_scopes": [scope]}
        cls.backup = RecoveryServicesBackupClient(credential, PROD, **common)
        cls.vaults = RecoveryServicesClient(credential, PROD, **common)
        cls.protection = DataProtectionMgmtClient(credential, PROD, **common)

    def through_the_gateway(self):
        if direct:
            self.skipTest("needs the gateway")

    def finish(self, poller):
        """The result of a poller; Azure's clock is wound until it has ended."""
        done = threading.Event()
        poller.add_done_callback(lambda _: done.set())
        while not done.wait(0.05):
            world.advance()
        return poller.result()

    def trigger(self, names):
        request = models.IaasVMBackupRequest()
        resource = models.BackupRequestResource(properties=request)
        self.backup.backups.trigger(*names, parameters=resource)

    def test_a_backup_is_triggered_once(self):
        before = len(world.forwarded(method="POST", path_contains="vm2/backup"))
        self.trigger(VM)
        sent = world.forwarded(method="POST", path_contains="vm2/backup")
        self.assertEqual(len(sent) - before, 1)
        world.advance()

    def test_a_restore_is_polled_to_its_end(self):
        points = list(self.backup.recovery_points.list(*VM))
        self.assertTrue(points)
        request = models.IaasVMRestoreRequest(
            recovery_point_id=points[0].name,
            recovery_type="RestoreDisks",
            source_resource_id=f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm2",
            storage_account_id=f"{GROUP}/providers/Microsoft.Storage/storageAccounts/sa1",
            target_resource_group_id=GROUP,
            region="westeurope",
            create_new_cloud_service=False,
            original_storage_account_option=False,
        )
        poller = self.backup.restores.begin_trigger(
            *VM, points[0].name, parameters=models.RestoreRequestResource(properties=request),
            polling_interval=0,
        )
        self.finish(poller)
        self.assertEqual(poller.status(), "Succeeded")
        jobs = [job.properties for job in self.backup.backup_jobs.list("v1", "rg1")]
        ended = [job for job in jobs if job.operation == "Restore"]
        self.assertEqual({job.status for job in ended}, {"Completed"})

    def test_a_list_is_followed_over_its_pages(self):
        for number in range(11):
            name = f"vm{number % 4 + 1}"
            self.trigger((*VM[:3], *(part.replace("vm2", name) for part in VM[3:])))
            world.advance()
        before = len(world.journal(method="GET", path_contains="/backupJobs", surface="arm"))
        names = [job.name for job in self.backup.backup_jobs.list("v1", "rg1")]
        pages = world.journal(method="GET", path_contains="/backupJobs", surface="arm")[before:]
        self.assertGreaterEqual(len(names), 11)
        self.assertEqual(len(set(names)), len(names), "a job is listed twice")
        self.assertGreaterEqual(len(pages), 2, "there was one page only")

    def test_vaults_are_listed(self):
        names = {vault.name for vault in self.vaults.vaults.list_by_subscription_id()}
        self.assertTrue({"v1", "v2"} <= names, names)

    def test_a_backup_vault_lists_and_backs_up(self):
        instances = list(self.protection.backup_instances.list("rg1", "bv1"))
        self.assertEqual({one.name for one in instances}, {"bi1", "bi2"})
        body = {"backupRuleOptions": {"ruleName": "BackupWeekly",
                                      "triggerOption": {"retentionTagOverride": "Default"}}}
        poller = self.protection.backup_instances.begin_adhoc_backup(
            "rg1", "bv1", "bi1", body, polling_interval=0)
        self.finish(poller)
        self.assertEqual(poller.status(), "Succeeded")

    def test_a_refusal_is_an_error_that_names_its_decision(self):
        self.through_the_gateway()
        with self.assertRaises(HttpResponseError) as caught:
            self.backup.protected_items.delete(*VM)
        error = caught.exception
        self.assertEqual(error.status_code, 403)
        self.assertEqual(error.error.code, "PolicyDenied")
        self.assertIn("refused by policy", error.error.message)
        self.assertEqual(error.response.headers["x-vaultgate-decision"], "deny")
        decision = error.response.headers["x-vaultgate-decision-id"]
        info = [more for more in error.error.additional_info if more.type == "VaultgateDecision"]
        self.assertEqual([more.info["decisionId"] for more in info], [decision])
        record = world.record(decision)
        self.assertEqual((record["verdict"], record["forward"]), ("deny", None))
        self.assertEqual(world.journal(method="DELETE", surface="arm"), [])

    def test_z_nothing_went_unrecorded(self):
        self.through_the_gateway()
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
        world = World.start()
    with world:
        return run("python sdk", only=chosen.only)


if __name__ == "__main__":
    sys.exit(main())
