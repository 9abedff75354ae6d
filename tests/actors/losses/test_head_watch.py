"""Whether Ray lives: any answer is one, and silence is a loss once it has lasted."""

import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

from actors.losses.head_watch import HeadWatch, Part, answers, greeting_of


def test_any_answer_of_a_server_is_a_sign_of_life_and_silence_is_none():
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    assert answers(f"127.0.0.1:{port}")
    server.stop(None).wait()
    assert not answers(f"127.0.0.1:{port}")
    with socket.create_server(("127.0.0.1", 0)) as stopped:  # as a stopped process has it: the kernel takes connections
        assert greeting_of(f"127.0.0.1:{stopped.getsockname()[1]}", 0.2) == b""


def lost_by(parts, ask):
    """Return what a watch says of parts."""
    told, said = [], threading.Event()

    def lose(why):
        told.append(why)
        said.set()

    with HeadWatch(parts, lose, ask=ask, every_s=0.005) as watch:
        assert said.wait(30.0)
    return told, watch


def test_a_process_that_ended_is_told_with_how_and_before_it_is_asked():
    head = Part("Ray's head", "head", died=lambda: "was killed by SIGKILL")
    told, watch = lost_by([head], ask=lambda address: True)
    assert told == ["Ray's head was killed by SIGKILL"]
    assert watch.lost_now() == "Ray's head was killed by SIGKILL"


def test_one_that_is_silent_is_lost_after_its_patience_and_one_that_answers_again_is_not():
    asked = dict.fromkeys(["head", "raylet"], 0)

    def ask(address):
        asked[address] += 1
        return address == "raylet" and asked[address] % 3 == 0  # the raylet answers every third time

    parts = [Part("the head", "head", 0.2), Part("the raylet", "raylet", 30.0)]
    told, watch = lost_by(parts, ask)
    assert len(told) == 1
    assert told[0].startswith("the head has not answered for ")
    assert asked["head"] > 3
    assert watch.lost_now() == "the head does not answer"


def test_all_that_are_silent_are_told_of_who_was_so_first_before_who_is_missed_first():
    asked = []

    def ask(address):
        asked.append(address)
        return address == "raylet" and asked.count("raylet") < 20

    told, _ = lost_by([Part("the raylet", "raylet", 0.1), Part("the head", "head", 30.0)], ask)
    assert re.fullmatch(r"the head has not answered for \d s, nor the raylet for \d s", told[0])


def test_nothing_is_lost_once_the_work_is_over():
    told = []
    with HeadWatch([Part("the head", "head", 0.0)], told.append, ask=lambda address: False, every_s=30.0) as watch:
        pass
    watch._thread.join(30.0)
    assert not watch._thread.is_alive()
    assert told == []
