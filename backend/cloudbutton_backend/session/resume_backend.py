"""Chooses the backend on which a job resumes: the one where it ran last, or one that was asked for.

What a kernel has under a backend's name may be another thing than what the job ran on: emulated there and
billed here, by the settings of each.
"""

from __future__ import annotations

from collections.abc import Callable

from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.errors import CloudError, UsageError
from cloudbutton_backend.journal import JobRow


def driver_of(row: JobRow, name: str, drivers: Callable[[str], Driver]) -> Driver:
    """Return the driver of the backend on which a job ran last, by its name.

    Raises
    ------
    UsageError
        The backend of that name is another thing in this kernel.
    """
    try:
        driver = drivers(name)
    except CloudError as error:
        if not row.emulated:
            raise
        raise UsageError(
            f"Job {row.id} ran on {row.ran_on}, and `{name}` is not emulated in this kernel. Nothing was"
            f" started. Say `%cloud use {name} --emulate`, and attach then; or go on elsewhere:"
            f" `%cloud attach {row.id} --backend local`."
        ) from error
    require_same(row, driver)
    return driver


def require_same(row: JobRow, driver: Driver) -> None:
    """Return if a backend of this kernel is what a job ran on.

    Raises
    ------
    UsageError
        It is not, and the user has not asked for it.
    """
    if driver.identity == row.ran_on:
        return
    name, limits = driver.backend.name, driver.backend.limits
    cost = ", which costs money" if limits.rate is not None and not limits.emulated else ""
    raise UsageError(
        f"Job {row.id} ran on {row.ran_on}, and `{name}` is {driver.identity} in this kernel{cost}."
        f" Nothing was started. Give `{name}` the settings that it had (`%cloud use {name} …`) and attach"
        f" then; or go on with those of this kernel: `%cloud attach {row.id} --backend {name}`."
    )
