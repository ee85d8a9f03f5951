"""What a hostile Azure says, byte by byte."""

import gzip
import json

from hostile_arm import CLOSE, STALL
from world import API

MEBIBYTE = 1 << 20
REFUSED, PLAIN = (502,), (200, 502)


def answer(body=b"", status="200 OK", *headers, kind="application/json"):
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def json_body(**members):
    return json.dumps(members).encode()


def with_header(*lines):
    """An answer with these bytes among its headers."""
    return (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + b"".join(lines)
            + b"Content-Length: 2\r\n\r\n{}")


def chunked(*pieces, trailer=b""):
    return (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(pieces) + b"0\r\n" + trailer + b"\r\n")


SECOND = answer(b'{"smuggled":1}')
# By name: the answer, and what the caller may get.
SPLIT = {
    "CR in a header": ([with_header(b"x-ms-request-id: a\rSet-Cookie: smuggled=1\r\n")], REFUSED),
    "LF in a header": ([with_header(b"x-ms-request-id: a\nSet-Cookie: smuggled=1\r\n")], PLAIN),
    "NUL in a header": ([with_header(b"x-ms-request-id: a\0smuggled\r\n")], REFUSED),
    "a folded header": ([with_header(b"x-ms-request-id: a\r\n Set-Cookie: smuggled=1\r\n")], REFUSED),
    "a space before the colon": ([with_header(b"Set-Cookie : smuggled=1\r\n")], REFUSED),
    "a header without a colon": ([with_header(b"smuggled\r\n")], REFUSED),
    "bytes beyond ASCII": ([with_header(b"x-ms-request-id: \xe2\x80\xaesmuggled\r\n")], PLAIN),
    "two lengths": ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 30\r\n\r\n{}" + SECOND], REFUSED),
    "a negative length": ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}" + SECOND], REFUSED),
    "a length with a sign": ([b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}" + SECOND], REFUSED),
    "a length and chunks": ([b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\nTransfer-Encoding: chunked\r\n\r\n"
                             b"2\r\n{}\r\n0\r\n\r\n" + SECOND], PLAIN),
    "another coding": ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}", CLOSE], REFUSED),
    "a chunk that is no number": ([chunked(b"zz\r\n{}\r\n")], REFUSED),
    "a chunk too large to count": ([chunked(b"fffffffffffffffff\r\n{}\r\n")], REFUSED),
    "a chunk with another end": ([chunked(b"2\r\n{}smuggled\r\n")], REFUSED),
    "words behind a chunk's size": ([chunked(b"2;smuggled=\"\r\n{}\r\n")], PLAIN),
    "trailers": ([chunked(b"2\r\n{}\r\n", trailer=b"Set-Cookie: smuggled=1\r\nx-ms-request-id: 7\r\n")], PLAIN),
    "words of another status": ([b"HTTP/1.1 20O OK\r\nContent-Length: 2\r\n\r\n{}"], REFUSED),
    "a status of two digits": ([b"HTTP/1.1 99 OK\r\nContent-Length: 2\r\n\r\n{}"], REFUSED),
    "a status of four digits": ([b"HTTP/1.1 1000 OK\r\nContent-Length: 2\r\n\r\n{}"], REFUSED),
    "a status that nobody defined": ([b"HTTP/1.1 799 OK\r\nContent-Length: 2\r\n\r\n{}"], REFUSED),
    "another protocol": ([b"HTTP/1.1 101 Go\r\nUpgrade: smuggled\r\nConnection: upgrade\r\n\r\n", CLOSE], REFUSED),
    "HTTP/0.9": ([b'{"smuggled":1}', CLOSE], REFUSED),
    "a line of HTTP/2": ([b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"], REFUSED),
    "a hundred answers on the way": ([b"HTTP/1.1 100 Continue\r\nSet-Cookie: smuggled=1\r\n\r\n" * 100,
                                      answer(b"{}")], PLAIN),
    "a page": ([answer(b"<html>smuggled</html>", kind="text/html")], REFUSED),
    "two texts": ([answer(b'{} {"smuggled":1}')], REFUSED),
}


def endless(piece, count):
    return [piece] * count


def oversized():
    bomb = gzip.compress(b"0" * (64 * MEBIBYTE))
    start = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    return {
        "announced": [start + b"Content-Length: 99999999999\r\n\r\n", *endless(b" " * MEBIBYTE, 20), STALL],
        "chunked": [start + b"Transfer-Encoding: chunked\r\n\r\n",
                    *endless(b"100000\r\n" + b" " * MEBIBYTE + b"\r\n", 64), CLOSE],
        "until the end": [start + b"\r\n", *endless(b" " * MEBIBYTE, 64), CLOSE],
        "small chunks": [start + b"Transfer-Encoding: chunked\r\n\r\n", *endless(b"1\r\n \r\n" * 10_000, 2_000), CLOSE],
        "a bomb": [answer(bomb, "200 OK", "Content-Encoding: gzip")],
        "ten thousand headers": [start + b"".join(b"X-%d: y\r\n" % n for n in range(10_000))
                                 + b"Content-Length: 2\r\n\r\n{}"],
        "a header of a mebibyte": [start + b"X: " + b"y" * MEBIBYTE + b"\r\nContent-Length: 2\r\n\r\n{}"],
        "a status line of a mebibyte": [b"HTTP/1.1 200 " + b"O" * MEBIBYTE + b"\r\nContent-Length: 2\r\n\r\n{}"],
        "endless headers": [start, *endless(b"X: y\r\n" * 10_000, 100), CLOSE],
        "endless answers on the way": [b"", *endless(b"HTTP/1.1 102 Wait\r\n\r\n" * 10_000, 100), STALL],
    }


def echo(form):
    """An answer with the request's own token in some place."""
    return [lambda request: form(request.token)]


REFLECTED = {
    "request id": echo(lambda token: answer(b"{}", "200 OK", f"x-ms-request-id: {token}")),
    "any header": echo(lambda token: answer(b"{}", "200 OK", f"X-Echo: Bearer {token}")),
    "type": echo(lambda token: answer(b"{}", "200 OK", kind=f"application/json; a={token}")),
    "etag": echo(lambda token: answer(b"{}", "200 OK", f'ETag: "{token}"')),
    "retry": echo(lambda token: answer(b"{}", "503 Wait", f"Retry-After: {token}")),
    "location": echo(lambda token: answer(b"", "202 Accepted", f"Location: https://evil.example/{token}")),
    "own location": [lambda request: answer(b"", "202 Accepted", f"Azure-AsyncOperation: https://"
                                            f"{request.headers['host']}/subscriptions/x?t={request.token}")],
    "challenge": echo(lambda token: answer(b"{}", "401 No", f'WWW-Authenticate: Bearer realm="{token}"')),
    "reason": echo(lambda token: answer(b"{}", f"200 {token}")),
    "body": echo(lambda token: answer(json_body(properties={"note": f"Bearer {token}"}, tags={"t": token}))),
    "error": echo(lambda token: answer(json_body(error={"code": "Bad", "message": f"not {token}"}), "400 Bad")),
    "page": [lambda request: answer(json_body(value=[], nextLink=f"https://{request.headers['host']}"
                                              f"/subscriptions?{API}&$skipToken={request.token}"))],
    "name of a member": echo(lambda token: answer(json_body(**{token: 1}))),
    "text": echo(lambda token: answer(f"<p>{token}</p>".encode(), "500 Bad", kind="text/html")),
    "trailer": echo(lambda token: chunked(b"2\r\n{}\r\n", trailer=f"x-ms-request-id: {token}\r\n".encode())),
    "chunk": echo(lambda token: chunked(f"2;{token}\r\n{{}}\r\n".encode())),
    "protocol": echo(lambda token: f"HTTP/1.1 {token}\r\n\r\n".encode()),
}


def poisoned(own, lure):
    """URLs that lead past the gateway, however they are read."""
    good = f"https://localhost:{own}"
    return [
        f"https://localhost:{lure}/subscriptions/x?{API}", f"https://evil.example/subscriptions/x?{API}",
        f"{good}@evil.example/subscriptions/x?{API}", f"{good}.evil.example/x", f"{good}0/x",
        f"https://user@localhost:{own}/subscriptions/x", f"http://localhost:{own}/subscriptions/x",
        f"//evil.example/subscriptions/x?{API}", f"{good}\\@evil.example/x", f"{good}#@evil.example/x",
        f"{good}?//evil.example/x", f"{good}/..//evil.example/x", f"{good}/%2e%2e/evil?{API}",
        f"{good}/subscriptions/../../x?{API}", f"{good}/subscriptions/x%2Fy?{API}", f"{good}//evil.example/x?{API}",
        "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "../x", "/subscriptions/x", "", " ",
        f"{good}/subscriptions/x?{API}&to=https://evil.example/", f"{good}/" + "a" * 20_000,
        f"https://l\u00f6calhost:{own}/x", f"HTTPS://LOCALHOST:{own}/x", f"{good}/x y",
    ]


def pages(url):
    """Pages with such a link, in every form that some reader takes."""
    link = json.dumps(url)
    return [page.encode() for page in (
        f'{{"value":[],"nextLink":{link}}}', f'{{"nextLink":{link},"nextLink":{link}}}',
        f'{{"nextLink":null,"NextLink":{link}}}', f'{{"value":[],"NEXTLINK":{link}}}',
        f'{{"value":[NaN],"nextLink":{link}}}', f'\ufeff{{"nextLink":{link}}}',
        f'{{"next\\u004cink":{link}}}', f'{{"nextLink":[{link}]}}', f'{{"nextLink":{{"href":{link}}}}}',
        f'{{"nextLink":{link}}} x', f"{{'nextLink':{link}}}", f'{{"nextLink":{link},}}',
    )]


UNLISTED = [
    "Set-Cookie: a=b", "Set-Cookie2: a=b", "Alt-Svc: h3=\":443\"", "Strict-Transport-Security: max-age=0",
    "Keep-Alive: timeout=1", "Proxy-Authenticate: Basic", "Proxy-Authorization: Basic eA==",
    "Upgrade: websocket", "Server: Azure", "Via: 1.1 azure", "Access-Control-Allow-Origin: *",
    "Access-Control-Allow-Credentials: true", "Clear-Site-Data: \"*\"", "Content-Disposition: attachment",
    "Content-Language: en", "Content-Location: /x", "Link: </x>; rel=preload", "Refresh: 0; url=/x",
    "Public-Key-Pins: x", "Report-To: x", "NEL: x", "Service-Worker-Allowed: /", "SourceMap: /x",
    "Content-Security-Policy: default-src *", "WWW-Authenticate: Bearer", "Authorization: Bearer x",
    "X-Vaultgate-Decision-Id: forged", "X-Ms-Unlisted: 1", "X-Accel-Redirect: /x", "X-Sendfile: /etc/passwd",
    "Trailer: Set-Cookie", "Warning: 199 x", "Age: 1", "Expires: 0", "Pragma: no-cache",
]

FACTS = {
    "nothing": [CLOSE],
    "half": [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"id\":", CLOSE],
    "a page": [answer(b"<html>ok</html>", kind="text/html")],
    "an array": [answer(b"[]")],
    "null": [answer(b"null")],
    "a text": [answer(b'"ok"')],
    "not JSON": [answer(b'{"id":NaN}')],
    "nested": [answer(b"[" * 100_000)],
    "a redirect": [answer(b"", "302 Go", "Location: https://evil.example/")],
    "a refusal": [answer(b'{"error":{}}', "403 No")],
    "nothing there": [answer(b"", "204 Empty")],
    "too much": [answer(b"{\"a\":\"" + b"x" * (17 * MEBIBYTE) + b"\"}")],
}
