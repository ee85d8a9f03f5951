"""A gateway in front of a hostile Azure, its clients, and what holds in every case.

Whatever Azure answers: one answer on the caller's connection, with listed headers alone, that
is either Azure's whole or the gateway's own refusal; addresses in it are the gateway's; and the
decision has one outcome in the log.
"""

import collections
import concurrent.futures
import contextlib
import json
import pathlib
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
for folder in ("clients", "corpus", "crash"):
    sys.path.insert(0, str(HERE.parent / folder))

from rogue_arm import RogueArm, Lure  # noqa: E402
from wire import Wire  # noqa: E402
from world import API, UNLIMITED, World, until  # noqa: E402

BACKUP = b'{"properties":{"objectType":"IaasVMBackupRequest"}}'
MAX_ANSWER = 1 << 20
TIMEOUT = 1
AZURE = f'change_timeout = "{TIMEOUT}s"\nread_timeout = "{TIMEOUT}s"\nmax_answer = {MAX_ANSWER}\n'
POLLS = ("location", "azure-asyncoperation", "operation-location")
# Every header that an answer of the gateway may have.
HEADERS = {
    "content-type", "content-length", "date", "etag", "retry-after", "last-modified", *POLLS,
    "x-ms-request-id", "x-ms-correlation-request-id", "x-ms-routing-request-id",
    "x-ms-failure-cause", "x-vaultgate-decision", "x-vaultgate-decision-id",
    "x-vaultgate-receipt", "connection", "cache-control",
}
# Of a refusal that tells of Azure.
REFUSED = {"outcome-unknown", "upstream-unreachable", "gateway-credential", "upstream-malformed"}
# Every planted header, body and address has this word: it may stand in no answer.
PLANTED = "planted"


class Wrong(AssertionError):
    """A case did not end as it must."""


def hold(condition, what):
    if not condition:
        raise Wrong(what)


def reason(reply):
    """The stable reason of a refusal, if the answer is one."""
    try:
        return json.loads(reply.body)["error"]["additionalInfo"][0]["info"]["reason"]
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def told(exchange):
    shown = [(r.status, r.headers, r.body[:300]) for r in exchange.replies]
    return f"closed {exchange.closed}, {shown}"


def backup(vault):
    """Path of the change that starts a backup in this vault."""
    inner = "iaasvmcontainerv2%3Brg1%3Bvm1"
    container = f"{vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer%3B{inner}"
    return f"{container}/protectedItems/VM%3B{inner}/backup?{API}"


class Log:
    """The records of a log that grows: every line is read once, however often one asks."""

    def __init__(self, folder):
        self.folder, self.lock, self.at = folder / "segments", threading.Lock(), {}
        self.decisions, self.outcomes = {}, collections.defaultdict(list)
        self.about = collections.defaultdict(list)

    def read(self):
        """Decisions by id, and outcomes by their decision."""
        with self.lock:
            for path in sorted(self.folder.glob("*.jsonl")):
                with open(path, "rb") as file:
                    file.seek(self.at.get(path, 0))
                    # Zeros are space prepared for records to come: much of it, never read.
                    data = some = file.read(65_536)
                    while some and some[-1]:
                        some = file.read(65_536)
                        data += some
                    whole, mark, _ = data.rstrip(b"\0").rpartition(b"\n")
                for line in whole.splitlines():
                    self.take(json.loads(line))
                self.at[path] = self.at.get(path, 0) + len(whole) + len(mark)
            return self.decisions, self.outcomes

    def take(self, record):
        self.about[record["id"] if record["kind"] == "decision" else record.get("decision")].append(record)
        if record["kind"] == "decision":
            self.decisions[record["id"]] = record
        # The end of an operation that was accepted before is a later one.
        elif record["kind"] == "outcome" and not (record["status"] is None and record["operation"]):
            self.outcomes[record["decision"]].append(record)


class Stage:
    """The gateway, the hostile Azure behind it, and two principals."""

    def __init__(self, world, arm, lure):
        self.world, self.arm, self.lure = world, arm, lure
        self.wire = Wire(world.url, world.ca)
        self.tokens = {who: world.token(who) for who in ("operator", "reader")}
        self.full = False
        self.log = Log(world.log)

    @classmethod
    @contextlib.contextmanager
    def on(cls, policies=None, authority=False, inventory=None):
        world = World({}, pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-")))
        with contextlib.ExitStack() as ending:
            ending.callback(world.stop)
            world.start_emulator(4.0)
            certificates = pathlib.Path(world.env["SIM_CA"]).parent
            lure, arm = Lure(certificates), RogueArm(certificates)
            ending.callback(lure.stop)
            ending.callback(arm.stop)
            if inventory:
                arm.inventory = inventory(arm, lure)
            arm.mint = lambda who: world.control("POST", "azure-token", {"mint": who})["access_token"]
            sim = world.env["SIM_AZURE_URL"]
            replace = [('cloud = "custom"\n', f'cloud = "custom"\n{AZURE}'),
                       (f'resource_manager = "{sim}"', f'resource_manager = "{arm.url}"')]
            if authority:
                written = f'{replace[1][1]}\nauthority = '
                replace.append((f'{written}"{sim}"', f'{written}"{arm.url}"'))
            world.write_config(policies, UNLIMITED, replace, world.folder)
            world.start_gateway()
            yield cls(world, arm, lure)

    # --- requests --------------------------------------------------------------------------

    def ask(self, method, target, who="operator", body=b"", headers=(), http2=False):
        given = [("Authorization", f"Bearer {self.tokens[who]}"), *headers]
        if body:
            given.append(("Content-Type", "application/json"))
        send = self.wire.request2 if http2 else self.wire.request
        return send(method, target, given, body, patience=60.0)

    def read(self, vault, **how):
        return self.ask("GET", f"{vault}?{API}", **how)

    def change(self, vault, **how):
        return self.ask("POST", backup(vault), body=BACKUP, **how)

    def attacked(self, play, send=None, **how):
        """A play's vault, and what the caller saw of it, which must be sound."""
        vault = self.arm.vault(play)
        exchange = (send or self.read)(vault, **how)
        self.sound(exchange)
        return vault, exchange

    # --- what must hold ------------------------------------------------------------------------

    def sound(self, exchange, body=True):
        """One whole answer: Azure's with what may pass, or a refusal of the gateway. A `body`
        that is judged elsewhere may hold what was planted."""
        hold(len(exchange.replies) == 1, f"not one answer: {told(exchange)}")
        reply = exchange.replies[0]
        names = [name.lower() for name, _ in reply.headers if not name.startswith(":")]
        twice = [name for name, count in collections.Counter(names).items() if count > 1]
        hold(not twice, f"a header twice: {told(exchange)}")
        foreign = {name for name in names if not name.startswith("x-ms-ratelimit-remaining-")} - HEADERS
        hold(not foreign, f"headers that are not listed, {foreign}: {told(exchange)}")
        text = repr(reply.headers) + (reply.body.decode("latin-1") if body else "")
        hold(PLANTED not in text, f"something planted came through: {told(exchange)}")
        for name in POLLS:
            self.ours(reply.header(name), f"{self.world.url}/_vaultgate/op/vgop-")
        if reply.header("x-vaultgate-decision") != "allow":
            hold(reason(reply) in REFUSED, f"a refusal without a known reason: {told(exchange)}")
        hold(reply.header("x-vaultgate-decision-id"), f"no decision is named: {told(exchange)}")
        return reply

    @staticmethod
    def ours(address, prefix):
        if address is not None:
            hold(address.startswith(prefix), f"an address of elsewhere: {address[:200]!r}")

    def refused(self, exchange):
        reply = exchange.replies[0]
        hold(reply.status == 502 and reason(reply) in REFUSED, f"not refused: {told(exchange)}")

    def passed(self, exchange, vault):
        """Azure's honest answer about this vault, whole."""
        reply = exchange.replies[0]
        hold(reply.status == 200, f"not answered: {told(exchange)}")
        name = vault.rsplit("/", 1)[-1]
        hold(json.loads(reply.body)["name"] == name, f"not the answer for {name}: {told(exchange)}")

    def serves(self, who="reader"):
        """The next caller is served, and with its own answer."""
        vault = self.arm.vault()
        exchange = self.read(vault, who=who)
        self.sound(exchange)
        self.passed(exchange, vault)

    def recorded(self):
        """Every request that arrived was allowed on the record, changes once, each with an outcome."""
        with self.arm.lock:
            asked = [a for a in self.arm.asked if a.operator]
        counts = collections.Counter(a.decision for a in asked)
        changes = {a.decision for a in asked if a.method != "GET"}

        def settled():
            decisions, outcomes = self.log.read()
            return (decisions, outcomes) if all(outcomes.get(one) for one in counts) else None

        decisions, outcomes = until("an outcome of each request", settled)
        for one, count in counts.items():
            hold(decisions.get(one, {}).get("verdict") == "allow", f"{one} arrived, not allowed on the record")
            hold(len(outcomes[one]) == 1, f"{one} has outcomes {outcomes[one]}")
            hold(count <= (1 if one in changes else 3), f"{one} arrived {count} times")
        return f"{len(counts)} decisions, {len(changes)} of them changes sent once"

    def outcome(self, exchange):
        """The outcome of the answer's decision, once it is recorded."""
        own = exchange.header("x-vaultgate-decision-id")
        return until(f"the outcome of {own}", lambda: self.log.read()[1].get(own))[0]


class Report:
    """Runs cases, side by side or one by one, and counts."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def case(self, name, run):
        began = time.monotonic()
        try:
            said, wrong = run(), None
        except Exception as error:  # a case that breaks is a case that failed
            wrong = f"{error}" if isinstance(error, Wrong) else repr(error)
        self.passed += wrong is None
        self.failed += wrong is not None
        spent = f"({time.monotonic() - began:.1f} s)"
        line = f"FAILED {name}: {wrong[:1500]}" if wrong else f"ok {name} {spent} {said or ''}"
        # One write, so that cases side by side do not end up in one line.
        print(line + "\n", end="", flush=True)

    def together(self, cases, width=24):
        with concurrent.futures.ThreadPoolExecutor(width) as pool:
            list(pool.map(lambda case: self.case(*case), cases))
