"""One JupyterLab and one browser for all of these tests; a page of its own for each notebook."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from . import lab as labs
from . import page as pages

Open = Callable[..., pages.Notebook]

_numbers = itertools.count(1)
_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Remember what failed, for a picture of it."""
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.Lab]:
    with labs.running(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="package")
def browser() -> Iterator[BrowserContext]:
    with pages.browser() as browser:
        yield browser


@pytest.fixture
def opened(
    lab: labs.Lab, browser: BrowserContext, request: pytest.FixtureRequest
) -> Iterator[Open]:
    """Opens a new notebook of given cells; closed with its kernel when the test has ended."""
    notebooks: list[pages.Notebook] = []

    def open_notebook(*cells: str | dict[str, Any], **how: str) -> pages.Notebook:
        path = lab.notebook(f"notebook-{next(_numbers)}.ipynb", cells, **how)
        notebooks.append(pages.Notebook.open(browser, lab, path))
        return notebooks[-1]

    yield open_notebook
    for number, notebook in enumerate(notebooks):
        if request.node.stash.get(_failed, False):
            notebook.picture(f"failed-{request.node.originalname}-{number}")
        notebook.close()
