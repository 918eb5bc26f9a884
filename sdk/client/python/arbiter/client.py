"""The client of one node: decisions, subjects, catalog, models."""

from __future__ import annotations

import os
from typing import Any, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from . import _import
from ._http import Transport, segment
from .errors import ArbiterError, NotFound
from .export import Model
from .features import feature_rows
from .records import CatalogDocument, Decision, ImportResult, Page, Record
from .rollouts import DEFAULT_STEPS, Rollout, Steps, guardrails_of, steps_of, wait

DEFAULT_ADDR = "http://127.0.0.1:8080"

SubjectRef = Union[str, Mapping[str, str]]


def connect(addr: Optional[str] = None, *, timeout: float = 60.0) -> "Client":
    """A client of the node at `addr`, else at the environment's ARBITER_ADDR, else on this machine.

    Nothing is sent yet; `client.ready()` asks whether the node answers. `timeout` bounds each step of
    one exchange on the network, in seconds.
    """
    return Client(addr or os.environ.get("ARBITER_ADDR") or DEFAULT_ADDR, timeout=timeout)


class Client:
    """Talks to one node. Threads may share it. It never retries: whoever calls knows what may be
    repeated."""

    def __init__(self, addr: str = DEFAULT_ADDR, *, timeout: float = 60.0):
        self._transport = Transport(addr, timeout)
        self.subjects = Subjects(self._transport)
        self.catalog = Catalog(self._transport)
        self.models = Models(self._transport)

    def __repr__(self) -> str:
        return f"Client({self.addr!r})"

    @property
    def addr(self) -> str:
        """The base address, without a trailing slash."""
        return self._transport.addr

    def ready(self) -> bool:
        """Whether the node answers and may be sent requests."""
        try:
            self._transport.send("GET", "/readyz")
        except ArbiterError:
            return False
        return True

    def decide(
        self,
        subject: SubjectRef,
        channel: str,
        *,
        placements: Union[None, Mapping[str, int], Iterable[Union[str, Mapping[str, Any]]]] = None,
        contexts: Union[None, Mapping[str, Any], Iterable[Mapping[str, Any]]] = None,
        direction: Optional[str] = None,
        excluded_actions: Optional[Sequence[str]] = None,
        decision_request_id: Optional[str] = None,
        explain: Optional[str] = None,
        simulate: bool = False,
        catalog_version: Optional[int] = None,
        timeout_ms: Optional[int] = None,
        idempotency_key: Optional[str] = None,
    ) -> Decision:
        """Decides what to propose to `subject` now.

        `subject` is an id, or {"id": …, "type": …}. `placements` are ids, {id: limit}, or records as
        the API has them; none means all of the channel. `contexts` are {key: value}. `explain` is
        "reasons" or "full". With `simulate` nothing is recorded. The same request with the same
        `idempotency_key` gets the same decision.

            d = c.decide("S-000123", "web", placements={"hero": 2}, explain="reasons")
            d.best.action, d.best.propensity
        """
        request: dict = {"subject": {"id": subject} if isinstance(subject, str) else dict(subject), "channel": channel}
        if placements is not None:
            request["placements"] = _placements(placements)
        if contexts is not None:
            request["contexts"] = _contexts(contexts)
        for name, value in (("direction", direction), ("excludedActions", excluded_actions), ("decisionRequestId", decision_request_id)):
            if value is not None:
                request[name] = list(value) if name == "excludedActions" else value
        options = {"explain": explain, "simulate": simulate or None, "catalogVersion": catalog_version, "timeoutMs": timeout_ms}
        options = {k: v for k, v in options.items() if v is not None}
        if options:
            request["options"] = options
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key is not None else None
        return self._transport.send_json("POST", "/v1/decisions", request, headers=headers).json(Decision)

    def decision(self, id: str) -> Decision:
        """The decision as it was answered, with its `subject`, `channel` and `responses`."""
        return self._transport.send("GET", f"/v1/decisions/{segment(id)}").json(Decision)

    def respond(
        self,
        to: Union[None, str, Mapping[str, Any]] = None,
        outcome: str = "Accepted",
        *,
        decision_id: Optional[str] = None,
        action: Optional[str] = None,
        treatment: Optional[str] = None,
        behaviour: Optional[str] = None,
        value: Optional[float] = None,
        outcome_time: Optional[str] = None,
    ) -> Record:
        """Reports what came of a proposition: Impression, Clicked, Accepted, Rejected, Dismissed or
        Converted.

        `to` is a proposition of a decision or its response token; without it, `decision_id` and
        `action` name the proposition. The answer has `duplicate: true` when it was reported before.

            c.respond(d.best, "Accepted")
        """
        token = to.get("responseToken") if isinstance(to, Mapping) else to
        if not token and not (decision_id and action):
            raise ArbiterError("name the proposition: give it or its response token, or decision_id and action")
        response = {"responseToken": token, "decisionId": decision_id, "action": action, "treatment": treatment, "outcome": outcome,
                    "behaviour": behaviour, "value": value, "outcomeTime": outcome_time}  # fmt: skip
        return self._transport.send_json("POST", "/v1/responses", {k: v for k, v in response.items() if v is not None}).json()

    def respond_many(self, responses: Iterable[Mapping[str, Any]]) -> List[Record]:
        """Reports up to 1000 responses, records as the API has them, in their order."""
        return self._transport.send_json("POST", "/v1/responses", [dict(r) for r in responses]).json()


def _placements(placements: Any) -> List[Mapping[str, Any]]:
    if isinstance(placements, str):
        return [{"id": placements}]
    if isinstance(placements, Mapping):
        return [{"id": name, "limit": limit} for name, limit in placements.items()]
    return [{"id": p} if isinstance(p, str) else dict(p) for p in placements]


def _contexts(contexts: Any) -> List[Mapping[str, Any]]:
    if isinstance(contexts, Mapping):
        return [{"key": key, "value": value if isinstance(value, str) else repr(value)} for key, value in contexts.items()]
    return [dict(context) for context in contexts]


def _conditions(if_version: Union[None, int, str], create_only: bool = False) -> Mapping[str, str]:
    headers = {}
    if if_version is not None:
        headers["If-Match"] = if_version if if_version == "*" else f'"v{int(if_version)}"'
    if create_only:
        headers["If-None-Match"] = "*"
    return headers


class Subjects:
    """The customers: `client.subjects`. `type` is subscriber (default), account or device."""

    def __init__(self, transport: Transport):
        self._transport = transport

    def get(self, id: str, *, type: Optional[str] = None) -> Record:
        """The subject with attributes, consents and version. SubjectUnknown when there is none."""
        return self._transport.send("GET", f"/v1/subjects/{segment(id)}", query={"type": type}).json()

    def put(
        self,
        id: str,
        attributes: Mapping[str, Any],
        consents: Optional[Mapping[str, bool]] = None,
        *,
        type: Optional[str] = None,
        if_version: Union[None, int, str] = None,
        create_only: bool = False,
    ) -> Record:
        """Replaces or creates a subject: attributes and consents become those given and no others.

        With `if_version`, only when that is still its version, else PreconditionFailed."""
        body: dict = {"attributes": dict(attributes)}
        if consents is not None:
            body["consents"] = dict(consents)
        return self._transport.send_json("PUT", f"/v1/subjects/{segment(id)}", body, query={"type": type},
                                         headers=_conditions(if_version, create_only)).json()  # fmt: skip

    def patch(
        self,
        id: str,
        attributes: Optional[Mapping[str, Any]] = None,
        consents: Optional[Mapping[str, Optional[bool]]] = None,
        *,
        type: Optional[str] = None,
        if_version: Union[None, int, str] = None,
    ) -> Record:
        """Changes what is given and leaves the rest; None removes. Returns the whole subject."""
        body = {k: dict(v) for k, v in (("attributes", attributes), ("consents", consents)) if v is not None}
        return self._transport.send_json("PATCH", f"/v1/subjects/{segment(id)}", body, query={"type": type},
                                         content_type="application/merge-patch+json", headers=_conditions(if_version)).json()  # fmt: skip

    def delete(self, id: str, *, type: Optional[str] = None, if_version: Union[None, int, str] = None) -> None:
        """Deletes a subject with its history and decision records."""
        self._transport.send("DELETE", f"/v1/subjects/{segment(id)}", query={"type": type}, headers=_conditions(if_version))

    def history(self, id: str, *, type: Optional[str] = None, limit: Optional[int] = None, cursor: Optional[str] = None) -> Page:
        """What was proposed to a subject and what came back, newest first, one page."""
        query = {"type": type, "limit": limit, "cursor": cursor}
        return self._transport.send("GET", f"/v1/subjects/{segment(id)}/history", query=query).json(Page)

    def import_file(self, path: Any, *, mapping: Any = None, format: Optional[str] = None) -> ImportResult:
        """Imports a CSV or NDJSON file of any size, in pieces of whole records.

        `mapping` is the path of a mapping file, or its YAML text (one with a line break). `format` is
        "csv" or "ndjson", else told by the file's name. What the result counts as accepted is durable.
        A subject that is in two pieces counts as two accepted ones, the later wins.
        """
        with open(path, "rb") as file:
            return _import.run(self._transport, file, _import.format_of(path, format), _import.mapping_text(mapping))

    def import_rows(self, rows: Any, *, mapping: Any = None) -> ImportResult:
        """Imports a pandas DataFrame (as CSV, so that `mapping` names its columns) or subject documents:

            c.subjects.import_rows([{"id": "S-1", "attributes": {"tenure": 12}, "consents": {"marketing": True}}])
        """
        return _import.run_rows(self._transport, rows, _import.mapping_text(mapping))

    def attributes(self) -> Record:
        """The dictionary of attributes and purposes."""
        return self._transport.send("GET", "/v1/attributes").json()

    def declare(self, attributes: Iterable[Mapping[str, Any]]) -> Record:
        """Declares attributes, all or none: records of name, type (bool, int, float, string, time) and
        purposes. The dictionary only grows."""
        return self._transport.send_json("PUT", "/v1/attributes", {"attributes": [dict(a) for a in attributes]}).json()


class Catalog:
    """Actions, policies, levers and model bindings as one YAML document: `client.catalog`."""

    def __init__(self, transport: Transport):
        self._transport = transport

    def get(self, version: Union[None, int, str] = None) -> CatalogDocument:
        """The document stored last, a version by its number, or the "active" one."""
        path = "/v1/catalog" if version is None else f"/v1/catalog/versions/{segment(str(version))}"
        answer = self._transport.send("GET", path)
        return CatalogDocument(answer.body.decode(), answer.version)

    def validate(self, document: Any) -> None:
        """Returns when the document has no mistakes, else raises CatalogInvalid with all of them.

        A document is YAML text, or the path of a file as os.PathLike or text without a line break."""
        self._transport.send("POST", "/v1/catalog/validate", body=_document(document), content_type="application/yaml")

    def put(self, document: Any, *, if_version: Union[None, int, str] = None) -> Record:
        """Stores a document as the next version; it decides after `activate(version)`.

        Once a document is stored `if_version` is required: the version of the one that was edited
        (`catalog.get().version`), or "*" to replace whatever is there."""
        return self._transport.send("PUT", "/v1/catalog", body=_document(document), content_type="application/yaml",
                                    headers=_conditions(if_version)).json()  # fmt: skip

    def activate(self, version: Union[int, Mapping[str, Any]]) -> Record:
        """Makes a stored version, or what `put` returned, the one that decides."""
        number = version["version"] if isinstance(version, Mapping) else int(version)
        return self._transport.send("POST", f"/v1/catalog/versions/{number}/activate", body=b"").json()

    def versions(self) -> List[Record]:
        """All stored versions, newest first."""
        return self._transport.send("GET", "/v1/catalog/versions").json()["items"]


def _document(document: Any) -> bytes:
    if isinstance(document, bytes):
        return document
    if isinstance(document, str) and "\n" in document:
        return document.encode()
    with open(document, "rb") as file:
        return file.read()


class Models:
    """The models of the node, as WebAssembly plugins: `client.models`."""

    def __init__(self, transport: Transport):
        self._transport = transport

    def push(self, model: Any, *, activate: bool = False) -> Record:
        """Pushes what `ab.export` returned, or a .wasm file by its path, or its bytes.

        The node checks it, compiles it and replays its golden rows before it is staged; with `activate`
        it also scores from then on, and no call fails meanwhile."""
        if isinstance(model, Model):
            module = model.module
        elif isinstance(model, (bytes, bytearray)):
            module = bytes(model)
        else:
            with open(model, "rb") as file:
                module = file.read()
        return self._transport.send("POST", "/v1/plugins", body=module, content_type="application/wasm",
                                    query={"activate": "true" if activate else None}).json()  # fmt: skip

    def list(self, name: Optional[str] = None) -> List[Record]:
        """All versions of all models, or of one."""
        items = self._transport.send("GET", "/v1/plugins").json()["items"]
        return [item for item in items if name in (None, item["name"])]

    def get(self, name: str, version: str) -> Record:
        """One version with its manifest."""
        return self._transport.send("GET", f"/v1/plugins/{segment(name)}/versions/{segment(version)}").json()

    def activate(self, model: Any, version: Optional[str] = None) -> Record:
        """Makes a version the one that scores: by name and version, or what `push` or `export` returned."""
        name, number = self._reference(model, version)
        return self._transport.send("POST", f"/v1/plugins/{segment(name)}/versions/{segment(number)}/activate", body=b"").json()

    @staticmethod
    def _reference(model: Any, version: Optional[str]) -> Tuple[str, str]:
        if version is not None:
            return model, version
        if isinstance(model, Model):
            return model.name, model.version
        if isinstance(model, Mapping):
            return model["name"], model["version"]
        raise ArbiterError("name the model and its version")

    def rollout(
        self,
        model: Any,
        version: Optional[str] = None,
        *,
        steps: Steps = DEFAULT_STEPS,
        hold: float = 600,
        auto: bool = False,
        guardrails: Optional[Mapping[str, Optional[float]]] = None,
        window: Optional[float] = None,
        shadow: Optional[float] = None,
        salt: Optional[str] = None,
    ) -> Record:
        """Rolls a version out: what `ab.export` returned (it is pushed first if the node does not have it), or a
        version by name and number.

        `steps` are what it goes through before it is active: "shadow", where its scores are compared and never
        used, and percentages of the customers that get it. With `auto` it goes on by itself, after `hold` seconds
        at each step and once enough was seen, else `promote` takes it on. `guardrails` are limits on what it does
        compared with the version in use: errors, degraded and acceptance as fractions, fuel and latency as factors,
        shift as an index; None switches one off. A breach takes the version back by itself.

        The steps `()` or `("active",)` make it active on all nodes at once, as `activate` does.

            r = c.models.rollout(m, steps=("shadow", 5, 50), hold=3600, auto=True, guardrails={"errors": 0.002})
            c.models.wait(r, timeout=4 * 3600).breaches
        """
        name, number = self._reference(model, version)
        if isinstance(model, Model) and all(known.digest != model.digest for known in self.list(name)):
            self.push(model)
        planned = steps_of(steps, hold)
        if not planned:
            return self.activate(name, number)
        request: dict = {"plugin": name, "version": number, "steps": planned, "auto": auto}
        if guardrails:
            request["guardrails"] = guardrails_of(guardrails)
        for key, value in (("windowSeconds", window and int(window)), ("shadowPermille", shadow and round(shadow * 1000)), ("salt", salt)):
            if value is not None:
                request[key] = value
        return self._transport.send_json("POST", "/v1/rollouts", request).json(Rollout)

    def rollouts(self, name: Optional[str] = None) -> List[Rollout]:
        """All rollouts, or those of one model, the newest first."""
        items = self._transport.send("GET", "/v1/rollouts").json()["items"]
        return [Rollout(item) for item in items if name in (None, item["plugin"])]

    def rollout_status(self, rollout: Any) -> Rollout:
        """A rollout as it stands: what `rollout` returned, its id, or the newest one of a model by its name."""
        if isinstance(rollout, Mapping):
            return self._rollout(rollout["id"])
        try:
            return self._rollout(rollout)
        except NotFound:
            newest = self.rollouts(rollout)[:1]
            if not newest:
                raise
            return newest[0]

    def promote(self, rollout: Any, *, force: bool = False) -> Rollout:
        """Goes to the next step, after the last one to active. With `force` also when nodes do not have it ready."""
        return self._change(rollout, "promote", {"force": "true" if force else None})

    def pause(self, rollout: Any) -> Rollout:
        """Holds the present step; the guardrails stay in force."""
        return self._change(rollout, "pause")

    def resume(self, rollout: Any) -> Rollout:
        """Goes on after a pause."""
        return self._change(rollout, "resume")

    def abort(self, rollout: Any) -> Rollout:
        """Returns to the version in use before the new one is active."""
        return self._change(rollout, "abort")

    def undo(self, rollout: Any) -> Rollout:
        """Returns to the version before, which is still warm, after the new one was active."""
        return self._change(rollout, "undo")

    def wait(self, rollout: Any, until: Any = "active", *, timeout: float = 600, poll: float = 1) -> Rollout:
        """Waits until the rollout is at that stage, or until(rollout) is true, or until it is over. Look at `stage`
        afterwards: it may have been taken back."""
        return wait(lambda: self.rollout_status(rollout), until, timeout, poll)

    def _rollout(self, id: str) -> Rollout:
        return self._transport.send("GET", f"/v1/rollouts/{segment(id)}").json(Rollout)

    def _change(self, rollout: Any, verb: str, query: Optional[Mapping[str, Optional[str]]] = None) -> Rollout:
        id = self.rollout_status(rollout)["id"]
        return self._transport.send("POST", f"/v1/rollouts/{segment(id)}/{verb}", body=b"", query=query).json(Rollout)

    def features(
        self,
        features: Any,
        rows: Any,
        *,
        id: str = "id",
        action: Optional[str] = None,
        at: Optional[str] = None,
        contexts: Sequence[str] = (),
        type: Optional[str] = None,
        purpose: Optional[str] = None,
    ) -> Any:
        """Rows of features exactly as a model is handed them, to train on.

        `features` are recipes by feature name, `ab.Features`, or the model (or name, version) whose features they
        are. `rows` is a DataFrame, or a list of dicts or ids; `id`, `action` and `at` name its columns of the
        subject, the candidate action and the moment up to which the interaction history counts, `contexts` those
        that are context values of their names. A DataFrame gets one back, with the same index; else the answer is
        a list of dicts. A missing feature is NaN, as are all of a subject that the node does not know.

            X = c.models.features({"charges": {"log": {"attribute": "monthlyCharges", "offset": 1}}}, labels, id="customerID")
        """
        return feature_rows(self._transport, features, rows, id=id, action=action, at=at, contexts=contexts, type=type, purpose=purpose)
