"""Tokens for the gateway: fetched for the next call, kept in memory until four fifths of their life are
over, written nowhere. The secret's file is read for each token, so that what was rotated counts."""

import threading
import time
from urllib.parse import urlencode

from .exchange import Broken, Http, NotSent
from .settings import Settings
from .verdict import at, document


class Tokens:
    """Tokens of one client."""

    def __init__(self, settings: Settings, http: Http) -> None:
        self._settings, self._http = settings, http
        self._lock = threading.Lock()
        self._kept: tuple[str, float] | None = None

    def __repr__(self) -> str:
        return f"Tokens({self._settings.client_id})"

    def token(self) -> str:
        """A token that is good for a while; NotSent where there is none."""
        with self._lock:
            if self._kept is None or time.monotonic() >= self._kept[1]:
                self._kept = self._fetch()
            return self._kept[0]

    def forget(self) -> None:
        """Forgets a token that was not taken."""
        with self._lock:
            self._kept = None

    def _fetch(self) -> tuple[str, float]:
        own = self._settings
        try:
            secret = own.secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotSent(f"`{own.secret_file}` cannot be read: {type(error).__name__}") from None
        form = {"grant_type": "client_credentials", "client_id": own.client_id, "scope": own.scope,
                "client_secret": secret}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        began = time.monotonic()
        try:
            answer = self._http.fetch("POST", own.token_url, headers, urlencode(form).encode())
        except (Broken, NotSent) as error:
            raise NotSent(f"the token service: {error}") from None
        found = document(answer.body)
        if answer.status != 200:
            # Its short code; never its text, which may repeat what was sent.
            code = at(found, "error")
            code = code[:64] if isinstance(code, str) else "no code"
            raise NotSent(f"the token service answers {answer.status}: {code}")
        token, life = at(found, "access_token"), at(found, "expires_in")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise NotSent("the answer of the token service is no token")
        try:
            seconds = float(min(int(life), 86_400))
        except (TypeError, ValueError):
            seconds = 60.0
        return token, began + seconds * 0.8
