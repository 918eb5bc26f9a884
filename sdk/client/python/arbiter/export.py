"""From a trained model object to a checked plugin: `ab.export`."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Union

from . import libraries, tables
from .errors import CompileError, ExportError, ModelMismatch
from .program import find_program, run
from .recipes import Features, Recipe, as_features
from .records import Record

GOLDEN_ROWS = 2000


class CheckReport(Record):
    """What `check` found: `rows` scored, `margins` and `scores` compared, `largest_difference` of the
    outputs."""

    @property
    def largest_difference(self) -> float:
        """The largest absolute difference of an output; raw scores are equal bit for bit."""
        return self["largestDifference"]

    def __str__(self) -> str:
        text = f"{self['rows']} rows of {self['name']} {self['version']} scored in the sandbox: "
        if self["margins"]:
            text += f"{self['margins']} raw scores equal bit for bit; "
        return text + f"outputs differ by {self.largest_difference:.2g} at most"


class Model:
    """A compiled model with the rows it was checked on, as files in `folder`.

    `module` is the WebAssembly plugin, `wasm` its path, `source` the library's own file, `rows` and
    `expected` the golden rows: features, and what the library makes of them.
    """

    def __init__(self, folder: Path, summary: Mapping[str, Any], files: Mapping[str, Path], tolerance: Optional[float],
                 program: str):  # fmt: skip
        self.folder = folder
        self.summary = Record(summary)
        self.wasm, self.source, self.rows, self.expected, self.features = (
            files[name] for name in ("wasm", "source", "rows", "expected", "features")
        )
        self._tolerance, self._program = tolerance, program

    def __repr__(self) -> str:
        return f"<{self.name} {self.version}, {len(self.summary['features'])} features, {self.digest[:19]}…>"

    @property
    def name(self) -> str:
        """Name of the plugin."""
        return self.summary["name"]

    @property
    def version(self) -> str:
        """Version of the plugin."""
        return self.summary["version"]

    @property
    def digest(self) -> str:
        """sha256:… over the whole module: what every proposition it scores will name."""
        return self.summary["digest"]

    @property
    def module(self) -> bytes:
        """The plugin."""
        return self.wasm.read_bytes()

    def check(self) -> CheckReport:
        """Scores the golden rows in the sandbox, as a node does, and compares them with what the library
        gave. Raises ModelMismatch at the first row that differs."""
        args = ["model", "check", str(self.wasm), "--rows", str(self.rows), "--expected", str(self.expected), "-o", "json"]
        if self._tolerance is not None:
            args += ["--tolerance", repr(self._tolerance)]
        done = run(args, program=self._program)
        if done.code != 0:
            raise ModelMismatch(done.message)
        return CheckReport(json.loads(done.stdout))

    def push(self, client: Any, *, activate: bool = False) -> Record:
        """`client.models.push(self)`."""
        return client.models.push(self, activate=activate)


def export(
    clf: Any,
    name: str,
    version: str = "1.0.0",
    example: Any = None,
    features: Union[None, str, "os.PathLike[str]", Features, Mapping[str, Any]] = None,
    path: Union[None, str, "os.PathLike[str]"] = None,
    *,
    label: Any = None,
    purpose: Optional[str] = None,
    rows: int = GOLDEN_ROWS,
) -> Model:
    """Compiles a trained model into a plugin, and proves it on `example`.

    `clf` is an object of XGBoost, LightGBM, CatBoost or scikit-learn. The library saves its own file
    and scores the rows of `example` (a DataFrame or array as the model takes it; at most `rows` of
    them, evenly spaced); `arbiter model compile` turns the file into WebAssembly, compares every row,
    and puts some of them into the plugin, where every node checks them again.

    `features` tells how a node makes the features: recipes by feature name, `ab.Features`,
    `ab.one_hot_prefixes(raw)`, or the path of a feature file; a feature without a recipe is the attribute
    of its name. `label` picks the class whose probability is the score of a model of several classes.
    `path` is the folder for all files; by default they last as long as the returned model.

        m = ab.export(clf, "churn", "1.1.0", example=X)
        print(m.check())
        m.push(client, activate=True)

    Raises ExportError or CompileError with the reason and the remedy.
    """
    if example is None:
        raise ExportError("example is missing: give rows that the model was trained on, or tested with; they prove the compiled model")
    program = find_program()
    if path is not None:
        Path(path).mkdir(parents=True, exist_ok=True)
        return _export(clf, name, version, example, features, Path(path), label, purpose, rows, program)
    folder = tempfile.mkdtemp(prefix="arbiter-model-")
    try:
        model = _export(clf, name, version, example, features, Path(folder), label, purpose, rows, program)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return model


def _export(clf: Any, name: str, version: str, example: Any, features: Any, folder: Path, label: Any, purpose: Optional[str],
            rows: int, program: str) -> Model:  # fmt: skip
    sample = tables.take(example, rows)
    saved = libraries.save(clf, folder, name, sample, label, example)
    files = {"source": saved.file, "rows": folder / f"{name}.rows.csv", "expected": folder / f"{name}.expected.csv",
             "features": folder / f"{name}.features.yaml", "wasm": folder / f"{name}.wasm"}  # fmt: skip
    _write_golden(files, saved)
    _write_features(files["features"], features, saved, purpose)

    args = ["model", "compile", str(saved.file), "--name", name, "--version", version, "--features", str(files["features"]),
            "--golden", str(files["rows"]), "--golden-expected", str(files["expected"]), "-o", str(files["wasm"]), "--output", "json"]  # fmt: skip
    if purpose:
        args += ["--purpose", purpose]
    if saved.label is not None:
        args += ["--class", saved.label]
    done = run(args, program=program)
    if done.code != 0:
        raise CompileError(done.message)
    return Model(folder, json.loads(done.stdout), files, saved.tolerance, program)


def _write_golden(files: Mapping[str, Path], saved: "libraries.Saved") -> None:
    """Writes the rows and what the library makes of them."""
    tables.write_csv(files["rows"], saved.names, saved.rows)
    columns: Dict[str, Sequence[float]] = {n: c for n, c in (("margin", saved.margins), ("prob", saved.outputs)) if c is not None}
    tables.write_csv(files["expected"], list(columns), list(zip(*columns.values())))


def _write_features(file: Path, given: Any, saved: "libraries.Saved", purpose: Optional[str]) -> None:
    if isinstance(given, (str, os.PathLike)):
        file.write_bytes(Path(given).read_bytes())
        return
    recipes = as_features(given)
    fallback: Mapping[str, Recipe] = {
        name: {"attribute": column, "levels": [str(level) for level in saved.levels[name]]}
        for name, column in zip(saved.names, saved.columns)
        if name in saved.levels
    }
    document = recipes.document(saved.names, fallback, saved.columns)
    file.write_text(document, encoding="utf-8")
