"""An honest client that has a new token for each request, so that each is verified anew.

A thread on one keep-alive connection, some 40 requests a second. `token` makes the next
token and a note on it; the notes stand beside the answers.
"""

import http.client
import threading
import time
import urllib.parse

from steady import Window
from world import API, VAULT, Answer, until

PACE = 0.025
PATIENCE = 20
# The token was good; the policy had no processor in its 20 ms.
SLOW_MACHINE = "403 policy-timeout"


class Renewing:
    def __init__(self, world, token):
        self.world, self.token = world, token
        # When it was asked, how long it took, `200` or status and reason, the note.
        self.rows = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.go_on, daemon=True)

    def go_on(self):
        parts = urllib.parse.urlsplit(self.world.url)
        connection = None
        while not self.over.wait(PACE):
            token, note = self.token()
            began = time.monotonic()
            try:
                connection = connection or http.client.HTTPSConnection(
                    parts.hostname, parts.port, context=self.world.context(), timeout=PATIENCE)
                connection.request("GET", f"{VAULT}?{API}", headers={"Authorization": f"Bearer {token}"})
                answer = connection.getresponse()
                status = told(Answer(answer.status, answer.headers, answer.read()))
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection, status = None, repr(error)
            self.rows.append((began, time.monotonic() - began, status, note))

    def window(self, begin, end):
        """Requests begun between these instants, as the other honest client tells them."""
        until("the honest client's answer", self.settled())
        return Window([row[:3] for row in list(self.rows) if begin <= row[0] < end], end - begin)

    def settled(self):
        asked = time.monotonic()

        def later():
            if not self.thread.is_alive():
                raise AssertionError("the honest client ended")
            return bool(self.rows) and self.rows[-1][0] > asked

        return later

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(PATIENCE)


def ask(world, token, source=None):
    """What the bearer of a token meets, who comes from an address of this machine."""
    while True:
        met = told(world.send("GET", f"{VAULT}?{API}", token, source=source))
        if met != SLOW_MACHINE:
            return met


def told(answer):
    """`200`, or another status with its reason."""
    return "200" if answer.status == 200 else f"{answer.status} {answer.reason()}"
