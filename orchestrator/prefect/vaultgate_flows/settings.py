"""Who the worker is, from its environment: never from a deployment, which others may edit.

`VAULTGATE_URL` is the one gateway that gets this identity's token: a deployment that names another one
runs nothing.
"""

import os
import pathlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

# The gateway is the way to Azure; a token of it is for nobody else.
AZURE = ("azure.com", "azure.net", "azure.cn", "azure.us", "windows.net", "microsoft.com",
         "microsoftazure.de", "usgovcloudapi.net", "chinacloudapi.cn")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Settings:
    """Addresses, and where the secret stands."""

    gateway: str
    token_url: str
    client_id: str
    scope: str
    secret_file: pathlib.Path
    ca: str | None

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """A ValueError names what is missing, never what a value is."""
        names = ("VAULTGATE_URL", "VAULTGATE_TOKEN_URL", "VAULTGATE_CLIENT_ID", "VAULTGATE_SCOPE",
                 "VAULTGATE_CLIENT_SECRET_FILE")
        missing = [name for name in names if not env.get(name)]
        if missing:
            raise ValueError(f"the environment of the worker has no {', '.join(missing)}")
        url, token_url, client, scope, secret = (env[name] for name in names)
        for name, address in (("VAULTGATE_URL", url), ("VAULTGATE_TOKEN_URL", token_url)):
            parts = urlsplit(address)
            if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
                raise ValueError(f"{name}: write `https://`; plain HTTP is for this machine")
        if is_azure(urlsplit(url).hostname or ""):
            raise ValueError("VAULTGATE_URL is Azure: it is reached through the gateway only")
        return cls(url.rstrip("/"), token_url, client, scope, pathlib.Path(secret), env.get("VAULTGATE_CA") or None)

    def tls(self) -> ssl.SSLContext:
        """Trusts the system's roots and one more authority."""
        context = ssl.create_default_context()
        if self.ca:
            context.load_verify_locations(cafile=self.ca)
        return context


def is_azure(host: str) -> bool:
    host = host.rstrip(".").lower()
    return any(host == own or host.endswith(f".{own}") for own in AZURE)
