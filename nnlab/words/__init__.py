# SPDX-License-Identifier: Apache-2.0
"""How numbers, names and errors are spelt; stands on nothing."""
