"""All that a plugin author imports: the data types and the plugin contracts.

A plugin is a class with a class attribute ``info`` (who it is, what it needs) and fields (its parameters). The classes
here are pydantic models: a parameter is declared as an annotated field, is validated before anything runs, and an
unknown one is refused by name. Constructors only store arguments; the work is in one abstract method.

>>> class Shift(Method):
...     info = MethodInfo(name="shift", version="1", summary="Adds a constant to every feature.")
...     by: float = Field(0.1, gt=0, description="what is added, in units of the features")
...
...     def fit(self, members, context):
...         return Release(records=members.replace(data=members.data + np.float32(self.by)))

Two rules keep the numbers honest:

- All randomness comes from ``context.rng(...)`` or ``context.torch_generator(...)``: same seed, same answer.
- No plugin computes its own success. Attacks return scores, utilities return predictions; the harness, which alone
  knows the coins, turns them into figures.

Import heavy libraries (torch, timm, scikit-learn) inside the methods that use them, so that listing plugins is quick.

Import from this package. Its modules: ``records`` (the data), ``context`` (what a call is given), ``plugins`` (the
contracts), ``answers`` (what plugins give back), ``guarantees`` (what methods claim) and ``errors``.
"""

from pydantic import Field

from benchmark.contracts.answers import (
    DatasetContent,
    Figures,
    Links,
    Predictions,
    Reconstructions,
    Release,
    Saved,
    Scores,
)
from benchmark.contracts.context import Access, Context, Shadows, View
from benchmark.contracts.errors import (
    DatasetMissing,
    InvalidGuarantee,
    InvalidRecords,
    LeakboardError,
    NotApplicable,
    Unavailable,
)
from benchmark.contracts.guarantees import (
    Adjacency,
    DifferentialPrivacy,
    Guarantee,
    KAnonymity,
    Public,
    Unit,
)
from benchmark.contracts.plugins import (
    Attack,
    AttackInfo,
    Dataset,
    DatasetInfo,
    FeatureExtractor,
    Info,
    Method,
    MethodInfo,
    Perturbation,
    PerturbationInfo,
    Plugin,
    PositiveControl,
    Resources,
    Utility,
    UtilityInfo,
)
from benchmark.contracts.records import Kind, Records

__all__ = [
    "Access",
    "Adjacency",
    "Attack",
    "AttackInfo",
    "Context",
    "Dataset",
    "DatasetContent",
    "DatasetInfo",
    "DatasetMissing",
    "DifferentialPrivacy",
    "FeatureExtractor",
    "Field",
    "Figures",
    "Guarantee",
    "Info",
    "InvalidGuarantee",
    "InvalidRecords",
    "KAnonymity",
    "Kind",
    "LeakboardError",
    "Links",
    "Method",
    "MethodInfo",
    "NotApplicable",
    "Perturbation",
    "PerturbationInfo",
    "Plugin",
    "PositiveControl",
    "Predictions",
    "Public",
    "Reconstructions",
    "Records",
    "Release",
    "Resources",
    "Saved",
    "Scores",
    "Shadows",
    "Unavailable",
    "Unit",
    "Utility",
    "UtilityInfo",
    "View",
]
