#!/usr/bin/env python3
"""Judges flows by what reached Azure: each item of each run was backed up once, and what was reported is so.

    flows.py --journal FILE --jobs FILE --runs FILE

The journal is the emulator's, and so are the jobs, as the vault lists them. The runs are
what the orchestrator says of itself (`explain`), one JSON object in each line. Nothing of the product is
used.
"""

import argparse
import collections
import datetime
import json
import re
import sys
import urllib.parse


# Clocks of the emulator and of recovery points differ by less.
SKEW = datetime.timedelta(minutes=2)


def instant(text):
    # Fractions have as many digits as they need.
    return datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00"))


def taken_by_azure(journal, jobs):
    """Backups that Azure began, as its jobs show: ids of requests, by item in lower case."""
    begun = {job["properties"]["activityId"] for job in jobs}
    taken = collections.defaultdict(set)
    for entry in journal:
        path = urllib.parse.unquote(entry["path"].partition("?")[0])
        if entry["method"] == "POST" and path.lower().endswith("/backup") and entry["client_request_id"] in begun:
            taken[path[:-len("/backup")].lower()].add(entry["client_request_id"])
    return taken


def of_item(item, job, sent):
    """What is wrong with an item, given its job and whether Azure began what it asked for."""
    if item["state"] == "Completed":
        if job is None:
            return "no such job"
        if not sent or job["activityId"] != item["decision"]:
            return f"its job is that of {job['activityId']}"
        if job["status"] not in ("Completed", "CompletedWithWarnings"):
            return f"its job is {job['status']}"
        if not item["recovery_point"] or instant(item["recovery_point"]) < instant(job["startTime"]) - SKEW:
            return f"its recovery point is of {item['recovery_point']}, its job of {job['startTime']}"
    elif item["state"] == "Denied" and sent:
        return "and yet Azure took it"
    elif item["state"] == "Failed" and job is not None and job["status"] == "Completed":
        return "and yet it is backed up"
    elif item["state"] == "Failed" and job is None and sent:
        return "and yet Azure has its job"
    return None


def of_run(run):
    """What is wrong with a run, given its items."""
    states = {item["state"] for item in run["items"]}
    if run["ended"] is None:
        yield f"has not ended ({run['state']})"
    if run["state"] == "Completed" and states != {"Completed"}:
        yield f"Completed with {sorted(states)}"
    if run["state"] != "Completed" and states == {"Completed"}:
        yield f"{run['state']} though all of it is Completed"


def judge(journal, jobs, runs):
    """What is wrong."""
    taken = taken_by_azure(journal, jobs)
    by_name = {job["name"]: job["properties"] for job in jobs}
    wrong = []
    for run in runs:
        wrong += [f"{run['id']}: {why}" for why in of_run(run)]
        for item in run["items"]:
            sent = item["decision"] in taken[item["item"].lower()]
            why = of_item(item, by_name.get(item["job"]), sent)
            if why:
                wrong.append(f"{run['id']} {item['name']} ({item['state']}, {item['reason']}): {why}")
    items = [item for run in runs for item in run["items"]]
    for what in ("key", "job", "decision"):
        counts = collections.Counter(item[what] for item in items if item[what])
        wrong += [f"the {what} {value} stands for {count} items" for value, count in counts.items() if count > 1]
    begun = collections.Counter(job["properties"]["activityId"] for job in jobs)
    # Every backup that Azure took belongs to one item of one run, and no occurrence has two.
    for item, decisions in taken.items():
        known = {one["decision"] for one in items if one["item"].lower() == item}
        wrong += [f"{item}: taken by Azure and in no run: {stray}" for stray in sorted(decisions - known)]
        wrong += [f"{item}: {begun[one]} jobs of the decision {one}" for one in sorted(decisions) if begun[one] > 1]
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
