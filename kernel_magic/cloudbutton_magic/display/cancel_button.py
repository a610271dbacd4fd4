"""The Cancel button of the live view: it interrupts the kernel through the notebook's server.

A comm message would wait behind the cell that blocks the kernel; the server does not. So the button
asks the server for what ■ asks for, and the cell that waits cancels its job. It shows only where there
is a Jupyter server to ask (its page names it) and scripts may run: in JupyterLab and Notebook, while
the output is fresh; not in a saved notebook, nbconvert, VS Code or Colab.
"""

from __future__ import annotations

import re
from typing import Any

_SCRIPT = """
(() => {
  const config = document.getElementById("jupyter-config-data");
  if (!config) return;
  for (const button of document.querySelectorAll(".cb-cancel[hidden]")) {
    button.hidden = false;
    // Not "click": the view is drawn anew several times a second, also between press and release.
    const press = event => {
      if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      const page = JSON.parse(config.textContent);
      const found = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
      const headers = {"X-XSRFToken": found ? decodeURIComponent(found[1]) : ""};
      if (page.token) headers["Authorization"] = "token " + page.token;
      const path = "api/kernels/" + button.dataset.kernel + "/interrupt";
      fetch((page.baseUrl || "/") + path, {method: "POST", credentials: "same-origin", headers});
      button.textContent = "Cancelling…";
      button.disabled = true;
    };
    button.addEventListener("pointerdown", press);
    button.addEventListener("keydown", press);
  }
})();
"""


def kernel_id(shell: Any) -> str:
    """Return the id that the server knows a shell's kernel by, empty if it has none."""
    application = getattr(getattr(shell, "kernel", None), "parent", None)
    file = str(getattr(application, "connection_file", ""))
    found = re.search(r"kernel-([0-9a-zA-Z-]+)\.json$", file)
    return found[1] if found else ""


def cancel_button(kernel: str) -> str:
    """Return the button as HTML; it stays hidden where it could not work."""
    if not kernel:
        return ""
    return (
        f'<button type="button" class="cb-cancel" hidden data-kernel="{kernel}" '
        f'title="Stop this job; what has finished is kept">Cancel</button>'
        f"<script>{_SCRIPT}</script>"
    )
