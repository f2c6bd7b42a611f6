"""Formal claims say what they are about, or are refused where they are made."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from benchmark.contracts import (
    DifferentialPrivacy,
    InvalidGuarantee,
    InvalidRecords,
    KAnonymity,
    Records,
    Release,
)
from benchmark.nodes import guarantee_of

GOOD = {"epsilon": 1.0, "delta": 1e-5, "accountant": "some", "adjacency": "add_remove"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epsilon": -0.1}, "'epsilon' of a guarantee must be a number, finite and at least 0. Got -0.1"),
        ({"epsilon": math.nan}, "Got nan"),
        ({"epsilon": math.inf}, "Got inf"),
        ({"epsilon": "1"}, "Got '1'"),
        ({"epsilon": True}, "Got True"),
        ({"epsilon": 10**400}, "Got a number of 1329 bits"),
        ({"details": {"steps": 10**5000}}, "a finite number or a string. Got a number of 16610 bits"),
        ({"delta": 1.0}, "'delta' of a guarantee must be a number, at least 0 and below 1. Got 1.0"),
        ({"delta": -1e-9}, "'delta'"),
        ({"accountant": " "}, "must name what computed epsilon"),
        ({"adjacency": "addremove"}, "must be one of add_remove, replace, zero_out. Got 'addremove'"),
        ({"unit": "patient"}, "must be one of record, group. Got 'patient'"),
        ({"public": ("mean",)}, "'public' of a guarantee must be one of size"),
        ({"public": ("size",)}, "cannot take the size as public: neighbours differ there"),
        ({"public": ("labels", "size")}, "cannot take the size and the labels as public"),
        ({"adjacency": "replace"}, "add 'size' to 'public'"),
        ({"adjacency": "zero_out", "public": ("classes",)}, "add 'size' to 'public'"),
        ({"details": {"noise_multiplier": -1.0}}, "'noise_multiplier'] of a guarantee must be a number"),
        ({"details": {"noise_multiplier": math.nan}}, "must be a finite number or a string. Got nan"),
        ({"details": {"noise_multiplier": "much"}}, "must be a number, at least 0. Got 'much'"),
        ({"details": {"sample_rate": 1.01}}, "in [0, 1]. Got 1.01"),
        ({"details": {"steps": 2.5}}, "must be a whole number of at least 0. Got 2.5"),
        ({"details": {"anything": [1]}}, "must be a finite number or a string"),
    ],
)  # fmt: skip
def test_a_claim_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(InvalidGuarantee) as refusal:
        DifferentialPrivacy(**{**GOOD, **wrong})
    assert said in str(refusal.value)


def test_the_adjacency_has_to_be_given():
    with pytest.raises(TypeError, match="adjacency"):
        DifferentialPrivacy(epsilon=1.0, delta=0.0, accountant="some")


@pytest.mark.parametrize("k", [0, -1, 2.0, True, "3", None, 10**400])
def test_k_is_a_whole_number_of_at_least_one(k):
    with pytest.raises(InvalidGuarantee, match="'k' of a guarantee must be a whole number"):
        KAnonymity(k=k)
    assert KAnonymity(k=np.int64(1)).k == 1


@pytest.mark.parametrize(
    "claim",
    [
        KAnonymity(k=4),
        DifferentialPrivacy(
            epsilon=np.float32(0.5),
            delta=0,
            accountant="some",
            adjacency="replace",
            unit="group",
            public=("classes", "size"),
            details={
                "noise_multiplier": np.float64(1.5),
                "steps": np.int64(3),
                "sample_rate": 1,
                "why": "so",
            },
        ),
    ],
)
def test_a_claim_survives_its_record(claim):
    stored = json.loads(json.dumps({"kind": type(claim).__name__, **asdict(claim)}))
    assert guarantee_of(stored) == claim


def test_a_release_takes_nothing_else_for_a_guarantee():
    records = Records(
        np.zeros((2, 3), dtype=np.float32), np.zeros(2, dtype=np.int64), extractor="x"
    )
    assert Release(records=records, guarantee=KAnonymity(k=2)).guarantee.k == 2
    with pytest.raises(InvalidGuarantee, match="Got dict"):
        Release(records=records, guarantee={"epsilon": 1.0})
    assert not issubclass(InvalidGuarantee, InvalidRecords)
