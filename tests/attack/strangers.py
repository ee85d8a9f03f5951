"""Strangers whose tokens name keys that their issuer never had: each asks for a fetch.

Every connection comes from an address of its own, since tokens are counted by address.
"""

import base64
import collections
import http.client
import json
import os
import threading
import time
import urllib.parse
import uuid

from pump import context
from world import API, VAULT

ATTACK = "unknown-keys"


def part(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(issuer):
    now = int(time.time())
    header = {"alg": "ES256", "typ": "at+jwt", "kid": str(uuid.uuid4())}
    claims = {"iss": issuer, "aud": "api://vaultgate", "sub": "stranger", "iat": now, "exp": now + 600}
    parts = [part(json.dumps(one).encode()) for one in (header, claims)]
    return ".".join([*parts, part(os.urandom(64))])


class Storm:
    def __init__(self, job):
        self.job, self.trusting = job, context(job["ca"], "http/1.1")
        self.answers, self.longest = collections.Counter(), 0.0
        self.lock = threading.Lock()

    def one(self, number):
        parts = urllib.parse.urlsplit(self.job["url"])
        source = (f"127.1.{number // 250}.{number % 250 + 2}", 0)
        end = time.monotonic() + self.job["seconds"]
        connection = None
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                connection = connection or http.client.HTTPSConnection(
                    "localhost", parts.port, context=self.trusting, timeout=20, source_address=source)
                fields = {"Authorization": f"Bearer {token(self.job['issuer'])}"}
                connection.request("GET", f"{VAULT}?{API}", headers=fields)
                answer = connection.getresponse()
                body = answer.read()
                told = f"{answer.status} {json.loads(body)['error']['additionalInfo'][0]['info']['reason']}"
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                connection.close()
                connection, told = None, type(error).__name__
            with self.lock:
                self.answers[told] += 1
                self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(self.job.get("pause", 0))


def storm(job):
    """The answers by status and reason, and the longest wait for one."""
    told = Storm(job)
    threads = [threading.Thread(target=told.one, args=(n,)) for n in range(job["connections"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answers": dict(told.answers), "longest": round(told.longest, 2)}
