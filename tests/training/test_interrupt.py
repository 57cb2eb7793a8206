from __future__ import annotations

import signal
import threading

import pytest

from tinygrad_norm.training.interrupt import HeldInterrupt, closed


def test_the_first_ctrl_c_waits_and_the_second_does_not():
    with pytest.raises(KeyboardInterrupt), HeldInterrupt() as held:  # noqa: PT012
        assert not held.requested
        signal.raise_signal(signal.SIGINT)
        assert held.requested
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second Ctrl-C was held back too")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_ctrl_c_that_nobody_asked_for_is_not_lost():
    reached = False
    with pytest.raises(KeyboardInterrupt), HeldInterrupt():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached


def test_another_error_is_not_hidden():
    with pytest.raises(ZeroDivisionError), HeldInterrupt():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        1 / 0  # noqa: B018


def test_a_handler_of_the_user_stays_in_charge():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *arguments: seen.append(arguments))
    try:
        with HeldInterrupt() as held:
            signal.raise_signal(signal.SIGINT)
            assert len(seen) == 1
            assert not held.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_does_nothing_in_another_thread():
    errors = []

    def work():
        try:
            with HeldInterrupt():
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors


def test_a_generator_is_closed_with_the_block_and_a_ctrl_c_meanwhile_is_not_lost():
    def batches():
        try:
            yield from range(5)
        finally:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), closed(batches()) as found:
        assert next(found) == 0
    with closed(iter([1, 2])) as found:
        assert next(found) == 1
    assert next(found) == 2
