# SPDX-License-Identifier: Apache-2.0
"""How numbers, names and errors are written; imports no other room."""
