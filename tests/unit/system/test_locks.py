"""One writer at a time: the others are told, and nothing is left behind."""

import multiprocessing
import os
import threading
import time

import pytest

from unspan.errors import OutputError
from unspan.system.locks import writing

fork = multiprocessing.get_context("fork")


def hold(path, said, go):
    with writing(path):
        said.set()
        go.wait(20)


def test_a_second_process_is_told_who_writes_and_can_write_later(tmp_path):
    said, go = fork.Event(), fork.Event()
    first = fork.Process(target=hold, args=(tmp_path / "out", said, go))
    first.start()
    assert said.wait(20)
    with pytest.raises(OutputError, match="Another run is writing"), writing(tmp_path / "out"):
        pass
    go.set()
    first.join(20)
    with writing(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_a_killed_process_is_free(tmp_path):
    said, go = fork.Event(), fork.Event()
    first = fork.Process(target=hold, args=(tmp_path / "out", said, go))
    first.start()
    assert said.wait(20)
    first.kill()
    first.join(20)
    with writing(tmp_path / "out"):
        assert (tmp_path / ".out.lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_the_same_thread_may_enter_again_and_another_may_not(tmp_path):
    seen = []

    def other():
        try:
            with writing(tmp_path / "out"):
                seen.append("in")
        except OutputError:
            seen.append("refused")

    with writing(tmp_path / "out"), writing(tmp_path / "out"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == ["refused"]


def count(path, total):
    for _ in range(50):
        while True:
            try:
                with writing(path):
                    value = int(total.read_text())
                    time.sleep(0.0005)
                    total.write_text(str(value + 1))
                break
            except OutputError:
                time.sleep(0.001)


def test_three_writers_never_hold_it_together(tmp_path):
    total = tmp_path / "total"
    total.write_text("0")
    writers = [fork.Process(target=count, args=(tmp_path / "out", total)) for _ in range(3)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(60)
    assert total.read_text() == "150"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    os.symlink(victim, tmp_path / ".out.lock")
    with pytest.raises(OutputError), writing(tmp_path / "out"):
        pass
    assert not victim.exists()
