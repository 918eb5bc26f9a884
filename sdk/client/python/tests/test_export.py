"""The way from a model object to a scored decision, with a stand-in for the library: it saves the demo's
model file and gives the outputs that XGBoost gave. Needs the standard library only."""

import csv
import math
import os
import shutil
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

import arbiter as ab
from arbiter import program, tables
from arbiter.recipes import as_features

from .node import EXAMPLES, NodeTest, use_program

MODEL = EXAMPLES / "model"


def read(name):
    with open(MODEL / name, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, [[float(cell) if cell else math.nan for cell in row] for row in rows]


class Column(list):
    """As much of an array as the export looks at."""

    ndim = 1

    @property
    def shape(self):
        return (len(self),)

    def reshape(self, _):
        return self


class Table:
    """As much of a DataFrame as the export looks at."""

    def __init__(self, names, rows):
        self.columns, self._rows = list(names), rows

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, name):
        i = self.columns.index(name)
        return types.SimpleNamespace(tolist=lambda: [row[i] for row in self._rows], dtype=types.SimpleNamespace(kind="f"))


class Booster:
    best_iteration = None
    feature_types = None

    def __init__(self):
        self.feature_names, self.rows = read("churn.rows.csv")
        header, expected = read("churn.expected.csv")
        self.margins, self.probs = (Column(row[header.index(n)] for row in expected) for n in ("margin", "prob"))

    def predict(self, _, output_margin=False):
        return self.margins if output_margin else self.probs

    def save_model(self, path):
        shutil.copy(MODEL / "churn.xgb.json", path)


Booster.__module__ = "xgboost.core"


def stand_in():
    return mock.patch.dict(sys.modules, {"xgboost": types.SimpleNamespace(Booster=Booster, DMatrix=lambda *_, **__: None)})


class Export(NodeTest):
    def export(self, booster, **kwargs):
        with stand_in():
            return ab.export(booster, example=Table(booster.feature_names, booster.rows), **{"features": MODEL / "features.yaml", **kwargs})

    def test_export_check_push_activate_decide(self):
        with tempfile.TemporaryDirectory() as folder:
            m = self.export(Booster(), name="churn", version="7.1.0", path=folder)
            self.assertEqual(sorted(p.name for p in Path(folder).iterdir()),
                             ["churn.expected.csv", "churn.features.yaml", "churn.rows.csv", "churn.wasm", "churn.xgb.json"])  # fmt: skip
            report = m.check()
            self.assertEqual(report.rows, len(Booster().rows))
            self.assertEqual(report.margins, report.rows)
            self.assertLess(report.largest_difference, 1e-6)
            self.assertIn("equal bit for bit", str(report))
            pushed = m.push(self.c)
            self.assertEqual((pushed.digest, pushed.state), (m.digest, "staged"))
            before = self.c.models.list("churn")
            self.assertEqual(self.c.models.activate(m).state, "active")
            d = self.c.decide("S-000001", "web", explain="full", simulate=True)
            used = {i.model.digest for i in d.offers() if "model" in i} | {i.model.digest for i in d.explanation.candidates if "model" in i}
            self.assertEqual(used, {m.digest})
            old = next(v for v in before if v.state == "active")
            self.c.models.activate(old.name, old.version)
        with self.assertRaises(ab.Conflict):  # a version is one artifact for ever
            self.c.models.push(self.export(Booster(), name="churn", version="7.1.0", purpose="marketing"))

    def test_a_library_that_says_otherwise_is_found(self):
        b = Booster()
        b.margins[3] = math.nextafter(b.margins[3], 9) if hasattr(math, "nextafter") else b.margins[3] * 1.000001
        b.margins[3] += 1e-6
        with self.assertRaisesRegex(ab.CompileError, "margin"):
            self.export(b, name="churn")
        m = self.export(Booster(), name="churn")
        text = m.expected.read_text().splitlines()
        text[4] = "0.5," + text[4].partition(",")[2]
        m.expected.write_text("\n".join(text) + "\n")
        with self.assertRaisesRegex(ab.ModelMismatch, "row 4"):
            m.check()

    def test_recipes_that_do_not_fit_are_named(self):
        with self.assertRaisesRegex(ab.ExportError, "tenur .did you mean tenure"):
            self.export(Booster(), name="churn", features={"tenur": "tenure"})
        with self.assertRaisesRegex(ab.CompileError, "unknown key"):
            self.export(Booster(), name="churn", features={"tenure": {"atribute": "tenure"}})
        prefixes = {"contract": ["a"], "paymentMethod": ["b"], "tenure": [1.0]}
        m = self.export(Booster(), name="churn", features=ab.one_hot_prefixes(prefixes) | {"tenure": {"attribute": "tenure", "default": 0}})
        made = {f["name"]: f for f in m.summary["features"]}
        self.assertIn("Two year", str(made["contract_Two year"]))
        # What has no recipe is the attribute of its name, and the node knows no such attribute.
        with self.assertRaises(ab.Problem) as caught:
            self.c.models.push(m, activate=True)
        self.assertIn("onlineBackup", str(caught.exception))

    def test_other_columns_are_refused(self):
        b = Booster()
        with stand_in(), self.assertRaisesRegex(ab.ExportError, "another order"):
            ab.export(b, "churn", example=Table(b.feature_names[::-1], b.rows))
        with self.assertRaisesRegex(ab.ExportError, "example is missing"):
            ab.export(b, "churn")
        with self.assertRaisesRegex(ab.ExportError, "not an object of"):
            ab.export(object(), "churn", example=[[1.0]])


class Recipes(unittest.TestCase):
    def test_one_hot_prefixes(self):
        f = ab.one_hot_prefixes({"Contract": ["Two year"], "tenure": [3], "Plan": ["x"], "Plan_B": ["y"]}, {"Contract": "contract"})
        text = f.document(["tenure", "Contract_Two year", "Plan_B_y", "Plan_x", "Other"])
        made = __import__("json").loads(text)["features"]
        self.assertEqual(made, [
            {"name": "tenure", "attribute": "tenure"},
            {"name": "Contract_Two year", "oneHot": {"attribute": "contract", "level": "Two year"}},
            {"name": "Plan_B_y", "oneHot": {"attribute": "Plan_B", "level": "y"}},
            {"name": "Plan_x", "oneHot": {"attribute": "Plan", "level": "x"}},
            {"name": "Other", "attribute": "Other"},
        ])  # fmt: skip
        with self.assertRaisesRegex(ab.ExportError, "did you mean Contract"):
            ab.one_hot_prefixes({"Contract": ["x"]}, {"Contrat": "contract"})

    def test_a_dict_like_a_feature_file(self):
        f = as_features({"purpose": "marketing", "features": [{"name": "a", "context": "t"}], "oneHotPrefixes": {"b_": "b"}})
        self.assertEqual((f.recipes, f.one_hot_prefixes, f.purpose), ({"a": {"context": "t"}}, {"b_": "b"}, "marketing"))


class Tables(unittest.TestCase):
    def test_numbers_survive_the_file(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "x.csv")
            values = [0.1, -0.0, 5e-324, 1e308, math.inf, 3.0]
            tables.write_csv(file, ['a,"b"'], [[v] for v in values] + [[math.nan]])
            with open(file, newline="") as f:
                header, *rows = csv.reader(f)
        self.assertEqual(header, ['a,"b"'])
        self.assertEqual([float(r[0]) for r in rows[:-1]], values)
        self.assertEqual(rows[-1], [""])

    def test_text_is_no_feature(self):
        with self.assertRaisesRegex(ab.ExportError, "already encoded"):
            tables.rows_of([["x"]])


class Program(unittest.TestCase):
    def test_where_it_is_looked_for(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"PATH": folder}):
            with mock.patch.dict(os.environ, {"ARBITER_BIN": os.path.join(folder, "absent")}), self.assertRaises(ab.ProgramNotFound):
                program.find_program()
            os.environ.pop("ARBITER_BIN", None)
            here = os.getcwd()
            try:
                os.chdir(folder)
                with self.assertRaises(ab.ProgramNotFound):
                    program.find_program()
                os.mkdir("bin")
                built = Path("bin", "arbiter")
                built.touch(mode=0o755)
                self.assertEqual(Path(program.find_program()), built.resolve())
            finally:
                os.chdir(here)


if __name__ == "__main__":
    use_program()
    unittest.main()
