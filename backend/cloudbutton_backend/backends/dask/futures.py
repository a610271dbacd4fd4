"""A job's results as Dask's futures: to go on with Dask where they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cloudbutton_backend.backends.dask.shipped_code import plugin_name, raise_error, value_of

if TYPE_CHECKING:
    from cloudbutton_backend.backends.dask.connection import ClusterConnection
    from cloudbutton_backend.backends.dask.in_flight import KeptResult


def futures_of(
    connection: ClusterConnection,
    outcomes: Iterable[tuple[int, Any, BaseException | None]],
    kept: Iterable[KeptResult],
) -> list[Any]:
    """Return a future for each item, in their order.

    A result whose call's answer was kept is unpacked by a worker that has it; others are sent there
    again. A failed item's future raises its exception.

    Parameters
    ----------
    outcomes
        Index, value and exception of each item.
    """
    client = connection.cluster.client
    at: Mapping[int, KeptResult] = {
        index: each for each in kept for index in range(each.first, each.first + each.count)
    }
    connection.cluster.await_worker()
    found = []
    for index, value, error in outcomes:
        if error is not None:
            found.append(client.submit(raise_error, error, pure=False))
        elif index in at:
            each = at[index]
            found.append(
                client.submit(value_of, plugin_name(), each.future, each.key, index, pure=False)
            )
        else:
            # ends: Dask drops a worker that it has not heard of for some minutes
            found += client.scatter([value], hash=False)
    return found
