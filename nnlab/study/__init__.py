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
from nnlab.study.claims import Claim, Quantity
from nnlab.study.hyperparameters import (
    DTYPES,
    MODELS,
    NEEDS,
    OPTIMIZERS,
    PATHS,
    POOLS,
    SCHEDULES,
    TRACED,
    TREES,
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
    MOST_TRIALS,
    OF_TRIAL,
    PARTS,
    PICTURES,
    SAMPLERS,
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
