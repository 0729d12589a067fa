"""The `openai` backend against a real server in a process of its own, which fails in every way that servers do."""

import json
import logging
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from harness.errors import HarnessError
from harness.generators import openai_backend
from harness.generators.base import Completion, Decoding, Request, SelfDebiasing, in_order
from harness.generators.openai_backend import OpenAIServer, Window, backoff, check_decoding, seconds_of
from harness.spec import OpenAIGenerator, Prices, parse_board
from harness.synthesis.cleaning import clean
from harness.yaml_source import read_yaml
from tests.generators.openai_server import FAULTS
from tests.generators.server_process import Server, running_server

KEY = "sk-none-of-your-business-1234567890"
FEW = Decoding(max_new_tokens=8)


@pytest.fixture(scope="module")
def process() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def server(process: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(openai_backend, "BACKOFF_SECONDS", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    process.plan()
    return process


def spec_of(server: Server, **settings: Any) -> OpenAIGenerator:
    return OpenAIGenerator(**{"name": "plm", "backend": "openai", "url": server.url, "model": "some-plm", **settings})


def plm(server: Server, **settings: Any) -> OpenAIServer:
    return OpenAIServer(spec_of(server, **settings))


def requests_for(count: int) -> list[Request]:
    return [Request(f"Row {row}. WRITE:text {row} is here", seed=1000 + row) for row in range(count)]


def close(found: Iterator[tuple[int, Completion]]) -> None:
    cast(Generator[tuple[int, Completion]], found).close()


def wait_for(what: Callable[[], bool]) -> None:
    """Fails after seconds in which a working program has long done it."""
    for _ in range(500):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come about")


def texts(completions: list[Completion]) -> list[str]:
    return [completion.text for completion in completions]


def one(model: OpenAIServer, prompt: str, decoding: Decoding = FEW) -> Completion:
    (completion,) = in_order(model.generate([Request(prompt, seed=7)], decoding))
    return completion


def error_of(model: OpenAIServer, requests: list[Request], decoding: Decoding = FEW) -> HarnessError:
    with pytest.raises(HarnessError) as caught:
        list(model.generate(requests, decoding))
    return caught.value


# What is asked


def test_a_completion_is_asked_for_with_what_every_server_knows(server: Server) -> None:
    decoding = Decoding(max_new_tokens=8, top_p=0.9, temperature=0.7, stop=('"',))
    assert one(plm(server), 'Say. WRITE:so it is" x', decoding) == Completion('so it is"', "stop", 5, 3, None)
    (seen,) = server.seen()
    assert seen["path"] == "/v1/completions"
    assert seen["body"] == {
        "model": "some-plm",
        "prompt": 'Say. WRITE:so it is" x',
        "max_tokens": 8,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 7,
        "stop": ['"'],
    }


def test_a_chat_is_one_message_of_a_user(server: Server) -> None:
    assert one(plm(server, style="chat"), "Say. WRITE:so it is") == Completion("so it is", "eos", 4, 4, None)
    (seen,) = server.seen()
    assert seen["path"] == "/v1/chat/completions"
    assert seen["body"] == {
        "model": "some-plm",
        "messages": [{"role": "user", "content": "Say. WRITE:so it is"}],
        "max_tokens": 8,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 7,
    }


@pytest.mark.parametrize(
    ("decoding", "further"),
    [
        (Decoding(8, top_k=40), {"top_k": 40}),
        (Decoding(8, top_k=1, temperature=0.7), {"temperature": 0}),
        (Decoding(8, repetition_penalty=1.2), {"repetition_penalty": 1.2}),
        (Decoding(8, min_new_tokens=5), {"min_tokens": 5}),
        (Decoding(8, min_new_tokens=50), {"min_tokens": 8}),
    ],
)
def test_further_settings_are_sent_only_where_they_are_not_off(
    server: Server, decoding: Decoding, further: dict[str, Any]
) -> None:
    one(plm(server), "WRITE:a", decoding)
    (body,) = server.bodies()
    plain = {"model": "some-plm", "prompt": "WRITE:a", "max_tokens": 8, "temperature": 1.0, "top_p": 1.0, "seed": 7}
    assert body == {**plain, **further}


def test_every_request_brings_its_own_seed(server: Server) -> None:
    requests = [*requests_for(20), Request("WRITE:large", seed=(5 << 40) + 77)]
    list(plm(server).generate(requests, FEW))
    sent = {body["prompt"]: body["seed"] for body in server.bodies()}
    assert sent == {**{request.prompt: request.seed for request in requests[:-1]}, "WRITE:large": 77}
    server.plan()
    one(plm(server, seeded=False), "WRITE:a")
    assert "seed" not in server.bodies()[0]


def test_what_no_server_can_do_is_refused_before_anything_is_sent(server: Server) -> None:
    check_decoding(FEW)
    debiasing = replace(FEW, self_debiasing=SelfDebiasing(100, 0.01))
    repeating = replace(FEW, no_repeat_ngram_size=3)
    both = replace(debiasing, no_repeat_ngram_size=3)
    for decoding, expected in (
        (repeating, ["'no_repeat_ngram_size' (found 3)"]),
        (debiasing, ["no self-debiasing"]),
        (both, ["'no_repeat_ngram_size' (found 3)", "no self-debiasing", "use 'backend: transformers'"]),
    ):
        refused = r"^the openai backend has no "
        with pytest.raises(HarnessError, match=refused) as caught:
            check_decoding(decoding)
        assert all(one in str(caught.value) for one in expected)
        with pytest.raises(HarnessError, match=refused):
            plm(server).generate(requests_for(1), decoding)  # at once, not with the first completion
    with pytest.raises(HarnessError, match="no use for counter prompts"):
        plm(server).generate([Request("WRITE:a", 1), Request("WRITE:a", 2, counter_prompts=("WRITE:b",))], FEW)
    assert server.seen() == []


# What is answered


CASES = [
    # plan, what the PLM writes, stop strings -> text and end
    ({"told": "stop_reason"}, 'It is "done" now', ('"',), 'It is "', "stop"),
    ({"told": "matched_stop"}, 'It is "done" now', ('"',), 'It is "', "stop"),
    ({}, 'It is "done" now', ('"',), 'It is "', "stop"),
    ({"after_stop": True}, 'It is "done" now', ('"',), 'It is "', "stop"),
    ({"told": "stop_reason"}, "It is done", ('"',), "It is done", "eos"),
    ({"told": "matched_stop", "choice": {"matched_stop": 2}}, "It is done", ('"',), "It is done", "eos"),
    ({"choice": {"finish_reason": "eos"}}, "It is done", ('"',), "It is done", "eos"),
    ({}, "It is done", (), "It is done", "eos"),
    ({}, "one two three four five six seven eight nine", ('"',), "one two three four five six seven eight", "length"),
    ({"choice": {"finish_reason": "content_filter"}}, "It is done", ('"',), "It is done", "length"),
    # Of several stop strings the one that comes first in the text ends it, whichever of them the server was given.
    ({"told": "stop_reason"}, 'Is it so? No. "x', ('"', "?"), "Is it so?", "stop"),
    ({}, 'Is it so? No. "x', ('"', "?"), "Is it so?", "stop"),
    ({}, 'It is so. " Is it?', ('"', "?"), 'It is so. "', "stop"),
    ({}, "Is it so? one two three four five six", ('"', "?"), "Is it so?", "stop"),
]


@pytest.mark.parametrize(("plan", "writes", "stop", "text", "end"), CASES)
def test_a_completion_ends_as_one_of_a_plm_in_memory(
    server: Server, plan: dict[str, Any], writes: str, stop: tuple[str, ...], text: str, end: str
) -> None:
    server.plan(**plan)
    completion = one(plm(server), f"WRITE:{writes}", replace(FEW, stop=stop))
    assert (completion.text, completion.finish_reason) == (text, end)


@pytest.mark.parametrize("plan", [{}, {"told": "stop_reason"}, {"after_stop": True}])
@pytest.mark.parametrize(
    ("writes", "kept"),
    [
        ('A fine\nfilm." x', "A fine\nfilm."),  # the stop string before the newline
        ("A fine film. It", "A fine film. It"),  # an end token: all of it
        ("A fine film. It goes on and on", "A fine film."),  # neither: whole sentences
    ],
)
def test_cleaning_keeps_what_it_keeps_of_a_plm_in_memory(
    server: Server, plan: dict[str, Any], writes: str, kept: str
) -> None:
    server.plan(**plan)
    completion = one(plm(server), f"WRITE:{writes}", Decoding(5, stop=('"',)))
    finished = completion.finish_reason == "eos"
    assert clean(completion.text, stop='"', finished=finished, min_words=1, context=None).text == kept


def test_a_question_without_its_mark_gets_none(server: Server) -> None:
    completion = one(plm(server), 'WRITE:So it is." x', replace(FEW, stop=('"', "?")))
    assert clean(completion.text, stop='"', finished=False, min_words=1, context=None, cut_after="?").text is None


def test_a_reply_without_content_is_an_empty_text(server: Server) -> None:
    server.plan(choice={"message": {"role": "assistant", "content": None, "reasoning_content": "Hm."}})
    assert one(plm(server, style="chat"), "WRITE:a") == Completion("", "eos", 1, 2, None)


def test_half_a_surrogate_pair_can_still_be_written_to_a_file(server: Server) -> None:
    server.plan(choice={"text": "so \ud83d it \ud83d\ude00 is"})
    assert one(plm(server), "WRITE:a").text.encode().decode() == "so ? it \U0001f600 is"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "This model's maximum context length is 9 tokens, you asked for 12", "code": 400}),
        (400, {"error": {"code": "context_length_exceeded", "message": "too much"}}),
        (400, {"error": {"type": "exceed_context_size_error", "n_ctx": 9}}),
        (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 9"}),
        (413, {"error": "Payload Too Large"}),
    ],
)
def test_a_prompt_that_the_plm_cannot_read_is_no_error(server: Server, status: int, error: dict[str, Any]) -> None:
    server.plan(status=status, error=error)
    model = plm(server)
    assert in_order(model.generate(requests_for(3), FEW)) == [Completion("", "unread", 0, 0, None)] * 3
    assert len(server.seen()) == 3


def test_tokens_that_a_server_does_not_count_are_said_to_be_unknown(server: Server) -> None:
    model = plm(server)
    one(model, "Say. WRITE:so it is")
    assert model.provenance()["usage"] == "told by the server"
    server.plan(answer={"usage": None})
    assert one(model, "Say. WRITE:so it is") == Completion("so it is", "eos", 0, 0, None)
    assert model.provenance()["usage"] == "not told by the server for 1 of 2 replies"
    assert [model.provenance()[name] for name in ("prompt_tokens", "generated_tokens")] == [4, 4]
    model = plm(server)
    one(model, "WRITE:a")
    assert model.provenance()["usage"] == "not told by the server"


def test_provenance_says_who_answered_and_how(server: Server) -> None:
    model = plm(server, concurrency=3)
    list(model.generate(requests_for(10), FEW))
    reached = model.provenance()["concurrency_reached"]
    assert isinstance(reached, int)
    assert 1 <= reached <= 3
    assert model.provenance() == {
        "runs in": "a server",
        "server": server.url,
        "model": "some-plm",
        "reported_model": "some-plm",
        "system_fingerprint": "fp_1",
        "concurrency_reached": reached,
        "concurrency_last": 3,
        "requests_sent": 10,
        "completions": 10,
        "usage": "told by the server",
        "prompt_tokens": 60,  # Row n. WRITE:text n is here
        "generated_tokens": 50,  # text n is here, and an end token
    }


# What goes wrong and comes right


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "429"),
        ("429-seconds", "429"),
        ("503", "503"),
        ("500", "500"),
        ("hang", "timeout"),
        ("half", "broken off"),
        ("half-chunk", "broken off"),
        ("closed", "broken off"),
        ("not-json", "not JSON"),
        ("no-choices", "no completion"),
        ("huge", "too large"),
    ],
)
def test_a_request_that_fails_is_asked_again(server: Server, fault: str, reason: str) -> None:
    server.plan(faults=[fault, fault], only="Row 1.")
    model = plm(server, timeout=0.5 if fault == "hang" else 30)
    found = in_order(model.generate(requests_for(3), FEW))
    assert texts(found) == [f"text {row} is here" for row in range(3)]
    provenance = model.provenance()
    assert provenance[f"retries: {reason}"] == 2
    assert (provenance["requests_sent"], provenance["completions"]) == (5, 3)
    met = [seen["met"] for seen in server.seen() if seen["body"]["prompt"].startswith("Row 1.")]
    assert met == [fault, fault, "ok"]


def test_nothing_is_sent_before_the_time_that_retry_after_tells(server: Server) -> None:
    server.plan(faults=["429-seconds"], only="Row 0.")
    list(plm(server, concurrency=1).generate(requests_for(3), FEW))
    refused, *others = server.seen()
    assert refused["met"] == "429-seconds"
    assert len(others) == 3
    assert min(seen["at"] for seen in others) - refused["at"] >= 0.25


def test_retry_after_is_a_number_or_a_date() -> None:
    assert [seconds_of(value) for value in (None, "7", "0.5", "-3", "soon", "nan", "1e999")] == [0, 7, 0.5, 0, 0, 0, 0]
    now = datetime.now(UTC)
    assert 80 < seconds_of(format_datetime(now + timedelta(seconds=100), usegmt=True)) <= 100
    assert seconds_of(format_datetime(now - timedelta(seconds=100), usegmt=True)) == 0


def test_a_server_that_wants_to_be_left_alone_for_long_ends_the_run(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_backend, "LONGEST_PAUSE", 0.2)
    server.plan(faults=["429-seconds"])
    assert "wants no request for 0 seconds (429: 'not now')" in str(
        error_of(plm(server, concurrency=1), requests_for(2))
    )
    assert len(server.seen()) == 1


def test_waiting_grows_and_is_each_requests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_backend, "BACKOFF_SECONDS", 1.0)
    for attempt, longest in ((1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (90, 60)):
        waits = [backoff(seed, attempt) for seed in range(200)]
        assert longest / 2 <= min(waits) < 0.6 * longest
        assert 0.9 * longest < max(waits) <= longest
        assert len(set(waits)) == 200
        assert waits == [backoff(seed, attempt) for seed in range(200)]


def test_a_set_is_complete_though_half_of_all_attempts_fail(server: Server) -> None:
    faults = [fault for fault in FAULTS if fault not in ("hang", "huge", "429-seconds")]  # they take long
    server.plan(fail_share=0.5, most_faults=None, faults=faults)
    requests = requests_for(150)
    model = plm(server)
    found = list(model.generate(requests, FEW))
    assert sorted(index for index, _ in found) == list(range(150))
    assert texts(in_order(found)) == [f"text {row} is here" for row in range(150)]
    seen = server.seen()
    answered = Counter(one["body"]["prompt"] for one in seen if one["met"] == "ok")
    assert answered == Counter(request.prompt for request in requests)  # nothing that was answered is asked again
    met = Counter(one["met"] for one in seen if one["met"] != "ok")
    assert set(met) == set(faults)
    assert sum(met.values()) > 75
    provenance = model.provenance()
    assert provenance["requests_sent"] == len(seen)
    retries = {name.removeprefix("retries: "): n for name, n in provenance.items() if name.startswith("retries: ")}
    assert retries == {
        "429": met["429"],
        "503": met["503"],
        "500": met["500"],
        "broken off": met["half"] + met["half-chunk"] + met["closed"],
        "not JSON": met["not-json"],
        "no completion": met["no-choices"],
    }
    assert provenance["generated_tokens"] == sum(completion.generated_tokens for _, completion in found) == 5 * 150


def test_completions_are_yielded_while_others_are_still_failing(server: Server) -> None:
    server.plan(faults=["hang"], only="Row 0.")
    found = plm(server, timeout=1).generate(requests_for(4), FEW)
    first = [next(found)[0] for _ in range(3)]
    assert sorted(first) == [1, 2, 3]
    assert [index for index, _ in found] == [0]


def test_a_request_is_given_up_after_so_many_attempts_and_the_others_are_kept(server: Server) -> None:
    server.plan(faults=["500"] * 5, only="Row 5.")
    found = plm(server, attempts=5, concurrency=2).generate(requests_for(6), FEW)
    kept: list[tuple[int, Completion]] = []
    with pytest.raises(HarnessError, match=r"did not answer a request in 5 attempts, the last time: 500: 'not now'"):
        kept.extend(found)
    assert sorted(index for index, _ in kept) == [0, 1, 2, 3, 4]
    assert Counter(one["body"]["prompt"][:6] for one in server.seen())["Row 5."] == 5


@pytest.mark.parametrize("reason", ["abort", None, ["stop"]])
def test_a_completion_that_did_not_come_to_an_end_is_none(server: Server, reason: Any) -> None:
    server.plan(choice={"finish_reason": reason})
    assert "expected a completed text, found" in str(error_of(plm(server, attempts=2), requests_for(1)))
    assert len(server.seen()) == 2


def test_a_server_that_is_not_there(server: Server) -> None:
    model = plm(server, url="http://127.0.0.1:9/v1", attempts=2)
    assert "in 2 attempts, the last time: no connection (" in str(error_of(model, requests_for(40)))


# How much at a time


def test_the_window_halves_once_for_all_that_were_under_way_and_grows_by_one_a_window() -> None:
    window = Window(32)
    for _ in range(32):
        window.refused(entered=0, pause=0)
    assert window.size == 16
    sizes = []
    for halving in range(1, 7):
        window.refused(entered=halving, pause=0)
        sizes.append(window.size)
    assert sizes == [8, 4, 2, 1, 1, 1]
    grown = []
    for _ in range(1 + 2 + 3 + 4):
        window.succeeded()
        grown.append(window.size)
    assert grown == [2, 2, 3, 3, 3, 4, 4, 4, 4, 5]
    for _ in range(1000):
        window.succeeded()
    assert window.size == 32


def test_the_window_finds_the_room_that_a_server_has(server: Server) -> None:
    server.plan(room=4, seconds=0.1)
    model = plm(server, attempts=50)
    found, sizes = [], []
    for completion in model.generate(requests_for(40), FEW):
        found.append(completion)
        sizes.append(model.window.size)
    assert texts(in_order(found)) == [f"text {row} is here" for row in range(40)]
    assert model.provenance()["concurrency_reached"] == 32
    assert min(sizes) <= 16  # had it not heeded refusals, it would be 32
    server.plan()
    list(model.generate(requests_for(150), FEW))
    provenance = model.provenance()
    assert min(32, sizes[-1] + 1) <= cast(int, provenance["concurrency_last"])  # it goes on from call to call
    assert provenance["requests_sent"] == 40 + 150 + cast(int, provenance["retries: 429"])


def test_whoever_stops_in_the_midst_has_paid_for_no_more_than_was_under_way(server: Server) -> None:
    server.plan(seconds=0.01)
    found = plm(server, concurrency=4).generate(requests_for(100), FEW)
    for _ in range(10):
        next(found)
    time.sleep(0.3)  # the caller is busy: nothing more is asked than it has room for
    assert len(server.seen()) <= 10 + 4
    close(found)
    time.sleep(0.1)
    assert len(server.seen()) <= 10 + 4


def test_what_is_under_way_is_broken_off_when_the_iterator_is_closed(server: Server) -> None:
    server.plan(seconds=60, slow="Slow.")
    requests = [Request("WRITE:quick", 0), *(Request(f"Slow. WRITE:{row}", row) for row in range(50))]
    found = plm(server, concurrency=4).generate(requests, FEW)
    assert next(found)[1].text == "quick"
    wait_for(lambda: len(server.seen()) == 5)  # the quick one has made room for a fourth slow one
    close(found)
    assert not [thread for thread in threading.enumerate() if thread.name == "openai"]
    wait_for(lambda: Counter(seen.get("gone", False) for seen in server.seen()) == {False: 1, True: 4})


ENDINGS = {"left open": "", "raised": "1 / 0"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_hangs_when_the_interpreter_ends(server: Server, ending: str) -> None:
    server.plan(seconds=60, slow="Slow.")
    script = f"""
from harness.generators.base import Decoding, Request
from harness.generators.openai_backend import OpenAIServer
from harness.spec import OpenAIGenerator

spec = OpenAIGenerator(name="x", backend="openai", url="{server.url}", model="m", concurrency=4)
requests = [Request("WRITE:quick", 0), *(Request("Slow. WRITE:it", row) for row in range(50))]
found = OpenAIServer(spec).generate(requests, Decoding(8))
next(found)
{ENDINGS[ending]}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    if ending == "raised":
        assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "ZeroDivisionError: division by zero")
    else:
        assert (done.returncode, done.stderr) == (0, "")


# The key, and other things that end a run


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "answers 401: expected a key in the environment variable OPENAI_API_KEY, found none; set OPENAI_API_KEY"),
        (403, "answers 403: expected a key in the environment variable OPENAI_API_KEY, found none; set OPENAI_API_KEY"),
        (404, "answers 404: expected the model 'some-plm' there, found 'no such thing'; check 'model', and 'url'"),
        (400, "answers 400: expected a completion, found 'no such thing'; change the generator's settings"),
        (307, "answers 307: expected a completion, found 'no such thing'; change the generator's settings"),
    ],
)
def test_what_no_further_attempt_can_mend_ends_at_once(server: Server, status: int, expected: str) -> None:
    server.plan(status=status, error={"error": {"message": "no such thing"}})
    assert expected in str(error_of(plm(server, concurrency=4), requests_for(100)))
    seen = Counter(one["body"]["prompt"] for one in server.seen())
    assert set(seen.values()) == {1}
    assert len(seen) <= 4


def test_the_key_is_sent_in_its_header(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    one(plm(server), "WRITE:a")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    one(plm(server), "WRITE:a")
    one(plm(server, key_variable="OTHER_KEY"), "WRITE:a")
    monkeypatch.setenv("OTHER_KEY", "another")
    one(plm(server, key_variable="OTHER_KEY"), "WRITE:a")
    seen = server.seen()
    assert [request["headers"].pop("Authorization", None) for request in seen] == [
        None,
        f"Bearer {KEY}",
        None,
        "Bearer another",
    ]
    assert KEY not in str(seen)


@pytest.mark.parametrize(
    "plan",
    [
        {"status": status, "error": {"error": {"message": f"{'x' * 150} the key {KEY} {KEY} is wrong"}}}
        for status in (400, 401, 403, 404, 429, 500, 503)
    ]
    + [
        {"status": 400, "error": KEY},
        {"answer": {"choices": [KEY]}},
        {"faults": ["half"] * 9},
        {"faults": ["closed"] * 9},
    ],
)
def test_the_key_stands_in_no_error_and_in_no_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, plan: dict[str, Any]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.plan(**plan)
    model = plm(server, attempts=2)
    with caplog.at_level(logging.DEBUG):
        error = error_of(model, requests_for(2))
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    assert chain == [error]
    told = (
        "".join(traceback.format_exception(error)) + repr(error) + str(model.provenance()) + repr(model) + caplog.text
    )
    assert server.url in told
    assert KEY[:12] not in told


def test_the_key_stands_in_no_provenance(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.plan(answer={"model": f"plm\x1b[31m of {KEY}", "system_fingerprint": KEY * 20})
    model = plm(server)
    list(model.generate(requests_for(3), FEW))
    assert model.provenance()["reported_model"] == "plm [31m of ***"
    assert model.provenance()["system_fingerprint"] == "***" * 20
    assert KEY not in str(model.spec)


def test_a_key_that_no_header_can_hold_is_not_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(HarnessError, match="expected a key of visible ASCII characters in the environment") as caught:
        plm(server)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_is_for_other_machines_than_this_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for host in ("127.0.0.1", "localhost"):
        assert one(plm(server, url=server.url.replace("127.0.0.1", host)), "WRITE:a").text == "a"
    assert len(server.seen()) == 2
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, server.root)
    assert one(plm(server, url="http://plm.invalid/v1"), "WRITE:a").text == "a"
    assert server.seen()[-1]["path"] == "http://plm.invalid/v1/completions"


def test_without_httpx_the_error_says_what_to_install(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(HarnessError, match=r"pip install 'plm-data-harness\[openai\]'"):
        plm(server)


def test_httpx_is_imported_by_those_alone_who_use_it() -> None:
    script = (
        "import sys, harness.cli, harness.spec, harness.generators.openai_backend; assert 'httpx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# The spec


def spec_problems(**settings: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        OpenAIGenerator(**{"name": "x", "backend": "openai", "url": "http://h/v1", "model": "m", **settings})
    return "; ".join(error["msg"] for error in caught.value.errors())


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://host/v1",
        f"https://me:{KEY}@host/v1",
        f"https://{KEY}@host/v1",
        f"https://host/v1?key={KEY}",
        f"https://host/v1#{KEY}",
        "https://",
        "https:///v1",
        "https://ho st/v1",
        "https://host/v1\n",
        "https://host\\@other/v1",
        "https://host:0/v1",
        "https://host:99999/v1",
        "https://host:port/v1",
        "https://[::1/v1",
    ],
)
def test_the_url_is_that_of_a_server_and_holds_no_secret(url: str, tmp_path: Path) -> None:
    assert "expected the base of a server" in spec_problems(url=url) or "expected a host" in spec_problems(url=url)
    board = tmp_path / "board.yaml"
    entry = json.dumps({"name": "x", "backend": "openai", "url": url, "model": "m"})
    board.write_text(f"name: b\ntasks: [sst2]\ngenerators: [{entry}]\nstudents: [linear]\n", encoding="utf-8")
    _, problems = parse_board(read_yaml(board), {})
    (problem,) = problems
    assert problem.render("f").startswith("f:3: generators[0].url: expected ")
    assert KEY not in problem.render("f")


def test_the_name_of_the_keys_variable_is_not_the_key() -> None:
    assert spec_problems(key_variable=KEY).endswith(
        "expected the name of an environment variable, as OPENAI_API_KEY, never the key itself"
    )


def test_a_board_may_name_a_server(tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text(
        """\
name: b
tasks: [sst2]
generators:
- {name: x, backend: openai, url: "https://[::1]:8000/v1/", model: m, top_p: 0.5, prices: {prompt: 0.5, generated: 1.5}}
students: [linear]
""",
        encoding="utf-8",
    )
    found, problems = parse_board(read_yaml(board), {})
    assert not problems
    assert found is not None
    (spec,) = found.generators
    assert isinstance(spec, OpenAIGenerator)
    assert (spec.url, spec.top_p, spec.style, spec.key_variable) == (
        "https://[::1]:8000/v1",
        0.5,
        "completion",
        "OPENAI_API_KEY",
    )
    assert (spec.concurrency, spec.timeout, spec.attempts, spec.seeded) == (32, 120, 12, True)


def test_what_tokens_cost() -> None:
    prices = Prices(prompt=0.5, generated=1.5)
    assert prices.of(3_000_000, 200_000) == pytest.approx(1.8)  # 3 x 0.50 + 0.2 x 1.50
    assert prices.currency == "USD"
    assert OpenAIGenerator(name="x", backend="openai", url="http://h/v1", model="m").prices is None
