"""The models of the benchmark: trained on generated customers, and the same trees as ONNX and as C."""

import json
import pathlib
import subprocess
import sys

import numpy as np

TRAINING_ROWS = 40_000
# name: library, trees, leaves or depth, features
MODELS = {
    "lightgbm-100x31-f50": ("lightgbm", 100, 31, 50),
    "lightgbm-500x63-f50": ("lightgbm", 500, 63, 50),
    "lightgbm-500x63-f200": ("lightgbm", 500, 63, 200),
    "lightgbm-1000x127-f50": ("lightgbm", 1000, 127, 50),
    "xgboost-500-d6-f50": ("xgboost", 500, 6, 50),
    "xgboost-500-d6-f200": ("xgboost", 500, 6, 200),
}


def customers(rows, width, seed):
    """Columns as operators have them: spend, usage with many zeros, counts, flags, tenure, ratios of which
    15 % are missing, ordinals, in turn."""
    random = np.random.default_rng(seed)
    columns = []
    for i in range(width):
        kind = i % 7
        if kind == 0:
            x = np.exp(random.normal(3, 0.8, rows))
        elif kind == 1:
            x = np.where(random.random(rows) < 0.4, 0, random.gamma(1.5, 400, rows))
        elif kind == 2:
            x = random.poisson(2.5, rows)
        elif kind == 3:
            x = random.integers(0, 2, rows)
        elif kind == 4:
            x = random.integers(0, 73, rows)
        elif kind == 5:
            x = np.where(random.random(rows) < 0.15, np.nan, random.beta(2, 5, rows))
        else:
            x = random.integers(0, 6, rows)
        columns.append(x.astype(np.float64))
    return np.column_stack(columns)


def labels(x, seed):
    """Leaves depend on most columns, on pairs of them, and on luck."""
    random = np.random.default_rng(seed)
    z = np.nan_to_num(x, nan=0.3)
    z = (z - z.mean(0)) / z.std(0)
    weights = random.normal(0, 1, z.shape[1]) * (random.random(z.shape[1]) < 0.7)
    score = z @ weights
    for _ in range(z.shape[1]):
        a, b = random.integers(0, z.shape[1], 2)
        score += z[:, a] * z[:, b] * random.normal(0, 0.7)
    score /= score.std()
    return (1.5 * score + random.logistic(0, 1, len(score)) > 0).astype(int)


def train(name, folder):
    """The model file, trained unless it is there already."""
    library, trees, size, width = MODELS[name]
    file = folder / (name + (".lgb.txt" if library == "lightgbm" else ".xgb.json"))
    if file.exists():
        return file
    print(f"training {name} ({file.name}) ...", file=sys.stderr, flush=True)
    x = customers(TRAINING_ROWS, width, 1)
    y = labels(x, 2)
    part = file.with_name("part-" + file.name)
    names = [f"f{i}" for i in range(width)]
    if library == "lightgbm":
        import lightgbm

        params = {"objective": "binary", "num_leaves": size, "learning_rate": 0.05, "num_threads": 1, "verbose": -1, "seed": 1}
        lightgbm.train(params, lightgbm.Dataset(x, y, feature_name=names), trees).save_model(str(part))
    else:
        import xgboost

        params = {"objective": "binary:logistic", "max_depth": size, "eta": 0.05, "nthread": 1, "seed": 1, "tree_method": "hist"}
        xgboost.train(params, xgboost.DMatrix(x, y, feature_names=names), trees).save_model(str(part))
    part.rename(file)
    return file


def library_of(file):
    """lightgbm, xgboost or None, as the file begins."""
    head = pathlib.Path(file).read_bytes()[:64].lstrip()
    if head.startswith(b"tree"):
        return "lightgbm"
    return "xgboost" if head.startswith(b"{") else None


def feature_names(file, library):
    """The names that the file gives its features, or those that the compiler gives them."""
    if library == "lightgbm":
        import lightgbm

        return lightgbm.Booster(model_file=str(file)).feature_name()
    learner = json.loads(file.read_text())["learner"]
    return learner.get("feature_names") or [f"f{i}" for i in range(int(learner["learner_model_param"]["num_feature"]))]


def for_xgboost_1(file, folder):
    """The same model as XGBoost 1 reads it: one base_score instead of a vector."""
    document = json.loads(file.read_text())
    parameters = document["learner"]["learner_model_param"]
    parameters["base_score"] = parameters["base_score"].strip("[]")
    document["version"] = [1, 7, 6]
    out = folder / (file.name + ".1.json")
    out.write_text(json.dumps(document))
    return out


# The same trees as ONNX, for onnxruntime ------------------------------------------------------------


def to_onnx(file, library, width):
    """One TreeEnsembleRegressor and a Sigmoid. Thresholds become 32 bits, as ONNX has them."""
    from onnx import TensorProto, helper

    out = file.with_suffix(".onnx")
    if out.exists():
        return out
    nodes, base = (_lightgbm_nodes if library == "lightgbm" else _xgboost_nodes)(file)
    columns = list(zip(*nodes))
    keys = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true")
    attributes = {"nodes_" + key: list(columns[i]) for i, key in enumerate(keys)}
    leaves = [n for n in nodes if n[2] == "LEAF"]
    trees = helper.make_node(
        "TreeEnsembleRegressor", ["input"], ["raw"], domain="ai.onnx.ml", n_targets=1, base_values=[base], **attributes,
        target_treeids=[n[0] for n in leaves], target_nodeids=[n[1] for n in leaves], target_ids=[0] * len(leaves),
        target_weights=[n[8] for n in leaves])  # fmt: skip
    graph = helper.make_graph([trees, helper.make_node("Sigmoid", ["raw"], ["output"])], "trees",
                              [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, width])],
                              [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, 1])])  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8)
    out.write_bytes(model.SerializeToString())
    return out


def _xgboost_nodes(file):
    learner = json.loads(file.read_text())["learner"]
    base = learner["learner_model_param"]["base_score"]
    base = float(json.loads(base)[0] if base.startswith("[") else base)
    nodes = []
    for t, tree in enumerate(learner["gradient_booster"]["model"]["trees"]):
        for i, (left, right, f, value, default) in enumerate(
            zip(tree["left_children"], tree["right_children"], tree["split_indices"], tree["split_conditions"], tree["default_left"])
        ):
            if left < 0:
                nodes.append((t, i, "LEAF", 0, 0.0, 0, 0, 0, value))
            else:
                nodes.append((t, i, "BRANCH_LT", f, value, left, right, int(default), 0.0))
    return nodes, -float(np.log(1 / base - 1))


def _lightgbm_nodes(file):
    import lightgbm

    nodes = []

    def walk(t, node):
        i = counter[0]
        counter[0] += 1
        if "leaf_value" in node:
            nodes.append((t, i, "LEAF", 0, 0.0, 0, 0, 0, node["leaf_value"]))
            return i
        at = len(nodes)
        nodes.append(None)
        left, right = walk(t, node["left_child"]), walk(t, node["right_child"])
        # Without missing values in training, a missing one is taken for 0.
        default = node["default_left"] if node["missing_type"] == "NaN" else 0 <= node["threshold"]
        nodes[at] = (t, i, "BRANCH_LEQ", node["split_feature"], node["threshold"], left, right, int(default), 0.0)
        return i

    for t, tree in enumerate(lightgbm.Booster(model_file=str(file)).dump_model()["tree_info"]):
        counter = [0]
        walk(t, tree["tree_structure"])
    return nodes, 0.0


# The same trees as C, by tl2cgen and gcc -O3 ---------------------------------------------------------


def to_shared_object(file, library):
    """The shared object and the type of its features."""
    import tl2cgen
    import treelite

    out, kind = file.with_suffix(".tl2cgen.so"), "float64" if library == "lightgbm" else "float32"
    if out.exists():
        return out, kind
    print(f"compiling {file.name} with tl2cgen and gcc -O3 ...", file=sys.stderr, flush=True)
    load = treelite.frontend.load_lightgbm_model if library == "lightgbm" else treelite.frontend.load_xgboost_model
    folder = file.with_suffix(".tl2cgen")
    tl2cgen.generate_c_code(load(str(file)), dirpath=str(folder), params={"parallel_comp": 16}, verbose=False)
    sources = sorted(str(c) for c in folder.glob("*.c"))
    part = out.with_suffix(".part")
    subprocess.run(["gcc", "-O3", "-fPIC", "-shared", "-w", "-o", str(part), *sources, "-lm"], check=True)
    part.rename(out)
    return out, kind
