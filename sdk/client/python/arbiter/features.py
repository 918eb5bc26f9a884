"""Training tables: features exactly as a model is handed them."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ._http import Transport
from .errors import ArbiterError
from .export import Model
from .recipes import as_features

ROWS_PER_CALL = 500


def feature_rows(transport: Transport, features: Any, rows: Any, *, id: str, action: Optional[str], at: Optional[str],
                 contexts: Sequence[str], type: Optional[str], purpose: Optional[str]) -> Any:  # fmt: skip
    """See Models.features."""
    wanted = _wanted(features, purpose)
    table, index = _records(rows, id)
    asked = [_row(record, id, action, at, contexts, type) for record in table]
    names: List[str] = []
    made: List[List[float]] = []
    for begin in range(0, len(asked), ROWS_PER_CALL):
        answer = transport.send_json("POST", "/v1/features", {**wanted, "rows": asked[begin : begin + ROWS_PER_CALL]}).json()
        names = answer["names"]
        made += [[math.nan] * len(names) if row is None else [math.nan if value is None else value for value in row] for row in answer["rows"]]
    if hasattr(rows, "iloc"):
        import pandas

        return pandas.DataFrame(made, columns=names, index=index, dtype=float)
    return [dict(zip(names, row)) for row in made]


def _wanted(features: Any, purpose: Optional[str]) -> Dict[str, Any]:
    if isinstance(features, Model):
        return {"plugin": features.name, "version": features.version}
    if isinstance(features, str):
        return {"plugin": features}
    if isinstance(features, tuple):
        return dict(zip(("plugin", "version"), features))
    recipes = as_features(features)
    if recipes.one_hot_prefixes:
        raise ArbiterError("one-hot prefixes stand for the levels that a model knows: list the features, or name a model that was pushed")
    listed = [{"name": name, "recipe": {"attribute": r} if isinstance(r, str) else _recipe(r)} for name, r in recipes.recipes.items()]
    wanted: Dict[str, Any] = {"features": listed}
    if purpose or recipes.purpose:
        wanted["purpose"] = purpose or recipes.purpose
    return wanted


def _recipe(recipe: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in recipe.items() if key != "scope"}


def _records(rows: Any, id: str) -> Any:
    """The rows as dicts, and the index of a DataFrame."""
    if hasattr(rows, "iloc"):
        return rows.to_dict("records"), rows.index
    return [row if isinstance(row, Mapping) else {id: row} for row in rows], None


def _row(record: Mapping[str, Any], id: str, action: Optional[str], at: Optional[str], contexts: Sequence[str], type: Optional[str]) -> Dict[str, Any]:
    for column in (id, action, at, *contexts):
        if column is not None and column not in record:
            raise ArbiterError(f"the rows have no column {column}")
    row: Dict[str, Any] = {"subject": {"id": str(record[id])}}
    if type:
        row["subject"]["type"] = type
    if action:
        row["action"] = record[action]
    if at:
        moment = record[at]
        row["at"] = moment if isinstance(moment, str) else _rfc3339(moment)
    values = [{"key": key, "value": str(record[key])} for key in contexts if record[key] is not None and record[key] == record[key]]
    if values:
        row["contexts"] = values
    return row


def _rfc3339(moment: Any) -> str:
    text = moment.isoformat()
    return text if moment.tzinfo is not None else text + "Z"
