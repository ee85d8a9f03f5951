#!/usr/bin/env python3
"""One approval, several who use it at the same instant, two gateways on one PostgreSQL.

    races.py [--races N] [--seed N]

In each race a backup is asked for at one gateway, approved at a gateway's console, and then
used four times at once: twice at each gateway, by repeating the request and by `execute`.
Exactly one may be sent, by the emulator's journal and by both logs; everybody else is told
that it was used. In one race of fifty a gateway is killed meanwhile: then one is sent at
most, and what is left of the approval is used by nobody.
"""

import argparse
import collections
import concurrent.futures
import http.client
import itertools
import random
import sys
import threading
import time

from pair import APPROVALS, Pair, approve, asked, backup, trigger

WORKERS = 3
# Races after which the journal is read; all of it stays in memory meanwhile.
ROUND = 500
KILLED_EVERY = 50
LOST = {"approval-used"}
# A machine that is behind may say this instead: nothing was sent for it.
BUSY = {"store-unavailable", "log-unavailable", "policy-timeout", "approval-pending", "idempotency-in-flight"}


class Contender(threading.Thread):
    """Somebody who uses approvals at one gateway, in one of the two ways."""

    def __init__(self, line, execute):
        super().__init__(daemon=True)
        self.line, self.execute = line, execute
        self.work, self.told = threading.Semaphore(0), threading.Semaphore(0)
        self.race = self.answer = None

    def run(self):
        while True:
            self.work.acquire()
            approval, body, start = self.race
            start.wait()
            try:
                if self.execute:
                    self.answer = self.line.send("POST", f"{APPROVALS}/{approval}/execute")
                else:
                    headers = {"Vaultgate-Approval": approval}
                    self.answer = self.line.send("POST", trigger(), body, headers)
            except (OSError, http.client.HTTPException) as error:
                self.answer = error
            self.told.release()


class Worker:
    """Runs races one after the other, with connections of its own."""

    def __init__(self, pair, counted):
        self.pair, self.counted = pair, counted
        self.askers = [pair.line(0), pair.line(1)]
        self.desks = [pair.desk(0), pair.desk(1)]
        self.contenders = [Contender(pair.line(n // 2), n % 2 == 1) for n in range(4)]
        for contender in self.contenders:
            contender.start()

    def race(self, number, kill=None):
        body = backup(number)
        at = number % 2
        answer = self.askers[at].send("POST", trigger(), body)
        approval, digest = asked(answer)
        approve(self.desks[1 - at], approval, digest)
        start = threading.Barrier(len(self.contenders) + (1 if kill else 0))
        for contender in self.contenders:
            contender.race = approval, body, start
            contender.work.release()
        if kill:
            start.wait()
            kill()
        for contender in self.contenders:
            contender.told.acquire()
        answers = [contender.answer for contender in self.contenders]
        self.judge(number, approval, answers, kill)
        return approval

    def hang_up(self):
        """The next request of each line opens a connection."""
        for line in [*self.askers, *self.desks, *(contender.line for contender in self.contenders)]:
            line.close()

    def judge(self, number, approval, answers, kill):
        sent = [a for a in answers if not isinstance(a, Exception) and a.status == 202]
        for answer in answers:
            told = "cut" if isinstance(answer, Exception) else answer.reason() or str(answer.status)
            self.counted[told] += 1
            if answer in sent or (kill and told == "cut"):
                continue
            if told not in LOST | BUSY:
                raise AssertionError(f"race {number}: {answer!r}")
        if len(sent) > 1 or (not sent and not kill):
            raise AssertionError(f"race {number}: approval {approval} was sent {len(sent)} times: {answers}")


def journal(pair):
    """How often each backup reached Azure, by its body."""
    return collections.Counter(
        entry["body_sha256"] for entry in pair.first.forwarded() if entry["method"] == "POST")


def play(pair, races, seed):
    counted = collections.Counter()
    workers = [Worker(pair, counted) for _ in range(WORKERS)]
    drawn = random.Random(seed)
    numbers = itertools.count(seed * 1_000_000)
    done = killed = 0
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        while done < races:
            size = min(ROUND, races - done)
            batch = [next(numbers) for _ in range(size)]
            shares = [batch[n::WORKERS] for n in range(WORKERS)]
            going = [pool.submit(lambda w, own: [w.race(n) for n in own], worker, own)
                     for worker, own in zip(workers, shares)]
            for one in going:
                one.result()
            done += size
            for _ in range(max(1, size // KILLED_EVERY)):
                killed += kill_in_race(pair, workers, next(numbers), drawn)
            sent = journal(pair)
            twice = [body for body, count in sent.items() if count > 1]
            if twice or not done <= len(sent) <= done + killed:
                raise AssertionError(f"{len(sent)} backups of {done} races were sent, twice {twice}")
            print(f"{done} races, {killed} with a kill, {dict(counted)}, "
                  f"{done / (time.monotonic() - began):.0f}/s", flush=True)
    return done, killed


def kill_in_race(pair, workers, number, drawn):
    """A gateway is killed while its callers and the other's use an approval."""
    worker = workers[number % len(workers)]
    victim = drawn.randrange(2)
    pause = drawn.uniform(0.0, 0.02)

    def kill():
        time.sleep(pause)
        pair.worlds[victim].kill_gateway()

    approval = worker.race(number, kill)
    pair.worlds[victim].start_gateway()
    for one in workers:
        one.hang_up()
    body = backup(number)
    sent = [worker.askers[n].send("POST", trigger(), body, {"Vaultgate-Approval": approval}) for n in range(2)]
    # Nobody may have come to it; then it is good once, and once only.
    if sum(answer.status == 202 for answer in sent) > 1:
        raise AssertionError(f"race {number}: used twice after a kill: {sent}")
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--races", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with Pair() as pair:
        done, killed = play(pair, chosen.races, chosen.seed)
        print(pair.oracle())
    print(f"races: {done + killed} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
