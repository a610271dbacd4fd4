"""A matplotlib backend for tasks: `plt.show()` sends the open figures to the notebook as PNG."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg

from cloudbutton_backend.worker.context import current
from cloudbutton_backend.worker.output import figure_bundle, outputs


def flush_figures() -> None:
    """Send every open figure, as the notebook's inline backend does, and close it."""
    import matplotlib.pyplot as plt

    try:
        for number in plt.get_fignums():
            outputs.display(figure_bundle(plt.figure(number)))
    finally:  # one that cannot be drawn must not turn up again
        plt.close("all")


def drop_figures() -> None:
    """Close what the item being run has drawn: it failed, or was stopped, and keeps nothing."""
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        if getattr(plt.figure(number).canvas, "item", current.index) == current.index:
            plt.close(number)


class FigureCanvas(FigureCanvasAgg):
    """Agg, whose manager shows by sending."""

    def __init__(self, figure: Any = None) -> None:
        super().__init__(figure)
        self.item = current.index


def show(*_arguments: Any, **_options: Any) -> None:
    """Send the open figures (what `plt.show()` calls)."""
    flush_figures()


from matplotlib.backend_bases import FigureManagerBase as FigureManager  # noqa: E402, F401
