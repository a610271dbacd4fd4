"""What a user does in JupyterLab, and what they see, by Playwright on a real page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, sync_playwright

from .lab import ROOT, TOKEN, Lab

PATIENCE = 40_000.0
"""Milliseconds; the deadline of everything that has no better one."""
PICTURES = ROOT / "build" / "screenshots"

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: The notebook in front.
_PANEL = "window.jupyterapp.shell.currentWidget"
_READY = f"""() => {{
    if (!window.jupyterapp?.shell) return false;
    const kernel = {_PANEL}?.context?.sessionContext?.session?.kernel;
    return {_PANEL}?.content?.activeCell != null
        && kernel?.connectionStatus === 'connected' && kernel?.status === 'idle';
}}"""


@contextmanager
def browser() -> Iterator[BrowserContext]:
    """Start Chromium for one user: `TEST_BROWSER`, or the system's, or Playwright's own."""
    system = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    path = os.environ.get("TEST_BROWSER") or next(filter(None, system), None)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield started.new_context(viewport={"width": 1360, "height": 860})
        started.close()


class Notebook:
    """A notebook open in a page of its own."""

    def __init__(self, page: Page, lab: Lab, path: str) -> None:
        self.page, self.lab, self.path = page, lab, path

    @classmethod
    def open(cls, browser: BrowserContext, lab: Lab, path: str) -> Notebook:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        notebook = cls(page, lab, path)
        workspace = Path(path).stem
        page.goto(f"{lab.url}lab/workspaces/{workspace}/tree/{path}?token={TOKEN}")
        notebook.wait_until_ready()
        return notebook

    def wait_until_ready(self) -> None:
        self.page.wait_for_function(_READY, timeout=PATIENCE)

    def close(self) -> None:
        """Close the page and shut its kernel down."""
        self.page.evaluate(f"() => {_PANEL}?.context?.sessionContext?.shutdown()")
        self.page.close()

    # -- acting

    def activate(self, cell: int) -> None:
        """Click beside a cell, which selects it."""
        self.cell(cell).locator(".jp-InputPrompt").click()

    def press(self, cell: int) -> None:
        """Press ☁ in the toolbar of a cell."""
        self.activate(cell)
        self.page.locator(
            ".jp-cell-toolbar [data-jp-item-name='cloudbutton'] >> visible=true"
        ).click()

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command; return when it has begun, as some end with a dialog."""
        self.page.evaluate(
            "([name, args]) => { void window.jupyterapp.commands.execute(name, args); }",
            [name, arguments],
        )

    def rename(self, name: str) -> None:
        """Give the notebook's file another name, as its tab's menu does."""
        self.page.evaluate(f"name => {_PANEL}.context.rename(name)", name)
        self.path = name

    def save(self) -> None:
        self.page.evaluate(f"() => {_PANEL}.context.save()")

    def show_panel(self) -> Locator:
        """Open the sidebar; return it."""
        self.command("cloudbutton:show-panel")
        panel = self.page.get_by_role("region", name="Cloud Button")
        panel.wait_for()
        return panel

    def hide_panel(self) -> None:
        self.command("application:toggle-right-area")
        self.page.locator("#cloudbutton-panel").wait_for(state="hidden")

    def pictures(self, name: str) -> None:
        """Keep what it looks like, in light and dark; themes are the server's, so light is last."""
        for shade in ("Dark", "Light"):
            theme = f"JupyterLab {shade}"
            self.command("apputils:change-theme", theme=theme)
            self.page.locator(f"body[data-jp-theme-name='{theme}']").wait_for(state="attached")
            self.page.locator("#jupyterlab-splash").wait_for(state="detached")
            self.picture(f"{name}-{shade.lower()}")

    # -- seeing

    def now(self) -> float:
        """Milliseconds on the page's own clock."""
        return float(self.page.evaluate("() => performance.now()"))

    def wait_for(self, condition: str, argument: Any = None, timeout: float = PATIENCE) -> Any:
        """Wait until a JavaScript function of `argument` returns something true; return that."""
        found = self.page.wait_for_function(condition, arg=argument, timeout=timeout)
        return found.json_value()

    def wait_until_run(self, cell: int, timeout: float = PATIENCE) -> None:
        """Wait until a cell has been run, or was stopped."""
        self.wait_for(
            f"""n => {{
                const model = {_PANEL}.content.widgets[n].model;
                return model.executionState === 'idle' && model.executionCount !== null;
            }}""",
            cell,
            timeout,
        )

    def wait_until_running(self, cell: int) -> None:
        self.wait_for(f"n => {_PANEL}.content.widgets[n].model.executionState === 'running'", cell)

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate(
            f"n => {_PANEL}.content.widgets[n].model.outputs.toJSON()", cell
        )
        return found

    def result(self, cell: int) -> str | None:
        """The value of a cell's last expression, as shown."""
        shown = [o for o in self.outputs(cell) if o["output_type"] == "execute_result"]
        return str(shown[0]["data"]["text/plain"]) if shown else None

    def error(self, cell: int) -> str | None:
        failed = [o for o in self.outputs(cell) if o["output_type"] == "error"]
        return str(failed[0]["ename"]) if failed else None

    def metadata(self, cell: int) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.page.evaluate(
            f"n => {_PANEL}.content.widgets[n].model.getMetadata('cloudbutton') ?? null", cell
        )
        return found

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Notebook-cell").nth(number)

    def picture(self, name: str) -> None:
        """Keep what the page looks like, for a person to judge."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")
