"""Recipes: how the node makes each feature of a model out of what it knows of a customer.

A recipe is one of these dicts (docs/format/manifest.md has them all), or the name of an attribute:

    {"attribute": "tenure", "default": 0}
    {"attribute": "plan", "levels": ["S", "M", "L"]}
    {"oneHot": {"attribute": "contract", "level": "Two year"}}
    {"bucket": {"attribute": "age", "bounds": [18, 30, 65]}}
    {"log": {"attribute": "totalCharges", "offset": 1}}
    {"ratio": {"attribute": "totalCharges", "by": "tenure"}}
    {"history": {"aggregate": "contacts", "days": 30}}          # accepts, responses (of an outcome), daysSince
    {"context": "temperature"}
    {"actionProperty": "value"}
"""

from __future__ import annotations

import difflib
import json
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, Union

from .errors import ExportError
from .tables import is_text

Recipe = Union[str, Mapping[str, Any]]


class Features:
    """Recipes by feature name, and prefixes of one-hot columns: `Contract_` → `contract` makes
    "Contract_Two year" the one-hot feature of level "Two year" of attribute contract.

    `strict` recipes must belong to features of the model; those that a helper made out of a table need
    not. `a | b` is both, b's where they differ.
    """

    def __init__(
        self,
        recipes: Optional[Mapping[str, Recipe]] = None,
        one_hot_prefixes: Optional[Mapping[str, str]] = None,
        *,
        purpose: Optional[str] = None,
        strict: bool = True,
    ):
        self.recipes: Dict[str, Recipe] = dict(recipes or {})
        self.one_hot_prefixes: Dict[str, str] = dict(one_hot_prefixes or {})
        self.purpose = purpose
        self._required = set(self.recipes) if strict else set()

    def __repr__(self) -> str:
        return f"Features({self.recipes!r}, {self.one_hot_prefixes!r})"

    def __or__(self, other: Union["Features", Mapping[str, Recipe]]) -> "Features":
        other = as_features(other)
        both = Features({**self.recipes, **other.recipes}, {**self.one_hot_prefixes, **other.one_hot_prefixes},
                        purpose=other.purpose or self.purpose, strict=False)  # fmt: skip
        both._required = self._required | other._required
        return both

    def document(self, names: Sequence[str], fallback: Optional[Mapping[str, Recipe]] = None, columns: Optional[Sequence[str]] = None) -> str:
        """The feature file for a model with these features. YAML is a superset of JSON.

        A feature without a recipe here is, in this order: what `fallback` says, a one-hot of the longest
        prefix, the attribute of the same name. `columns` are the names of the same features in the table
        where the library changed them: LightGBM makes "Contract_Two_year" of "Contract_Two year", and the
        level is "Two year" all the same."""
        columns = columns or names
        unknown = sorted(self._required - set(names) - set(columns))
        if unknown:
            raise ExportError("these recipes belong to no feature of the model: " + ", ".join(_near(name, columns) for name in unknown))
        features = [{"name": name, **self._recipe(name, column, fallback or {})} for name, column in zip(names, columns)]
        lines = ",\n".join("    " + json.dumps(feature, ensure_ascii=False) for feature in features)
        purpose = f'  "purpose": {json.dumps(self.purpose)},\n' if self.purpose else ""
        return "{\n" + purpose + '  "features": [\n' + lines + "\n  ]\n}\n"

    def _recipe(self, name: str, column: str, fallback: Mapping[str, Recipe]) -> Mapping[str, Any]:
        recipe = self.recipes.get(column, self.recipes.get(name, fallback.get(name)))
        if recipe is None:
            prefixes = [p for p in self.one_hot_prefixes if column.startswith(p) and len(column) > len(p)]
            if not prefixes:
                return {"attribute": column}
            prefix = max(prefixes, key=len)
            return {"oneHot": {"attribute": self.one_hot_prefixes[prefix], "level": column[len(prefix) :]}}
        return {"attribute": recipe} if isinstance(recipe, str) else recipe


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"{name} (did you mean {near[0]}?)" if near else name


def as_features(value: Union[None, Features, Mapping[str, Any]]) -> Features:
    """Features of a dict of recipes, or of a dict laid out like a feature file."""
    if value is None:
        return Features()
    if isinstance(value, Features):
        return value
    if isinstance(value.get("features"), list) or isinstance(value.get("oneHotPrefixes"), Mapping):
        listed = {f["name"]: {k: v for k, v in f.items() if k != "name"} for f in value.get("features") or []}
        return Features(listed, value.get("oneHotPrefixes"), purpose=value.get("purpose"))
    return Features(value)


def one_hot_prefixes(raw: Any, attributes: Optional[Mapping[str, str]] = None, *, sep: str = "_", purpose: Optional[str] = None) -> Features:
    """The recipes of what `pandas.get_dummies(raw, prefix_sep=sep)` makes of a table.

    `raw` is the table before get_dummies: a DataFrame, or a dict of columns. Every text or category column
    c becomes the prefix "c_", every other column the attribute of its name. `attributes` renames columns to
    the attributes of the node; others keep their names.

        X = pandas.get_dummies(raw)
        m = ab.export(clf, "churn", example=X, features=ab.one_hot_prefixes(raw, {"Contract": "contract"}))
    """
    attributes = attributes or {}
    columns = [str(c) for c in (raw.columns if hasattr(raw, "columns") else raw)]
    unknown = sorted(set(attributes) - set(columns))
    if unknown:
        raise ExportError("attributes renames columns that the table does not have: " + ", ".join(_near(c, columns) for c in unknown))
    recipes: Dict[str, Recipe] = {}
    prefixes: Dict[str, str] = {}
    for column, key in zip(columns, raw.columns if hasattr(raw, "columns") else raw):
        attribute = attributes.get(column, column)
        if is_text(raw[key]):
            prefixes[column + sep] = attribute
        else:
            recipes[column] = {"attribute": attribute}
    return Features(recipes, prefixes, purpose=purpose, strict=False)

