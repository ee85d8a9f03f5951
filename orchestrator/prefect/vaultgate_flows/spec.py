"""One region of a flow file, resolved to plain numbers: the parameter of the flow, read strictly.

What is unknown or missing is an error: a run that guesses could back up something else.
"""

from dataclasses import dataclass
from typing import Any

from .names import Pattern

TIERS = ("snapshot", "vault", "archive")


@dataclass(frozen=True)
class Target:
    """Items of one vault."""

    vault: str
    items: tuple[Pattern, ...]
    exclude: tuple[Pattern, ...]

    def means(self, name: str) -> bool:
        return any(one.meets(name) for one in self.items) and not any(one.meets(name) for one in self.exclude)


@dataclass(frozen=True)
class Retry:
    """How what may pass is tried again."""

    attempts: int
    first_s: int
    cap_s: int


@dataclass(frozen=True)
class Poll:
    """How often jobs are looked at: once for each vault, whatever the number of items."""

    first_s: int
    max_s: int


@dataclass(frozen=True)
class Deadline:
    """By when a run has to begin and to end, both from the time at which it was due."""

    start_within_s: int
    finish_within_s: int
    counts_approvals: bool


@dataclass(frozen=True)
class Checks:
    """What has to hold of each item afterwards; without `younger_than_s` no point is looked at."""

    younger_than_s: int | None
    tier: str | None
    accept: tuple[str, ...]
    warn: tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """One region of a flow."""

    flow: str
    region: str
    definition_digest: str
    gateway: str
    targets: tuple[Target, ...]
    parallel: int
    retry: Retry
    poll: Poll
    deadline: Deadline
    retain_s: int
    checks: Checks

    @classmethod
    def read(cls, given: Any) -> "Spec":
        """Reads and checks; a ValueError says where it is wrong."""
        own = _members(given, "spec", cls)
        targets = _list(own["targets"], "spec.targets")
        spec = cls(
            flow=_text(own["flow"], "spec.flow"),
            region=_text(own["region"], "spec.region"),
            definition_digest=_text(own["definition_digest"], "spec.definition_digest"),
            gateway=_text(own["gateway"], "spec.gateway").rstrip("/"),
            targets=tuple(_target(one, f"spec.targets[{at}]") for at, one in enumerate(targets)),
            parallel=_number(own["parallel"], "spec.parallel", 1),
            retry=Retry(**_numbers(own["retry"], "spec.retry", Retry)),
            poll=Poll(**_numbers(own["poll"], "spec.poll", Poll)),
            deadline=_deadline(own["deadline"]),
            retain_s=_number(own["retain_s"], "spec.retain_s", 1),
            checks=_checks(own["checks"]),
        )
        if not spec.targets:
            raise ValueError("spec.targets: nothing is to be backed up")
        return spec


def _members(given: Any, place: str, kind: type) -> dict[str, Any]:
    wanted = set(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    if not isinstance(given, dict) or set(given) != wanted:
        found = sorted(map(str, given)) if isinstance(given, dict) else type(given).__name__
        raise ValueError(f"{place}: has {found}, not {sorted(wanted)}")
    return given


def _text(given: Any, place: str) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"{place}: is no text")
    return given


def _number(given: Any, place: str, least: int = 0) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise ValueError(f"{place}: is no whole number of at least {least}")
    return given


def _numbers(given: Any, place: str, kind: type) -> dict[str, int]:
    return {name: _number(one, f"{place}.{name}", 1) for name, one in _members(given, place, kind).items()}


def _list(given: Any, place: str) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError(f"{place}: is no list")
    return given


def _texts(given: Any, place: str) -> tuple[str, ...]:
    return tuple(_text(one, place) for one in _list(given, place))


def _target(given: Any, place: str) -> Target:
    own = _members(given, place, Target)
    vault = _text(own["vault"], f"{place}.vault")
    if not vault.startswith("/subscriptions/") or set(vault) & set("?#%\\ "):
        raise ValueError(f"{place}.vault: `{vault}` is no ARM id")
    patterns = {
        name: tuple(Pattern.parse(one) for one in _texts(own[name], f"{place}.{name}")) for name in ("items", "exclude")
    }
    if not patterns["items"]:
        raise ValueError(f"{place}.items: names nothing")
    return Target(vault=vault, **patterns)


def _deadline(given: Any) -> Deadline:
    own = _members(given, "spec.deadline", Deadline)
    if not isinstance(own["counts_approvals"], bool):
        raise ValueError("spec.deadline.counts_approvals: is neither true nor false")
    return Deadline(
        start_within_s=_number(own["start_within_s"], "spec.deadline.start_within_s", 1),
        finish_within_s=_number(own["finish_within_s"], "spec.deadline.finish_within_s", 1),
        counts_approvals=own["counts_approvals"],
    )


def _checks(given: Any) -> Checks:
    own = _members(given, "spec.checks", Checks)
    younger, tier = own["younger_than_s"], own["tier"]
    if tier is not None and tier not in TIERS:
        raise ValueError(f"spec.checks.tier: is none of {TIERS}")
    return Checks(
        younger_than_s=None if younger is None else _number(younger, "spec.checks.younger_than_s", 1),
        tier=tier,
        accept=_texts(own["accept"], "spec.checks.accept"),
        warn=_texts(own["warn"], "spec.checks.warn"),
    )
