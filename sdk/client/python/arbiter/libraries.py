"""What each library saves and scores. No library is imported before an object of it comes along."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from . import tables
from .errors import ExportError


class Saved:
    """A model file, and what the library makes of the sample."""

    def __init__(self, file: Path, names: Sequence[str], rows: List[List[float]], margins: Any, outputs: Any):
        self.file = file
        self.names = [str(n) for n in names]
        self.columns = self.names  # the same features as the table names them
        self.rows = rows
        self.margins: Optional[List[float]] = None if margins is None else [float(v) for v in margins]
        self.outputs: Optional[List[float]] = None if outputs is None else [float(v) for v in outputs]
        self.levels: Dict[str, Sequence[Any]] = {}  # of features that are codes of categories
        self.label: Optional[str] = None  # the class that a model of several gives
        self.tolerance: Optional[float] = None  # of the comparison of outputs, None for the program's own


def save(clf: Any, folder: Path, name: str, sample: Any, label: Any, example: Any = None) -> Saved:
    """Saves `clf` into `folder` in the form that the compiler reads, and scores `sample`, some rows of
    `example`, with it."""
    modules = {base.__module__.partition(".")[0] for base in type(clf).__mro__}
    for module, function in (("xgboost", _xgboost), ("lightgbm", _lightgbm), ("catboost", _catboost), ("sklearn", _sklearn)):
        if module in modules:
            saved = function(clf, folder, name, sample, label, sample if example is None else example)
            _complete(saved)
            return saved
    raise ExportError(
        f"{type(clf).__name__} is not an object of XGBoost, LightGBM, CatBoost or scikit-learn; save the model as ONNX or PMML "
        "and give the file to `arbiter model compile`"
    )


def _complete(saved: Saved) -> None:
    if saved.rows and len(saved.rows[0]) != len(saved.names):
        raise ExportError(f"the model has {len(saved.names)} features, the example {len(saved.rows[0])}")
    if len(set(saved.names)) != len(saved.names):
        raise ExportError("two features of the model have the same name: rename a column and train again")


def _check_names(model: Sequence[str], example: Any) -> None:
    """Libraries take columns by position. A name at another position is a mistake nobody would see."""
    given = tables.column_names(example)
    if given is not None and list(model) != given:
        missing = [n for n in model if n not in given]
        what = f"misses {', '.join(missing[:5])}" if missing else "has other columns or another order"
        raise ExportError(f"the example {what}: give it the columns that the model was trained on, in their order")


def _codes(column: str, levels: Sequence[Any]) -> Optional[Sequence[Any]]:
    """The texts that the codes of a column stand for. None when its categories are numbers: such a feature
    is the number, and the compiler numbers it."""
    if any(isinstance(level, bool) or type(level).__name__ in ("bool", "bool_") for level in levels):
        raise ExportError(f"the categories of {column} are truth values: train on 0 and 1, or on texts")
    return list(levels) if any(isinstance(level, str) for level in levels) else None


def _class_index(classes: Sequence[Any], label: Any) -> int:
    labels = [str(c) for c in classes]
    if label is None:
        raise ExportError(f"the model has {len(labels)} classes: choose the one whose probability is the score with label=, of {', '.join(labels)}")
    if str(label) not in labels:
        raise ExportError(f"the model has no class {label}: its classes are {', '.join(labels)}")
    return labels.index(str(label))


def _choose(saved: Saved, margins: Any, outputs: Any, classes: Optional[Sequence[Any]], label: Any, named: bool = False) -> Saved:
    """Takes the column of one class when there are several. `named` tells that the file has the names
    of its classes; else they are their numbers."""
    if getattr(margins, "ndim", 1) > 1 and margins.shape[1] > 1:
        classes = list(range(margins.shape[1])) if classes is None else classes
        k = _class_index(classes, label)
        saved.label = str(classes[k]) if named else str(k)
        margins, outputs = margins[:, k], outputs[:, k]
    elif label is not None and classes is not None and str(label) != str(list(classes)[-1]):
        raise ExportError(f"the score of a model of two classes is the probability of {list(classes)[-1]}; train it with {label} as the second class")
    saved.margins = [float(v) for v in margins.reshape(-1)]
    saved.outputs = [float(v) for v in outputs.reshape(-1)]
    return saved


# XGBoost ------------------------------------------------------------------------------------------


def _xgboost(clf: Any, folder: Path, name: str, sample: Any, label: Any, example: Any) -> Saved:
    import xgboost

    classes, missing, categorical = None, None, False
    booster = clf
    if not isinstance(clf, xgboost.Booster):
        booster = clf.get_booster()
        missing, categorical = clf.missing, bool(getattr(clf, "enable_categorical", False))
        # Accessing these on a model that has none is an error of its own.
        classes = getattr(clf, "classes_", None) if hasattr(clf, "predict_proba") else None
        best = _attribute(clf, "best_iteration")
        if best is not None and best + 1 < booster.num_boosted_rounds():
            booster = booster[: best + 1]  # what clf.predict uses; the file would hold all rounds
    file = folder / f"{name}.xgb.json"
    booster.save_model(str(file))
    levels = _xgboost_categories(booster, file, sample)
    codes = {n: c for n, c in ((n, _codes(n, found)) for n, found in levels.items()) if c is not None}
    names = booster.feature_names or tables.column_names(sample) or [f"f{i}" for i in range(booster.num_features())]
    if booster.feature_names:
        _check_names(booster.feature_names, sample)
    options = {"enable_categorical": categorical or bool(levels)}
    rows = tables.rows_of(sample, codes)
    if missing is not None and missing == missing:  # a marker such as -999 instead of NaN
        warnings.warn(f"missing={missing!r}: leave such values out of what you send to the node; it knows them as missing only when absent")
        rows = [[float("nan") if value == missing else value for value in row] for row in rows]
        options["missing"] = missing
    matrix = xgboost.DMatrix(_array(sample), feature_names=booster.feature_names if tables.column_names(sample) is None else None, **options)
    margins, outputs = booster.predict(matrix, output_margin=True), booster.predict(matrix)
    saved = Saved(file, names, rows, None, None)
    saved.levels = codes
    if outputs.shape != margins.shape:  # multi:softmax gives the class instead of probabilities
        raise ExportError("the objective multi:softmax gives a class: train with multi:softprob to get probabilities")
    return _choose(saved, margins, outputs, classes, label)


def _xgboost_categories(booster: Any, file: Path, sample: Any) -> Dict[str, Sequence[Any]]:
    """The categories of each categorical column in the order of the model's codes: the file tells them
    from 3.1 on, before that they are those of the frame at hand."""
    if not hasattr(sample, "columns") or "c" not in (booster.feature_types or []):
        return {}
    found = {str(n): list(sample[n].cat.categories) for n in sample.columns if hasattr(sample[n], "cat")}
    trees = json.loads(file.read_bytes())["learner"]["gradient_booster"]
    encodings = trees.get("gbtree", trees).get("model", {}).get("cats", {}).get("enc") or []
    for name, encoding in zip(booster.feature_names or [], encodings):
        values, offsets = encoding.get("values") or [], encoding.get("offsets")
        if name in found and offsets:
            texts = bytes(value & 0xFF for value in values)
            found[name] = [texts[start:end].decode() for start, end in zip(offsets, offsets[1:])]
        elif name in found and values:
            found[name] = values
    return found


# LightGBM -----------------------------------------------------------------------------------------


def _lightgbm(clf: Any, folder: Path, name: str, sample: Any, label: Any, example: Any) -> Saved:
    import lightgbm

    classes = None
    booster = clf
    if not isinstance(clf, lightgbm.Booster):
        booster, classes = clf.booster_, _attribute(clf, "classes_")
    codes: Dict[str, Sequence[Any]] = {}
    names = booster.feature_name()
    given = tables.column_names(sample)
    if given is not None:
        if not all(n == f"Column_{i}" for i, n in enumerate(names)):
            # LightGBM itself replaces blanks of names by underscores.
            _check_names(names, sample.rename(columns=dict(zip(sample.columns, (g.replace(" ", "_") for g in given)))))
        categorical = [str(c) for c in sample.columns if str(sample[c].dtype) == "category"]
        codes = {n: c for n, c in ((n, _codes(n, f)) for n, f in zip(categorical, booster.pandas_categorical or [])) if c is not None}
    rows = tables.rows_of(sample, codes)
    # validate_features=False: the names were compared above, and blanks replaced.
    margins, outputs = booster.predict(_array(sample), raw_score=True), booster.predict(_array(sample))
    file = folder / f"{name}.lgb.txt"
    booster.save_model(str(file))  # up to the best iteration, as predict does
    saved = Saved(file, names, rows, None, None)
    if given is not None:
        saved.columns = given
        saved.levels = {n: codes[g] for n, g in zip(names, given) if g in codes}
    return _choose(saved, margins, outputs, classes, label)


# CatBoost -----------------------------------------------------------------------------------------


def _catboost(clf: Any, folder: Path, name: str, sample: Any, label: Any, example: Any) -> Saved:
    import catboost

    names, categorical = clf.feature_names_, clf.get_cat_feature_indices()
    if tables.column_names(sample) is not None and not all(n == str(i) for i, n in enumerate(names)):
        _check_names(names, sample)
    margins = clf.predict(sample, prediction_type="RawFormulaVal")
    classes = _attribute(clf, "classes_")
    has_classes = classes is not None and len(classes) > 0
    outputs = clf.predict_proba(sample) if has_classes else clf.predict(sample)
    if has_classes and getattr(margins, "ndim", 1) == 1:
        outputs = outputs[:, 1]
    file = folder / f"{name}.catboost.json"
    # The file knows categories by their hashes; with the pool it also tells the texts.
    pool = catboost.Pool(example, cat_features=categorical) if categorical else None
    clf.save_model(str(file), format="json", pool=pool)
    info = json.loads(file.read_text(encoding="utf-8"))["features_info"]
    names = _catboost_names(info, names)
    codes = _catboost_categories(info, names)
    if codes and tables.column_names(sample) != names:
        raise ExportError("CatBoost with categorical features needs a DataFrame with the columns that it was trained on")
    saved = Saved(file, names, tables.rows_of(sample, codes), None, None)
    saved.levels = codes
    return _choose(saved, margins, outputs, list(classes) if has_classes else None, label, named=True)


def _catboost_names(info: Any, names: Sequence[str]) -> List[str]:
    """The names of the features as the file has them; it need not have any."""
    listed = info.get("float_features", []) + info.get("categorical_features", [])
    found = {f["flat_feature_index"]: f.get("feature_name") or f.get("feature_id") for f in listed}
    return [str(found.get(i) or name) for i, name in enumerate(names)]


def _catboost_categories(info: Any, names: Sequence[str]) -> Dict[str, Sequence[Any]]:
    """The texts of each categorical column in the order of its hashes, which are its codes."""
    texts = {h["hash"] & 0xFFFFFFFF: h["value"] for h in info.get("cat_features_hash") or []}
    found: Dict[str, Sequence[Any]] = {}
    for feature in info.get("categorical_features", []):
        column = names[feature["flat_feature_index"]]
        values = feature.get("values") or []
        if any(hash & 0xFFFFFFFF not in texts for hash in values):
            raise ExportError(f"the example does not have all categories of {column}: give one that does, such as the training table")
        found[column] = [texts[hash & 0xFFFFFFFF] for hash in values]
    return found


# scikit-learn -------------------------------------------------------------------------------------


def _sklearn(clf: Any, folder: Path, name: str, sample: Any, label: Any, example: Any) -> Saved:
    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    except ImportError:
        raise ExportError("scikit-learn models go through ONNX: pip install skl2onnx onnxruntime") from None
    import numpy

    names = tables.column_names(sample)
    trained = _attribute(clf, "feature_names_in_")
    if names is not None and trained is not None:
        _check_names([str(n) for n in trained], sample)
    classifier = hasattr(clf, "predict_proba")
    width = len(names) if names is not None else numpy.asarray(sample).shape[1]
    texts = [n for n in names or [] if tables.is_text(sample[n])]
    whole, types = clf, [("input", FloatTensorType([None, width]))]
    if names is not None:
        whole = _with_named_columns(clf, names, sample)
        types = [(n, StringTensorType([None, 1]) if n in texts else FloatTensorType([None, 1])) for n in names]
    try:
        onnx = convert_sklearn(whole, name=name, initial_types=types, options={id(clf): {"zipmap": False}} if classifier else None)
    except Exception as err:  # of many kinds, for steps that it has no converter for
        reason = " ".join(str(err).split())
        raise ExportError(
            f"skl2onnx cannot convert it: {reason[:400]}; a model of XGBoost, LightGBM or CatBoost within a pipeline is exported alone, with an example of "
            "the columns that the steps before it make"
        ) from err
    _join_plainly(onnx)
    used = _tidy_inputs(onnx, names, classifier) if names is not None else list(range(width))
    file = folder / f"{name}.onnx"
    file.write_bytes(onnx.SerializeToString())

    codes = _onnx_categories(onnx, texts)
    rows = [[row[i] for i in used] for row in tables.rows_of(sample, codes)]
    used_names = [f"f{i}" for i in used] if names is None else [names[i] for i in used]
    outputs = _run_onnx(onnx, rows, None if names is None else {n: sample[n] if n in texts else None for n in used_names}, classifier)
    _check_onnx(numpy, outputs, clf.predict_proba(sample) if classifier else clf.predict(sample))
    if classifier and outputs.shape[1] == 2:
        outputs = outputs[:, 1]
    saved = _choose(Saved(file, used_names, rows, None, None), outputs, outputs, list(clf.classes_) if classifier else None, label, named=True)
    saved.levels = {n: codes[n] for n in used_names if n in codes}
    # ONNX has no raw score of its own, and runtimes add in an order of theirs.
    saved.margins, saved.tolerance = None, 1e-5
    return saved


def _onnx_categories(onnx: Any, texts: Sequence[str]) -> Dict[str, Sequence[Any]]:
    """The texts of each text column in the order of the codes that the compiler gives them, which is that
    of the encoder that reads the column."""
    found: Dict[str, Sequence[Any]] = {}
    for column in texts:
        readers, same = [], {column}
        for node in onnx.graph.node:
            if node.op_type in ("Gather", "Identity") and node.input[0] in same:
                same.update(node.output)  # picks the only column of one
            elif same.intersection(node.input):
                readers.append(node)
        lists = [[t.decode() for t in a.strings] for node in readers for a in node.attribute if a.name == "cats_strings"]
        if any(node.op_type != "OneHotEncoder" for node in readers) or any(levels != lists[0] for levels in lists):
            raise ExportError(f"the text column {column} is exported only where a OneHotEncoder reads it; encode it so, or before the pipeline")
        found[column] = lists[0] if lists else []
    return found


def _with_named_columns(clf: Any, names: Sequence[str], sample: Any) -> Any:
    """`clf` behind a step that joins single columns: so each input of the file has the name of its column,
    which is the name of the feature."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if isinstance(clf, (Pipeline, ColumnTransformer)):
        return clf
    join = ColumnTransformer([("columns", "passthrough", list(sample.columns))]).fit(sample)
    return Pipeline([("columns", join), ("model", clf)])


def _join_plainly(onnx: Any) -> None:
    """Single columns are joined with Concat: a FeatureVectorizer, which the converter writes before some
    steps, does the same for numbers of 32 bits, and fewer programs know it."""
    for node in onnx.graph.node:
        if node.op_type == "FeatureVectorizer":
            node.op_type, node.domain = "Concat", ""
            del node.attribute[:]
            axis = node.attribute.add()
            axis.name, axis.type, axis.i = "axis", 2, 1  # AttributeProto.INT


def _tidy_inputs(onnx: Any, names: Sequence[str], classifier: bool) -> List[int]:
    """Gives the inputs the names of their columns, of which the converter made identifiers, and leaves out
    inputs that the score does not need. Returns the positions of those that stay."""
    graph = onnx.graph
    needed = {graph.output[1 if classifier else 0].name}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    used = [i for i, value in enumerate(graph.input) if value.name in needed]
    new = {value.name: name for value, name in zip(graph.input, names)}
    for value in graph.input:
        value.name = new[value.name]
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = new.get(name, name)
    for i in reversed(range(len(names))):
        if i not in used:
            del graph.input[i]
    return used


def _run_onnx(onnx: Any, rows: List[List[float]], columns: Optional[Mapping[str, Any]], classifier: bool) -> Any:
    """What onnxruntime makes of the rows. `columns` are None for one input of all features, else the names
    of the inputs, with the texts of those that are text."""
    try:
        import onnxruntime
    except ImportError:
        raise ExportError("the ONNX file is proved with onnxruntime: pip install onnxruntime") from None
    import numpy

    session = onnxruntime.InferenceSession(onnx.SerializeToString(), providers=["CPUExecutionProvider"])
    table = numpy.asarray(rows, dtype=numpy.float32)
    feed = {"input": table}
    if columns is not None:
        feed = {}
        for i, (name, texts) in enumerate(columns.items()):
            feed[name] = table[:, i : i + 1] if texts is None else numpy.array([[str(t)] for t in texts.tolist()], dtype=object)
    return session.run(None, feed)[1 if classifier else 0]


def _check_onnx(numpy: Any, ours: Any, theirs: Any) -> None:
    """The ONNX file must say what scikit-learn says: its 32 bits may not turn a row into another leaf."""
    difference = numpy.abs(ours.reshape(-1) - numpy.asarray(theirs).reshape(-1))
    limit = 1e-4 * numpy.maximum(1, numpy.abs(numpy.asarray(theirs).reshape(-1)))
    if (difference > limit).any():
        row = int((difference > limit).argmax()) // max(1, difference.size // len(ours))
        raise ExportError(
            f"the ONNX file differs from scikit-learn by {difference.max():.3g} (row {row} of the example): ONNX computes in 32 bits; "
            "train on float32 values (X.astype('float32')) so that thresholds and values are the same in both"
        )


def _array(sample: Any) -> Any:
    """The sample as the libraries take it: lists become an array."""
    if hasattr(sample, "columns") or hasattr(sample, "dtype"):
        return sample
    import numpy

    return numpy.asarray(sample, dtype=float)


def _attribute(clf: Any, name: str) -> Any:
    """An attribute that objects of these libraries raise errors for when they do not have it."""
    try:
        return getattr(clf, name)
    except Exception:  # each library has its own
        return None
