"""The errors of this package. All are `ArbiterError`, so one except clause catches them.

`Problem` and what derives from it means that the node answered and said no; `Unreachable` that nobody
answered; the rest happens on this machine.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Optional


class ArbiterError(Exception):
    """The base of all errors of this package."""


class Unreachable(ArbiterError):
    """No complete HTTP answer came back. Of a change nobody knows whether it was made."""

    def __init__(self, addr: str, cause: object):
        super().__init__(f"no answer from {addr}: {cause}")
        self.addr = addr


class ProblemDetail:
    """One mistake of several: where it is, and what it is."""

    __slots__ = ("pointer", "file", "line", "column", "code", "detail")

    def __init__(self, value: Mapping[str, Any]):
        for name in self.__slots__:
            setattr(self, name, value.get(name))

    def __repr__(self) -> str:
        return f"ProblemDetail({str(self)!r})"

    def __str__(self) -> str:
        place = self.pointer or ""
        if self.file:
            place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        elif self.line:
            place = f"{place} line {self.line}".strip()
        return f"{place}: {self.detail}" if place else str(self.detail)


class Problem(ArbiterError):
    """An answer that is not a success, as RFC 9457 puts it.

    `code` is stable and meant for programs, `detail` for people, `errors` lists every mistake with its
    place, `request_id` finds the request in the node's log. Each code has a class of its own, so that
    `except ab.SubjectUnknown` works; a code this package does not know is a plain `Problem`.
    """

    def __init__(self, status: int, body: Mapping[str, Any], request_id: Optional[str] = None):
        self.status = status
        self.type: str = body.get("type") or ""
        self.code: str = body.get("code") or ""
        self.title: str = body.get("title") or f"HTTP status {status}"
        self.detail: str = body.get("detail") or ""
        self.request_id = request_id or (body.get("instance") or "").rpartition(":")[2]
        self.errors: List[ProblemDetail] = [ProblemDetail(e) for e in body.get("errors") or [] if isinstance(e, Mapping)]
        self.summary: Optional[Mapping[str, Any]] = None  # of an import that ended early
        super().__init__(self._message())

    def _message(self) -> str:
        text = self.title if self.detail in ("", self.title) else f"{self.title}: {self.detail}"
        lines = [str(e) for e in self.errors if str(e) != self.detail]
        if len(lines) > 20:
            lines = lines[:20] + [f"and {len(lines) - 20} more in .errors"]
        return "\n  ".join([text] + lines)


class Invalid(Problem):
    """422 INVALID: the request can be parsed and breaks the contract."""


class Malformed(Problem):
    """400 MALFORMED: the request cannot be parsed."""


class NotFound(Problem):
    """404: there is no such thing. The base of the more precise ones."""


class SubjectUnknown(NotFound):
    """404 SUBJECT_UNKNOWN."""


class DecisionUnknown(NotFound):
    """404 DECISION_UNKNOWN."""


class ActionUnknown(NotFound):
    """404 ACTION_UNKNOWN."""


class PluginUnknown(NotFound):
    """404 PLUGIN_UNKNOWN: no such model version."""


class CatalogUnknown(NotFound):
    """404 CATALOG_UNKNOWN."""


class AttributeUnknown(Invalid):
    """422 ATTRIBUTE_UNKNOWN: the dictionary has no such attribute."""


class CatalogInvalid(Invalid):
    """422 CATALOG_INVALID: `errors` has every mistake with file, line and column."""


class PluginRefused(Invalid):
    """422 PLUGIN_REFUSED: admission refused the artifact and names the rule."""


class ModelInvalid(Invalid):
    """422 MODEL_INVALID."""


class Conflict(Problem):
    """409 CONFLICT: the request contradicts what is stored."""


class PreconditionFailed(Problem):
    """412: somebody else changed it since it was read."""


class PreconditionRequired(Problem):
    """428: say which version the change is made to (`if_version`)."""


class KeyReused(Invalid):
    """422 IDEMPOTENCY_KEY_REUSED: the key was used for another request."""


class TooLarge(Problem):
    """413 TOO_LARGE."""


class Overloaded(Problem):
    """429 OVERLOADED: a bounded queue of the node is full; nothing was changed. Try again later."""


class Unavailable(Problem):
    """503 UNAVAILABLE: the node is starting, shutting down or has no leader. Try again later."""


class Timeout(Problem):
    """504 TIMEOUT: the deadline of the request passed."""


class Internal(Problem):
    """500 INTERNAL: a fault of the node; its log has the reason under `request_id`."""


_BY_CODE = {
    "INVALID": Invalid,
    "MALFORMED": Malformed,
    "NOT_FOUND": NotFound,
    "SUBJECT_UNKNOWN": SubjectUnknown,
    "ATTRIBUTE_UNKNOWN": AttributeUnknown,
    "ACTION_UNKNOWN": ActionUnknown,
    "DECISION_UNKNOWN": DecisionUnknown,
    "PLUGIN_UNKNOWN": PluginUnknown,
    "CATALOG_UNKNOWN": CatalogUnknown,
    "CATALOG_INVALID": CatalogInvalid,
    "PLUGIN_REFUSED": PluginRefused,
    "MODEL_INVALID": ModelInvalid,
    "CONFLICT": Conflict,
    "PRECONDITION_FAILED": PreconditionFailed,
    "PRECONDITION_REQUIRED": PreconditionRequired,
    "IDEMPOTENCY_KEY_REUSED": KeyReused,
    "TOO_LARGE": TooLarge,
    "OVERLOADED": Overloaded,
    "UNAVAILABLE": Unavailable,
    "TIMEOUT": Timeout,
    "INTERNAL": Internal,
}


def problem(status: int, body: Mapping[str, Any], request_id: Optional[str] = None) -> Problem:
    """The error of the class that belongs to the code of an RFC 9457 body."""
    return _BY_CODE.get(body.get("code") or "", Problem)(status, body, request_id)


class ProgramNotFound(ArbiterError):
    """The arbiter program is not on this machine, or not where it was looked for."""


class CompileError(ArbiterError):
    """`arbiter model compile` refused the model; the text says why and how to export it rightly."""


class ModelMismatch(ArbiterError):
    """The compiled model does not give what the library gave."""


class ExportError(ArbiterError):
    """A model object cannot be exported; the text says why and what to do."""
