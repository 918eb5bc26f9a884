"""Compiled models against the libraries that trained them, in interleaved rounds; see README.md."""

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys
from importlib import util

import models
import numpy as np

ROWS, BATCH, OFFERS, CHECKED = 4096, 256, 50, 256
# The largest ratio that counts as reached, of ours to the library's time: one row, batch, 50 candidates.
GOALS = {
    "lightgbm": {"one": 0.30, "batch": 0.27, "offers": 0.25},
    "xgboost": {"one": 0.08, "batch": 0.40},
    "xgboost-1.7": {"one": 0.08, "batch": 0.40},
    "onnxruntime": {"one": 0.50, "batch": 0.55},
    "tl2cgen": {"one": 0.70},
}
LARGE_GOAL = 0.50  # one row of 1000 trees of 127 leaves ÷ LightGBM


class Turns:
    """A process that measures once for each line it is sent."""

    def __init__(self, command):
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line="go"):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a measuring process ended with exit code {self.process.wait()}")
        return [float(x) for x in answer.split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def library_file(package, pattern):
    found = util.find_spec(package)
    hits = sorted(pathlib.Path(found.origin).parent.glob(pattern)) if found else []
    if not hits:
        raise FileNotFoundError(f"{package} has no {pattern}")
    return hits[0]


def compile_modules(arbiter, file, names, folder):
    """Three modules of one model: all features the customer's, all the candidate's, a fifth the candidate's."""
    fifth = len(names) - len(names) // 5
    shapes = {"one": len(names), "batch": 0, "offers": fifth}
    modules = {}
    for shape, subject in shapes.items():
        recipes = [{"name": n, "attribute": f"a{i}"} if i < subject else {"name": n, "actionProperty": f"p{i}"} for i, n in enumerate(names)]
        features, module = folder / f"{shape}.features.yaml", folder / f"{file.name}.{shape}.wasm"
        features.write_text(json.dumps({"features": recipes}))
        done = subprocess.run([arbiter, "model", "compile", file, "--features", features, "--name", "bench", "-o", module], capture_output=True, text=True)
        if done.returncode:
            raise ValueError(done.stderr.strip() or done.stdout.strip())
        modules[shape] = module
    return modules


def engines_of(file, library, width, options):
    """Name, shared library and model file of everything that can score this model."""
    own = {"lightgbm": ("lightgbm", "lib/lib_lightgbm.so"), "xgboost": ("xgboost", "lib/libxgboost.so")}[library]
    engines = [[library, library_file(*own), file]]
    if library == "xgboost":
        engines.append(["xgboost-1.7", options.cache / "xgboost-1.7/unpacked/xgboost/lib/libxgboost.so", models.for_xgboost_1(file, options.cache)])
    try:
        engines.append(["onnxruntime", library_file("onnxruntime", "capi/libonnxruntime.so*"), models.to_onnx(file, library, width)])
    except (FileNotFoundError, ImportError) as err:
        print(f"SKIPPED onnxruntime: {err}", file=sys.stderr)
    if options.tl2cgen:
        try:
            engines.append(["tl2cgen", *models.to_shared_object(file, library)])
        except Exception as err:  # it may fail on anything; its absence is said, the rest is measured
            print(f"SKIPPED tl2cgen for {file.name}: {err}", file=sys.stderr)
    return engines


def check_scores(arbiter, module, harnesses, names, data, folder):
    """All engines must give the same: ours as `model check` compares, the others within what 32 bits do."""
    scores = {name: np.array(harness.ask("scores")) for name, harness in harnesses.items()}
    own, *others = scores
    rows, expected = folder / "checked.csv", folder / "expected.csv"
    write_rows(rows, names, data[:CHECKED])
    expected.write_text("prob\n" + "".join(f"{p!r}\n" for p in scores[own].tolist()))
    done = subprocess.run([arbiter, "model", "check", module, "--rows", rows, "--expected", expected], capture_output=True, text=True)
    if done.returncode:
        raise ValueError("the compiled model scores otherwise: " + done.stderr.strip())
    for name in others:
        difference = np.abs(scores[name] - scores[own])
        if (difference > 1e-5).any():
            print(f"NOTE {name} differs from {own} by up to {difference.max():.2g} in {(difference > 1e-5).sum()} of {CHECKED} rows", file=sys.stderr)


def write_rows(file, names, data):
    lines = [",".join(names)] + [",".join("" if x != x else repr(x) for x in row) for row in data.tolist()]
    file.write_text("\n".join(lines) + "\n")


def measure(file, library, options, folder):
    """Rounds of {engine: {shape: nanoseconds a row}}."""
    names = models.feature_names(file, library)
    data = models.customers(ROWS, len(names), 3)
    data.tofile(folder / "rows.f64")
    write_rows(folder / "rows.csv", names, data)
    modules = compile_modules(options.arbiter, file, names, folder)
    engines = engines_of(file, library, len(names), options)
    tail = [options.milliseconds, folder / "rows.f64"]
    # A process for each: two versions of one library do not always bear each other.
    harnesses = {
        name: Turns([options.cache / "libraries", ROWS, len(names), BATCH, *tail, name.partition("-")[0], *rest]) for name, *rest in engines
    }
    offers = Turns([options.cache / "libraries", ROWS, len(names), OFFERS, *tail, *engines[0]])
    ours = {
        shape: Turns([options.arbiter, "model", "bench", module, "--rows", folder / "rows.csv", "--turns", "--batch",
                      OFFERS if shape == "offers" else BATCH, "--duration", f"{options.milliseconds}ms"])
        for shape, module in modules.items()
    }  # fmt: skip
    turns = [*harnesses.values(), offers, *ours.values()]
    try:
        check_scores(options.arbiter, modules["one"], harnesses, names, data, folder)
        for process in turns:
            process.ask()  # a round to warm up
        return [one_round(library, harnesses, offers, ours) for _ in range(options.rounds)]
    finally:
        for process in turns:
            process.close()


def one_round(library, harnesses, offers, ours):
    """Everybody once, in turn: {engine: {shape: nanoseconds a row}}."""
    result = {name: dict(zip(("one", "batch"), harness.ask())) for name, harness in harnesses.items()}
    result[library]["offers"] = offers.ask()[1]
    result["arbiter"] = {shape: process.ask()[0 if shape == "one" else 1] for shape, process in ours.items()}
    return result


def report(name, library, rounds):
    """Medians of the times, medians of the ratios of each round, and whether the goal is reached."""
    own = rounds[0]["arbiter"]
    time = {shape: statistics.median(r["arbiter"][shape] for r in rounds) for shape in own}
    print(f"| {name} | arbiter | {time['one']:,.0f} | | {time['batch']:,.0f} | | {time['offers']:,.0f} | |")
    missed = []
    for engine in rounds[0]:
        if engine == "arbiter":
            continue
        cells = []
        for shape in ("one", "batch", "offers"):
            if shape not in rounds[0][engine]:
                cells += ["", ""]
                continue
            ratio = statistics.median(r["arbiter"][shape] / r[engine][shape] for r in rounds)
            goal = GOALS[engine].get(shape)
            if engine == "lightgbm" and shape == "one" and "1000x127" in name:
                goal = LARGE_GOAL
            mark = "" if goal is None else f" (≤ {goal:.2f})" if ratio <= goal else f" **(> {goal:.2f})**"
            if goal is not None and ratio > goal:
                missed.append(f"{name}: {shape} ÷ {engine} is {ratio:.3f}, the goal {goal:.2f}")
            cells += [f"{statistics.median(r[engine][shape] for r in rounds):,.0f}", f"{ratio:.3f}{mark}"]
        print(f"| {name} | {engine} | " + " | ".join(cells) + " |", flush=True)
    return missed


def main():
    parser = argparse.ArgumentParser(description="Compiled models against the libraries that trained them")
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--arbiter", required=True)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--milliseconds", type=int, default=20, help="processor time of each measurement")
    parser.add_argument("--quick", action="store_true", help="7 rounds of 5 ms of the small models")
    parser.add_argument("--no-tl2cgen", dest="tl2cgen", action="store_false", help="gcc needs minutes for the largest models")
    parser.add_argument("models", nargs="*", help=f"model files, or of {', '.join(models.MODELS)} (default all)")
    options = parser.parse_args()
    names = options.models
    if options.quick:
        options.rounds, options.milliseconds = 7, 5
        names = names or ["lightgbm-100x31-f50", "xgboost-500-d6-f50"]
    folder = options.cache / "work"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{platform.processor() or platform.machine()}, {platform.system()} {platform.release()}; load {pathlib.Path('/proc/loadavg').read_text().split()[0]}; "
          f"{options.rounds} rounds of {options.milliseconds} ms; nanoseconds of processor time a row, ratios are ours ÷ theirs\n")  # fmt: skip
    print("| model | engine | one row | ratio | batch of 256 | ratio | 50 candidates | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    skipped, missed = [], []
    for name in names or models.MODELS:
        try:
            file = models.train(name, options.cache) if name in models.MODELS else pathlib.Path(name)
            library = models.library_of(file)
            if library is None:
                raise ValueError("no LightGBM text and no XGBoost JSON: no library here scores it")
            missed += report(name, library, measure(file, library, options, folder))
        except (ValueError, OSError) as err:
            skipped.append(f"SKIPPED {name}: {err}")
            print(skipped[-1], file=sys.stderr, flush=True)
    print()
    for line in missed + skipped:
        print(line)
    sys.exit(1 if missed or skipped else 0)


if __name__ == "__main__":
    main()
