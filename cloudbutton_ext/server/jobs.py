"""Jobs over HTTP: lists, one job and its details, commands to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.job_model.rules import Verb, refusal
from cloudbutton_backend.journal import JobRow, queries
from cloudbutton_backend.report import text_of_id
from cloudbutton_ext.server import arguments, serializers
from cloudbutton_ext.server.handler import Document, Handler, RequestRefused, endpoint

Value = TypeVar("Value")

MOST_JOBS: Final = 500
"""Jobs on a page, and batches in an answer."""
MOST_BATCHES: Final = 20_000

PATIENCE: Final = 10.0
"""Seconds until a command that no process has taken is withdrawn, so that it does not act much later."""


class Jobs(Handler):
    """`GET jobs`."""

    @endpoint
    async def get(self) -> Any:
        limit = arguments.integer("limit", self.argument("limit"), 50, low=1, high=MOST_JOBS)
        offset = arguments.integer("offset", self.argument("offset"), 0)
        state = arguments.choice("state", self.argument("state"), [each.value for each in JobState])
        notebook = arguments.text("notebook", self.argument("notebook"))
        wanted = queries.JobQuery(
            state=JobState(state) if state else None,
            notebooks=self.context.paths.recorded_paths(notebook) if notebook else None,
            search=arguments.text("search", self.argument("search")),
            root=str(self.context.paths.root),
        )
        return await self.run_in_thread(self._page, wanted, limit, offset)

    def _page(self, wanted: queries.JobQuery, limit: int, offset: int) -> dict[str, Any]:
        with self.context.reader().snapshot() as connection:
            if connection is None:
                return {"jobs": [], "total": 0, "cursor": None}
            found = queries.page(
                connection, wanted, limit=limit, offset=offset, clock=self.context.clock
            )
            cursor = queries.cursor(connection)
        return {
            "jobs": self.context.serialize_jobs(found.jobs),
            "total": found.total,
            "cursor": cursor,
        }


class OneJob(Handler):
    """One job; `GET jobs/ID`."""

    async def read_job(self, job_id: str, read: Callable[[Any, JobRow], Value]) -> Value:
        """Return what `read` finds out about a job, all of it at one moment.

        Raises
        ------
        UnknownName
            There is no such job.
        """
        return await self.run_in_thread(self._read_job, job_id, read)

    def _read_job(self, job_id: str, read: Callable[[Any, JobRow], Value]) -> Value:
        with self.context.reader().snapshot() as connection:
            found = connection and queries.job(connection, job_id, clock=self.context.clock)
            if not found:
                raise RequestRefused(
                    f"There is no job `{job_id}`; it may have been removed.", status=404
                )
            return read(connection, found)

    def job_details(self, row: JobRow) -> dict[str, Any]:
        """Return all of a job."""
        more = {"attach": serializers.line_for(row)}
        return self.context.serialize_jobs([row])[0] | serializers.details(row) | more

    @endpoint
    async def get(self, job_id: str) -> Any:
        return await self.read_job(job_id, lambda _, row: self.job_details(row))


class JobBatches(OneJob):
    """`GET jobs/ID/batches`."""

    @endpoint
    async def get(self, job_id: str) -> Any:
        after = arguments.integer("after", self.argument("after"), 0)
        limit = arguments.integer(
            "limit", self.argument("limit"), MOST_BATCHES, low=1, high=MOST_BATCHES
        )

        def read(connection: Any, row: JobRow) -> str:
            found = queries.batches(connection, row.id, after=after, limit=limit)
            return serializers.batches(found, after)

        return await self.read_job(job_id, read)


class JobErrors(OneJob):
    """`GET jobs/ID/errors`."""

    @endpoint
    async def get(self, job_id: str) -> Any:
        return await self.read_job(
            job_id,
            lambda connection, row: serializers.errors(
                queries.errors(connection, row.id), row.failed
            ),
        )


class JobLog(OneJob):
    """`GET jobs/ID/log`."""

    @endpoint
    async def get(self, job_id: str) -> Any:
        after = arguments.integer("after", self.argument("after"), 0)
        return await self.read_job(
            job_id,
            lambda connection, row: serializers.log(
                queries.log(connection, row.id, after=after), after
            ),
        )


class JobReport(OneJob):
    """`GET jobs/ID/report`."""

    @endpoint
    async def get(self, job_id: str) -> Any:
        await self.read_job(job_id, lambda *_: None)  # a whole id, of a job that is there
        # Its figures are of all batches, so it may take a second.
        making = self.context.share_task(
            ("report", job_id), lambda: self.context.run_in_own_thread(text_of_id, job_id)
        )
        return Document(await asyncio.shield(making), f"cloudbutton-{job_id}.html")


class JobCommandHandler(OneJob):
    """`POST jobs/ID/cancel` and `POST jobs/ID/retry`."""

    @endpoint
    async def post(self, job_id: str, verb: Verb) -> Any:
        row = await self.read_job(job_id, lambda _, row: row)
        reason = refusal(verb, row, row.state, is_gone=self.context.is_gone(row))
        if reason:
            raise RequestRefused(reason)
        command = await self.run_in_thread(self.context.reader().send, job_id, verb)
        asyncio.get_running_loop().call_later(PATIENCE, self.context.withdraw_command, command)
        return {"command": command}


class OneCommand(Handler):
    """`GET commands/N`."""

    @endpoint
    async def get(self, number: str) -> Any:
        wanted = arguments.integer("command", number, 0)
        found = await self.run_in_thread(self.context.reader().command, wanted)
        if found is None:
            raise RequestRefused(
                f"There is no command {number}. The job's process may not have answered within "
                f"{PATIENCE:g} s; then it was taken back.",
                status=404,
            )
        return {"taken": found.taken is not None, "waiting_since": found.created}
