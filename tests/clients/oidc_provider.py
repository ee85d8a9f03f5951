#!/usr/bin/env python3
"""Tokens of a certified OpenID provider (node-oidc-provider), shown to the gateway.

    oidc_provider.py [TEST...]

Three flows: client credentials, a device code entered in a browser, an authorization code
with PKCE. The gateway has this provider as one of its issuers and discovers its keys. People
sign in at the console's door with it too: code flow, second audience, step-up.
"""

import base64
import hashlib
import html.parser
import http.cookiejar
import json
import os
import pathlib
import secrets
import subprocess
import sys
import unittest
import urllib.error
import urllib.parse
import urllib.request

from world import API, CACHE, REPOSITORY, VAULT, Answer, World, free_port, item, options, run, until

AUDIENCE = "api://vaultgate"
REDIRECT = "http://127.0.0.1/callback"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
HERE = pathlib.Path(__file__).resolve().parent
CONSOLE_DOOR = (REPOSITORY / "tests/data/console.toml").read_text(encoding="utf-8")

ISSUER = """
[[issuer]]
name = "certified"
preset = "generic"
issuer = "{issuer}"
audiences = ["{audience}"]
console_audiences = ["{console}"]
allow_insecure_loopback = true
claims = {{ person = "sub" }}
app = [
  {{ id = "batch", kind = "workload" }},
  {{ id = "terminal", kind = "human" }},
  {{ id = "console", kind = "human" }},
  {{ id = "vaultgate-console", kind = "human" }},
]

[console.login]
issuer = "certified"
client_id = "vaultgate-console"
client_secret = "env:CONSOLE_SECRET"
scopes = ["backup"]
"""
CONSOLE = "api://vaultgate-console"
# So short that a sign-in gets old while a test waits for it.
SHORT = ("[approvals]\n", '[approvals]\nmax_sign_in_age = "6s"\n')

world = None
issuer = None


class Provider:
    """The provider as a process of its own."""

    def __init__(self, callback):
        command = ["node", HERE / "oidc_provider.mjs", CACHE / "node", str(free_port())]
        command += [AUDIENCE, REDIRECT, callback]
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

    def __init__(self, password="any"):
        self.jar, self.password = http.cookiejar.CookieJar(), password
        jar = urllib.request.HTTPCookieProcessor(self.jar)
        tls = urllib.request.HTTPSHandler(context=world.context()) if world else urllib.request.HTTPSHandler()
        self.opener = urllib.request.build_opener(jar, KeepCallback, tls)

    def open(self, url, form=None, headers=()):
        body = form if isinstance(form, bytes) or form is None else urllib.parse.urlencode(form).encode()
        try:
            answer = self.opener.open(urllib.request.Request(url, body, dict(headers)), timeout=30)
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
                given.update(login=person, password=self.password)
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

    # --- the console's door ------------------------------------------------------

    def signed_in(self, person, browser=None):
        """A browser with a session."""
        browser = browser or Browser()
        _, page = browser.walk(f"{world.env['VAULTGATE_CONSOLE_URL']}/login", person)
        return browser, json.loads(page)

    def session(self, browser):
        return json.loads(browser.open(f"{world.env['VAULTGATE_CONSOLE_URL']}/_vaultgate/v1/session").read())

    def post(self, browser, path, body, **bent):
        """A change from a page of the console; the answer and its status."""
        origin = world.env["VAULTGATE_CONSOLE_URL"]
        headers = {"Origin": origin, "x-vaultgate-csrf": self.session(browser).get("csrf") or "none",
                   "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
        headers.update({name.replace("_", "-"): value for name, value in bent.items()})
        headers = {name: value for name, value in headers.items() if value}
        answer = browser.open(origin + path, json.dumps(body).encode(), headers)
        return Answer(answer.status, answer.headers, answer.read())

    def test_people_sign_in_at_the_console(self):
        _, session = self.signed_in("approver-1")
        who = session["principal"]
        self.assertEqual((who["issuer"], who["subject"], who["kind"], who["person"]),
                         (issuer, "approver-1", "human", "approver-1"))
        self.assertEqual((session["steppedUp"], session["reviewer"]), (True, False))
        self.assertTrue(who["auth_time"])
        noted = [r for r in world.records() if r["kind"] == "session" and r["event"] == "signed-in"]
        self.assertIn("approver-1", [r["principal"]["subject"] for r in noted])

    def test_two_sessions_approve_what_is_used_once(self):
        custodian = world.token("custodian")
        target = f"{item('vm2')}?{API}"
        answer = world.send("DELETE", target, custodian)
        info = answer.json()["error"]["additionalInfo"][0]["info"]["approval"]
        path = f"/_vaultgate/v1/approvals/{info['approvalId']}/approve"
        for person in ("approver-1", "approver-2"):
            browser, _ = self.signed_in(person)
            said = self.post(browser, path, {"digest": info["digest"]})
            self.assertEqual(said.status, 200, said)
            again = self.post(browser, path, {"digest": info["digest"]})
            self.assertIn(again.status, (403, 409), again)
        use = {"Vaultgate-Approval": info["approvalId"]}
        answer = world.send("DELETE", target, custodian, headers=use)
        self.assertIn(answer.status, (200, 202, 204), answer)
        self.assertEqual(world.send("DELETE", target, custodian, headers=use).reason(), "approval-used")

    def test_a_page_of_another_site_changes_nothing(self):
        browser, _ = self.signed_in("soc-1")
        freeze, body = "/_vaultgate/v1/incident/freeze", {"reason": "a drill"}
        for bent in ({"Origin": "https://evil.example"}, {"Origin": None}, {"x_vaultgate_csrf": "A" * 43},
                     {"x_vaultgate_csrf": None}, {"Sec_Fetch_Site": "cross-site"}):
            refused = self.post(browser, freeze, body, **bent)
            self.assertEqual((refused.status, refused.reason()), (403, "csrf"), bent)
        other, _ = self.signed_in("soc-2")
        refused = self.post(browser, freeze, body, x_vaultgate_csrf=self.session(other)["csrf"])
        self.assertEqual(refused.reason(), "csrf")

    def test_an_old_sign_in_looks_and_changes_nothing_until_it_is_new(self):
        browser, first = self.signed_in("soc-1")
        until("the sign-in to get old", lambda: not self.session(browser)["steppedUp"])
        said = self.post(browser, "/_vaultgate/v1/quarantine", {
            "target": {"kind": "app", "value": "nobody"}, "reason": "a drill"})
        self.assertEqual((said.status, said.reason()), (401, "step-up-required"), said)
        self.assertIn('max_age="6"', said.header("www-authenticate"))
        # The provider's own session is good, and yet it asks: max_age says so.
        _, again = self.signed_in("soc-1", browser)
        self.assertTrue(again["steppedUp"], again)
        self.assertGreater(again["principal"]["auth_time"], first["principal"]["auth_time"])
        said = self.post(browser, "/_vaultgate/v1/quarantine", {
            "target": {"kind": "app", "value": "nobody"}, "reason": "a drill"})
        self.assertEqual(said.status, 200, said)

    def test_a_weak_sign_in_is_asked_to_be_a_strong_one(self):
        weak = Browser("weak")
        # Asked for a strong one, the provider takes no weak one for it, and asks again.
        with self.assertRaisesRegex(AssertionError, "asks and asks"):
            self.signed_in("soc-1", weak)
        self.assertNotIn("csrf", self.session(weak))
        weak.password = "any"
        _, session = self.signed_in("soc-1", weak)
        self.assertEqual((session["steppedUp"], session["principal"]["acr"]), (True, "urn:example:mfa"))

    def test_an_answer_that_this_browser_did_not_ask_for_is_not_taken(self):
        door = world.env["VAULTGATE_CONSOLE_URL"]

        def refused(answer, why=""):
            told = Answer(answer.status, answer.headers, answer.read())
            self.assertEqual((told.status, told.reason()), (403, "sign-in-refused"), told)
            self.assertIn(why, told.json()["error"]["message"])

        refused(Browser().open(f"{door}/login/callback?code=x&state=y"))
        began = Browser()
        went = began.open(f"{door}/login")
        self.assertTrue(went.url.startswith(issuer), went.url)
        for query in ("code=x&state=y", "code=x", "state=y&state=y&code=x", ""):
            # Before a code is spent: nobody is signed in as somebody else.
            refused(began.open(f"{door}/login/callback?{query}"), "not the one that this browser began")
        state = [value for name, value in self.sought(went.url) if name == "state"]
        for query in (f"code=x&state={state[0]}", f"state={state[0]}", f"state={state[0]}&error=access_denied",
                      f"code=x&state={state[0]}&iss=https://evil.example"):
            refused(began.open(f"{door}/login/callback?{query}"))

    def sought(self, url):
        """What the gateway asked the provider for: it is shown where the provider asks back."""
        self.assertTrue(url.startswith(issuer))
        entry = self.asked_with()
        return urllib.parse.parse_qsl(urllib.parse.urlsplit(entry).query)

    def asked_with(self):
        class Stop(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_):
                return None

        opener = urllib.request.build_opener(Stop, urllib.request.HTTPSHandler(context=world.context()))
        try:
            opener.open(f"{world.env['VAULTGATE_CONSOLE_URL']}/login", timeout=30)
        except urllib.error.HTTPError as answer:
            return answer.headers["Location"]
        raise AssertionError("nobody was sent to the provider")

    def test_what_the_provider_is_asked(self):
        asked = dict(self.sought(issuer))
        self.assertEqual((asked["response_type"], asked["code_challenge_method"]), ("code", "S256"))
        self.assertEqual((asked["resource"], asked["max_age"]), (CONSOLE, "4"))
        wanted = {"essential": True, "values": ["urn:example:mfa", "c1"]}
        self.assertEqual(json.loads(asked["claims"]), {"id_token": {"acr": wanted}})
        self.assertGreaterEqual(min(len(asked[name]) for name in ("state", "nonce", "code_challenge")), 16)

    def test_a_session_opens_one_door(self):
        browser, _ = self.signed_in("approver-1")
        answer = browser.open(f"{world.url}{VAULT}?{API}")
        self.assertEqual(answer.status, 401)
        console = f"{world.env['VAULTGATE_CONSOLE_URL']}/_vaultgate/v1/approvals"
        # A token of the data door is none of this one, from whichever flow.
        data = self.sign_in("approver-1")
        for token in (data["access_token"], data["id_token"]):
            answer = Browser().open(console, headers={"Authorization": f"Bearer {token}"})
            self.assertEqual(answer.status, 401)

    def test_signing_out_ends_it_on_the_server(self):
        browser, _ = self.signed_in("approver-1")
        kept = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.jar if "session" in cookie.name
                         and cookie.name.startswith("__Host-vaultgate"))
        self.assertTrue(kept)
        self.assertEqual(self.post(browser, "/logout", {}).status, 200)
        answer = Browser().open(f"{world.env['VAULTGATE_CONSOLE_URL']}/_vaultgate/v1/session",
                                headers={"Cookie": kept})
        told = Answer(answer.status, answer.headers, answer.read())
        self.assertEqual((told.status, told.reason()), (401, "session-ended"), told)

    def test_who_is_stopped_has_no_session_any_more(self):
        browser, _ = self.signed_in("approver-9")
        soc, _ = self.signed_in("soc-1")
        said = self.post(soc, "/_vaultgate/v1/quarantine", {
            "target": {"kind": "person", "value": "approver-9"}, "reason": "a drill"})
        self.assertEqual(said.status, 200, said)
        answer = browser.open(f"{world.env['VAULTGATE_CONSOLE_URL']}/_vaultgate/v1/approvals")
        told = Answer(answer.status, answer.headers, answer.read())
        self.assertEqual((told.status, told.reason()), (403, "quarantined"), told)

    def test_z_nothing_went_unrecorded(self):
        print(world.oracle(), end=" ")


def main():
    global world, issuer
    chosen = options(__doc__).parse_args()
    if chosen.env_file:
        raise SystemExit("the gateway must be told of the provider: run without --env-file")
    door = free_port()
    provider = Provider(f"https://localhost:{door}/login/callback")
    issuer = provider.issuer
    console = CONSOLE_DOOR.replace("@CONSOLE_PORT@", str(door)).replace(*SHORT)
    os.environ["CONSOLE_SECRET"] = "console-secret-for-a-loopback-test"
    try:
        extra = console + ISSUER.format(issuer=issuer, audience=AUDIENCE, console=CONSOLE)
        with World.start(extra=extra) as world:
            world.env["VAULTGATE_CONSOLE_URL"] = f"https://localhost:{door}"
            return run("oidc provider", only=chosen.only)
    finally:
        provider.stop()


if __name__ == "__main__":
    sys.exit(main())
