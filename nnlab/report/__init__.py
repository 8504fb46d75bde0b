# SPDX-License-Identifier: Apache-2.0
"""What a report says: page, answer, sections and figures; no JAX."""

from nnlab.report.page import content, embedded, write
