#!/usr/bin/env python3
"""Runs the documents: what they show is what happens.

    python3 tests/docs/check.py [--keep-going] [NAME]...

- A fence of `console` holds `$ command` lines, each followed by its output; a command may
  go on over lines that end in a backslash, and over lines of `> ` after a `<<`. A line of `…` or `...` stands for any lines,
  `…` inside a line for any text. The commands of one document run in one shell, in one
  folder, beside a gateway and an emulator of their own, with the variables that
  `cargo demo -- --env-file` writes, `demo.env` itself, and `vaultgate` on the path. A
  command that fails must say so (`; echo "exit $?"`). `cargo demo` and `tests/run` are
  not run: they are tested elsewhere. `gateway=stopped` runs a block while the gateway
  is stopped.
- A fence of `rego file=PATH` is put into a copy of the starter bundle (`json file=PATH`
  too), which must then be admitted and pass its tests.
- A fence of `toml` is laid over the configuration that the tests use, which must then be
  good. Fences of `json` and `python` are parsed.
- A fence whose info string says `not verified here` is shown, and not run.
- Links to files and headings lead somewhere. Every reason code of the sources stands in
  docs/troubleshooting.md, and no other does.

Needs Python and the two executables; prints `docs: N passed, M failed` last.
"""

import argparse
import ast
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/clients"))
import world  # noqa: E402

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# Documents of which only links and plain fences are looked at, as long as they have no
# console of their own.
LINKED = [*(REPOSITORY / name for name in ("ARCHITECTURE.md", "policies/README.md"))]
# The door where approvals are given.
CONSOLE = (REPOSITORY / "tests/data/console.toml").read_text(encoding="utf-8")
EXEMPT = "not verified here"
ELSEWHERE = re.compile(r"(cargo demo|tests/run)( |$)")
PERSONAS = "operator custodian reader agent flow approver-a approver-b soc stranger".split()
# Longest time for one command.
PATIENCE = 60
KNOWN = {"console", "rego", "toml", "json", "python", "text", "sh", "ini"}


class Failed(Exception):
    """A document does not hold."""


class Fence:
    """A fenced block of a document."""

    def __init__(self, document, line, info, lines):
        self.document, self.line, self.info, self.lines = document, line, info, lines
        self.language = info.split()[0] if info.split() else ""
        self.exempt = EXEMPT in info
        self.text = "\n".join(lines) + "\n"

    def option(self, name):
        found = re.search(rf"(?:^|\s){name}=(\S+)", self.info)
        return found.group(1) if found else None

    @property
    def place(self):
        return f"{self.document.relative_to(REPOSITORY)}:{self.line}"


def fences(path):
    found, opened, lines, info = [], None, [], ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if opened is None:
            start = re.match(r"(`{3,})(.*)$", line)
            if start:
                opened, marks, info, lines = number, start.group(1), start.group(2).strip(), []
        elif line.strip() == marks:
            found.append(Fence(path, opened, info, lines))
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        raise Failed(f"{path.name}:{opened}: the fence is never closed")
    return found


# --- consoles -------------------------------------------------------------------

def commands(fence):
    """The commands of a console with what is expected of each."""
    steps, going_on = [], False
    for line in fence.lines:
        if going_on:
            steps[-1][0] += "\n" + line
        elif line.startswith("$ "):
            steps.append([line[2:], []])
        elif steps and line[:2] in (">", "> ") and "<<" in steps[-1][0] and not steps[-1][1]:
            # What a shell shows while a command still wants text.
            steps[-1][0] += "\n" + line[2:]
        elif steps:
            steps[-1][1].append(line)
        else:
            raise Failed(f"{fence.place}: a console begins with `$ `")
        going_on = line.endswith("\\") and (going_on or line.startswith("$ "))
    if not steps:
        raise Failed(f"{fence.place}: a console without a command")
    return steps


def pattern(expected):
    """What is expected, as a regular expression over whole lines."""
    parts = []
    for line in expected:
        if line.strip() in ("…", "..."):
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append("[^\n]*".join(map(re.escape, line.rstrip().split("…"))) + r"[ \t]*\n")
    return re.compile("".join(parts))


class Shell:
    """One shell for one document: what a command sets, the next one has."""

    END = "--vaultgate-docs-end--"

    def __init__(self, folder, env):
        self.folder = folder
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def run(self, command):
        # The command comes from a file, so that nothing in it is read twice.
        script = self.folder / ".command"
        script.write_text(command + "\n", encoding="utf-8")
        asked = f'. ./.command </dev/null; printf "\\n{self.END} %d\\n" $?\n'
        self.shell.stdin.write(asked)
        self.shell.stdin.flush()
        said = []
        for line in self.shell.stdout:
            if line.startswith(self.END):
                text = "".join(said)
                return int(line.split()[1]), text[:-1] if text.endswith("\n") else text
            said.append(line)
        raise Failed("the shell ended:\n" + "".join(said)[-2000:])

    def close(self):
        self.shell.stdin.close()
        self.shell.stdout.close()
        self.shell.wait(PATIENCE)


def environment(running, folder):
    """The variables of `cargo demo -- --env-file`, and the file itself."""
    env = dict(running.env)
    env["VAULTGATE_BIN"] = str(world.program("vaultgate"))
    env["VAULTGATE_POLICIES"] = str(folder.parent / "active")
    env["VAULTGATE_PID"] = str(running.gateway.pid)
    for persona in PERSONAS:
        name = "TOKEN_" + persona.upper().replace("-", "_")
        env[name] = running.token(persona, lifetime=8 * 3600)
    lines = "".join(f"{name}={value}\n" for name, value in env.items())
    (folder / "demo.env").write_text(lines, encoding="utf-8")
    own = folder / ".bin"
    own.mkdir()
    for name in ("vaultgate", "vaultgate-orchestrator"):
        (own / name).symlink_to(world.program(name).resolve())
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    path = f"{own}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    # The starter bundle and the second verifier are where a checkout has them.
    for name in ("policies", "tests"):
        (folder / name).symlink_to(REPOSITORY / name)
    return {**kept, **env, "PATH": path, "LC_ALL": "C.UTF-8"}


def play(fence, shell, running):
    stopped = fence.option("gateway") == "stopped"
    if stopped:
        running.stop_gateway()
    try:
        for command, expected in commands(fence):
            if ELSEWHERE.match(command):
                continue
            code, said = shell.run(command)
            if expected and not expected[-1].strip():
                expected = expected[:-1]
            text = said if said.endswith("\n") or not said else said + "\n"
            if code != 0:
                raise Failed(f"`{command}` ended with {code}:\n{text}")
            if not pattern(expected).fullmatch(text):
                wanted = "\n".join(expected)
                raise Failed(f"`{command}` said\n{text}\ninstead of\n{wanted}")
    finally:
        if stopped:
            running.start_gateway()


# --- bundles, configurations, documents --------------------------------------------

def vaultgate(*arguments):
    command = [str(world.program("vaultgate")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout + done.stderr


def check_bundle(parts, folder):
    """The starter bundle with the document's files: admitted, and its tests pass."""
    bundle = folder / "bundle"
    shutil.copytree(REPOSITORY / "policies", bundle)
    for fence in parts:
        name = fence.option("file")
        if not name or name.startswith("/") or ".." in name:
            raise Failed(f"{fence.place}: which file of the bundle is it? write `file=…`")
        place = bundle / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(fence.text, encoding="utf-8")
    for verb in ("check", "test"):
        code, said = vaultgate("policy", verb, bundle)
        if code != 0:
            raise Failed(f"policy {verb}:\n{said[-3000:]}")


# Tables that are taken whole: half of one identity and half of another is neither.
WHOLE = {("azure", "operator"), ("azure", "reader"), ("azure", "custom"), ("store",)}


def merged(base, over, path=()):
    result = dict(base)
    for name, value in over.items():
        own = result.get(name)
        at = (*path, name)
        if at == ("issuer",):
            names = {issuer["name"] for issuer in value}
            result[name] = [one for one in own if one["name"] not in names] + value
        elif isinstance(own, dict) and isinstance(value, dict) and at not in WHOLE:
            result[name] = merged(own, value, at)
        else:
            result[name] = value
    if path == ("azure",) and over.get("cloud", "custom") != "custom":
        result.pop("custom", None)
    return result


def written(value):
    """A TOML value; tables stand inline."""
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(name)} = {written(one)}" for name, one in value.items())
        return "{ " + inner + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def rendered(config):
    lines = []
    for name, section in config.items():
        tables = section if isinstance(section, list) else [section]
        for table in tables:
            lines.append(f"[[{name}]]" if isinstance(section, list) else f"[{name}]")
            lines += [f"{json.dumps(key)} = {written(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def check_config(fence, running, folder):
    data = tomllib.loads(fence.text)
    base = tomllib.loads(pathlib.Path(running.env["VAULTGATE_CONFIG"]).read_text(encoding="utf-8"))
    certificates = pathlib.Path(running.env["SIM_CA"]).parent
    place = folder / f"config-{fence.line}"
    (place / "tls").mkdir(parents=True)
    copies = {"cert.pem": "localhost.pem", "key.pem": "localhost.key"}
    for name in ("client-ca.pem", "extra-ca.pem"):
        copies[name] = "ca.pem"
    for name, source in copies.items():
        shutil.copy(certificates / source, place / "tls" / name)
    for name in ("operator.secret", "reader.secret", "console.secret", "store.url"):
        (place / name).write_text("a secret")
    config = place / "vaultgate.toml"
    config.write_text(rendered(merged(base, data)), encoding="utf-8")
    code, said = vaultgate("config", "check", "--config", config)
    if code != 0:
        raise Failed(f"config check:\n{said}")


def slug(heading):
    text = re.sub(r"[`*]", "", heading.strip().lower())
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def without_fences(path):
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)


def headings(path):
    return {slug(found) for found in re.findall(r"^#+ (.+)$", without_fences(path), re.M)}


def check_links(path):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(path)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        if not place.exists() or not place.is_relative_to(REPOSITORY):
            broken.append(f"`{target}` leads nowhere")
        elif heading and place.suffix == ".md" and heading not in headings(place):
            broken.append(f"`{target}`: there is no such heading")
    if broken:
        raise Failed("\n".join(broken))


# --- reason codes ---------------------------------------------------------------

CODE = r'"([a-z0-9]+(?:-[a-z0-9]+)*)"'
SOURCES = [
    # Enumerations with a code for each variant.
    rf"(?:ReasonCode|Failure|LimitName|FaultCode|Ineligible)::\w+(?:\([^)]*\))?\s*=>\s*{CODE}",
    # Refusals that a step makes.
    rf"(?:Refusal::(?:new|deny)|unavailable|closing|conflict|refuse)\(\s*{CODE}\s*,",
    rf"\.reason = {CODE};",
    # Pairs of a code and what is said with it.
    rf"=>\s*\(\s*{CODE}\s*,",
]
# Parts that refuse no request.
SILENT = re.compile(r"gateway/(decision-log|src/(commands|idempotency|config|store))[./]")
# Outcomes of forwarded requests: pairs, and no reasons.
OUTCOMES = {"succeeded", "failed", "accepted", "not-sent", "unknown"}


def codes_of_sources():
    found = {}
    for path in sorted((REPOSITORY / "gateway").rglob("*.rs")):
        relative = str(path.relative_to(REPOSITORY))
        if "/tests" in relative or relative.endswith("tests.rs") or SILENT.search(relative):
            continue
        text = path.read_text(encoding="utf-8").split("#[cfg(test)]\nmod tests {")[0]
        for expression in SOURCES:
            for code in re.findall(expression, text):
                if code not in OUTCOMES:
                    found.setdefault(code, relative)
    return found


def codes_of_policies():
    found = {}
    for path in sorted((REPOSITORY / "policies").rglob("*.rego")):
        if not path.name.endswith("_test.rego"):
            for code in re.findall(rf'"code":\s*{CODE}', path.read_text(encoding="utf-8")):
                found.setdefault(code, str(path.relative_to(REPOSITORY)))
    return found


def check_codes():
    text = without_fences(REPOSITORY / "docs/troubleshooting.md")
    told = re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M)
    known = {**codes_of_sources(), **codes_of_policies()}
    if len(known) < 50:
        raise Failed(f"only {len(known)} reason codes were found in the sources: look there")
    wrong = [f"`{code}` ({known[code]}) is not explained" for code in known if code not in told]
    wrong += [f"`{code}` is explained, and nothing says it" for code in told if code not in known]
    wrong += [f"`{code}` is explained twice" for code in set(told) if told.count(code) > 1]
    if wrong:
        raise Failed("\n".join(sorted(wrong)))


# --- the run ---------------------------------------------------------------------

class Tally:
    def __init__(self):
        self.passed = self.failed = self.exempt = 0

    def check(self, what, step, *arguments):
        try:
            step(*arguments)
        except (Failed, AssertionError, ValueError, SyntaxError, OSError, subprocess.TimeoutExpired) as error:
            self.failed += 1
            told = "\n".join(line[:300] for line in str(error).strip().splitlines())
            print(f"FAILED  {what}\n    " + told.replace("\n", "\n    "))
            return False
        self.passed += 1
        print(f"ok      {what}")
        return True


def named(fence):
    if fence.language not in KNOWN:
        raise Failed(f"a fence of `{fence.info}`: name one of {', '.join(sorted(KNOWN))}")
    if fence.language == "rego" and not fence.option("file"):
        raise Failed("write `rego file=…`, or `not verified here`")


def document(path, tally, go_on):
    parts = fences(path)
    tally.check(f"{path.relative_to(REPOSITORY)} links", check_links, path)
    tally.exempt += sum(fence.exempt for fence in parts)
    parts = [fence for fence in parts if not fence.exempt]
    for fence in parts:
        tally.check(f"{fence.place} {fence.info}", named, fence)
        if fence.language == "json" and not fence.option("file"):
            tally.check(f"{fence.place} parses", json.loads, fence.text)
        if fence.language == "python":
            tally.check(f"{fence.place} parses", ast.parse, fence.text)
    lived = [fence for fence in parts if fence.language in ("console", "toml")]
    bundled = [f for f in parts if f.language in ("rego", "json") and f.option("file")]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-docs-"))
    try:
        if bundled:
            tally.check(f"{path.name}: the bundle", check_bundle, bundled, folder)
        if lived:
            live(lived, folder, tally, go_on)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def live(parts, folder, tally, go_on):
    place = folder / "work"
    place.mkdir()
    started = []
    # A bundle of its own: what a document ships, the gateway takes over.
    policies = folder / "active"
    shutil.copytree(REPOSITORY / "policies", policies)
    how = {"extra": CONSOLE, "time_scale": 20.0, "policies": policies}
    begin = lambda: started.append(world.World.start(**how))  # noqa: E731
    if not tally.check(f"{parts[0].document.name}: a gateway to run it with", begin):
        return
    with started[0] as running:
        shell = Shell(place, environment(running, place))
        try:
            for fence in parts:
                if fence.language == "toml":
                    tally.check(f"{fence.place} is good", check_config, fence, running, folder)
                elif not tally.check(f"{fence.place} holds", play, fence, shell, running):
                    # What follows rests on what came before.
                    if not go_on:
                        break
        finally:
            shell.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep-going", action="store_true", help="go on after a failure")
    parser.add_argument("only", nargs="*", help="parts of documents' names")
    options = parser.parse_args()
    tally = Tally()
    for path in [*DOCUMENTS, *LINKED]:
        if options.only and not any(word in path.name for word in options.only):
            continue
        if path in LINKED:
            tally.check(f"{path.relative_to(REPOSITORY)} links", check_links, path)
        else:
            document(path, tally, options.keep_going)
    if not options.only or any(word in "troubleshooting.md" for word in options.only):
        tally.check("every reason code is explained", check_codes)
    print(f"{tally.exempt} fences are shown and not run (`{EXEMPT}`)")
    print(f"docs: {tally.passed} passed, {tally.failed} failed")
    return 0 if tally.failed == 0 and tally.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
