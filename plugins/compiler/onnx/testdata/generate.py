"""Makes the models of this folder, and what onnxruntime computes with them.

Each NAME.onnx has a NAME.csv: its inputs by name, then the scores, as columns "=0", "=1", ...

    pip install scikit-learn==1.9.1 skl2onnx==1.20.0 onnxruntime==1.31.1 pandas
    PYTHONHASHSEED=0 python generate.py
"""
import csv
import os

import numpy as np
import onnx
import onnxruntime as ort
import pandas as pd
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (AdaBoostClassifier, BaggingClassifier, GradientBoostingClassifier, GradientBoostingRegressor,
                              RandomForestClassifier, StackingClassifier, VotingRegressor)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (Binarizer, KBinsDiscretizer, MinMaxScaler, Normalizer, OneHotEncoder, OrdinalEncoder,
                                   PolynomialFeatures, PowerTransformer, RobustScaler, StandardScaler)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)
N = 300
X = np.column_stack([np.round(rng.lognormal(2, 1, N), 2), rng.poisson(3, N), np.where(rng.random(N) < .4, 0, rng.lognormal(3, 1, N)),
                     rng.normal(0, 1, N), rng.integers(0, 40, N), rng.integers(0, 5, N)]).astype(np.float32)
z = .05 * X[:, 0] - .3 * X[:, 1] + .02 * X[:, 2] + X[:, 3] - .2 * (X[:, 5] == 2)
y = (z + rng.normal(0, .5, N) > np.median(z)).astype(int)
y3 = np.digitize(z, np.quantile(z, [.33, .66]))
ys = np.array(["no", "yes"])[y]
Xm = X.copy()
Xm[rng.random(N) < .15, 3] = np.nan
F = pd.DataFrame({"tenure": X[:, 4], "charges": X[:, 0], "contract": np.array(["month", "one", "two"])[rng.integers(0, 3, N)],
                  "pay": np.array(["card", "bank", "check", "cash"])[rng.integers(0, 4, N)], "n": X[:, 5].astype(np.int64)})


def text(v):
    return v if isinstance(v, str) else "nan" if np.isnan(v) else repr(float(v))


def write(name, model, feeds):
    """Stores a model with what onnxruntime computes for the rows of feeds, one after the other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    onnx.save(model, os.path.join(HERE, name + ".onnx"))
    count = len(next(iter(feeds.values())))
    lines, header = [], []
    for i in range(count):
        outs = session.run(None, {k: v[i:i + 1] for k, v in feeds.items()})
        out = outs[-1]
        if isinstance(out, list):
            out = list(out[0].values())
        elif np.ndim(out) == 1 and len(outs) > 2:
            out = outs[1:]
        line, header = [], []
        for k, v in feeds.items():
            cells = v[i].reshape(-1)
            header += [k] if len(cells) == 1 else [f"f{j}" for j in range(len(cells))]
            line += [text(c) for c in cells]
        scores = np.asarray(out, dtype=np.float64).reshape(-1)
        header += [f"={j}" for j in range(len(scores))]
        lines.append(line + [text(s) for s in scores])
    with open(os.path.join(HERE, name + ".csv"), "w", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows([header] + lines)


def odd_rows(model, rows):
    """Rows on, just below and just above thresholds, missing, infinite and zero."""
    thresholds = set()
    for n in model.graph.node:
        for a in n.attribute:
            if a.name == "nodes_values":
                thresholds |= set(a.floats)
    out = [r for r in rows[:12]]
    for i, t in enumerate(sorted(thresholds)[:40]):
        for v in (t, np.nextafter(np.float32(t), np.float32(-np.inf)), np.nextafter(np.float32(t), np.float32(np.inf))):
            r = rows[i % len(rows)].copy()
            r[:] = np.where(rng.random(len(r)) < .5, v, r)
            out.append(r)
    if thresholds:
        for v in (np.nan, np.inf, -np.inf, 0., -0.):
            for k in range(rows.shape[1]):
                r = rows[k].copy()
                r[k] = v
                out.append(r)
    return np.array(out, dtype=np.float32)


def learn(name, m, x=X, target=y, zipmap=False):
    m.fit(x, target)
    frame = isinstance(x, pd.DataFrame)
    if frame:
        kinds = [(c, Int64TensorType([None, 1]) if x[c].dtype.kind == "i" else FloatTensorType([None, 1]) if x[c].dtype.kind == "f"
                  else StringTensorType([None, 1])) for c in x.columns]
    else:
        kinds = [("X", FloatTensorType([None, x.shape[1]]))]
    options = {id(m): {"zipmap": zipmap}} if hasattr(m, "predict_proba") else None
    model = convert_sklearn(m, name=name, initial_types=kinds, target_opset={"": 15, "ai.onnx.ml": 3}, options=options)
    if frame:
        rows = x[:25]
        write(name, model, {c: rows[c].to_numpy().astype(object if k.__class__ is StringTensorType else np.int64 if
              k.__class__ is Int64TensorType else np.float32).reshape(-1, 1) for c, k in kinds})
    else:
        write(name, model, {"X": odd_rows(model, x)})


def pipelines():
    lr = LogisticRegression
    learn("lr_labels", lr(), target=ys, zipmap=True)
    learn("lr_ovr", OneVsRestClassifier(lr()), target=y3)
    learn("minmax_clip", make_pipeline(MinMaxScaler(clip=True), lr()))
    for norm in ("l1", "l2", "max"):
        learn("normalize_" + norm, make_pipeline(Normalizer(norm), lr()))
    learn("binarize", make_pipeline(Binarizer(threshold=1.), lr()))
    learn("polynomial", make_pipeline(StandardScaler(), PolynomialFeatures(2), lr()))
    learn("bins", make_pipeline(KBinsDiscretizer(4, encode="onehot-dense", quantile_method="linear"), lr()))
    learn("power", make_pipeline(PowerTransformer(), lr()))
    learn("union", make_pipeline(FeatureUnion([("a", StandardScaler()), ("b", PCA(2))]), lr()))
    learn("impute", make_pipeline(ColumnTransformer([("n", make_pipeline(SimpleImputer(strategy="median"), RobustScaler()), [0, 1, 2, 3]),
                                                     ("c", OneHotEncoder(handle_unknown="ignore"), [4, 5])]), lr()), x=Xm)
    learn("tree_missing", DecisionTreeClassifier(max_depth=5, random_state=0), x=Xm)
    learn("forest3", RandomForestClassifier(8, max_depth=4, random_state=0), target=y3, zipmap=True)
    learn("boosting", GradientBoostingClassifier(n_estimators=10, random_state=0))
    learn("boosting3", GradientBoostingClassifier(n_estimators=4, max_depth=2, random_state=0), target=y3)
    learn("boosting_value", GradientBoostingRegressor(n_estimators=8, random_state=0), target=z)
    learn("adaboost3", AdaBoostClassifier(n_estimators=4, random_state=0), target=y3)
    learn("bagging", BaggingClassifier(DecisionTreeClassifier(max_depth=3, random_state=0), n_estimators=4, random_state=0))
    learn("stacking", StackingClassifier([("a", DecisionTreeClassifier(max_depth=3, random_state=0)), ("b", lr())], cv=2))
    learn("calibrated3", CalibratedClassifierCV(lr(), cv=2), target=y3)
    learn("isotonic", CalibratedClassifierCV(lr(), method="isotonic", cv=2))
    learn("bayes3", GaussianNB(), target=y3)
    learn("bernoulli", BernoulliNB())
    learn("sgd3", SGDClassifier(loss="log_loss", random_state=0), target=y3)
    learn("svc3", LinearSVC(random_state=0), target=y3)
    for activation in ("tanh", "logistic", "relu"):
        learn("mlp_" + activation, make_pipeline(StandardScaler(), MLPClassifier((8, 4), activation=activation, max_iter=100, random_state=0)),
              target=y if activation == "tanh" else y3)
    learn("linear_value", LinearRegression(), target=z)
    learn("poisson_value", PoissonRegressor(), target=np.abs(z) + .1)
    learn("voting_value", VotingRegressor([("a", LinearRegression()), ("b", DecisionTreeRegressor(max_depth=3, random_state=0))]), target=z)
    columns = ColumnTransformer([("n", StandardScaler(), ["tenure", "charges"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["contract", "pay"])])
    learn("frame_lr", make_pipeline(columns, lr()), x=F, target=ys, zipmap=True)
    learn("frame_boosting", make_pipeline(columns, GradientBoostingClassifier(n_estimators=6, random_state=0)), x=F)
    learn("frame_ordinal", make_pipeline(ColumnTransformer([("n", "passthrough", ["tenure", "charges"]), ("c", OrdinalEncoder(), ["contract", "pay"])]),
                                         GradientBoostingClassifier(n_estimators=6, random_state=0)), x=F)


    learn("lr_columns", lr(), target=y3, zipmap="columns")
    words = make_pipeline(SimpleImputer(missing_values="card", strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    learn("frame_impute", make_pipeline(ColumnTransformer([("c", words, ["pay", "contract"])]), lr()), x=F)
    rare = OneHotEncoder(min_frequency=.3, handle_unknown="infrequent_if_exist")
    learn("frame_rare", make_pipeline(ColumnTransformer([("c", rare, ["pay", "contract", "n"])]), lr()), x=F)


def single(name, op, feeds, elem=T.FLOAT, out=T.FLOAT, ml=3, outputs=("scores",), **attributes):
    """A model of one operator of ai.onnx.ml."""
    node = h.make_node(op, ["X"], list(outputs), domain="ai.onnx.ml", **attributes)
    results = [h.make_tensor_value_info(outputs[-1], out, [None, None])]
    if len(outputs) > 1:
        results.insert(0, h.make_tensor_value_info(outputs[0], T.INT64, [None]))
    graph = h.make_graph([node], name, [h.make_tensor_value_info("X", elem, [None, feeds.shape[1]])], results)
    write(name, h.make_model(graph, opset_imports=[h.make_opsetid("", 15), h.make_opsetid("ai.onnx.ml", ml)], ir_version=9), {"X": feeds})


def operators():
    few = np.array([[a, b] for a in (-1., 0., .5, np.nextafter(np.float32(.5), np.float32(1)), 2., np.nan, np.inf) for b in (.5, 3.)], dtype=np.float32)
    modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
    ids, nodes, leaves = [], dict(t=[], n=[], f=[], m=[], v=[], y=[], x=[], k=[]), dict(t=[], n=[], i=[], w=[])
    for t, (mode, track) in enumerate((m, k) for m in modes for k in (0, 1)):
        for n, (m, yes, no) in enumerate(((mode, 1, 2), ("LEAF", 0, 0), ("LEAF", 0, 0))):
            for key, v in zip("tnfmvyxk", (t, n, t % 2, m, .5, yes, no, track)):
                nodes[key].append(v)
        for n, w in ((1, .1 * (t + 1)), (2, -.07 * (t + 1))):
            for key, v in zip("tniw", (t, n, t % 3, w)):
                leaves[key].append(v)
    tree = dict(nodes_treeids=nodes["t"], nodes_nodeids=nodes["n"], nodes_featureids=nodes["f"], nodes_modes=nodes["m"], nodes_values=nodes["v"],
                nodes_truenodeids=nodes["y"], nodes_falsenodeids=nodes["x"], nodes_missing_value_tracks_true=nodes["k"])
    value = dict(tree, target_treeids=leaves["t"], target_nodeids=leaves["n"], target_weights=leaves["w"])
    single("op_trees_sum", "TreeEnsembleRegressor", few, n_targets=3, target_ids=leaves["i"], base_values=[.1, .2, .3], **value)
    single("op_trees_average", "TreeEnsembleRegressor", few, n_targets=1, target_ids=[0] * len(leaves["i"]), base_values=[.3], aggregate_function="AVERAGE", **value)
    weights = dict(tree, class_treeids=leaves["t"], class_nodeids=leaves["n"], class_weights=leaves["w"])
    pair = dict(outputs=("label", "scores"))
    single("op_classes3_softmax", "TreeEnsembleClassifier", few, class_ids=leaves["i"], classlabels_int64s=[3, 5, 9], base_values=[.1, .2, .3], post_transform="SOFTMAX", **pair, **weights)
    single("op_classes3_zero", "TreeEnsembleClassifier", few, class_ids=leaves["i"], classlabels_int64s=[3, 5, 9], post_transform="SOFTMAX_ZERO", **pair, **weights)
    single("op_classes2_logistic", "TreeEnsembleClassifier", few, class_ids=[i % 2 for i in leaves["i"]], classlabels_int64s=[0, 1], post_transform="LOGISTIC", **pair, **weights)
    single("op_class1_logistic", "TreeEnsembleClassifier", few, class_ids=[0] * len(leaves["i"]), classlabels_int64s=[0, 1], base_values=[.25], post_transform="LOGISTIC", **pair, **weights)
    single("op_class1_second", "TreeEnsembleClassifier", few, class_ids=[1] * len(leaves["i"]), classlabels_int64s=[0, 1], post_transform="NONE", **pair, **weights)
    for post in ("NONE", "LOGISTIC"):
        single("op_linear1_" + post.lower(), "LinearClassifier", few[:10], coefficients=[.5, -.25], intercepts=[.1], classlabels_ints=[0, 1], post_transform=post, **pair)
    single("op_linear3_softmax", "LinearClassifier", few[:10], coefficients=[.5, -.25, 0., 1., 2., 3.], intercepts=[.1, 0., -.1], classlabels_ints=[7, 8, 9], post_transform="SOFTMAX", **pair)
    whole = np.array([[1, 2], [-3, 16777217], [0, 5]], dtype=np.int64)
    single("op_linear_whole", "LinearClassifier", whole, elem=T.INT64, coefficients=[.5, -.25, 0., 1.], intercepts=[.1, 0.], classlabels_ints=[0, 1], post_transform="NONE", **pair)
    single("op_scaler_whole", "Scaler", whole, elem=T.INT64, offset=[1., 2.], scale=[.5, .1])
    single("op_scaler_double", "Scaler", few.astype(np.float64) / 3, elem=T.DOUBLE, offset=[1., 2.], scale=[.5, .1])
    single("op_trees_double", "TreeEnsembleRegressor", few.astype(np.float64) / 3, elem=T.DOUBLE, n_targets=1, target_ids=[0] * len(leaves["i"]), base_values=[.3], **value)
    single("op_regressor2", "LinearRegressor", few[:10], coefficients=[.5, -.25, 1., 2.], intercepts=[.1, 0.], targets=2)
    for double, elem, kind in ((False, T.FLOAT, np.float32), (True, T.DOUBLE, np.float64)):
        v5 = dict(n_targets=2, aggregate_function=1, post_transform=0, tree_roots=[0, 2], nodes_featureids=[0, 1, 1],
                  nodes_modes=nh.from_array(np.array([6, 0, 6], dtype=np.uint8)), nodes_splits=nh.from_array(np.array([0, .5, 0], dtype=kind)),
                  nodes_truenodeids=[1, 0, 2], nodes_trueleafs=[0, 1, 1], nodes_falsenodeids=[1, 2, 3], nodes_falseleafs=[1, 1, 1],
                  nodes_missing_value_tracks_true=[0, 0, 1], leaf_targetids=[0, 1, 0, 1], leaf_weights=nh.from_array(np.array([5.23, 12.12, -12.23, 7.21], dtype=kind)),
                  membership_values=nh.from_array(np.array([2, 5, 9, np.nan, 3, 7, np.nan], dtype=kind)))
        single("op_members" + ("_double" if double else ""), "TreeEnsemble", few.astype(kind), elem=elem, out=elem, ml=5, **v5)
    keys = np.array([[1., 2.], [2., 3.], [np.nan, 5.], [-0., 0.]], dtype=np.float32)
    single("op_labels", "LabelEncoder", keys, ml=4, keys_floats=[3., 1., float("nan"), 0.], values_floats=[30., 10., -1., 5.], default_float=.5)
    single("op_imputer", "Imputer", np.array([[1, 2], [-1, 0]], dtype=np.int64), elem=T.INT64, out=T.INT64, imputed_value_int64s=[5, 6], replaced_value_int64=-1)
    single("op_imputer_value", "Imputer", few[:12], imputed_value_floats=[7.], replaced_value_float=.5)


def several(name, steps, feeds, constants=(), kinds=None, opset=15):
    """A model of operators of ai.onnx; the results called y0, y1, ... are put side by side."""
    nodes = [h.make_node(op, ins.split(), outs.split(), **a) for op, ins, outs, a in steps]
    last = [o for n in nodes for o in n.output if o.startswith("y")]
    nodes.append(h.make_node("Concat", last, ["scores"], axis=1))
    graph = h.make_graph(nodes, name, [h.make_tensor_value_info(k, (kinds or {}).get(k, T.FLOAT), [None, v.shape[1]]) for k, v in feeds.items()],
                         [h.make_tensor_value_info("scores", T.FLOAT, [None, None])], [nh.from_array(v, k) for k, v in constants])
    write(name, h.make_model(graph, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("ai.onnx.ml", 3)], ir_version=9), feeds)


def graphs():
    x = np.array([[.5, 2., 3.25, -1.5], [-.5, 1.5, 2.5, 3.5], [0., -2., 1e-3, 7.], [4., 4., -4., .25]], dtype=np.float32)
    f32 = lambda *v: np.array(v, dtype=np.float32)
    i64 = lambda *v: np.array(v, dtype=np.int64)
    several("op_functions", [(op, "X", f"y{i}", {}) for i, op in enumerate(
        "Abs Exp Neg Relu Sigmoid Softplus Tanh Floor Ceil Round Reciprocal Identity Flatten".split())] + [
        ("Sqrt", "y0", "y20", {}), ("Log", "y1", "y21", {}), ("Mean", "X y0 c", "y22", {}), ("Max", "X c", "y23", {}), ("Min", "X c y0", "y24", {}),
        ("Sum", "X c", "y25", {}), ("Pow", "X two", "y26", {}), ("Pow", "y0 c", "y27", {}), ("Pow", "y0 half", "y28", {}), ("Pow", "X three", "y29", {}),
        ("Clip", "X half two", "y30", {}), ("Softmax", "X", "y31", {"axis": 1}), ("Div", "c y1", "y32", {}), ("Sub", "two X", "y33", {})],
        {"X": x}, [("c", f32([0., 1., .5, -2.])), ("two", f32(2.)[0]), ("half", f32(.5)[0]), ("three", f32(3.)[0])])
    logic = [(op, "X c", f"b{i}", {}) for i, op in enumerate(["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])]
    logic += [("And", "b0 b4", "b5", {}), ("Or", "b0 b4", "b6", {}), ("Xor", "b1 b3", "b7", {}), ("Not", "b2", "b8", {}), ("IsNaN", "X", "b9", {})]
    logic += [("Cast", f"b{i}", f"y{i}", {"to": T.FLOAT}) for i in range(10)]
    logic += [("Where", "b0 X c", "y10", {}), ("Cast", "X", "i", {"to": T.INT64}), ("Cast", "i", "y11", {"to": T.FLOAT}), ("Div", "i three", "d", {}),
              ("Mul", "i three", "m", {}), ("Sub", "m d", "s", {}), ("Cast", "s", "y12", {"to": T.FLOAT}), ("Cast", "X", "b10", {"to": T.BOOL}), ("Cast", "b10", "y13", {"to": T.FLOAT}),
              ("Cast", "three", "t", {"to": T.FLOAT}), ("Add", "X t", "y14", {})]
    several("op_logic", logic, {"X": np.vstack([x, [2., .5, -0., 3.]]).astype(np.float32)}, [("c", f32([.5, 1.5, -4., 3.5])), ("three", i64(3))])
    several("op_shapes", [
        ("Unsqueeze", "X last", "u", {}), ("Transpose", "u", "t", {"perm": [0, 2, 1]}), ("Squeeze", "t one", "y0", {}), ("Constant", "", "k", {"value_floats": [1., 2., 3., 4.]}),
        ("Add", "X k", "y1", {}), ("Slice", "X s e one back", "y2", {}), ("Split", "X sizes", "y3 p y4", {"axis": 1}), ("Expand", "p wide", "y5", {}),
        ("Gather", "X picks", "y6", {"axis": 1}), ("Reshape", "X square", "q", {}), ("Transpose", "q", "r", {"perm": [0, 2, 1]}), ("Reshape", "r flat", "y7", {}),
        ("Shape", "X", "n", {}), ("ConstantOfShape", "n", "z", {"value": h.make_tensor("v", T.FLOAT, [1], [7.])}), ("Mul", "X z", "y8", {}), ("Slice", "X s2 e2", "y9", {}),
        ("Softmax", "q", "w", {"axis": 1}), ("Flatten", "w", "y10", {"axis": 1}), ("Dropout", "X", "y11", {}), ("Concat", "q w", "v2", {"axis": 2}), ("Reshape", "v2 open", "y12", {})],
        {"X": x}, [("last", i64(2)), ("one", i64(1)), ("s", i64(-1)), ("e", i64(-5)), ("back", i64(-2)), ("sizes", i64(1, 1, 2)), ("wide", i64(1, 3)), ("picks", i64(-1, 0, 0)),
                   ("square", i64(0, 2, 2)), ("flat", i64(1, -1)), ("s2", i64(0, 1)), ("e2", i64(1, 3)), ("open", i64(0, -1))])
    reduce = [(op, "X", f"y{i}", {"axes": [1]}) for i, op in enumerate("ReduceMean ReduceMin ReduceMax ReduceProd ReduceLogSumExp ReduceSumSquare ReduceL1 ReduceL2".split())]
    reduce += [("ReduceSum", "X one", "y8", {}), ("ReduceMean", "q", "g", {"axes": [2], "keepdims": 0}), ("Identity", "g", "y9", {}), ("ArgMax", "X", "a", {"axis": 1}), ("ArgMin", "X", "b", {"axis": -1}),
               ("Cast", "a", "y10", {"to": T.FLOAT}), ("Cast", "b", "y11", {"to": T.FLOAT}), ("LpNormalization", "X", "y12", {"axis": 1, "p": 1}), ("LpNormalization", "X", "y13", {"axis": 1, "p": 2}),
               ("ReduceMax", "q", "g2", {"axes": [1], "keepdims": 0}), ("Identity", "g2", "y14", {})]
    several("op_reduce", [("Reshape", "X square", "q", {})] + reduce, {"X": x}, [("one", i64(1)), ("square", i64(0, 2, 2))])
    several("op_products", [("Gemm", "X w c", "y0", {"transB": 1, "alpha": .5, "beta": 2.}), ("MatMul", "X v", "y1", {}), ("Gemm", "X v", "y2", {}),
                            ("Cast", "X", "d", {"to": T.DOUBLE}), ("MatMul", "d u", "e", {}), ("Cast", "e", "y3", {"to": T.FLOAT})],
            {"X": x}, [("w", f32([1., 2., 3., 4.], [.1, .2, .3, .4])), ("c", f32([1., -1.])), ("v", f32([1.], [-1.], [.5], [.25])), ("u", np.array([[1.], [1e-9], [3.], [-2.]]))])
    several("op_texts", [("Equal", "word yes", "b", {}), ("Cast", "b", "y0", {"to": T.FLOAT}), ("Where", "b other word", "w", {}), ("Equal", "w other", "e", {}), ("Cast", "e", "y1", {"to": T.FLOAT}),
                         ("Cast", "n", "y2", {"to": T.FLOAT})],
            {"word": np.array([["yes"], ["no"], ["other"]], dtype=object), "n": np.array([[1], [16777217], [-3]], dtype=np.int64)},
            [("yes", np.array(["yes"], dtype=object)), ("other", np.array(["other"], dtype=object))], {"word": T.STRING, "n": T.INT64}, opset=19)


if __name__ == "__main__":
    pipelines()
    operators()
    graphs()
