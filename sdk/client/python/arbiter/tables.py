"""Tables of features as plain lists, whatever they were: DataFrame, array or lists."""

from __future__ import annotations

import csv
import math
from typing import Any, List, Mapping, Optional, Sequence

from .errors import ExportError


def column_names(table: Any) -> Optional[List[str]]:
    """The names of the columns of a DataFrame, None for tables that have none."""
    return [str(c) for c in table.columns] if hasattr(table, "columns") else None


def is_text(column: Any) -> bool:
    """Whether a column of a table holds texts or categories instead of numbers."""
    kind = getattr(getattr(column, "dtype", None), "kind", None)
    if kind is not None and not hasattr(column, "cat"):
        return kind not in "biufcmM"
    return hasattr(column, "cat") or any(isinstance(value, str) for value in column)


def take(table: Any, limit: int) -> Any:
    """At most `limit` rows, evenly spaced, of the kind that the table is."""
    n = len(table)
    if n == 0:
        raise ExportError("the example has no rows: give some that the model was trained on, or tested with")
    if n <= limit:
        return table
    picked = [i * n // limit for i in range(limit)]
    if hasattr(table, "iloc"):
        return table.iloc[picked]
    return table[picked] if hasattr(table, "dtype") else [table[i] for i in picked]


def rows_of(table: Any, codes: Optional[Mapping[str, Sequence[Any]]] = None) -> List[List[float]]:
    """Rows of floats, NaN where a value is missing. A column in `codes` becomes the position of each
    value in its list."""
    if hasattr(table, "columns"):
        columns = [_column(str(name), table[name], (codes or {}).get(str(name))) for name in table.columns]
        return [list(row) for row in zip(*columns)]
    if hasattr(table, "tolist"):
        table = table.tolist()
    return [[_number(value, f"column {i}") for i, value in enumerate(row)] for row in table]


def _column(name: str, values: Any, levels: Optional[Sequence[Any]]) -> List[float]:
    if levels is None:
        if hasattr(values, "to_numpy") and getattr(values.dtype, "kind", "O") in "biuf":
            return [float(value) for value in values.to_numpy().tolist()]
        return [_number(value, name) for value in values.tolist()]
    at = {level: float(i) for i, level in enumerate(levels)}
    # A value that the model has never seen is as good as none; CatBoost takes whole numbers for their texts.
    return [math.nan if _missing(value) else at.get(value, at.get(str(value), math.nan)) for value in values.tolist()]


def _missing(value: Any) -> bool:
    # pandas.NA is neither equal to itself nor a bool.
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))


def _number(value: Any, column: str) -> float:
    if _missing(value):
        return math.nan
    if isinstance(value, (bool, int, float)):
        return float(value)
    try:
        return float(value.item())
    except (AttributeError, TypeError, ValueError):
        raise ExportError(f"{column} has values that are no numbers: give the features as the model sees them, already encoded") from None


def cell(value: float) -> str:
    """The shortest text that reads as the same float; empty when missing."""
    return "" if math.isnan(value) else repr(float(value))


def write_csv(path: Any, header: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    """Writes numbers so that reading gives them back exactly."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            fields = [cell(value) for value in row]
            # A line with nothing in it is no row to CSV readers.
            file.write('""\n') if fields == [""] else writer.writerow(fields)
