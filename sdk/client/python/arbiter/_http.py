"""One exchange over urllib: strict about the answer, typed about the refusal."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, Mapping, Optional, Type

from .errors import ArbiterError, Unreachable, problem
from .records import Record

MAX_ANSWER_BYTES = 64 << 20
USER_AGENT = "arbiter-client-python/0.1.0"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The API never redirects; what does is not the API."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Answer:
    """A success: status, headers and the whole body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def json(self, kind: Type[Record] = Record) -> Any:
        """The body as `kind`; objects within it are records."""
        if not self.body:
            return None
        value = json.loads(self.body, object_hook=Record)
        return kind(value) if isinstance(value, Record) else value

    @property
    def version(self) -> Optional[int]:
        """The number in an ETag such as "v3"."""
        tag = (self.headers.get("ETag") or "").strip('"')
        return int(tag[1:]) if tag[:1] == "v" and tag[1:].isdigit() else None


class Transport:
    """Exchanges with one node. Holds no connection and no state: threads may share it."""

    def __init__(self, addr: str, timeout: float):
        if "://" not in addr:
            addr = "http://" + addr
        parts = urllib.parse.urlsplit(addr)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ArbiterError("the address is scheme, host and port only, like http://127.0.0.1:8080")
        self.addr = f"{parts.scheme}://{parts.netloc}"
        self.timeout = timeout
        # Like the command line it speaks to the node and to no proxy, whatever the environment says.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Optional[bytes] = None,
        content_type: Optional[str] = None,
        query: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> Answer:
        """Performs one request and returns the answer if it is a success."""
        url = self.addr + path
        query = {k: v for k, v in (query or {}).items() if v is not None}
        if query:
            url += "?" + urllib.parse.urlencode(query)
        all_headers: Dict[str, str] = {"User-Agent": USER_AGENT, **(headers or {})}
        if body is not None:
            all_headers["Content-Type"] = content_type or "application/json"
        request = urllib.request.Request(url, data=body, headers=all_headers, method=method)
        try:
            with self._opener.open(request, timeout=timeout or self.timeout) as answer:
                content = answer.read(MAX_ANSWER_BYTES + 1)
                if len(content) > MAX_ANSWER_BYTES:
                    raise ArbiterError(f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB")
                return Answer(answer.status, answer.headers, content)
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise _refused(refusal) from None
        except urllib.error.URLError as err:
            raise Unreachable(self.addr, err.reason) from None
        except (OSError, http.client.HTTPException) as err:
            raise Unreachable(self.addr, err or type(err).__name__) from None

    def send_json(self, method: str, path: str, value: Any, **kwargs: Any) -> Answer:
        """Performs one request with a JSON body."""
        try:
            body = json.dumps(value, allow_nan=False).encode()
        except ValueError:
            raise ArbiterError("JSON has neither NaN nor infinity: leave a missing value out") from None
        return self.send(method, path, body=body, **kwargs)


def _refused(refusal: urllib.error.HTTPError) -> Exception:
    body: Any = None
    if refusal.headers.get_content_type() == "application/problem+json":
        try:
            body = json.loads(refusal.read(4 << 20))
        except (ValueError, OSError, http.client.HTTPException):
            pass
    if not isinstance(body, dict):
        body = {"title": refusal.reason}
    return problem(refusal.code, body, refusal.headers.get("X-Request-Id"))


def segment(text: str) -> str:
    """A path segment: everything but letters, digits and -._~ percent-encoded."""
    # "." and ".." would be taken for steps of the path.
    return urllib.parse.quote(text, safe="") if text not in (".", "..") else text.replace(".", "%2E")
