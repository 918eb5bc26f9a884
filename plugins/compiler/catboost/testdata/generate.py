"""Writes the reference models in this folder: small CatBoost models of every kind that is read, with rows
on, just above and just below the borders, and the library's own raw values and predictions.

    pip install catboost==1.2.10 && python generate.py

Each NAME.json.gz is a model, each NAME.rows.json its rows with 17 digits.
"""
import gzip
import json
import math
import os

import numpy as np
from catboost import CatBoost, Pool

rng = np.random.default_rng(11)
CITIES = ["Riga", "Oslo", "a", "", "Rio de Janeiro", "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch",
          "a category of between 16 and 32", "München", "x" * 64, "y" * 65, "z" * 130, "twelve bytes"]


def table(n, missing=False, cities=False):
    x = rng.normal(size=(n, 4)).astype(np.float32)
    if missing:
        x[rng.random(x.shape) < 0.2] = np.nan
    if not cities:
        return x.tolist()
    return [row + [CITIES[rng.integers(len(CITIES))], str(rng.integers(3))] for row in x.tolist()]


def target(rows, kind):
    s = np.array([sum(v for v in r if isinstance(v, float) and not math.isnan(v)) + (len(r[4]) % 7 if len(r) > 4 else 0) for r in rows])
    if kind == "class":
        return (s > np.median(s)).astype(int)
    if kind == "words":
        return np.where(s > 1, "gold", np.where(s > -1, "silver", "bronze"))
    if kind == "count":
        return rng.poisson(np.exp(np.clip(s / 3, -3, 2)))
    if kind == "two":
        return np.stack([s, s * s], axis=1)
    return s + 100


def borders(model):
    info = json.load(open(model))["features_info"]["float_features"]
    return [f["borders"] or [0.0] for f in info]


def write(name, kind, missing=False, cities=False, names=None, pool_in_file=False, scale=None, **params):
    rows = table(600, missing, cities)
    cats = [4, 5] if cities else None
    pool = Pool(rows, target(rows, kind), cat_features=cats, feature_names=names)
    model = CatBoost(dict(iterations=6, depth=4, random_seed=1, verbose=0, thread_count=1, allow_writing_files=False,
                          border_count=16, one_hot_max_size=64, **params))
    model.fit(pool)
    if scale:
        model.set_scale_and_bias(*scale)
    model.save_model(name + ".json", format="json", pool=pool if pool_in_file else None)
    test = table(60, missing, cities)
    for row, on in zip(test, range(60)):
        f = on % 4
        b = np.float32(rng.choice(borders(name + ".json")[f]))
        up, down = [b if abs(b) > 3e38 else np.nextafter(b, np.float32(to)) for to in (np.inf, -np.inf)]
        row[f] = float([b, up, down, np.float32(np.nan)][on // 4 % (4 if missing else 3)])
        if cities and on % 10 == 9:
            row[4] = "a city never seen"
    pool = Pool(test, cat_features=cats, feature_names=names)
    raw = model.predict(pool, prediction_type="RawFormulaVal")
    out = {"rows": [[None if isinstance(v, float) and math.isnan(v) else v for v in r] for r in test], "raw": np.atleast_2d(raw.T).T.tolist()}
    predictions = {"Logloss": "Probability", "MultiClass": "Probability", "MultiClassOneVsAll": "Probability", "Poisson": "Exponent"}
    loss = params["loss_function"].split(":")[0]
    if loss in predictions:
        p = model.predict(pool, prediction_type=predictions[loss])
        out["prediction"] = np.atleast_2d(p.T).T.tolist()
    json.dump(out, open(name + ".rows.json", "w"))
    with open(name + ".json", "rb") as plain, gzip.GzipFile(name + ".json.gz", "wb", 9, mtime=0) as packed:
        packed.write(plain.read())
    os.remove(name + ".json")


write("named", "class", cities=True, names=["w1", "w2", "w3", "w4", "city", "lines"], pool_in_file=True, loss_function="Logloss")
write("hashed", "class", cities=True, loss_function="Logloss")
write("multiclass_lossguide", "words", missing=True, grow_policy="Lossguide", loss_function="MultiClass")
write("onevsall", "words", loss_function="MultiClassOneVsAll")
write("poisson", "count", grow_policy="Depthwise", loss_function="Poisson")
write("rmse_scaled", "number", scale=(0.37, 12.625), loss_function="RMSE")
write("quantile_missing_max", "number", missing=True, nan_mode="Max", grow_policy="Depthwise", loss_function="Quantile:alpha=0.7")
write("multirmse", "two", loss_function="MultiRMSE")
write("uncertainty", "number", loss_function="RMSEWithUncertainty", posterior_sampling=False)
