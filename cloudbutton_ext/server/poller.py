"""Turns changes of the journal into messages for each open panel. For one thread at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.journal import queries
from cloudbutton_backend.journal.feed import Feed, News
from cloudbutton_ext.server import serializers
from cloudbutton_ext.server.serializers import to_json

if TYPE_CHECKING:
    from cloudbutton_ext.server.context import ServerContext

_LOG: Final = logging.getLogger(__name__)

MOST_BATCHES: Final = 5_000
"""Batches of a watched job in one message; the others follow in the next ones."""


@dataclass(frozen=True)
class Subscription:
    """A panel's state of the job that it shows."""

    job_id: str
    batch: int = 0
    piece: int = 0
    errors: int = -1
    """The number of the errors' latest change; -1 before the first message."""
    is_behind: bool = True
    """Whether there is more to send without anything having happened."""


@dataclass(frozen=True)
class ClientState:
    """The state of a panel: what it was sent."""

    cursor: str | None
    is_current: bool = False
    """Whether that is all that the feed has seen."""
    watch: Subscription | None = None
    error: str | None = None
    """What it was told about a journal that cannot be used."""


class Delivery(NamedTuple):
    """Messages for a panel, and its state after them."""

    messages: list[str]
    state: ClientState


@dataclass
class Poller:
    """Reads the journal for all panels at once."""

    context: ServerContext
    feed: Feed | None = field(default=None)

    def look(self, panels: Sequence[ClientState]) -> tuple[bool, list[Delivery]]:
        """Return whether anything changed, and the messages to each of `panels`."""
        try:
            return self._look(panels)
        except (CloudError, OSError) as error:
            return self._report_error(panels, str(error))
        except Exception as error:  # a row that makes no sense must not silence all panels for good
            _LOG.exception("the journal could not be shown")
            return self._report_error(panels, f"The journal cannot be shown: {error!r}")

    def close(self) -> None:
        """Close the journal until there are listeners again."""
        if self.feed is not None:
            self.feed.close()
            self.feed = None

    def _look(self, panels: Sequence[ClientState]) -> tuple[bool, list[Delivery]]:
        if self.feed is None:
            self.feed = Feed(self.context.reader().home, clock=self.context.clock)
        news = self.feed.look()
        texts: dict[str | None, str] = {}
        deliveries = []
        for panel in panels:
            messages = []
            if not panel.is_current:
                if panel.cursor not in texts:
                    texts[panel.cursor] = self._message(self.feed.since(panel.cursor))
                messages.append(texts[panel.cursor])
            elif news:
                if "" not in texts:
                    texts[""] = self._message(news)
                messages.append(texts[""])
            watch = panel.watch
            if watch and (watch.is_behind or not panel.is_current or _concerns(news, watch)):
                message, watch = self._of_job(self.feed, watch)
                messages += [message] if message else []
            deliveries.append(
                Delivery(messages, ClientState(self.feed.cursor, is_current=True, watch=watch))
            )
        return bool(news), deliveries

    def _message(self, news: News) -> str:
        return to_json(
            {
                "type": "jobs",
                "cursor": news.cursor,
                "jobs": self.context.serialize_jobs(news.jobs),
                "removed": news.removed,
                "reset": news.is_reset,
            }
        )

    def _of_job(self, feed: Feed, watch: Subscription) -> tuple[str | None, Subscription]:
        """Return a message about a watched job, None if there is nothing new to say of it."""
        answer = feed.ask(
            lambda connection: (
                queries.batches(connection, watch.job_id, after=watch.batch, limit=MOST_BATCHES),
                queries.log(connection, watch.job_id, after=watch.piece),
                queries.errors_changed(connection, watch.job_id),
            )
        )
        if answer is None:
            return None, replace(watch, is_behind=False)
        found, pieces, errors = answer
        rows = found.columns["row"]
        seen = Subscription(
            watch.job_id,
            batch=rows[-1] if rows else watch.batch,
            piece=pieces[-1][0] if pieces else watch.piece,
            errors=errors,
            is_behind=found.more,
        )
        errors_changed = errors != max(watch.errors, 0)
        if not (rows or pieces or errors_changed or watch.errors < 0):
            return None, seen
        log = to_json(serializers.log(pieces, watch.piece))
        return (
            f'{{"type": "job", "id": "{watch.job_id}", "log": {log}, "errors_changed": '
            f'{to_json(errors_changed)}, "batches": {serializers.batches(found, watch.batch)}}}'
        ), seen

    def _report_error(
        self, panels: Sequence[ClientState], message: str
    ) -> tuple[bool, list[Delivery]]:
        self.close()
        text = to_json({"type": "error", "message": self.context.paths.hide_paths(message)})
        # Once it is repaired, each is told what it missed; of another journal, all.
        return True, [
            Delivery(
                [text] if panel.error != message else [],
                replace(panel, is_current=False, error=message),
            )
            for panel in panels
        ]


def _concerns(news: News, watch: Subscription) -> bool:
    return any(job.id == watch.job_id for job in news.jobs)
