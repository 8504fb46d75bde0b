# SPDX-License-Identifier: Apache-2.0
"""What report tables show, and curves for them."""

import numpy as np

from nnlab import results

RATE = "optimizer.learning_rate"
RATES = [{RATE: r} for r in (0.02, 0.7, 3.0)]


def rows_of(section):
    """Returns the rows of a section's tables as mappings from header to cell.

    Tables that begin with the same cells go on with each other's rows.
    """
    rows = {}
    for table in section.tables:
        for row in table.rows:
            rows.setdefault(row[0], {}).update(zip(table.header, row))
    return [*rows.values()]


def store_again(folder, config, **more):
    """Stores a run's files again, under another config and with `more` files."""
    names = (*results.TABLES, "timings.csv", "severity.csv")
    files = {n: (folder / n).read_bytes() for n in names if (folder / n).exists()}
    results.write(folder, config, {**files, **more})


def section_of(content, anchor):
    """Returns the section with an anchor; None for none."""
    return next((s for s in content.sections if s.anchor == anchor), None)


def reaching(times, num_seeds=8, num_evaluations=10, low=0.5, high=0.96):
    """Makes accuracies (T, S, E) that step from low to high at an evaluation."""
    values = np.full((len(times), num_seeds, num_evaluations), low)
    for trial, time in enumerate(times):
        values[trial, :, time - 1 :] = high
    noise = np.random.default_rng(0).normal(0, 1e-3, (len(times), num_seeds, 1))
    return values + noise
