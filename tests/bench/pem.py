"""A published key as PEM, for the proxies that read no JWKS."""
import base64


def _number(text):
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def _der(tag, content):
    length = len(content)
    if length < 128:
        head = bytes([length])
    else:
        size = (length.bit_length() + 7) // 8
        head = bytes([128 + size]) + length.to_bytes(size, "big")
    return bytes([tag]) + head + content


def _integer(number):
    return _der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def rsa(jwk):
    """SubjectPublicKeyInfo of an RSA key (RFC 3279, RFC 5280)."""
    key = _der(0x30, _integer(_number(jwk["n"])) + _integer(_number(jwk["e"])))
    algorithm = _der(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    info = _der(0x30, algorithm + _der(3, b"\0" + key))
    text = base64.b64encode(info).decode()
    lines = [text[at:at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
