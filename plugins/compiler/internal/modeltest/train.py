"""Trains models with the installed LightGBM and XGBoost and writes what the libraries score.

    python3 train.py FOLDER

needs lightgbm, xgboost, numpy and pandas from PyPI. For each model it writes NAME.model (or NAME.json
and NAME.ubj), NAME.rows.csv with rows on and beside the thresholds, NAME.raw.csv with raw scores and
NAME.pred.csv with predictions, all with 17 digits. TestTrainedModels of the packages lightgbm and
xgboost reads them from the folder that ARBITER_TRAINED_MODELS names.
"""

import json
import pathlib
import re
import sys

import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb

folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(5)
N = 2000


def data(n):
    x = np.column_stack([
        np.round(rng.lognormal(3, 0.6, n), 2),
        rng.integers(0, 12, n),
        rng.exponential(20, n) * (rng.random(n) < 0.7),
        rng.normal(size=n),
        rng.integers(0, 40, n),
        rng.integers(0, 5, n),
    ]).astype(float)
    x[rng.random(n) < 0.15, 3] = np.nan
    return x


X = data(N)
score = np.where(np.isnan(X[:, 3]), 0.3, X[:, 3]) + 0.05 * X[:, 1] - 0.02 * X[:, 0] + 0.3 * (X[:, 4] % 7 == 3) + 0.4 * (X[:, 5] == 2)
noise = rng.normal(size=N) * 0.4
binary = (score + noise > 0).astype(int)
classes = np.digitize(score + noise, [-0.5, 0.5])
value = score * 3 + noise
positive = np.exp(score + noise)


def write(name, rows, raw, pred):
    for ext, table in (("rows", rows), ("raw", raw), ("pred", pred)):
        table = np.asarray(table, dtype=float)
        np.savetxt(folder / f"{name}.{ext}.csv", table.reshape(len(table), -1), delimiter=",", fmt="%.17g")


def boundaries(thresholds, narrow):
    """Rows in which one value lies on, just above or just below a threshold."""
    rows = data(400)
    for i, (feature, t) in enumerate(thresholds[rng.permutation(len(thresholds))[:400]] if len(thresholds) else []):
        kind = float if not narrow else np.float32
        with np.errstate(all="ignore"):
            near = [kind(t), np.nextafter(kind(t), kind(np.inf)), np.nextafter(kind(t), kind(-np.inf)), float(np.float32(t)), np.nan, 0.0, -0.0, 1e-36, -1e-36, 1e30]
        rows[i % 400, int(feature)] = float(near[i % len(near)])
    return rows


def lgb_thresholds(text):
    out = []
    for block in text.split("Tree=")[1:]:
        get = lambda key: (re.search(rf"^{key}=(.*)$", block, re.M) or [None, ""])[1].split()
        for feature, t, kind in zip(get("split_feature"), get("threshold"), get("decision_type")):
            if not int(kind) & 1:
                out.append((int(feature), float(t)))
    return np.array(out, dtype=float).reshape(-1, 2)


def tolerant(train):
    """Goes on where an older library cannot train a model, and takes away what it left of it."""
    def run(name, *args, **more):
        try:
            train(name, *args, **more)
        except Exception as e:
            print(f"left out {name}: {type(e).__name__}: {str(e).strip().splitlines()[0] if str(e) else ''}"[:160])
            for path in folder.glob(f"{name}.*"):
                path.unlink()
    return run


@tolerant
def train_lgb(name, params, label, rounds=30, frame=None, codes=None, **more):
    base = dict(verbosity=-1, num_leaves=15, num_threads=2, seed=1, min_data_in_leaf=5)
    base.update(params)
    train = lgb.Dataset(X if frame is None else frame, label=label, params=base, free_raw_data=False, **more)
    booster = lgb.train(base, train, num_boost_round=rounds)
    booster.save_model(str(folder / f"{name}.model"))
    booster = lgb.Booster(model_file=str(folder / f"{name}.model"))
    if frame is None:
        rows = boundaries(lgb_thresholds((folder / f"{name}.model").read_text()), False)
        given = rows
    else:
        given, rows = frame.iloc[:400], codes[:400]
    write(name, rows, booster.predict(given, raw_score=True), booster.predict(given))


@tolerant
def train_xgb(name, params, label, rounds=20, frame=None, codes=None, **more):
    base = dict(max_depth=4, nthread=2, seed=1, eta=0.3)
    base.update(params)
    d = xgb.DMatrix(X if frame is None else frame, label=label, enable_categorical=frame is not None, **more)
    if params.get("objective") == "survival:aft":
        d.set_float_info("label_lower_bound", label)
        d.set_float_info("label_upper_bound", label)
    booster = xgb.train(base, d, num_boost_round=rounds)
    booster.save_model(str(folder / f"{name}.json"))
    booster.save_model(str(folder / f"{name}.ubj"))
    booster = xgb.Booster(model_file=str(folder / f"{name}.json"))
    if frame is None:
        thresholds = []
        model = json.loads((folder / f"{name}.json").read_text())["learner"]["gradient_booster"]
        for tree in model.get("model", model.get("gbtree", {}).get("model", {})).get("trees", []):
            for left, feature, t in zip(tree["left_children"], tree["split_indices"], tree["split_conditions"]):
                if left != -1:
                    thresholds.append((feature, t))
        rows = boundaries(np.array(thresholds, dtype=float).reshape(-1, 2), True)
        rows[np.isinf(rows)] = 0
        given = xgb.DMatrix(rows, feature_types=more.get("feature_types"), enable_categorical="feature_types" in more)
    else:
        given, rows = xgb.DMatrix(frame.iloc[:400], enable_categorical=True), codes[:400]
    pred = booster.predict(given)
    if params.get("objective") == "multi:softmax":
        pred = None
    raw = booster.predict(given, output_margin=True)
    write(name, rows, raw, pred if pred is not None else np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True))


def frames():
    """A data frame with categories, and its rows as a module gets them: codes for texts, else numbers."""
    plan = np.array(["S", "M", "L", "XL", "ä,\"b\""])[X[:, 5].astype(int)]
    months = np.array([12.0, 24.0, 6.0, 1.0])[rng.integers(0, 4, N)]
    frame = pd.DataFrame({"plan": pd.Categorical(plan), "spend": X[:, 0], "months": pd.Categorical(months.astype(int)), "trend": X[:, 3]})
    frame.loc[rng.random(N) < 0.05, "plan"] = np.nan
    rows = np.column_stack([frame["plan"].cat.codes.astype(float), X[:, 0], months, X[:, 3]])
    rows[rows[:, 0] < 0, 0] = np.nan
    return frame, rows


def main():
    folder.mkdir(parents=True, exist_ok=True)
    group = [50] * (N // 50)
    for objective in ("binary", "cross_entropy", "cross_entropy_lambda"):
        train_lgb(f"lgb_{objective}", dict(objective=objective), binary)
    train_lgb("lgb_sigmoid", dict(objective="binary", sigmoid=0.7), binary)
    train_lgb("lgb_multiclass", dict(objective="multiclass", num_class=3), classes)
    train_lgb("lgb_multiclassova", dict(objective="multiclassova", num_class=3, sigmoid=1.3), classes)
    for objective in ("regression", "regression_l1", "huber", "fair", "quantile", "mape"):
        train_lgb(f"lgb_{objective}", dict(objective=objective), value)
    train_lgb("lgb_sqrt", dict(objective="regression", reg_sqrt=True), value)
    for objective in ("poisson", "gamma", "tweedie"):
        train_lgb(f"lgb_{objective}", dict(objective=objective), positive)
    for objective in ("lambdarank", "rank_xendcg"):
        train_lgb(f"lgb_{objective}", dict(objective=objective), classes, group=group)
    forest = dict(boosting="rf", bagging_freq=1, bagging_fraction=0.7)
    train_lgb("lgb_rf_multiclass", dict(objective="multiclass", num_class=3, **forest), classes)
    train_lgb("lgb_rf_poisson", dict(objective="poisson", **forest), positive)
    train_lgb("lgb_dart_multiclass", dict(objective="multiclass", num_class=3, boosting="dart"), classes)
    train_lgb("lgb_linear", dict(objective="regression", linear_tree=True), value)
    train_lgb("lgb_linear_binary", dict(objective="binary", linear_tree=True), binary)
    train_lgb("lgb_linear_cat", dict(objective="binary", linear_tree=True), binary, categorical_feature=[4, 5])
    train_lgb("lgb_cat", dict(objective="binary", min_data_per_group=5, cat_smooth=1), binary, categorical_feature=[1, 4, 5])
    train_lgb("lgb_zero_as_missing", dict(objective="binary", zero_as_missing=True), binary)
    train_lgb("lgb_no_missing", dict(objective="binary", use_missing=False), binary)
    train_lgb("lgb_custom", dict(objective=lambda p, d: (p - d.get_label(), np.ones_like(p))), value)
    frame, codes = frames()
    train_lgb("lgb_pandas", dict(objective="binary", min_data_per_group=5, cat_smooth=1), binary, frame=frame, codes=codes)

    for objective in ("binary:logistic", "binary:logitraw", "binary:hinge", "reg:logistic", "rank:pairwise"):
        more = dict(group=group) if objective.startswith("rank") else {}
        train_xgb("xgb_" + objective.replace(":", "_"), dict(objective=objective), binary, **more)
    for objective in ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror"):
        train_xgb("xgb_" + objective.replace(":", "_"), dict(objective=objective), value)
    for objective in ("count:poisson", "reg:gamma", "reg:tweedie", "reg:squaredlogerror", "survival:cox", "survival:aft"):
        train_xgb("xgb_" + objective.replace(":", "_"), dict(objective=objective), positive)
    train_xgb("xgb_base", dict(objective="binary:logistic", base_score=0.2), binary)
    train_xgb("xgb_softprob", dict(objective="multi:softprob", num_class=3), classes)
    train_xgb("xgb_forest", dict(objective="multi:softprob", num_class=3, num_parallel_tree=4, subsample=0.5), classes)
    train_xgb("xgb_dart", dict(objective="binary:logistic", booster="dart", rate_drop=0.3), binary)
    train_xgb("xgb_dart_softprob", dict(objective="multi:softprob", num_class=3, booster="dart", rate_drop=0.3), classes)
    train_xgb("xgb_gblinear", dict(objective="binary:logistic", booster="gblinear"), binary)
    train_xgb("xgb_gblinear_softprob", dict(objective="multi:softprob", num_class=3, booster="gblinear"), classes)
    train_xgb("xgb_quantile", dict(objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]), value)
    both = np.column_stack([value, positive])
    train_xgb("xgb_targets", dict(objective="reg:squarederror"), both)
    train_xgb("xgb_vectors", dict(objective="reg:squarederror", multi_strategy="multi_output_tree"), both)
    train_xgb("xgb_vector_classes", dict(objective="multi:softprob", num_class=3, multi_strategy="multi_output_tree"), classes)
    types = ["q", "c", "q", "q", "c", "c"]
    X[:, 1], X[:, 4] = np.floor(X[:, 1]), np.floor(X[:, 4])
    for name, onehot in (("onehot", 100), ("partition", 1)):
        train_xgb_categories(f"xgb_{name}", dict(objective="binary:logistic", max_cat_to_onehot=onehot), types)
    if tuple(int(p) for p in xgb.__version__.split(".")[:2]) < (3, 1):  # the file has no categories
        codes[:, 2] = frame["months"].cat.codes
    train_xgb("xgb_pandas", dict(objective="binary:logistic", max_cat_to_onehot=1), binary, frame=frame, codes=codes)


@tolerant
def train_xgb_categories(name, params, types):
    d = xgb.DMatrix(X, label=binary, feature_types=types, enable_categorical=True)
    booster = xgb.train(dict(max_depth=5, nthread=2, seed=1, **params), d, num_boost_round=20)
    booster.save_model(str(folder / f"{name}.json"))
    booster.save_model(str(folder / f"{name}.ubj"))
    rows = data(400)
    given = xgb.DMatrix(rows, feature_types=types, enable_categorical=True)
    write(name, rows, booster.predict(given, output_margin=True), booster.predict(given))


main()
