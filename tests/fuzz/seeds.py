#!/usr/bin/env python3
"""Seeds of the fuzz targets, made from the corpora and examples of the other suites.

    tests/fuzz/seeds.py FOLDER     writes FOLDER/TARGET/*, FOLDER/TARGET.dict, says how many

The committed seeds in `tests/fuzz/seeds/TARGET` are added to them: what the corpora
cannot tell, and every input that a fuzzer found something with.
"""
import base64
import gzip
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE"]
VAULT = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg1"
    "/providers/Microsoft.RecoveryServices/vaults/v1"
)
ITEM = (
    "backupFabrics/Azure/protectionContainers/iaasvmcontainer;iaasvmcontainerv2;rg1;vm1"
    "/protectedItems/vm;iaasvmcontainerv2;rg1;vm1"
)


def corpus(name: str) -> list[dict]:
    return json.loads((DATA / "corpora" / name).read_text())["cases"]


class Seeds:
    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, 0

    def add(self, target: str, data: bytes) -> None:
        """Named by content, so that the same seeds are the same files on every run."""
        if len(data) > 64 << 10:
            return
        folder = self.folder / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        self.made += 1


def operations() -> list[tuple[str, str, str]]:
    """Method, path and api-version of every operation on the list."""
    found = []
    for line in (DATA / "operations.csv").read_text().splitlines()[1:]:
        _, _, method, template, version, *_ = line.split(",")
        names = {"{subscriptionId}": "22222222-2222-2222-2222-222222222222"}
        path = "/".join(
            names.get(part, "n1") if part.startswith("{") else part for part in template.split("/")
        )
        found.append((method, path, version))
    return found


def traces() -> list[tuple[str, str, str]]:
    """Method, target and body of what real clients sent."""
    found = []
    for requests in json.loads((DATA / "azure-client-traces.json").read_text()).values():
        for one in requests:
            url = one["url"].replace("{VAULT}", VAULT).replace("{V}", VAULT).replace("{ITEM}", ITEM)
            if url.startswith("/"):
                found.append((one["method"], url.replace(" ", "%20"), one.get("body") or ""))
    return found


def body_of(case: dict) -> bytes:
    if "body_gz_b64" in case:
        return gzip.decompress(base64.b64decode(case["body_gz_b64"]))
    return base64.b64decode(case["body_b64"])


def requests(seeds: Seeds) -> None:
    def ask(method: str, target: str, body: bytes = b"", flags: int = 0) -> None:
        number = METHODS.index(method) if method in METHODS else 7
        seeds.add("classify", bytes([number | flags]) + target.encode() + b"\n" + body)

    for case in corpus("arm_paths.json"):
        target = case["target"]
        ask(case["method"], target)
        seeds.add("resource_id", target.split("?")[0].encode())
    for method, path, version in operations():
        body = b'{"properties":{}}' if method in ("PUT", "PATCH", "POST") else b""
        ask(method, f"{path}?api-version={version}", body)
        seeds.add("resource_id", path.encode())
    for method, target, body in traces():
        # The same body as the state before: what a change is compared with.
        ask(method, target, body.encode() + b"\n\n" + body.encode())
    where = {
        "PUT protectedItems": ("PUT", f"{VAULT}/{ITEM}"),
        "PUT backupPolicies": ("PUT", f"{VAULT}/backupPolicies/p1"),
        "PATCH vaults": ("PATCH", VAULT),
        "PATCH backupconfig/vaultconfig": ("PATCH", f"{VAULT}/backupconfig/vaultconfig"),
        "DELETE protectedItems": ("DELETE", f"{VAULT}/{ITEM}"),
        "POST backup": ("POST", f"{VAULT}/{ITEM}/backup"),
        "POST restore": ("POST", f"{VAULT}/{ITEM}/recoveryPoints/1/restore"),
    }
    for case in corpus("json_bodies.json"):
        body = body_of(case)
        seeds.add("body", body)
        method, path = where.get(case.get("operation", ""), where["PUT protectedItems"])
        ask(method, f"{path}?api-version=2024-04-01", body)


def bodies(seeds: Seeds) -> None:
    for _, _, body in traces():
        if body:
            seeds.add("body", body.encode())
    for text in (
        '[0,-0,1e5,1E-5,1.5e+3,123456789012345678901234567890,9007199254740993,-9223372036854775808]',
        r'"\u0000\u001f\u007f\u2028\ud83d\ude00\/\b\f\n\r\t\"\\"',
        "[" * 64 + "]" * 64,
        '{"a":{"b":{"c":[true,false,null,{}, []]}}}',
        '{"' + "n" * 1024 + '":' + "1" * 64 + "}",
    ):
        seeds.add("body", text.encode())


def tokens(seeds: Seeds) -> None:
    """Headers and claims in place of the corpus's words; the target signs them."""
    now = 1_795_402_800
    base = {
        "header": {"alg": "EdDSA", "typ": "at+jwt", "kid": "ed-1"},
        "claims": {
            "iss": "https://issuer.example/realm", "aud": "https://gateway.example/",
            "sub": "agent-1", "client_id": "agent", "iat": now, "nbf": now, "exp": now + 300,
            "jti": "id-1", "roles": ["BackupAgent"], "tid": "t-1", "scope": "backup.read",
        },
    }

    def words(value):
        if isinstance(value, dict):
            return {name: words(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [words(inner) for inner in value]
        if isinstance(value, str) and value.startswith("$NOWMS"):
            return now * 1000 + int(value[6:])
        if isinstance(value, str) and value.startswith("$NOW"):
            return now + json.loads(value[4:].lstrip("+") or "0")
        if isinstance(value, str):
            value = value.replace("$ISS", base["claims"]["iss"])
            return value.replace("$AUD", base["claims"]["aud"]).replace("$UUID", "id-1")
        return value

    def patched(part: str, patch) -> dict:
        if not isinstance(patch, dict):
            return base[part]
        merged = {**base[part], **words(patch)}
        return {name: value for name, value in merged.items() if value != "$DEL"}

    proof = '{"alg":"EdDSA","typ":"dpop+jwt","jwk":$JWK}\n'
    proof += json.dumps({"jti": "p-2", "htm": "POST", "htu": "$HTU", "ath": "$ATH", "iat": now})
    for mode in b"56":
        seeds.add("token", bytes([mode]) + proof.encode())
    plain = [json.dumps(base["header"]), json.dumps(base["claims"])]
    for mode in b"0123456789":
        seeds.add("token", bytes([mode]) + "\n".join(plain).encode())
    for case in corpus("jwt_attacks.json"):
        header, claims = patched("header", case.get("header")), patched("claims", case.get("claims"))
        if str(header.get("kid", "")).endswith("-1"):
            header["kid"] = "ed-1"
        text = json.dumps(header) + "\n" + json.dumps(claims)
        seeds.add("token", b"1" + text.encode())
        header["alg"] = "EdDSA"
        text = json.dumps(header) + "\n" + json.dumps(claims)
        seeds.add("token", b"1" + text.encode())


def segments(seeds: Seeds) -> None:
    """Edits of every kind in every file of the log, eight bytes each."""
    # Verified with an anchor and without, opened, opened with a declared fork.
    for mode in (0, 24, 5, 0x45):
        seeds.add("segment", bytes([mode]))
        for kind in range(8):
            for part in range(8):
                for at in (0, 700):
                    edit = bytes([kind, part]) + at.to_bytes(3, "little") + b"\0" + b"\x07\x01"
                    seeds.add("segment", bytes([mode]) + edit)
    seeds.add("segment", b"\x04log.example/fuzz:3:" + base64.b64encode(bytes(32)))


def configurations(seeds: Seeds) -> None:
    sample = (HERE.parents[1] / "gateway/src/config/sample.toml").read_text()
    seeds.add("config", sample.encode())
    # Every setting that the sample shows with its default, set.
    lines = (line for line in sample.splitlines())
    shown = [line[2:] if line.startswith("# ") and " = " in line else line for line in lines]
    seeds.add("config", "\n".join(shown).encode())
    words = {
        "CERT": "tls/cert.pem", "KEY": "tls/key.pem", "CA": "tls/extra-ca.pem", "POLICIES": "policies",
        "DATA_PORT": "8443", "ADMIN_PORT": "8445", "TENANT": "11111111-1111-1111-1111-111111111111",
        "PROD": "22222222-2222-2222-2222-222222222222", "SIM_URL": "https://localhost:1",
        "ARM_URL": "https://localhost:2", "ISSUER_OIDC": "https://localhost:3",
    }
    demo = (DATA / "gateway.toml").read_text()
    for name, value in words.items():
        demo = demo.replace(f"@{name}@", value)
    demo = re.sub(r'"file:.*?"', '"file:secret"', demo)
    seeds.add("config", demo.encode())
    seeds.add("config", (demo + (DATA / "unlimited.toml").read_text()).encode())
    seeds.add("config", demo.replace("file:secret", "hunter2 in the open").encode())


def bundles(seeds: Seeds) -> None:
    """Bundles as one text: `=== PATH` before each file."""
    root = HERE.parents[1]
    reader = '{"allow": true, "deny": [], "grants": ["reader"], "obligations": []}'
    nobody = '{"allow": false, "deny": [], "grants": [], "obligations": []}'
    for rule in (
        f'{reader} if "reader" in input.principal.roles',
        f"{reader} if to_number(input.principal.subject) > 1",
        f"{reader} if not to_number(input.principal.subject) > 1",
        f'{reader} if strings.count(input.principal.subject, "") > 1',
        f"{reader} if count([1 | some a in numbers.range(1, 900); some b in numbers.range(1, 900)]) > 1",
        '{"allow": true} if input.principal.roles[0]',
        f"f(1) if input.principal.roles[0]\nf(x) := f(x + 1)\ng := {reader}",
        f"{reader} if every r in input.principal.roles {{ walk(r, [_, x]); regex.match(x, x) }}",
        f"{reader} if false else := {reader} if input.principal.tenant with input.principal as 1",
        f'object.union({nobody}, {{"deny": [{{"code": "a-b", "message": "m"}}]}}) if input',
    ):
        rules = f"package vaultgate\n\ndefault decision := {nobody}\n\ndecision := {rule}\n"
        seeds.add("bundle", f"=== rules.rego\n{rules}".encode())
        more = '=== data.json\n{"vaultgate":{"x":[1]}}\n=== input\n{"principal":{"roles":["reader"]}}\n'
        seeds.add("bundle", f"=== rules.rego\n{rules}{more}".encode())
    for folder in ("policies", "tests/bundles/allow-deletes", "tests/corpus/policy"):
        files = {p.relative_to(root / folder): p for p in sorted((root / folder).rglob("*"))}
        kept = {
            name: path for name, path in files.items()
            if path.is_file() and (path.suffix in (".rego", ".json") or path.name == ".manifest")
        }
        whole = "".join(f"=== {name}\n{path.read_text()}\n" for name, path in kept.items())
        seeds.add("bundle", whole.encode())
        for name, path in kept.items():
            seeds.add("bundle", f"=== {name}\n{path.read_text()}\n".encode())


def quoted(text: str) -> str:
    plain = (chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in text.encode())
    return f'"{"".join(plain)}"'


def dictionaries(folder: Path) -> None:
    """Words that a fuzzer would take long to find."""
    rust = (HERE.parents[1] / "gateway/arm/tests/mutated.rs").read_text()
    pieces = rust.split("const PIECES")[1].split("];")[0]
    odd = [json.loads(f'"{p}"') for p in re.findall(r'^    "(.*)",$', pieces, re.M) if "u{" not in p]
    segments = {part for _, path, _ in operations() for part in path.split("/")}
    models = json.loads((HERE.parents[1] / "gateway/arm/src/catalogue/schemas.json").read_text())
    members = sorted({name for model in models.values() for name in model["members"]})
    sample = (HERE.parents[1] / "gateway/src/config/sample.toml").read_text()
    settings = sorted(set(re.findall(r"^(?:# )?([a-z_0-9]+) = ", sample, re.M)))
    tables = sorted(set(re.findall(r"^(?:# )?(\[.*?\]+)", sample, re.M)))
    rego = (
        "package vaultgate|import rego.v1|default |decision|allow|deny|grants|obligations|input.|data."
        "|if {|contains |some |every |in |not |with input as |else := |count(|sprintf(|startswith("
        "|to_number(|regex.match(|walk(|object.get(|json.patch(|array.concat(|time.parse_rfc3339_ns("
        "|strings.count(|numbers.range(|glob.match(|=== rules.rego\n|=== data.json\n|=== input\n"
    )
    claims = (
        "alg|typ|kid|crit|jwk|jku|x5c|zip|b64|iss|aud|sub|iat|nbf|exp|jti|cnf|jkt|x5t#S256|act|roles"
        "|groups|scope|scp|azp|oid|tid|idtyp|ver|_claim_names|hasgroups|htm|htu|ath|$JWK|$ATH|$HTU"
        "|at+jwt|dpop+jwt|EdDSA|ES256|HS256|none|Bearer |DPoP |acr|amr|auth_time|nonce"
    )
    words = {
        "resource_id": [*odd, *segments],
        "classify": [*odd, *segments, "?api-version=2026-08-01", "&$filter=", *members],
        "body": ["null", "true", "false", "\\ud83d", "\\ude00", "1e5", "-0", '":', '{"a":'],
        "token": claims.split("|"),
        "config": [*settings, *tables, '"10s"', "file:", "env:", "keyvault:https://", "hunter2"],
        "bundle": rego.split("|"),
    }
    for target, all_words in words.items():
        lines = (quoted(word) for word in sorted(set(all_words)) if word)
        (folder / f"{target}.dict").write_text("\n".join(lines) + "\n")


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    seeds = Seeds(Path(sys.argv[1]))
    for make in (requests, bodies, tokens, segments, configurations, bundles):
        make(seeds)
    for committed in sorted((HERE / "seeds").glob("*/*")):
        folder = seeds.folder / committed.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(committed, folder / committed.name)
        seeds.made += 1
    dictionaries(seeds.folder)
    print(f"seeds: {seeds.made} inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
