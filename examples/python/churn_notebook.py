#!/usr/bin/env python3
# %% [markdown]
# # From a table of customers to a decision
#
# Trains a churn model with XGBoost on IBM's public sample "Telco Customer Churn" (Apache-2.0; not part of this repository), turns it
# into a plugin, proves that the plugin scores as XGBoost does, and lets a running node decide with it. Cells are marked as editors that
# know notebooks expect them.
#
#     pip install ./sdk/client/python xgboost pandas scikit-learn
#     make && ./bin/arbiter dev --no-demo --subscribers 0                # in another terminal
#     python examples/python/churn_notebook.py Telco-Customer-Churn.csv
#
# ARBITER_ADDR names another node, ARBITER_BIN another program than the one on PATH or ./bin/arbiter.

# %%
import argparse
import pathlib
import sys

import pandas as pd
import xgboost as xgb
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

try:
    import arbiter as ab
except ImportError:  # not installed: from the repository
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "sdk" / "client" / "python"))
    import arbiter as ab

args = argparse.ArgumentParser(description="Train a churn model, push it to a running node, decide with it")
args.add_argument("csv", help="Telco-Customer-Churn.csv")
args.add_argument("--version", default="2.0.0", help="version of the model")
options = args.parse_args()

# %% [markdown]
# ## The customers
# The mapping names the columns, their types, and what a blank means.

# %%
c = ab.connect()
mapping = pathlib.Path(__file__).resolve().parents[1] / "telco-ibm" / "mapping.yaml"
imported = c.subjects.import_file(options.csv, mapping=mapping)
print(f"{imported.accepted} of {imported.read} customers imported, {imported.rejected} rejected")

# %% [markdown]
# ## The model
# One-hot columns as pandas makes them. Whether a customer is male or female has no place in an offer, and a blank number is missing.

# %%
table = pd.read_csv(options.csv)
raw = table.drop(columns=["customerID", "gender", "Churn"])
raw["TotalCharges"] = pd.to_numeric(raw["TotalCharges"], errors="coerce")
X, y = pd.get_dummies(raw), (table["Churn"] == "Yes").astype(int)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, stratify=y, random_state=1)

clf = xgb.XGBClassifier(n_estimators=150, max_depth=4, learning_rate=0.05, subsample=0.8, colsample_bytree=0.7, random_state=1, n_jobs=1)
clf.fit(X_train, y_train)
print(f"AUC on customers it has not seen: {roc_auc_score(y_test, clf.predict_proba(X_test)[:, 1]):.3f}")

# %% [markdown]
# ## The plugin
# The attributes of the mapping are the columns with a small first letter; TV stays. `export` compares every row of the
# example with XGBoost's own scores, and `check` scores them in the sandbox, as the node will.

# %%
attributes = {column: column[0].lower() + column[1:] for column in raw.columns}
m = ab.export(clf, "churn", options.version, example=X_test, features=ab.one_hot_prefixes(raw, attributes))
print(m)
print(m.check())

# %%
pushed = c.models.push(m)
print(f"{pushed.name} {pushed.version} is {pushed.state} on {c.addr}")

# %% [markdown]
# ## What the model will see
# The node makes the features of its own memory by the code that scores. They are the columns that the model was trained on; a training
# table made this way cannot differ from production.

# %%
seen = c.models.features(m, table.head(500), id="customerID")
if not seen[X.columns].equals(X.head(500).astype(float)):
    sys.exit("the node makes other features than pandas did")
print(f"{seen.shape[0]} customers have the same {seen.shape[1]} features on the node as in the training table")

# %%
active = c.models.rollout(m, steps=("active",))
print(f"{active.name} {active.version} is {active.state}: it scores from now on, and no call failed meanwhile")

# %% [markdown]
# ## The decision
# Made with the demo's catalog for the customer who is most likely to leave. The features that the node made out of its own
# memory give the probability that XGBoost gives.

# %%
chances = pd.Series(clf.predict_proba(X)[:, 1], index=table["customerID"])
customer = chances.idxmax()
d = c.decide(customer, "web", explain="full")
for offer in d.offers():
    scorer = f"{offer.model.name} {offer.model.version}" if "model" in offer else "no model"
    print(f"{offer.rank}. {offer.action}: propensity {offer.propensity:.4f} by {scorer}, priority {offer.priority:.2f}")

scored = [candidate for candidate in d.explanation.candidates if candidate.get("model", {}).get("digest") == m.digest]
print(f"{customer}: XGBoost says {chances[customer]:.6f}; the node scored {len(scored)} of {len(d.explanation.candidates)} candidates with this model")
for candidate in scored:
    print(f"   {candidate.action}: {candidate.propensity:.6f}")
if not any(abs(candidate.propensity - chances[customer]) < 1e-6 for candidate in scored):
    sys.exit("no candidate has the probability that XGBoost gives")
