# SPDX-License-Identifier: Apache-2.0
"""The tables and pictures that a run leaves; no JAX."""

from nnlab.results.tables import (
    CHECKPOINTS,
    CONFIG,
    CURVES,
    DIVERGED,
    DROPPED,
    FINISHED,
    MEMBERS,
    OPTIONAL,
    SEVERITY,
    STATUSES,
    STOPPED,
    TABLES,
    TIMINGS,
    TIMINGS_FILE,
    UNFINISHED,
    Curve,
    LostError,
    Results,
    array,
    load,
    load_config,
    study_fields,
    table,
    write,
)
