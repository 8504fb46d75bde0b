# SPDX-License-Identifier: Apache-2.0
"""Pages in a browser."""

import contextlib

import pytest


@pytest.fixture
def browsed(chromium):
    """Opens a page of a file; at its end the console must hold what is `expected`."""

    @contextlib.contextmanager
    def browsed(file, width=1280, scheme="light", expected=(), **options):
        size = {"width": width, "height": 900}
        context = chromium.new_context(viewport=size, color_scheme=scheme, **options)
        with contextlib.closing(context):
            page = context.new_page()
            said = []
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(file.as_uri())
            yield page
            assert len(said) == len(expected), said
            assert all(part in text for part, text in zip(expected, said)), said

    return browsed
