"""Answers of the node as dicts that also have attributes."""

from __future__ import annotations

import difflib
import re
from typing import Any, List, Mapping, Optional

_UNDERSCORE = re.compile(r"_([a-z0-9])")


def camel_case(name: str) -> str:
    """decision_id → decisionId"""
    return _UNDERSCORE.sub(lambda match: match.group(1).upper(), name)


class Record(dict):
    """A JSON object: `r["decisionId"]`, `r.decisionId` and `r.decision_id` are the same.

    Keys that are also methods of dict, such as `items`, are reached with `r["items"]` only.
    """

    def __getattr__(self, name: str) -> Any:
        for key in (name, camel_case(name)):
            if key in self:
                return self[key]
        near = difflib.get_close_matches(camel_case(name), [str(key) for key in self], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AttributeError(f"the answer has no {name}{hint}")


class Decision(Record):
    """What to propose to one subject."""

    def offers(self, placement: Optional[str] = None) -> List[Record]:
        """The propositions of a placement, best first; of all placements in their order by default."""
        return [item for p in self["propositions"] if placement in (None, p["placement"]) for item in p["items"]]

    @property
    def best(self) -> Optional[Record]:
        """The first proposition, or None when there is nothing to propose."""
        offers = self.offers()
        return offers[0] if offers else None


class Page(Record):
    """One page of the history of a subject; `next_cursor` is None on the last one."""

    @property
    def interactions(self) -> List[Record]:
        """The interactions of this page, newest first."""
        return self["items"]

    @property
    def next_cursor(self) -> Optional[str]:
        """What to give to `history(cursor=…)` for the page after this one."""
        return self.get("nextCursor")


class CatalogDocument(str):
    """The text of a catalog. `version` is what `put(if_version=…)` wants."""

    version: Optional[int]

    def __new__(cls, text: str, version: Optional[int] = None) -> "CatalogDocument":
        document = super().__new__(cls, text)
        document.version = version
        return document


class ImportResult(Record):
    """What became of an import: the counts of all pieces together and every line that was not taken."""

    @property
    def problems(self) -> List[Mapping[str, Any]]:
        """One record (line, column, code, reason) for each bad line, at most 100,000 a piece."""
        return self["lines"]
