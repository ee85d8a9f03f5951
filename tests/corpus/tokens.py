"""`jwt_attacks.json`: tokens that must open nothing, beside the ones that must."""

import socket
import threading

from issuer import NAMES, Issuers, Mint
from judge import VAULT, VERSION, Wrong, hold

AUDIENCE = "api://vaultgate"
TARGET = f"{VAULT}?{VERSION}"
MEBIBYTE = 1 << 20
# Which issuer a case's setup stands for.
SETUP = {
    "duplicate-kid-attacker-second": "duplicate",
    "add-garbage-key": "garbage",
    "hang": "hang",
    "issuer=https://evil.example": "mismatch",
    "jwks=10MiB": "huge",
}


def configuration(issuers):
    """The gateway's issuers for this corpus."""
    table = """
[[issuer]]
name = "corpus-{name}"
preset = "generic"
issuer = "{url}"
audiences = ["{audience}"]
algorithms = ["ES256", "RS256"]
allow_insecure_loopback = true
max_lifetime = "1h"
app = [{{ id = "agent", kind = "agent" }}]
"""
    made = (table.format(name=n, url=issuers.url(n), audience=AUDIENCE) for n in NAMES)
    return "".join(made)


class Canary:
    """A port that nobody may call."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen()
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]

    def silent(self):
        try:
            self.socket.accept()
        except BlockingIOError:
            return
        raise Wrong("the gateway called an address from a token")


class Tokens:
    def __init__(self, stage, base, issuers):
        self.stage, self.base, self.issuers = stage, base, issuers
        self.canary = Canary()

    def mint(self, case):
        setup = case.get("setup", {})
        name = SETUP.get(setup.get("jwks") or setup.get("idp"), "main")
        return Mint(self.base, self.issuers.keys, self.issuers.url(name), AUDIENCE, self.canary.port)

    def send(self, token=None, headers=None, query=""):
        given = headers if headers is not None else [("Authorization", f"Bearer {token}")]
        return self.stage.play(lambda: self.stage.wire.request("GET", TARGET + query, given))

    def check(self, case):
        if "concurrent" in case.get("setup", {}):
            return self.own_bytes()
        mint = self.mint(case)
        if "transport" in case:
            return self.transported(case, mint)
        outcome = self.send(mint.token(case))
        self.canary.silent()
        self.expect(case, outcome)

    def transported(self, case, mint):
        good, bad = mint.token({}), mint.token({"sign": {"key": "attacker-es", "alg": "ES256"}})
        words = {"$GOOD": good, "$BAD": bad}

        def written(text):
            for word, token in words.items():
                text = text.replace(word, token)
            return text

        transport = case["transport"]
        headers = [(name, written(value)) for name, value in transport.get("headers", [])]
        query = f"&{written(transport['query'])}" if "query" in transport else ""
        outcome = self.send(headers=headers, query=query)
        self.expect(case, outcome)
        if query:
            hold(good not in self.stage.world.console_text(), "a token from the query was logged")
            hold(all(good not in str(record) for record in self.stage.world.records()),
                 "a token from the query is in the log")

    def expect(self, case, outcome):
        expected, name = case["expected"], case["name"]
        if expected.startswith("401"):
            # A head beyond the listener's limit is refused before anybody reads the token.
            oversized = name == "kid-long-64k"
            outcome.refused(401, *((431, 400) if oversized else ()))
            hold(outcome.exchange.seconds < 5, f"took {outcome.exchange.seconds:.1f} s")
            if name in ("exp-past", "aud-other", "nbf-future"):
                # Signed by a configured issuer: always a full record.
                hold(outcome.decision()["kind"] == "unauthenticated", "no full record")
        elif expected == "accept":
            outcome.once()
            hold(outcome.status == 200, outcome.answered())
        elif expected == "accept-as-different-principal":
            _, record = outcome.once()
            subject = record["input"]["principal"]["subject"]
            hold(subject == case["claims"]["sub"], f"the subject became {subject!r}")
        elif expected == "accept-with-no-role":
            outcome.refused(403)
            roles = outcome.decision()["input"]["principal"]["roles"]
            hold(roles == [], f"the roles became {roles}")
        elif expected == "strip-or-403":
            self.stripped(outcome)
        elif expected == "refuse provider":
            outcome.refused(401, 503)
        elif expected == "<=5 s, 503/401, other requests unaffected":
            self.isolated(outcome)
        elif expected == "bounded memory, keep old keys":
            self.bounded(outcome)
        else:
            raise Wrong(f"nobody knows what `{expected}` means")

    def stripped(self, outcome):
        if not outcome.reached:
            return outcome.refused(400, 403)
        entry, _ = outcome.once()
        names = [name.lower() for name, _ in entry["headers"]]
        hold("x-ms-authorization-auxiliary" not in names, "the auxiliary token was forwarded")

    def good(self):
        outcome = self.send(self.mint({}).token({}))
        outcome.once()
        return outcome

    def isolated(self, outcome):
        outcome.refused(401, 503)
        hold(outcome.exchange.seconds <= 6, f"took {outcome.exchange.seconds:.1f} s")
        # While one request still hangs on that issuer, others go on.
        hanging = self.mint({"setup": {"idp": "hang"}}).token({"header": {"kid": "es-10"}})
        wire = self.stage.wire
        other = threading.Thread(target=wire.request, args=(
            "GET", TARGET, [("Authorization", f"Bearer {hanging}")]))
        other.start()
        try:
            fine = self.good()
            hold(fine.exchange.seconds < 3, f"another waited {fine.exchange.seconds:.1f} s")
        finally:
            other.join()

    def bounded(self, outcome):
        before = self.stage.memory()
        outcome.refused(401, 503)
        hold(self.stage.memory() - before < 32 * MEBIBYTE, "a large key set was kept")
        self.good()

    def own_bytes(self):
        """Tokens that share all but their last bytes, at the same time."""
        subjects = [f"agent-{number}" for number in range(8)]
        mint = self.mint({})
        tokens = {s: mint.token({"claims": {"sub": s, "jti": "the-same"}}) for s in subjects}
        bad = tokens["agent-0"][:-8] + tokens["agent-1"][-8:]
        answers, wire = {}, self.stage.wire
        self.stage.world.control("POST", "reset")

        def ask(name, token):
            answers[name] = wire.request("GET", TARGET, [("Authorization", f"Bearer {token}")])

        asking = [threading.Thread(target=ask, args=pair)
                  for pair in [*tokens.items(), ("mixed", bad)]]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
        self.stage.entries += self.stage.world.journal()
        hold(answers.pop("mixed").status == 401, "a token with a foreign end was accepted")
        for subject, found in answers.items():
            hold(found.status == 200, f"{subject}: {found.status}")
            own = found.header("x-vaultgate-decision-id")
            record = self.stage.world.record(own)
            seen = record["input"]["principal"]["subject"]
            hold(seen == subject, f"{subject} was taken for {seen}")


def run(stage, corpus, issuers, report):
    tokens = Tokens(stage, corpus["base"], issuers)
    for case in corpus["cases"]:
        report.case("tokens", case["name"], lambda: tokens.check(case))


def start():
    return Issuers()
