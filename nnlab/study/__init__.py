# SPDX-License-Identifier: Apache-2.0
"""What is asked: the study, its hyperparameters, sweep and claims; no JAX."""

from nnlab.study.choices import (
    DATASETS,
    SIZES,
    Sweep,
    choose,
    sized,
    updates_an_epoch,
)
from nnlab.study.claims import COMPARABLE, REDUCTIONS, RELATIONS, Claim, Quantity
from nnlab.study.hyperparameters import (
    DTYPES,
    MODELS,
    MOST_LAYERS,
    NEEDS,
    OPTIMIZERS,
    PATHS,
    POOLS,
    SCHEDULES,
    TRACED,
    TRANSFERS,
    TREES,
    TUPLES,
    WATCHED,
    WEIGHTS,
    Csv,
    EarlyStopping,
    Hyperparameters,
    Model,
    Optimizer,
    Schedule,
    Transfer,
)
from nnlab.study.study import (
    DRAWN,
    MOST_TRIALS,
    OF_TRIAL,
    OWNED,
    PARTS,
    PICTURES,
    SAMPLERS,
    SHOWN,
    Halving,
    MovedSets,
    Own,
    OwnModule,
    Search,
    Study,
    Trial,
    check_read,
    digest_json,
)
from nnlab.study.sweep import product
