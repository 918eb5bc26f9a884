"""Writes the documents in this folder: scikit-learn, XGBoost and LightGBM models as sklearn2pmml exports
them, with rows (some values missing) and the libraries' own predictions.

    pip install sklearn2pmml==0.133.1 scikit-learn==1.4.2 xgboost==2.1.4 lightgbm==3.3.5 pandas && python generate.py

It needs Java. NAME.pmml.gz is a document, NAME.json its rows and predictions.
"""
import gzip
import json
import os

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, OneHotEncoder, OrdinalEncoder, PolynomialFeatures, RobustScaler, StandardScaler
from sklearn2pmml import sklearn2pmml
from sklearn2pmml.pipeline import PMMLPipeline

rng = np.random.default_rng(3)
n = 800
X = pd.DataFrame({"a": rng.normal(size=n), "b": rng.exponential(size=n) * 10, "c": rng.integers(0, 5, n).astype(float),
                  "s": rng.choice(["red", "green", "blue"], n)})
score = X.a + X.b / 10 - (X.s == "red") * 1.5 + rng.normal(size=n) * 0.3
two, three = (score > score.median()).astype(int), np.where(score > 1, "hi", np.where(score > 0, "mid", "lo"))
numbers = ["a", "b", "c"]
missing = X[numbers].mask(rng.random((n, 3)) < 0.2)


def write(name, model, y, rows, prep=None):
    p = PMMLPipeline(([("prep", prep)] if prep else []) + [("model", model)])
    p.fit(rows, y)
    sklearn2pmml(p, name + ".pmml")
    with open(name + ".pmml", "rb") as plain, gzip.GzipFile(name + ".pmml.gz", "wb", 9, mtime=0) as packed:
        packed.write(plain.read())
    os.remove(name + ".pmml")
    test = rows.sample(60, random_state=1).reset_index(drop=True)
    out = p.predict_proba(test) if hasattr(model, "predict_proba") else p.predict(test)
    json.dump({"rows": json.loads(test.to_json(orient="records", double_precision=15)), "predictions": np.asarray(out).reshape(len(test), -1).tolist(),
               "classes": [str(c) for c in getattr(model, "classes_", [])]}, open(name + ".json", "w"))


mixed = ColumnTransformer([("n", StandardScaler(), numbers), ("s", OneHotEncoder(sparse_output=False), ["s"])])
write("pipeline_imputed", LogisticRegression(), two, missing, make_pipeline(SimpleImputer(), StandardScaler()))
write("pipeline_polynomial", LogisticRegression(max_iter=500), two, X, ColumnTransformer([("p", make_pipeline(MinMaxScaler(), PolynomialFeatures(2)), numbers)]))
write("pipeline_binned", LogisticRegression(), three, X, ColumnTransformer(
    [("k", KBinsDiscretizer(4, encode="ordinal"), ["b"]), ("r", RobustScaler(), ["a"]), ("o", OrdinalEncoder(), ["s"])]))
write("mlp", MLPClassifier((6, 4), activation="tanh", max_iter=200, random_state=1), three, X, mixed)
write("forest", RandomForestClassifier(4, max_depth=4, random_state=1), three, X[numbers])
write("boosting", GradientBoostingClassifier(n_estimators=6, random_state=1), two, X, mixed)
write("histogram_boosting", HistGradientBoostingRegressor(max_iter=4, max_leaf_nodes=12), score, missing)
write("xgboost", xgboost.XGBClassifier(n_estimators=8, max_depth=3), two, missing)
write("lightgbm", lightgbm.LGBMClassifier(n_estimators=4, num_leaves=8, verbose=-1), three, missing)
