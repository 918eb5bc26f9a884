"""Client of Arbiter, which decides the next best action for a customer.

    import arbiter as ab

    c = ab.connect()                                    # ARBITER_ADDR, or this machine
    d = c.decide("S-000123", "web", explain="reasons")
    c.respond(d.best, "Accepted")

    m = ab.export(clf, "churn", "1.1.0", example=X)      # XGBoost, LightGBM, scikit-learn, CatBoost
    print(m.check())                                    # the sandbox against the library
    c.models.rollout(m, auto=True)                      # or push(m, activate=True), at once

Pure Python from 3.9 on, nothing but the standard library. `ab.export` needs the library that trained the
model, and the arbiter program.
"""

from . import errors
from .client import Catalog, Client, Models, Subjects, connect
from .errors import (
    ActionUnknown,
    ArbiterError,
    AttributeUnknown,
    CatalogInvalid,
    CatalogUnknown,
    CompileError,
    Conflict,
    DecisionUnknown,
    ExportError,
    Internal,
    Invalid,
    KeyReused,
    Malformed,
    ModelInvalid,
    ModelMismatch,
    NotFound,
    Overloaded,
    PluginRefused,
    PluginUnknown,
    PreconditionFailed,
    PreconditionRequired,
    Problem,
    ProblemDetail,
    ProgramNotFound,
    SubjectUnknown,
    Timeout,
    TooLarge,
    Unavailable,
    Unreachable,
)
from .export import CheckReport, Model, export
from .recipes import Features, one_hot_prefixes
from .records import CatalogDocument, Decision, ImportResult, Page, Record
from .rollouts import Rollout

__version__ = "0.1.0"

__all__ = [name for name, value in list(globals().items()) if not name.startswith("_") and not isinstance(value, type(errors))]
