"""Imports in pieces: the API takes 32 MiB a request, files are larger."""

from __future__ import annotations

import io
import json
import os
import secrets
from typing import Any, BinaryIO, Iterator, List, Optional, Tuple

from ._http import Transport
from .errors import ArbiterError, Unreachable, problem
from .records import ImportResult, Record

PIECE_BYTES = 8 << 20
PIECE_LINES = 10_000  # the node lists no more bad lines than 100,000 in one answer
MAX_RECORD_BYTES = 1 << 20
_TYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
_COUNTS = ("read", "accepted", "rejected", "blank", "duplicates", "bytes")


def format_of(path: Any, given: Optional[str]) -> str:
    """csv or ndjson, as given or as the name of the file tells."""
    if given is None:
        name = os.fspath(path).lower()
        given = "ndjson" if name.endswith((".ndjson", ".jsonl")) else "csv" if name.endswith(".csv") else ""
    if given not in _TYPES:
        raise ArbiterError('the name does not tell the format: give format="csv" or format="ndjson"')
    return given


def mapping_text(mapping: Any) -> Optional[bytes]:
    """The mapping document: text has a line break, a path has none."""
    if mapping is None or isinstance(mapping, bytes):
        return mapping
    if isinstance(mapping, str) and "\n" in mapping:
        return mapping.encode()
    with open(mapping, "rb") as file:
        return file.read()


def _records(file: BinaryIO, csv: bool) -> Iterator[Tuple[bytes, int]]:
    """Whole records and the lines each spans. An odd number of quotes leaves a CSV record open."""
    record, lines, quotes = b"", 0, 0
    for line in file:
        record += line
        lines += 1
        quotes += line.count(b'"') if csv else 0
        if len(record) > MAX_RECORD_BYTES:
            raise ArbiterError(f"a record is larger than {MAX_RECORD_BYTES >> 20} MiB; is there a quote that is never closed?")
        if quotes % 2 == 0:
            yield record, lines
            record, lines, quotes = b"", 0, 0
    if record:
        yield record, lines


def pieces(file: BinaryIO, csv: bool) -> Iterator[Tuple[bytes, int]]:
    """Pieces to send, and the number in the file of the first line of each. Every CSV piece begins with
    the header, which takes the place of as many lines of the piece before."""
    header, header_lines, piece, piece_lines, first = b"", 0, [], 0, 1
    size = 0
    for record, lines in _records(file, csv):
        if csv and not header_lines:
            header, header_lines = record.rstrip(b"\r\n") + b"\n", lines
            continue
        piece.append(record)
        piece_lines += lines
        size += len(record)
        if size >= PIECE_BYTES or piece_lines >= PIECE_LINES:
            yield header + b"".join(piece), first
            first, piece, piece_lines, size = first + piece_lines, [], 0, 0
    if piece or (csv and first == 1):
        yield header + b"".join(piece), first


def _form(mapping: bytes, content_type: str, piece: bytes) -> Tuple[str, bytes]:
    boundary = "arbiter-" + secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="mapping"; filename="mapping.yaml"\r\nContent-Type: application/yaml\r\n\r\n'
    ).encode()
    middle = (
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="subjects"\r\nContent-Type: {content_type}\r\n\r\n'
    ).encode()
    return f"multipart/form-data; boundary={boundary}", head + mapping + middle + piece + f"\r\n--{boundary}--\r\n".encode()


def _send(transport: Transport, piece: bytes, content_type: str, mapping: Optional[bytes], first: int) -> Tuple[Record, List[Record]]:
    body = piece
    if mapping is not None:
        content_type, body = _form(mapping, content_type, piece)
    answer = transport.send("POST", "/v1/subjects/import", body=body, content_type=content_type,
                            query={"firstLine": first if first > 1 else None}, timeout=max(transport.timeout, 300))  # fmt: skip
    lines: List[Record] = []
    for text in answer.body.splitlines():
        value = json.loads(text, object_hook=Record)
        if "problem" in value:
            early = problem(value["problem"].get("status", 500), value["problem"])
            early.summary = value.get("summary")
            raise early
        if "summary" in value:
            return value["summary"], lines
        lines.append(value)
    raise Unreachable(transport.addr, "the answer ended before its summary")


def run(transport: Transport, file: BinaryIO, format: str, mapping: Optional[bytes]) -> ImportResult:
    """Sends a file piece by piece."""
    result = ImportResult({name: 0 for name in _COUNTS}, lines=[])
    for piece, first in pieces(file, format == "csv"):
        summary, lines = _send(transport, piece, _TYPES[format], mapping, first)
        for name in _COUNTS:
            result[name] += summary[name]
        result["lines"] += lines
    return result


def run_rows(transport: Transport, rows: Any, mapping: Optional[bytes]) -> ImportResult:
    """Sends a DataFrame as CSV, or subject documents as NDJSON."""
    if hasattr(rows, "to_csv"):
        return run(transport, io.BytesIO(rows.to_csv(index=False).encode()), "csv", mapping)
    lines = b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows)
    return run(transport, io.BytesIO(lines), "ndjson", mapping)
