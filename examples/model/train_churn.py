#!/usr/bin/env python3
"""Train the demo churn model and write churn.xgb.json.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    go run ../subscribers -n 100 > subscribers.csv
    venv/bin/python train_churn.py Telco-Customer-Churn.csv churn.xgb.json --golden subscribers.csv

The data is IBM's public "Telco Customer Churn" sample (Apache-2.0); it is not part of this
repository. Feature names are attribute names of examples/subscribers.mapping.yaml; a one-hot feature
is attribute_level. features.yaml holds the recipe of each. The same versions and the same file give
the same model. --golden also writes churn.rows.csv and churn.expected.csv: features of generated
subscribers, and of one who did not consent, with the scores that XGBoost gives them.
"""

import argparse
import json
import pathlib

import numpy as np
import pandas as pd
import xgboost as xgb
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

SEED = 20260101
ROUNDS = 200
PARAMS = {
    "objective": "binary:logistic",
    "max_depth": 4,
    "eta": 0.04,
    "subsample": 0.8,
    "colsample_bytree": 0.7,
    "min_child_weight": 8,
    "lambda": 2.0,
    "tree_method": "hist",
    "nthread": 1,  # so that sums are in one order
    "seed": SEED,
}

NUMBERS = {"tenure": "tenure", "monthlyCharges": "MonthlyCharges", "totalCharges": "TotalCharges"}
BOOLS = {
    "seniorCitizen": "SeniorCitizen",
    "partner": "Partner",
    "dependents": "Dependents",
    "phoneService": "PhoneService",
    "paperlessBilling": "PaperlessBilling",
}
SERVICE = ["Yes", "No"]  # "No internet service" is internetService=No, said once
LEVELS = {
    "multipleLines": ("MultipleLines", SERVICE),
    "internetService": ("InternetService", ["DSL", "Fiber optic", "No"]),
    "onlineSecurity": ("OnlineSecurity", SERVICE),
    "onlineBackup": ("OnlineBackup", SERVICE),
    "deviceProtection": ("DeviceProtection", SERVICE),
    "techSupport": ("TechSupport", SERVICE),
    "streamingTV": ("StreamingTV", SERVICE),
    "streamingMovies": ("StreamingMovies", SERVICE),
    "contract": ("Contract", ["Month-to-month", "One year", "Two year"]),
    "paymentMethod": (
        "PaymentMethod",
        ["Bank transfer (automatic)", "Credit card (automatic)", "Electronic check", "Mailed check"],
    ),
}
# gender is left out: it adds nothing to the ranking and has no place in an offer.


def attributes(raw: pd.DataFrame) -> pd.DataFrame:
    """IBM's columns under the names of the attributes."""
    names = {column: name for name, column in {**NUMBERS, **BOOLS}.items()}
    names |= {column: name for name, (column, _) in LEVELS.items()}
    return raw.rename(columns=names)


def features(subjects: pd.DataFrame) -> pd.DataFrame:
    """The model's columns, in its order. A blank number is missing."""
    out = {}
    for name in NUMBERS:
        out[name] = pd.to_numeric(subjects[name], errors="coerce")
    for name in BOOLS:
        out[name] = subjects[name].astype(str).isin(["Yes", "1"]).astype(float)
    for name, (_, levels) in LEVELS.items():
        for level in levels:
            out[f"{name}_{level}"] = (subjects[name] == level).astype(float)
    return pd.DataFrame(out)


def train(x: pd.DataFrame, y: pd.Series) -> xgb.Booster:
    """Fit on x, and with a twentieth of the weight on x with everything missing: a subscriber who
    does not consent to profiling is scored so, and must get the base rate and not an accident of the
    default directions."""
    blank = pd.DataFrame(np.nan, index=x.index, columns=x.columns)
    weight = np.concatenate([np.ones(len(x)), np.full(len(x), 0.05)])
    matrix = xgb.DMatrix(pd.concat([x, blank]), label=pd.concat([y, y]), weight=weight)
    return xgb.train(PARAMS, matrix, num_boost_round=ROUNDS)


def score(model: xgb.Booster, x: pd.DataFrame, y: pd.Series) -> dict:
    p = model.predict(xgb.DMatrix(x))
    return {"auc": roc_auc_score(y, p), "logLoss": log_loss(y, p), "brier": brier_score_loss(y, p)}


def write_golden(model: xgb.Booster, subscribers: str, folder: pathlib.Path) -> None:
    x = features(pd.read_csv(subscribers, keep_default_na=False))
    x.loc[len(x)] = np.nan
    matrix = xgb.DMatrix(x)
    margin, prob = model.predict(matrix, output_margin=True), model.predict(matrix)
    x.to_csv(folder / "churn.rows.csv", index=False, float_format="%.10g")
    with open(folder / "churn.expected.csv", "w", encoding="utf-8") as out:
        out.write("margin,prob\n")
        out.writelines(f"{m:.9g},{p:.9g}\n" for m, p in zip(margin, prob))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("csv", help="Telco-Customer-Churn.csv")
    args.add_argument("out", help="where to write the model, such as churn.xgb.json")
    args.add_argument("--golden", metavar="CSV", help="generated subscribers to write golden rows of")
    options = args.parse_args()

    raw = pd.read_csv(options.csv, keep_default_na=False)
    x, y = features(attributes(raw)), (raw["Churn"] == "Yes").astype(int)

    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=SEED)
    held_out = train(x_train, y_train)
    print("held-out 20 %:", json.dumps({k: round(v, 4) for k, v in score(held_out, x_test, y_test).items()}))

    folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=SEED)
    aucs = [score(train(x.iloc[a], y.iloc[a]), x.iloc[b], y.iloc[b])["auc"] for a, b in folds.split(x, y)]
    print(f"5 folds: AUC {np.mean(aucs):.4f} ± {np.std(aucs):.4f}")

    # The committed model learned from the training split only, so that the figures are its own.
    blank = xgb.DMatrix(pd.DataFrame(np.nan, index=[0], columns=x.columns))
    print(f"all missing: {held_out.predict(blank)[0]:.4f} (base rate {y_train.mean():.4f})")
    held_out.save_model(options.out)
    if options.golden:
        write_golden(held_out, options.golden, pathlib.Path(options.out).parent)
    print(f"{x.shape[1]} features, {held_out.num_boosted_rounds()} trees")


if __name__ == "__main__":
    main()
