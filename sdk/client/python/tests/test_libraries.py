"""The real libraries: what they train, compiled, gives what they give. `make test-python` installs them."""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

import arbiter as ab

from .node import REPOSITORY, NodeTest

try:
    import catboost
    import lightgbm
    import numpy
    import pandas
    import xgboost
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
except ImportError as err:
    raise unittest.SkipTest(f"the libraries are not installed (make test-python installs them): {err}") from None

ATTRIBUTES = ["tenure", "monthlyCharges", "totalCharges", "onlineBackup", "contract"]


def raw_table(n=1500):
    random = numpy.random.default_rng(7)
    tenure = random.integers(0, 72, n)
    raw = pandas.DataFrame({
        "tenure": tenure,
        "monthlyCharges": numpy.round(random.gamma(4, 17, n), 2),
        "totalCharges": numpy.where(tenure == 0, numpy.nan, numpy.round(tenure * random.gamma(4, 17, n), 2)),
        "contract": random.choice(["Month-to-month", "One year", "Two year"], n),
    })  # fmt: skip
    odds = raw.monthlyCharges / 40 - raw.tenure / 20 + (raw.contract == "Month-to-month") - (raw.totalCharges.isna() * 2)
    return raw, (odds + random.logistic(0, 1, n) > 0).astype(int)


class Libraries(NodeTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.raw, cls.y = raw_table()
        cls.X = pandas.get_dummies(cls.raw).astype({c: float for c in ("tenure", "monthlyCharges", "totalCharges")})
        cls.recipes = ab.one_hot_prefixes(cls.raw)
        cls.classes = pandas.cut(cls.raw.monthlyCharges, [0, 50, 80, 1e9], labels=["low", "mid", "high"]).astype(str)

    def proved(self, clf, example=None, **kwargs):
        """Exports and checks."""
        example = self.X if example is None else example
        m = ab.export(clf, "python-model", example=example, **kwargs)
        report = m.check()
        self.assertEqual(report.rows, len(example))
        return m, report

    # XGBoost

    def test_xgboost_classifier_to_a_decision(self):
        clf = xgboost.XGBClassifier(n_estimators=60, max_depth=5).fit(self.X, self.y)
        m, report = self.proved(clf, features=self.recipes, version="1.0.1")
        self.assertEqual(report.margins, len(self.X))
        self.assertLess(report.largest_difference, 1e-6)
        pushed = m.push(self.c, activate=True)
        self.assertEqual((pushed.state, pushed.digest, pushed.features), ("active", m.digest, self.X.shape[1]))

    def test_xgboost_kinds(self):
        values = self.X.to_numpy()
        early = xgboost.XGBClassifier(n_estimators=400, early_stopping_rounds=3, learning_rate=0.5)
        early.fit(self.X[:1000], self.y[:1000], eval_set=[(self.X[1000:], self.y[1000:])], verbose=False)
        self.assertLess(early.best_iteration + 1, early.get_booster().num_boosted_rounds())
        matrix = xgboost.DMatrix(self.X, self.y)
        for name, clf, example in (
            ("early stopping", early, None),
            ("array", xgboost.XGBClassifier(n_estimators=20).fit(values, self.y), values),
            ("lists", xgboost.XGBClassifier(n_estimators=20).fit(values, self.y), values.tolist()),
            ("regressor", xgboost.XGBRegressor(n_estimators=20).fit(self.X, self.raw.monthlyCharges), None),
            ("booster", xgboost.train({"objective": "binary:logistic", "max_depth": 3}, matrix, 20), None),
        ):
            with self.subTest(name):
                self.assertEqual(self.proved(clf, example)[1].margins, len(self.X))

    def test_xgboost_multi_class(self):
        codes = self.classes.map({"high": 0, "low": 1, "mid": 2})
        clf = xgboost.XGBClassifier(n_estimators=10).fit(self.X, codes)
        with self.assertRaisesRegex(ab.ExportError, "choose the one .* of 0, 1, 2"):
            self.proved(clf)
        self.proved(clf, label=2)

    def test_xgboost_categories(self):
        table = self.raw.assign(contract=self.raw.contract.astype("category"))
        clf = xgboost.XGBClassifier(n_estimators=20, enable_categorical=True, max_cat_to_onehot=1).fit(table, self.y)
        self.proved(clf, table)
        turned = table.assign(contract=table.contract.cat.reorder_categories(["Two year", "Month-to-month", "One year"]))
        self.proved(clf, turned)  # the codes are the model's, not the frame's

    # LightGBM

    def test_lightgbm_kinds(self):
        def small(kind, **kwargs):
            return kind(n_estimators=20, verbose=-1, **kwargs)

        for name, clf, kwargs in (
            ("classifier", small(lightgbm.LGBMClassifier).fit(self.X, self.y), {"features": self.recipes}),
            ("booster", small(lightgbm.LGBMClassifier).fit(self.X, self.y).booster_, {}),
            ("regressor", small(lightgbm.LGBMRegressor).fit(self.X, self.raw.monthlyCharges), {}),
            ("array", small(lightgbm.LGBMClassifier).fit(self.X.to_numpy(dtype=float), self.y), {"example": self.X.to_numpy(dtype=float)}),
            ("multi-class", small(lightgbm.LGBMClassifier).fit(self.X, self.classes), {"label": "mid"}),
        ):
            with self.subTest(name):
                self.proved(clf, **kwargs)

    def test_lightgbm_categories(self):
        table = self.raw.assign(contract=self.raw.contract.astype("category"))
        self.proved(lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(table, self.y), table)

    def test_categories_that_are_numbers(self):
        table = self.raw.drop(columns="contract").assign(bill=(self.raw.monthlyCharges // 20 + 3).astype(int).astype("category"))
        self.proved(lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(table, self.y), table)
        self.proved(xgboost.XGBClassifier(n_estimators=20, enable_categorical=True).fit(table, self.y), table)
        table["bill"] = (table.tenure > 20).astype("category")
        with self.assertRaisesRegex(ab.ExportError, "truth values"):
            self.proved(lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(table, self.y), table)

    # CatBoost

    def test_catboost_wants_all_categories(self):
        options = {"iterations": 5, "verbose": 0, "allow_writing_files": False}
        clf = catboost.CatBoostClassifier(one_hot_max_size=9, cat_features=["contract"], **options).fit(self.raw, self.y)
        with self.assertRaisesRegex(ab.ExportError, "all categories of contract"):
            self.proved(clf, self.raw[self.raw.contract != "Two year"])

    def test_catboost_kinds(self):
        options = {"iterations": 20, "verbose": 0, "allow_writing_files": False}
        for name, clf, kwargs in (
            ("classifier", catboost.CatBoostClassifier(**options).fit(self.X, self.y), {"features": self.recipes}),
            ("regressor", catboost.CatBoostRegressor(**options).fit(self.X, self.raw.monthlyCharges), {}),
            ("multi-class", catboost.CatBoostClassifier(**options).fit(self.X, self.classes), {"label": "mid"}),
            ("array", catboost.CatBoostClassifier(**options).fit(self.X.to_numpy(float), self.y), {"example": self.X.to_numpy(float)}),
            ("categories", catboost.CatBoostClassifier(one_hot_max_size=9, cat_features=["contract"], **options).fit(self.raw, self.y), {"example": self.raw}),
        ):
            with self.subTest(name):
                self.proved(clf, **kwargs)

    # scikit-learn

    def text_pipeline(self):
        columns = ColumnTransformer([
            ("numbers", StandardScaler(), ["tenure", "monthlyCharges"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["contract"]),
        ])  # fmt: skip
        return make_pipeline(columns, LogisticRegression()).fit(self.raw.fillna(0), self.y)

    def test_sklearn_kinds(self):
        X = self.X.astype("float32")
        full = X.fillna(0)
        for name, clf, example, kwargs in (
            ("pipeline", make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(X, self.y), X, {"features": self.recipes}),
            ("forest", RandomForestClassifier(10, max_depth=5, random_state=1).fit(full, self.y), full, {}),
            ("boosting", GradientBoostingClassifier(n_estimators=10).fit(full, self.y), full, {}),
            ("network", make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=30, random_state=1)).fit(full, self.y), full, {}),
            ("regression", LinearRegression().fit(full, self.raw.monthlyCharges), full, {}),
            ("columns", make_pipeline(ColumnTransformer([("n", StandardScaler(), ["tenure", "monthlyCharges"])]), LogisticRegression()).fit(full, self.y), full, {}),
            ("texts", self.text_pipeline(), self.raw.fillna(0), {}),
            ("multi-class", LogisticRegression(max_iter=1000).fit(full / 1000, self.classes), full / 1000, {"label": "mid"}),
            ("array", LogisticRegression().fit((full / 1000).to_numpy(), self.y), (full / 1000).to_numpy(), {}),
        ):
            with self.subTest(name):
                self.proved(clf, example, **kwargs)

    def test_sklearn_refusals(self):
        full = self.X.fillna(0)
        with self.assertRaisesRegex(ab.ExportError, "exported alone"):
            self.proved(make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=2)).fit(full, self.y), full)
        table = self.raw.fillna(0)
        coded = make_pipeline(ColumnTransformer([("texts", OrdinalEncoder(), ["contract"])]), LogisticRegression()).fit(table, self.y)
        with self.assertRaises(ab.ExportError):
            self.proved(coded, table)

    # All of them

    def test_columns_in_another_order_are_refused(self):
        turned = self.X[self.X.columns[::-1]]
        for clf in (
            xgboost.XGBClassifier(n_estimators=2).fit(self.X, self.y),
            lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(self.X, self.y),
            catboost.CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False).fit(self.X, self.y),
            LogisticRegression().fit(self.X.fillna(0), self.y),
        ):
            with self.subTest(type(clf).__name__), self.assertRaisesRegex(ab.ExportError, "another order"):
                ab.export(clf, "x", example=turned.fillna(0))

    def test_levels_survive_names_that_lightgbm_changes(self):
        clf = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(self.X, self.y)
        self.assertIn("contract_Two_year", clf.booster_.feature_name())
        document = self.recipes.document(clf.booster_.feature_name(), columns=list(self.X.columns))
        self.assertIn('{"name": "contract_Two_year", "oneHot": {"attribute": "contract", "level": "Two year"}}', document)

    def test_pandas_prefixes(self):
        document = json.loads(self.recipes.document(["tenure", "contract_Two year"]))
        self.assertEqual(document["features"][1], {"name": "contract_Two year", "oneHot": {"attribute": "contract", "level": "Two year"}})
        self.assertEqual(self.recipes.recipes.keys(), {"tenure", "monthlyCharges", "totalCharges"})


class Notebook(NodeTest):
    def test_ends_with_a_decision(self):
        data = Path(os.environ.get("ARBITER_DATA", REPOSITORY.parent / "shared" / "data"))
        table = data / "telco-ibm" / "Telco-Customer-Churn.csv"
        if not table.exists():
            self.skipTest("real data not found: telco-ibm/Telco-Customer-Churn.csv (ARBITER_DATA names its folder)")
        env = {**os.environ, "ARBITER_ADDR": self.c.addr}
        command = [sys.executable, str(REPOSITORY / "examples" / "python" / "churn_notebook.py"), str(table), "--version", "8.0.0"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("7043 of 7043 customers imported", done.stdout)
        self.assertIn("500 customers have the same", done.stdout)
        self.assertIn("by churn 8.0.0", done.stdout)


if __name__ == "__main__":
    unittest.main()
