"""Patterns of items, such as `vm:rg-app/web-*`: `*` stands for any letters but `/`.

Azure's names are the same in either case, so a pattern is too.
"""

from dataclasses import dataclass

KINDS = ("vm", "sql", "share")


@dataclass(frozen=True)
class Pattern:
    """Names of items of a kind."""

    kind: str
    names: str
    text: str

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        kind, colon, names = text.partition(":")
        if not colon or kind not in KINDS or not names.strip():
            raise ValueError(f"`{text}` does not say what it names")
        if "**" in names or set(names) & set("?[]{}\\!"):
            raise ValueError(f"`{text}`: only `*` stands for other letters")
        return cls(kind, names.lower(), text)

    @property
    def is_whole(self) -> bool:
        """Whether it names one item in full."""
        return "*" not in self.text

    def meets(self, name: str) -> bool:
        """Whether it is the name of an item, with its kind."""
        kind, colon, own = name.partition(":")
        return bool(colon) and kind == self.kind and matches(self.names, own.lower())


def matches(pattern: str, name: str) -> bool:
    """Whether a name is meant: no pattern takes long, as a regular expression of many stars would."""
    at = of = 0
    # Where the last `*` was, and how much it has taken by now.
    star: tuple[int, int] | None = None
    while of < len(name):
        letter = pattern[at:at + 1]
        if letter == "*":
            star = (at, of)
            at += 1
        elif letter == name[of]:
            at, of = at + 1, of + 1
        elif star is not None and name[star[1]] != "/":
            star = (star[0], star[1] + 1)
            at, of = star[0] + 1, star[1]
        else:
            return False
    return not pattern[at:].strip("*")
