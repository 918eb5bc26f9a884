"""What a rollout is asked for, in the units that people think in."""

from __future__ import annotations

import time
from typing import Any, Callable, Mapping, Optional, Sequence, Union

from .errors import ArbiterError
from .records import Record

Steps = Sequence[Union[str, int, float]]

DEFAULT_STEPS: Steps = ("shadow", 1, 10, 50)

# name: (name in the API, factor)
_GUARDRAILS = {
    "errors": ("errorPpm", 1e6),
    "degraded": ("degradedPpm", 1e6),
    "fuel": ("fuelPermille", 1e3),
    "latency": ("latencyPermille", 1e3),
    "shift": ("shiftPpm", 1e6),
    "acceptance": ("acceptancePpm", 1e6),
    "ratio": ("ratioMilli", 1e3),
    "calls": ("minCalls", 1),
    "propositions": ("minPropositions", 1),
    "subjects": ("minSubjects", 1),
}


def steps_of(steps: Steps, hold: float) -> list:
    """"shadow" and percentages, as the API has them."""
    made = []
    for step in steps:
        if step == "shadow":
            made.append({"stage": "shadow", "holdSeconds": int(hold)})
        elif step != "active":
            try:
                percent = float(step.rstrip("%")) if isinstance(step, str) else float(step)
            except ValueError:
                raise ArbiterError(f"a step is 'shadow' or a percentage such as 10, not {step!r}") from None
            made.append({"stage": "canary", "permille": round(percent * 10), "holdSeconds": int(hold)})
    return made


def guardrails_of(guardrails: Mapping[str, Optional[float]]) -> dict:
    """Limits as fractions and factors, as the API has them; None switches one off."""
    made = {}
    for name, limit in guardrails.items():
        if name not in _GUARDRAILS:
            raise ArbiterError(f"there is no guardrail {name}; there are {', '.join(_GUARDRAILS)}")
        key, factor = _GUARDRAILS[name]
        if limit is not None and not limit > 0:
            raise ArbiterError(f"the limit {name} is more than 0, or None to switch it off")
        made[key] = -1 if limit is None else round(limit * factor)
    return made


class Rollout(Record):
    """One version of one model on its way into use."""

    @property
    def running(self) -> bool:
        """Whether it is neither active nor taken back yet."""
        return self["stage"] in ("staged", "prepared", "shadow", "canary")

    @property
    def percent(self) -> float:
        """The share of the customers that get the version."""
        return self["permille"] / 10

    @property
    def breaches(self) -> list:
        """What took the version back, in words; empty unless a guardrail did."""
        return [f"{check['guardrail']}: {check['detail']}" for check in self.get("breach", [])]


def wait(read: Callable[[], Rollout], until: Union[str, Callable[[Rollout], Any]], timeout: float, poll: float) -> Rollout:
    """Reads until the stage is that, or until(rollout) is true. A rollout that is over ends it too."""
    deadline = time.monotonic() + timeout
    while True:
        rollout = read()
        if (until(rollout) if callable(until) else rollout["stage"] == until) or not rollout.running:
            return rollout
        if time.monotonic() > deadline:
            raise ArbiterError(f"the rollout {rollout['id']} is still {rollout['stage']} after {timeout} seconds")
        time.sleep(poll)
