"""The one way this package opens connections: TLS verified, no proxies, no redirects, every answer bounded
in time and size."""

import ssl
import time
from dataclasses import dataclass

import httpx

# Longest exchange, seconds, and largest answer, bytes: a page of a list.
LONGEST = 60.0
LARGEST = 8 << 20
CONNECT = 5.0


class NotSent(Exception):
    """Nothing was sent."""


class Broken(Exception):
    """What was sent may have arrived."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: httpx.Headers
    body: bytes


class Http:
    """A pooled client; threads may share it."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        # A proxy of the environment would get the token.
        self._client = httpx.Client(verify=tls, trust_env=False, follow_redirects=False,
                                    timeout=httpx.Timeout(LONGEST, connect=CONNECT))

    def fetch(self, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """One exchange; raises NotSent or Broken."""
        end = time.monotonic() + LONGEST
        try:
            request = self._client.build_request(method, url, headers=headers, content=body)
        except (httpx.InvalidURL, UnicodeEncodeError, ValueError, TypeError) as error:
            raise NotSent(f"the request cannot be written: {type(error).__name__}") from None
        try:
            answer = self._client.send(request, stream=True)
            try:
                parts: list[bytes] = []
                size = 0
                for part in answer.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > LARGEST:
                        raise Broken(f"the answer is larger than {LARGEST} bytes")
                    if time.monotonic() > end:
                        raise Broken(f"no whole answer within {LONGEST:.0f} s")
            finally:
                answer.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise NotSent(f"no connection: {_told(error)}") from None
        except httpx.HTTPError as error:
            raise Broken(f"the connection broke: {_told(error)}") from None
        return Answer(answer.status_code, answer.headers, b"".join(parts))

    def close(self) -> None:
        self._client.close()


def _told(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:300]
