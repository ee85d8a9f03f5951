#!/usr/bin/env python3
"""Judges flows by what reached Azure: each item of each run was backed up once, and what was reported is so.

    flows.py --journal FILE --jobs FILE --runs FILE

The journal is the emulator's, and so are the jobs, as the vault lists them. The runs are
what the orchestrator says of itself (`explain`), one JSON object in each line. Nothing of the product is
used.
"""

import argparse
import collections
import json
import sys
import urllib.parse


def posts(journal, jobs):
    """Backups that Azure took, as its jobs show: the item in lower case, and the id of the request."""
    begun = collections.Counter(job["properties"]["activityId"] for job in jobs)
    for entry in journal:
        path = urllib.parse.unquote(entry["path"].partition("?")[0])
        if entry["method"] == "POST" and path.lower().endswith("/backup"):
            for _ in range(begun[entry["client_request_id"]]):
                yield path[:-len("/backup")].lower(), entry["client_request_id"]


def judge(journal, jobs, runs):
    """What is wrong."""
    wrong = []
    taken = collections.defaultdict(list)
    for item, identifier in posts(journal, jobs):
        taken[item].append(identifier)
    by_id = {job["name"]: job["properties"] for job in jobs}
    claimed = collections.Counter()
    keys = collections.Counter(item["key"] for run in runs for item in run["items"])
    wrong += [f"the key {key} stands for {count} items" for key, count in keys.items() if count > 1]
    for run in runs:
        ended = run["ended"] is not None
        states = collections.Counter(item["state"] for item in run["items"])
        if not ended:
            wrong.append(f"{run['id']}: has not ended ({run['state']})")
        if run["state"] == "Completed" and set(states) != {"Completed"}:
            wrong.append(f"{run['id']}: Completed with {dict(states)}")
        if run["state"] != "Completed" and set(states) == {"Completed"}:
            wrong.append(f"{run['id']}: {run['state']} though all of it is Completed")
        for item in run["items"]:
            where = f"{run['id']} {item['name']} ({item['state']}, {item['reason']})"
            sent = item["decision"] in taken[item["item"].lower()]
            job = by_id.get(item["job"])
            if item["state"] == "Completed":
                if job is None:
                    wrong.append(f"{where}: no such job")
                elif job["status"] not in ("Completed", "CompletedWithWarnings"):
                    wrong.append(f"{where}: its job is {job['status']}")
                elif not item["recovery_point"]:
                    wrong.append(f"{where}: no recovery point")
            if sent:
                claimed[item["decision"]] += 1
                if job is not None and not job["activityId"].startswith(item["decision"]):
                    wrong.append(f"{where}: its job is that of {job['activityId']}")
            if item["state"] == "Denied" and sent:
                wrong.append(f"{where}: and yet Azure took it")
            if item["state"] == "Failed" and job is not None and job["status"] == "Completed" and item["recovery_point"]:
                wrong.append(f"{where}: and yet it is backed up")
    for decision, count in claimed.items():
        if count > 1:
            wrong.append(f"the decision {decision} stands for {count} items")
    # Every backup that Azure took belongs to one item of one run, and no item has two.
    for item, identifiers in taken.items():
        mine = [one for run in runs for one in run["items"] if one["item"].lower() == item]
        known = {one["decision"] for one in mine}
        stray = [identifier for identifier in identifiers if identifier not in known]
        if stray:
            wrong.append(f"{item}: taken by Azure and in no run: {stray}")
        if len(identifiers) > len(mine):
            wrong.append(f"{item}: {len(identifiers)} backups for {len(mine)} occurrences")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--journal", required=True)
    parser.add_argument("--jobs", required=True)
    parser.add_argument("--runs", required=True)
    args = parser.parse_args()
    with open(args.journal, encoding="utf-8") as file:
        journal = json.load(file)
    with open(args.jobs, encoding="utf-8") as file:
        jobs = json.load(file)
    with open(args.runs, encoding="utf-8") as file:
        runs = [json.loads(line) for line in file if line.strip()]
    wrong = judge(journal, jobs, runs)
    for one in wrong:
        print(one)
    print(f"flows oracle: {sum(len(run['items']) for run in runs)} items of {len(runs)} runs, {len(wrong)} wrong")
    return 1 if wrong or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
