# SPDX-License-Identifier: Apache-2.0
"""The model builder of the notebook."""
