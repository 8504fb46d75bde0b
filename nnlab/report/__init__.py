# SPDX-License-Identifier: Apache-2.0
"""What is said about a run: page, answer, sections and figures; no JAX."""

from nnlab.report.page import content, escape_markdown, write
