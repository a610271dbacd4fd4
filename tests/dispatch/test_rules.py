"""Each rule of the dispatcher, by events and a clock set by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudbutton_backend.backends.protocol import NO_BATCH, BatchEnded, Overdue, WorkerDown
from cloudbutton_backend.dispatch.actions import (
    Accept,
    Action,
    BatchLost,
    FailItem,
    Finish,
    Interrupt,
    Kill,
    Revoke,
    Submit,
)

from .conftest import Stage, result

NewStage = Callable[..., Stage]
LONG, QUICK = 1.0, 0.0001


def only(kind: type[Any], actions: list[Action]) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def spans(actions: list[Action]) -> list[tuple[str, int, int]]:
    return [(a.worker, a.first, a.count) for a in only(Submit, actions)]


# -- handing out


@pytest.mark.parametrize(
    ("done", "sent"),
    [
        pytest.param(((0, 3),), [("w1", 3, 1), ("w2", 4, 1)], id="the first ones"),
        pytest.param(((2, 6),), [("w1", 0, 1), ("w2", 1, 1)], id="the last ones"),
        pytest.param(((1, 3), (4, 6)), [("w1", 0, 1), ("w2", 3, 1)], id="some in between"),
        pytest.param(((3, 6), (0, 2)), [("w1", 2, 1)], id="all but one, in any order"),
        pytest.param(((0, 2), (2, 5)), [("w1", 5, 1)], id="side by side"),
    ],
)
def test_items_that_have_results_are_never_sent(
    stage: NewStage, done: Any, sent: list[tuple[str, int, int]]
) -> None:
    play = stage(workers=2)
    assert spans(play.open(6, done=done)) == sent


def test_a_job_whose_items_all_have_results_is_done_at_once(stage: NewStage) -> None:
    assert stage().open(6, done=((0, 2), (2, 6))) == [Finish("job", "finish")]


@pytest.mark.parametrize("done", [((0, 3), (2, 4)), ((4, 7),), ((2, 2),), ((-1, 2),)])
def test_ranges_of_results_that_make_no_sense_are_refused(stage: NewStage, done: Any) -> None:
    with pytest.raises(ValueError, match="not items"):
        stage().open(6, done=done)


def test_batches_are_numbered_after_those_of_an_earlier_process(stage: NewStage) -> None:
    play = stage(workers=2)
    numbers = [sent.batch for sent in play.open(6, batches_after=1000)]
    assert numbers == [1001, 1002]


def test_every_worker_gets_one_item_to_begin_with(stage: NewStage) -> None:
    assert spans(stage(workers=3).open(100)) == [("w1", 0, 1), ("w2", 1, 1), ("w3", 2, 1)]


def test_work_waits_for_workers(stage: NewStage) -> None:
    play = stage(workers=0)
    assert play.open(1) == []
    assert spans(play.up("late")) == [("late", 0, 1)]


def test_a_job_without_items_is_done_at_once(stage: NewStage) -> None:
    assert stage().open(0) == [Finish("job", "finish")]


def test_quick_items_are_sent_one_batch_ahead(stage: NewStage) -> None:
    play = stage(workers=1)
    (first,) = play.open(1000)
    assert spans(play.all(first, seconds=QUICK)) == [("w1", 1, 4), ("w1", 5, 4)]


def test_long_items_are_not_sent_ahead(stage: NewStage) -> None:
    play = stage(workers=1)
    (first,) = play.open(1000)
    assert spans(play.all(first, seconds=LONG)) == [("w1", 1, 1)]


def test_a_job_has_no_more_workers_than_it_may(stage: NewStage) -> None:
    play = stage(workers=3)
    first, second = play.open(100, workers=2)
    assert {first.worker, second.worker} == {"w1", "w2"}
    assert spans(play.all(first, seconds=LONG)) in ([("w1", 2, 1)], [("w3", 2, 1)])
    assert play.machine.workers_of("job") == 2


def test_two_jobs_share_the_workers(stage: NewStage) -> None:
    play = stage(workers=2)
    first, _ = play.open(100, job_id="a")
    assert play.open(100, job_id="b") == []
    assert only(Submit, play.all(first, seconds=LONG))[0].job_id == "b"


def test_a_stream_is_sent_as_it_comes_and_ends_when_it_says_so(stage: NewStage) -> None:
    play = stage(workers=2)
    assert play.open(None) == []
    (first,) = play.supply(1)
    assert spans([first]) == [("w1", 0, 1)]
    assert only(Finish, play.all(first)) == []
    assert play.supply(1, ended=True) == [Finish("job", "finish")]


# -- results


def test_the_first_result_of_an_item_counts(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1)
    message = result(sent, 0, 1)
    actions = play.happen(message, message, BatchEnded(sent.worker, sent.batch, 1))
    assert actions == [Accept("job", message), Finish("job", "finish")]


def test_messages_of_batches_given_up_are_ignored(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1)
    play.down(sent, item=0)
    assert play.happen(result(sent, 0, 1), BatchEnded(sent.worker, sent.batch, 1)) == []


def test_results_lost_on_their_way_are_awaited_only_so_often(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1)
    for _ in range(2):
        (sent,) = play.ended(sent, ran=1)
        assert spans([sent]) == [("w1", 0, 1)]
    failed, finished = play.ended(sent, ran=1)
    assert (failed.index, failed.kind, failed.attempts) == (0, "lost", 3)
    assert finished == Finish("job", "fail")


def test_a_gap_in_the_results_is_run_again(stage: NewStage) -> None:
    play = stage(workers=1)
    (first,) = play.open(5)
    batch, *_ = only(Submit, play.all(first, seconds=QUICK))
    assert (batch.first, batch.count) == (1, 4)
    actions = play.happen(result(batch, 3, 2), BatchEnded("w1", batch.batch, 4))
    assert [(first, count) for _, first, count in spans(actions)] == [(1, 1), (2, 1)]


# -- the user's exceptions


def test_an_exception_is_tried_again_as_often_as_asked(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1, retries=2)
    for _ in range(2):
        accept, sent = play.all(sent, errors=[0])
        assert accept.skip == {0}  # its outputs are wanted, its error is not
    accept, finish = play.all(sent, errors=[0])
    assert (accept.skip, finish) == (frozenset(), Finish("job", "fail"))


def test_a_result_that_cannot_travel_is_not_tried_again(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1, retries=2)
    assert only(Finish, play.all(sent, errors={0: "result"})) == [Finish("job", "fail")]


def test_after_an_error_the_items_before_it_are_still_finished(stage: NewStage) -> None:
    play = stage(workers=3)
    first, second, third = play.open(100)
    actions = play.all(second, errors=[1], seconds=LONG)
    assert only(Interrupt, actions) == [Interrupt("w3", "job")]
    assert only(Submit, actions) == []
    play.ended(third)
    assert only(Finish, play.all(first, errors=[0])) == [Finish("job", "fail")]


def test_an_error_that_comes_later_but_stands_earlier_moves_the_end(stage: NewStage) -> None:
    play = stage(workers=3)
    first, second, third = play.open(100)
    play.all(third, errors=[2], seconds=LONG)
    actions = play.all(first, errors=[0], seconds=LONG)
    assert only(Interrupt, actions) == [Interrupt("w2", "job")]
    assert only(Finish, play.ended(second)) == [Finish("job", "fail")]


def test_errors_that_are_kept_stop_nothing(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(2, stop_on_error=False)
    (sent,) = only(Submit, play.all(sent, errors=[0], seconds=LONG))
    assert only(Finish, play.all(sent)) == [Finish("job", "fail")]


# -- lost workers


def flying(stage: NewStage, **plan: Any) -> tuple[Stage, Submit]:
    """Return a stage on which one worker runs items 1 to 4."""
    play = stage(workers=1, queue_depth=1)
    (first,) = play.open(5, **plan)
    (batch,) = only(Submit, play.all(first, seconds=QUICK))
    assert (batch.first, batch.count) == (1, 4)
    return play, batch


def test_a_lost_worker_costs_only_the_item_that_it_ran(stage: NewStage) -> None:
    play, batch = flying(stage)
    (lost,) = play.down(batch, item=2)
    assert lost == BatchLost("job", batch.batch, "w1", 1, 4, "died")
    sent = only(Submit, play.up("w2", "w3", "w4"))
    assert sorted((s.first, s.count) for s in sent) == [(1, 1), (2, 1), (3, 2)]
    assert play.machine.jobs["job"].losses == {2: 1}


def test_what_a_lost_worker_had_sent_is_not_run_again(stage: NewStage) -> None:
    play, batch = flying(stage)
    play.some(batch, 1, 2)
    play.down(batch, item=4)
    assert sorted(spans(play.up("w2", "w3"))) == [("w2", 3, 1), ("w3", 4, 1)]


def test_an_unknown_culprit_is_searched_for_item_by_item(stage: NewStage) -> None:
    play, batch = flying(stage)
    play.down(batch)
    assert [count for _, _, count in spans(play.up("w2", "w3"))] == [1, 1]
    assert play.machine.jobs["job"].losses == {}


def test_the_culprit_of_a_large_batch_is_searched_for_in_few_steps(stage: NewStage) -> None:
    play = stage(workers=1, queue_depth=1)
    (sent,) = play.open(100_000)
    while sent.count < 512:
        (sent,) = only(Submit, play.all(sent, seconds=1e-6))
    play.down(sent)
    (part,) = only(Submit, play.up("w2"))
    assert part.count == sent.count // 8


@pytest.mark.parametrize("known", [True, False])
def test_an_item_that_loses_three_workers_fails_alone(stage: NewStage, known: bool) -> None:
    play = stage(workers=1)
    (sent,) = play.open(2, stop_on_error=False)
    for n in range(2, 4):
        play.down(sent, item=0 if known else None)
        (sent,) = play.up(f"w{n}")
        assert sent.first == 0
    _, failed = play.down(sent, item=0 if known else None)
    assert failed == FailItem("job", 0, "lost", "gone", 3)
    (sent,) = play.up("w4")
    assert only(Finish, play.all(sent)) == [Finish("job", "fail")]


def test_a_worker_of_which_nothing_is_known_ran_its_first_batch(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1)
    for n in range(2, 4):
        play.happen(WorkerDown(sent.worker, "gone"))
        (sent,) = play.up(f"w{n}")
    actions = play.happen(WorkerDown(sent.worker, "gone"))
    assert only(Finish, actions) == [Finish("job", "fail")]


def test_what_a_worker_held_unbegun_costs_no_attempt_however_often_it_goes(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1)
    for n in range(2, 12):
        play.happen(WorkerDown(sent.worker, "its machine is gone", NO_BATCH))
        (sent,) = play.up(f"w{n}")
    assert only(Finish, play.all(sent)) == [Finish("job", "finish")]


def test_a_lost_item_waits_longer_each_time(stage: NewStage) -> None:
    play = stage(workers=3, retry_delay=1.0)
    sent = play.open(1)[0]
    waits = []
    for _ in range(2):
        play.down(sent, item=0)
        wake = play.machine.next_wake()
        assert wake is not None
        waits.append(wake - play.now)
        (sent,) = play.wait(waits[-1])
    assert 0.5 <= waits[0] <= 1.5 and 1.0 <= waits[1] <= 3.0


def test_a_batch_that_cannot_be_read_is_searched_too(stage: NewStage) -> None:
    play, batch = flying(stage)
    assert [count for _, _, count in spans(play.ended(batch, unreadable=True))] == [1]


def test_a_single_item_that_can_never_be_read_fails(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1)
    for _ in range(2):
        (sent,) = play.ended(sent, unreadable=True)
    assert only(Finish, play.ended(sent, unreadable=True)) == [Finish("job", "fail")]


# -- time-outs


def test_an_overdue_item_costs_its_worker_and_fails(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1)
    assert play.happen(Overdue("w1", sent.batch, 0)) == [Kill("w1", "timeout")]
    _, failed, finish = play.down(sent, item=0, reason="timeout")
    assert (failed.kind, failed.attempts, finish.step) == ("timeout", 1, "fail")


def test_time_outs_are_tried_again_as_exceptions_are(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(1, retries=1)
    play.happen(Overdue("w1", sent.batch, 0))
    play.down(sent, item=0, reason="timeout")
    assert spans(play.up("w2")) == [("w2", 0, 1)]


def test_the_item_after_an_overdue_one_is_not_blamed(stage: NewStage) -> None:
    play, batch = flying(stage)
    play.happen(Overdue("w1", batch.batch, 2))
    actions = play.down(batch, item=3, reason="timeout")  # 2 ended just before the kill came
    assert only(FailItem, actions) == []
    assert only(Finish, actions) == []


def test_word_of_an_overdue_item_that_has_ended_kills_nobody(stage: NewStage) -> None:
    play, batch = flying(stage)
    play.some(batch, 1, 2)
    assert play.happen(Overdue("w1", batch.batch, 2)) == []


# -- cancelling and retrying


def test_a_cancelled_job_ends_when_its_workers_have_stopped(stage: NewStage) -> None:
    play = stage(workers=2)
    first, second = play.open(100)
    assert play.cancel() == [Interrupt("w1", "job"), Interrupt("w2", "job")]
    assert play.cancel() == []
    assert play.ended(first) == []
    assert play.down(second, item=1, reason="killed") == [Finish("job", "stopped")]


def test_results_that_come_while_cancelling_are_kept(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(100)
    play.cancel()
    accept, finish = play.all(sent)
    assert isinstance(accept, Accept) and finish == Finish("job", "stopped")


def test_a_retry_runs_what_failed_or_never_ran(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(3)
    (sent,) = only(Submit, play.all(sent, seconds=LONG))
    play.all(sent, errors=[1], seconds=LONG)
    (sent,) = play.retry()
    assert sent.first == 1
    (sent,) = only(Submit, play.all(sent, seconds=LONG))
    assert only(Finish, play.all(sent)) == [Finish("job", "finish")]


def test_a_worker_ended_for_one_job_costs_the_other_no_attempt(stage: NewStage) -> None:
    play = stage(workers=2)
    _, sent = play.open(1000, job_id="gone")
    play.open(1, job_id="kept")
    kept, gone, *_ = only(Submit, play.all(sent, seconds=QUICK))
    assert (kept.job_id, gone.job_id) == ("kept", "gone")
    assert Interrupt("w2", "gone") in play.cancel("gone")
    play.down(kept, item=0, reason="killed")
    assert play.machine.jobs["kept"].losses == {}
    assert spans(play.up("w3")) == [("w3", 0, 1)]


def test_a_worker_killed_by_nobody_here_counts_as_lost(stage: NewStage) -> None:
    play = stage(workers=1)
    (sent,) = play.open(2)
    play.down(sent, item=0, reason="killed")
    assert play.machine.jobs["job"].losses == {0: 1}


# -- moving work


def test_an_idle_worker_takes_over_half_of_what_was_not_begun(stage: NewStage) -> None:
    play = stage(workers=1, can_revoke=True, queue_depth=4)
    (first,) = play.open(9)
    sent = only(Submit, play.all(first, seconds=0.004))
    assert [s.count for s in sent] == [4, 2, 1, 1]
    assert play.up("w2") == []  # it may just begin
    assert play.wait(0.002) == [Revoke("w1", 3)]
    assert play.up("w3") == []  # one request at a time


def test_idle_workers_ask_nothing_of_backends_that_cannot_revoke(stage: NewStage) -> None:
    play = stage(workers=1, queue_depth=4)
    (first,) = play.open(9)
    play.all(first, seconds=0.004)
    assert play.up("w2") == []


def test_what_is_behind_a_hanging_item_is_taken_back(stage: NewStage) -> None:
    play, sent = four_at_one(stage)
    assert play.up("w2") == []  # 3 × 0.1 ms are not worth it …
    assert play.wait(0.004) == []
    assert play.wait(0.002) == [Revoke("w1", 0)]  # … unless they have to wait
    assert spans(play.revoked(sent, 2)) == [("w2", 2, 3)]


def test_a_worker_that_gave_something_back_gets_nothing_before_it_is_through(
    stage: NewStage,
) -> None:
    play, sent = four_at_one(stage)
    play.up("w2")
    play.wait(1.0)
    assert spans(play.revoked(sent, 2)) == [("w2", 2, 3)]
    assert play.open(5, job_id="next") == []
    play.some(sent, 1, 1, seconds=QUICK)
    assert spans(play.ended(sent, ran=1)) == [("w1", 0, 1)]


def test_patience_grows_with_workers_that_had_not_begun_and_shrinks_again(stage: NewStage) -> None:
    play, sent = four_at_one(stage)
    play.up("w2")
    play.wait(1.0)
    before = play.machine.patience
    (sent,) = only(Submit, play.revoked(sent, 1))  # its worker had not even begun
    assert play.machine.patience == 2 * before
    play.up("w3")
    assert play.wait(1.5 * before) == []
    assert play.wait(1.5 * before) == [Revoke("w2", 0)]
    play.revoked(sent, 2)
    assert play.machine.patience < 2 * before


def four_at_one(stage: NewStage) -> tuple[Stage, Submit]:
    """Return a stage on which `w1` holds items 1 to 4, and nothing waits."""
    play = stage(workers=1, can_revoke=True)
    (first,) = play.open(5)
    (sent,) = only(Submit, play.all(first, seconds=QUICK))
    assert (sent.first, sent.count) == (1, 4)
    return play, sent


def straggling(stage: NewStage, **plan: Any) -> tuple[Stage, Submit]:
    """Return a stage on which `w2` is at item 1 for long and `w1` is idle."""
    play = stage(workers=2, can_duplicate=True)
    first, second = play.open(2, **plan)
    play.all(first, seconds=LONG)
    return play, second


def test_a_straggler_gets_a_second_copy_on_an_idle_worker(stage: NewStage) -> None:
    play, _ = straggling(stage)
    wake = play.machine.next_wake()
    assert wake is not None and play.wait(2.9) == []
    assert spans(play.wait(0.2)) == [("w1", 1, 1)]
    assert play.wait(60.0) == []  # and no third


def test_the_first_copy_to_end_wins_and_the_other_is_stopped(stage: NewStage) -> None:
    play, second = straggling(stage)
    (copy,) = play.wait(4.0)
    accept, interrupt = play.all(copy, seconds=LONG)
    assert isinstance(accept, Accept) and interrupt == Interrupt("w2", "job")
    assert play.ended(second) == [Finish("job", "finish")]


def test_the_copy_goes_on_when_the_straggler_dies(stage: NewStage) -> None:
    play, second = straggling(stage)
    (copy,) = play.wait(4.0)
    assert only(Submit, play.down(second, item=1)) == []
    assert only(Finish, play.all(copy)) == [Finish("job", "finish")]


@pytest.mark.parametrize("plan", [{"backup": False}, {"workers": 1}])
def test_no_copy_is_made_where_that_is_not_wanted(stage: NewStage, plan: dict[str, Any]) -> None:
    play = stage(workers=2, can_duplicate=True)
    play.all(play.open(2, **plan)[0], seconds=LONG)
    assert only(Submit, play.wait(60.0)) == []
