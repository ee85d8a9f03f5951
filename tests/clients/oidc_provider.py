#!/usr/bin/env python3
"""Tokens of a certified OpenID provider (node-oidc-provider), shown to the gateway.

    oidc_provider.py [TEST...]

Three flows: client credentials, a device code entered in a browser, an authorization code
with PKCE. The gateway has this provider as one of its issuers and discovers its keys.
"""

import base64
import hashlib
import html.parser
import http.cookiejar
import json
import pathlib
import secrets
import subprocess
import sys
import unittest
import urllib.error
import urllib.parse
import urllib.request

from world import API, CACHE, VAULT, World, free_port, options, run

AUDIENCE = "api://vaultgate"
REDIRECT = "http://127.0.0.1/callback"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
HERE = pathlib.Path(__file__).resolve().parent

ISSUER = """
[[issuer]]
name = "certified"
preset = "generic"
issuer = "{issuer}"
audiences = ["{audience}"]
allow_insecure_loopback = true
app = [
  {{ id = "batch", kind = "workload" }},
  {{ id = "terminal", kind = "human" }},
  {{ id = "console", kind = "human" }},
]
"""

world = None
issuer = None


class Provider:
    """The provider as a process of its own."""

    def __init__(self):
        command = ["node", HERE / "oidc_provider.mjs", CACHE / "node", str(free_port())]
        command += [AUDIENCE, REDIRECT]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if line.startswith("ready "):
                self.issuer = line.split()[1]
                return
        raise AssertionError("the provider did not start: tests/clients/install node")

    def stop(self):
        self.process.kill()
        self.process.wait()


class Forms(html.parser.HTMLParser):
    """The first form of a page: where it goes and what it holds."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields, self.inside = None, {}, False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "form" and self.action is None:
            self.action, self.inside = given.get("action") or "", True
        elif tag == "input" and self.inside and given.get("name"):
            self.fields[given["name"]] = given.get("value") or ""

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = False


class KeepCallback(urllib.request.HTTPRedirectHandler):
    """Follows redirects up to the client's own address, which nobody serves."""

    def redirect_request(self, request, body, code, message, headers, url):
        if url.startswith(REDIRECT):
            return None
        return super().redirect_request(request, body, code, message, headers, url)


class Browser:
    """Somebody who signs in and consents, page by page."""

    def __init__(self):
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(jar, KeepCallback)

    def open(self, url, form=None):
        body = None if form is None else urllib.parse.urlencode(form).encode()
        try:
            answer = self.opener.open(url, body, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        return answer

    def walk(self, url, person):
        """Fills in every form until there is none; the last answer."""
        answer = self.open(url)
        for _ in range(8):
            location = answer.headers.get("Location", "")
            page = answer.read().decode()
            form = Forms(page)
            if location.startswith(REDIRECT) or form.action is None:
                return location, page
            given = dict(form.fields)
            if "login" in given:
                given.update(login=person, password="any")
            answer = self.open(urllib.parse.urljoin(answer.url, form.action), given)
        raise AssertionError("the provider asks and asks")


def token_endpoint(form, basic=None):
    request = urllib.request.Request(f"{issuer}/token", urllib.parse.urlencode(form).encode())
    if basic:
        request.add_header("Authorization", "Basic " + base64.b64encode(basic.encode()).decode())
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    return json.loads(answer.read())


def claims(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class Certified(unittest.TestCase):
    def accepted(self, token, subject, kind):
        """A read passes, and the record names who read."""
        answer = world.send("GET", f"{VAULT}?{API}", token)
        self.assertEqual((answer.status, answer.header("x-vaultgate-decision")), (200, "allow"), answer)
        record = world.record(answer.header("x-vaultgate-decision-id"))
        who = record["input"]["principal"]
        self.assertEqual((who["issuer"], who["subject"], who["kind"]), (issuer, subject, kind))
        self.assertEqual(who["roles"], ["backup.reader"])

    def test_client_credentials(self):
        form = {"grant_type": "client_credentials", "scope": "backup", "resource": AUDIENCE}
        token = token_endpoint(form, "batch:batch-secret-for-a-loopback-test")["access_token"]
        self.accepted(token, "batch", "workload")

    def test_a_device_code(self):
        ask = {"client_id": "terminal", "scope": "openid backup", "resource": AUDIENCE}
        body = urllib.parse.urlencode(ask).encode()
        device = json.loads(urllib.request.urlopen(f"{issuer}/device/auth", body, timeout=30).read())
        redeem = {"grant_type": DEVICE, "client_id": "terminal", "device_code": device["device_code"]}
        self.assertEqual(token_endpoint(redeem).get("error"), "authorization_pending")
        Browser().walk(device["verification_uri_complete"], "person-1")
        token = token_endpoint(redeem)
        self.assertIn("access_token", token, token)
        self.accepted(token["access_token"], "person-1", "human")

    def sign_in(self, person):
        """What the authorization-code flow with PKCE ends with."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        ask = {
            "client_id": "console", "response_type": "code", "redirect_uri": REDIRECT,
            "scope": "openid backup", "resource": AUDIENCE, "code_challenge_method": "S256",
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        }
        location, page = Browser().walk(f"{issuer}/auth?{urllib.parse.urlencode(ask)}", person)
        self.assertTrue(location.startswith(REDIRECT), page)
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(location).query)["code"][0]
        return token_endpoint({
            "grant_type": "authorization_code", "client_id": "console", "code": code,
            "redirect_uri": REDIRECT, "code_verifier": verifier,
        })

    def test_an_authorization_code(self):
        self.accepted(self.sign_in("person-2")["access_token"], "person-2", "human")

    def test_an_id_token_opens_nothing(self):
        answer = world.send("GET", f"{VAULT}?{API}", self.sign_in("person-3")["id_token"])
        self.assertEqual(answer.status, 401, answer)

    def test_another_resource_opens_nothing(self):
        form = {"grant_type": "client_credentials", "scope": "backup", "resource": "api://elsewhere"}
        token = token_endpoint(form, "batch:batch-secret-for-a-loopback-test")["access_token"]
        self.assertEqual(claims(token)["aud"], "api://elsewhere")
        before = len(world.forwarded())
        answer = world.send("GET", f"{VAULT}?{API}", token)
        self.assertEqual(answer.status, 401, answer)
        self.assertEqual(len(world.forwarded()), before)

    def test_z_nothing_went_unrecorded(self):
        print(world.oracle(), end=" ")


def main():
    global world, issuer
    chosen = options(__doc__).parse_args()
    if chosen.env_file:
        raise SystemExit("the gateway must be told of the provider: run without --env-file")
    provider = Provider()
    issuer = provider.issuer
    try:
        with World.start(extra=ISSUER.format(issuer=issuer, audience=AUDIENCE)) as world:
            return run("oidc provider", only=chosen.only)
    finally:
        provider.stop()


if __name__ == "__main__":
    sys.exit(main())
