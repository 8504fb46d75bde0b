# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml cannot say: the wheel has configs/ as nnlab/configs."""

import setuptools

setuptools.setup(
    packages=[*setuptools.find_packages(include=["nnlab*"]), "nnlab.configs"],
    package_dir={"nnlab.configs": "configs"},
)
