#!/usr/bin/env python3
"""Two independent scanners, testssl.sh and sslyze, against the data listener.

    scan.py [CONFIGURATION...]      CONFIGURATION: default tls12

Their JSON is judged, not their exit codes: every finding that is not fine must stand in the
list of exceptions with its reason, every protocol and cipher suite must be one that is meant
to be there, and what the scanners have to have looked at must be in their answers. A planted
weak server shows that the judge can say no.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from world import CACHE, World  # noqa: E402

CONFIGURATIONS = {"default": [], "tls12": [("[listener]\n", "[listener]\ntls12 = true\n")]}
PATIENCE = 240
# How often a scanner may say that it could not look before that counts as a finding.
ATTEMPTS = 3

# Findings of testssl.sh that are not fine, and why each may stand.
CERTIFICATE = "the development certificate alone; a deployment brings its own"
EXCEPTIONS = {
    # It lasts three years, so that a checkout goes on working.
    "cert_validityPeriod": CERTIFICATE,
    # The development authority publishes neither a list nor a responder.
    "cert_revocation": CERTIFICATE,
}
# Findings of one configuration only.
EXCEPTIONS_OF = {
    # The scanner resumes sessions of TLS 1.2 only, and is refused for the version.
    "default": {"sessionresumption_ticket": "there is no TLS 1.2 to resume"},
    "tls12": {},
}
FINE = ("OK", "INFO")
OFFERED = {"default": {"TLS1_3"}, "tls12": {"TLS1_2", "TLS1_3"}}
PROTOCOLS = ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3")
# Weaknesses that testssl.sh must have looked for.
LOOKED_FOR = ("cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT", "cipherlist_LOW",
              "cipherlist_AVERAGE", "heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_renego",
              "CRIME_TLS", "BREACH", "POODLE_SSL", "FREAK", "DROWN", "LOGJAM", "BEAST",
              "LUCKY13", "RC4", "cert_chain_of_trust", "cert_trust")

# It does not speak of 64-bit blocks where there is TLS 1.3 alone.
LOOKED_FOR_OF = {"default": (), "tls12": ("SWEET32",)}

SUITES = {
    "tls_1_3": {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"},
    "tls_1_2": {f"TLS_ECDHE_{key}_WITH_{cipher}" for key in ("ECDSA", "RSA") for cipher in
                ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")},
}
VERSIONS = {"default": {"tls_1_3"}, "tls12": {"tls_1_2", "tls_1_3"}}
CURVES = {"X25519", "secp256r1", "secp384r1"}
# What sslyze must say of each of its checks.
SAID = {
    "tls_compression": {"supports_compression": False},
    "tls_1_3_early_data": {"supports_early_data": False},
    "openssl_ccs_injection": {"is_vulnerable_to_ccs_injection": False},
    "heartbleed": {"is_vulnerable_to_heartbleed": False},
    "robot": {"robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED"},
    "session_renegotiation": {"is_vulnerable_to_client_renegotiation_dos": False,
                              "supports_secure_renegotiation": True},
    "tls_extended_master_secret": {"supports_ems_extension": True},
}
CHECKS = ["--certinfo", "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3",
          "--compression", "--early_data", "--openssl_ccs", "--heartbleed", "--robot", "--reneg",
          "--elliptic_curves", "--ems"]


# --- the scanners -------------------------------------------------------------------------

def testssl():
    return shutil.which("testssl") or shutil.which("testssl.sh")


def sslyze():
    return CACHE / "scan/bin/sslyze"


def scanned(command, output):
    """Runs a scanner and reads what it wrote."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)
    try:
        return json.loads(output.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        said = (done.stdout + done.stderr)[-2000:]
        raise AssertionError(f"{command[0]} wrote no report ({error}):\n{said}") from error


def by_testssl(port, ca, folder):
    output = folder / "testssl.json"
    # It does not write over an earlier report.
    output.unlink(missing_ok=True)
    # Protocols, certificate, vulnerabilities, cipher categories. Its checks of preferences
    # and curves are left out: sslyze lists the suites and curves themselves, and sooner.
    return scanned([testssl(), "--quiet", "--warnings", "batch", "--color", "0", "--nodns", "none",
                    "--ip", "127.0.0.1", "--add-ca", ca, "--jsonfile", output,
                    "-p", "-S", "-U", "-s", f"localhost:{port}"], output)


def by_sslyze(port, ca, folder):
    output = folder / "sslyze.json"
    output.unlink(missing_ok=True)
    return scanned([sslyze(), "--quiet", "--json_out", output, "--mozilla_config", "disable",
                    "--certinfo_ca_file", ca, *CHECKS, f"localhost:{port}"], output)


def could_not_look(configuration, report):
    """Whether testssl.sh lost a connection of its own while it looked: that says nothing of
    the gateway. What it is refused every time is a finding."""
    allowed = EXCEPTIONS_OF[configuration]
    return isinstance(report, list) and any(
        one["severity"] == "WARN" and "connect problem" in one["finding"] and one["id"] not in allowed
        for one in report)


def looked(configuration, scan, *where):
    """The report of a scan that could look at everything, or of the last attempt."""
    for _ in range(ATTEMPTS):
        report = scan(*where)
        if not could_not_look(configuration, report):
            break
    return report


# --- the judges ---------------------------------------------------------------------------

def judge_testssl(configuration, findings):
    """What is wrong according to testssl.sh."""
    allowed = EXCEPTIONS | EXCEPTIONS_OF[configuration]
    wrong = [f"{one['id']} ({one['severity']}): {one['finding']}" for one in findings
             if one["severity"] not in FINE and one["id"] not in allowed]
    said = {one["id"]: one["finding"] for one in findings}
    wrong += [f"`{name}` was not looked for"
              for name in LOOKED_FOR + LOOKED_FOR_OF[configuration] if name not in said]
    for name in PROTOCOLS:
        offered = not said.get(name, "nothing").startswith("not offered")
        if offered != (name in OFFERED[configuration]):
            wrong.append(f"{name}: {said.get(name)}")
    excepted = sorted({one["id"] for one in findings if one["severity"] not in FINE} & set(allowed))
    return wrong, f"{len(findings)} findings, excepted: {', '.join(excepted) or 'none'}"


def judge_sslyze(configuration, report):
    """What is wrong according to sslyze."""
    server = report["server_scan_results"][0]
    if server["scan_status"] != "COMPLETED":
        return [f"the scan is {server['scan_status']}: {server['connectivity_error_trace']}"], ""
    results, wrong, suites = server["scan_result"], [], 0
    for name, one in results.items():
        if one["status"] == "ERROR":
            wrong.append(f"{name} failed: {one['error_reason']}")
    if wrong:
        return wrong, ""
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3"):
        one = results[f"{version}_cipher_suites"]["result"]
        accepted = {each["cipher_suite"]["name"] for each in one["accepted_cipher_suites"]}
        suites += len(accepted)
        meant = version in VERSIONS[configuration]
        if bool(accepted) != meant or accepted - SUITES.get(version, set()):
            wrong.append(f"{version}: {sorted(accepted)}")
    curves = {each["name"] for each in results["elliptic_curves"]["result"]["supported_curves"]}
    if not curves or curves - CURVES:
        wrong.append(f"curves {sorted(curves)}")
    for name, fields in SAID.items():
        for field, meant in fields.items():
            found = results[name]["result"][field]
            if found != meant:
                wrong.append(f"{name}: {field} is {found}")
    # Of the paths tried, the one with the private authority must be whole.
    for chain in results["certificate_info"]["result"]["certificate_deployments"]:
        if not any(path["was_validation_successful"] for path in chain["path_validation_results"]):
            wrong.append("no trust store that was given validates the chain")
    return wrong, f"{suites} cipher suites, curves {', '.join(sorted(curves))}"


# --- runs -------------------------------------------------------------------------------------

def gateway(configuration):
    """A gateway in this configuration, given to each of the scanners that are there."""
    with World.start(replace=CONFIGURATIONS[configuration]) as world:
        port = urllib.parse.urlsplit(world.url).port
        with tempfile.TemporaryDirectory() as folder:
            found = scans(configuration, port, world.ca, pathlib.Path(folder))
            if configuration == "default":
                found.append(planted(world.ca, pathlib.Path(folder)))
            return found


def scans(configuration, port, ca, folder):
    found = []
    for name, scan, judge in (("sslyze", by_sslyze, judge_sslyze),
                              ("testssl", by_testssl, judge_testssl)):
        began = time.monotonic()
        try:
            wrong, told = judge(configuration, looked(configuration, scan, port, ca, folder))
        except (AssertionError, OSError, KeyError, subprocess.TimeoutExpired) as error:
            wrong, told = [repr(error)], ""
        found.append((f"{name}, {configuration}", wrong, f"{told} ({time.monotonic() - began:.0f} s)"))
    return found


@contextlib.contextmanager
def weak_server(certificates):
    """TLS 1.2 with a cipher suite in CBC mode."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "localhost.pem", certificates / "localhost.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                self.request.settimeout(10)
                with context.wrap_socket(self.request, server_side=True) as stream:
                    stream.recv(1000)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def planted(ca, folder):
    """The judge refuses a weak server, and for its weakness."""
    with weak_server(pathlib.Path(ca).parent) as port:
        report = by_sslyze(port, ca, folder)
    wrong, _ = judge_sslyze("tls12", report)
    seen = any("CBC_SHA" in one for one in wrong)
    told = "refused" if seen else "not refused"
    return ("sslyze, a planted weak server", [] if seen else [f"for its weakness: {wrong}"], told)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configurations", nargs="*", metavar="CONFIGURATION", help=", ".join(CONFIGURATIONS))
    chosen = parser.parse_args().configurations or list(CONFIGURATIONS)
    if set(chosen) - set(CONFIGURATIONS):
        parser.error(f"the configurations are {', '.join(CONFIGURATIONS)}")
    absent = [name for name, there in (("testssl.sh", testssl()), ("sslyze", sslyze().is_file())) if not there]
    if absent:
        print(f"not run: {' and '.join(absent)} missing; hint: tests/run tools")
        return 1 if os.environ.get("CI") else 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = [pool.submit(gateway, name) for name in chosen]
        found = [one for done in waiting for one in done.result()]
    for name, wrong, told in found:
        print(f"{name}: {told}" if not wrong else "\n    ".join([f"FAILED {name}: {told}", *wrong]))
    failed = sum(bool(wrong) for _, wrong, _ in found)
    print(f"scan: {len(found) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
