# SPDX-License-Identifier: Apache-2.0
"""Tells the notebooks where nnlab is published: python notebooks/publish.py

The address is `Repository` of pyproject.toml's [project.urls]. Each notebook gets it as
its `SOURCE`, and one on GitHub gives a badge that opens the notebook in Colab. Without
an address there is neither.
"""

import json
import pathlib
import re
import tomllib

FOLDER = pathlib.Path(__file__).parent
COLAB = "https://colab.research.google.com"
GITHUB = "https://github.com/"


def main() -> None:
    """Rewrites the first two cells of each notebook."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
    address = project.get("urls", {}).get("Repository", "")
    for file in FOLDER.glob("*.ipynb"):
        notebook = json.loads(file.read_text(encoding="utf-8"))
        title, set_up = notebook["cells"][:2]
        head, *text = (line for line in title["source"] if "colab-badge" not in line)
        text = "".join(text).strip("\n")
        if address.startswith(GITHUB):
            place = f"{address.removeprefix(GITHUB)}/blob/main/notebooks/{file.name}"
            badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
            text = f"{badge}({COLAB}/github/{place})\n\n{text}"
        title["source"] = f"{head}\n{text}".splitlines(keepends=True)
        source = f'SOURCE = "{address and "git+"}{address}"'
        code = re.sub('SOURCE = ".*?"', source, "".join(set_up["source"]), count=1)
        set_up["source"] = code.splitlines(keepends=True)
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        file.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
