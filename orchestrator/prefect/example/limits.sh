#!/bin/sh
# Written by `vaultgate-orchestrator export prefect` from: nightly.yaml
# What has to be there before `prefect deploy`: the pool, and the places that all regions share.
set -eu
prefect work-pool inspect vaultgate >/dev/null 2>&1 || prefect work-pool create vaultgate --type process
if prefect gcl inspect arm-writes >/dev/null 2>&1; then
    prefect gcl update arm-writes --limit 4
else
    prefect gcl create arm-writes --limit 4
fi
