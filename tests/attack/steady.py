"""The honest client: a keep-alive connection in a process of its own, 50 requests a second.

Run as a program it reads `{"url", "ca", "target", "token"}` from standard input and writes
`TIME LATENCY STATUS` for each request: 200, or what came instead with its reason. The
time is the machine's monotonic clock, so that whoever started it can tell the phases apart.
"""

import ast
import http.client
import json
import pathlib
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse

PACE = 0.02
PATIENCE = 20


def go_on(job):
    parts = urllib.parse.urlsplit(job["url"])
    trusting = ssl.create_default_context(cafile=job["ca"])
    headers = {"Authorization": f"Bearer {job['token']}"}
    connection, due = None, time.monotonic()
    while True:
        # A schedule, not a pause after each answer: slow answers must show as lost throughput.
        due = max(due + PACE, time.monotonic() - PACE)
        time.sleep(max(0, due - time.monotonic()))
        began = time.monotonic()
        try:
            connection = connection or http.client.HTTPSConnection(
                parts.hostname, parts.port, context=trusting, timeout=PATIENCE)
            connection.request("GET", job["target"], headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            status = str(answer.status)
            if answer.status != 200:
                status += "-" + body[:400].decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            connection, status = None, repr(error)
        print(f"{began:.6f} {time.monotonic() - began:.6f} {status!r}", flush=True)


class Window:
    """What the honest client met between two instants."""

    def __init__(self, rows, seconds):
        self.latencies = sorted(latency for _, latency, _ in rows)
        self.errors = [status for _, _, status in rows if status != "200"]
        self.rate = len(rows) / seconds
        self.longest = self.latencies[-1] if rows else None

    @property
    def p50(self):
        return statistics.median(self.latencies)

    @property
    def p99(self):
        return self.latencies[min(len(self.latencies) - 1, len(self.latencies) * 99 // 100)]

    def __str__(self):
        if not self.latencies:
            return "nothing answered"
        return f"p50 {self.p50 * 1000:.1f} p99 {self.p99 * 1000:.1f} ms, {self.rate:.0f}/s"


class Steady:
    """The honest client as its parent sees it."""

    def __init__(self, **job):
        self.rows = []
        self.process = subprocess.Popen([sys.executable, pathlib.Path(__file__).resolve()],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write(json.dumps(job))
        self.process.stdin.close()
        self.thread = threading.Thread(target=self.collect, daemon=True)
        self.thread.start()

    def collect(self):
        for line in self.process.stdout:
            began, latency, status = line.split(" ", 2)
            self.rows.append((float(began), float(latency), ast.literal_eval(status)))

    def window(self, begin, end):
        """Requests begun between these instants and answered, whenever that was."""
        rows = [row for row in list(self.rows) if begin <= row[0] < end]
        return Window(rows, end - begin)

    def settled(self):
        """Whether a request begun after this call has been answered: nothing is in flight."""
        asked = time.monotonic()

        def later():
            if self.process.poll() is not None:
                raise AssertionError("the honest client ended")
            return bool(self.rows) and self.rows[-1][0] > asked

        return later

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()


if __name__ == "__main__":
    go_on(json.load(sys.stdin))
