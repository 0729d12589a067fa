"""The `openai` backend: a PLM behind any server that speaks the OpenAI protocol (vLLM, SGLang, TGI, llama.cpp, OpenAI).

One request a row. An event loop in a thread of its own talks to the server, so that as many requests as the server
bears are under way at a time, and all of them can be broken off at once; the caller takes completions from a queue.

What a server does not take from the request it takes from its own settings. So vLLM reads the top-k and the penalty of
the PLM's `generation_config.json` where a spec leaves them off, unless it is started with `--generation-config vllm`;
and TGI passes over what it does not know, `top_k` among it.
"""

import asyncio
import contextlib
import functools
import ipaddress
import itertools
import json
import math
import os
import queue
import random
import re
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.errors import HarnessError, shown
from harness.generators.base import Completion, Decoding, FinishReason, Request
from harness.seeds import derive_seed
from harness.spec import OpenAIGenerator

if TYPE_CHECKING:
    import httpx

BACKOFF_SECONDS = 0.5
"""Before the second attempt of a request, doubled for each further one."""
LONGEST_BACKOFF = 60.0
LONGEST_PAUSE = 600.0
"""A server that wants to be left alone for longer (a quota of the day is spent) ends the run."""
LUCKLESS = 4
"""A request is given up after `attempts` failures during which no other one was answered, or after so many times as
many in all."""
LARGEST_REPLY = 8 << 20
_REPORTED = 8
"""Names of models, and fingerprints, that are kept of what a server reports."""
_SHOWN = 200
"""Characters of a text by a server in an error or in provenance."""

_TOO_LONG = re.compile(
    r"context.?(length|size|window)|maximum model length|exceed_context"  # vLLM, SGLang, OpenAI, llama.cpp
    r"|inputs`? (tokens \+|must have less)"  # TGI
    r"|max_tokens must be at least 1, got -",  # older vLLM, of what is left for it
    re.IGNORECASE,
)
_ENDS: dict[object, FinishReason] = {
    "length": "length",
    "content_filter": "length",  # not the PLM's own end
    "stop": "eos",  # or a stop string: see `_ended`
    "eos": "eos",
    "eos_token": "eos",
    "stop_sequence": "stop",
}


def check_decoding(decoding: Decoding) -> None:
    """Whether a server can be asked to draw tokens so; asks none.

    Raises:
        HarnessError: it cannot; all reasons at once.
    """
    reasons = []
    if decoding.no_repeat_ngram_size:
        reasons.append(f"has no 'no_repeat_ngram_size' (found {decoding.no_repeat_ngram_size})")
    if decoding.self_debiasing is not None:
        reasons.append("has no self-debiasing, which needs the probabilities of every token after several prompts")
    if reasons:
        raise HarnessError(
            f"the openai backend {', '.join(reasons)}; change the setting or use 'backend: transformers'"
        )


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back; `retry_after` is the header as it is."""

    status: int
    retry_after: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class _Failure:
    """An attempt that another one may mend: the reason, to count by, and what happened."""

    reason: str
    detail: str


class Window:
    """How many requests may be under way at a time: half as many after a refusal, one more after a window of successes
    (AIMD), at most `most`. Those that were sent before the last halving say nothing about the size since."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = most
        self.reached = 0
        self._halvings = 0
        self._successes = 0
        self._resume_at = 0.0
        self.open()

    def open(self) -> None:
        """Begin in an event loop: nothing is under way in it."""
        self._under_way = 0
        self._room = asyncio.Event()

    async def enter(self) -> int:
        """Wait for room and for the end of a pause. What is returned goes to `refused`."""
        while True:
            if self._under_way >= self.size:
                self._room.clear()
                await self._room.wait()
            elif (pause := self._resume_at - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            else:
                self._under_way += 1
                self.reached = max(self.reached, self._under_way)
                return self._halvings

    def leave(self) -> None:
        self._under_way -= 1
        self._room.set()

    def succeeded(self) -> None:
        self._successes += 1
        if self._successes >= self.size and self.size < self.most:
            self.size += 1
            self._successes = 0
            self._room.set()

    def refused(self, entered: int, pause: float) -> None:
        """The server had too much to do, and wants no request for `pause` seconds."""
        self._resume_at = max(self._resume_at, time.monotonic() + pause)
        if entered == self._halvings:
            self.size = max(1, self.size // 2)
            self._halvings += 1
            self._successes = 0


class OpenAIServer:
    """A PLM behind a server: a `TextGenerator`, for one call at a time. `window` and the counts go on from call to
    call."""

    def __init__(self, spec: OpenAIGenerator) -> None:
        """Nothing is sent yet.

        Raises:
            HarnessError: httpx is not installed; the key cannot be the value of a header; nobody can reach such a URL.
        """
        try:
            import httpx
        except ModuleNotFoundError as error:
            if error.name != "httpx":
                raise
            raise HarnessError(
                f"generator '{spec.name}' has the backend 'openai', which needs httpx: "
                "pip install 'plm-data-harness[openai]'"
            ) from None
        self.spec = spec
        self.window = Window(spec.concurrency)
        self.url = f"{spec.url}/{'completions' if spec.style == 'completion' else 'chat/completions'}"
        try:
            httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise HarnessError(f"generator '{spec.name}': expected a URL, found '{spec.url}' ({error})") from None
        self._key = _key(spec)
        # A proxy of the environment leads out of this machine, not back to it.
        self._trust_env = not _is_loopback(urlsplit(spec.url).hostname or "")
        self._sent = 0
        self._answered = 0
        self._uncounted = 0
        self._prompt_tokens = 0
        self._generated_tokens = 0
        self._retries: Counter[str] = Counter()
        self._models: dict[str, None] = {}
        self._fingerprints: dict[str, None] = {}

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """The completion of every request once, as soon as it is there; see `TextGenerator`.

        No more than `concurrency` requests are under way or wait for the caller. Once the iterator is closed, those
        under way are broken off.

        Raises:
            HarnessError: no server can follow the settings, or has a use for counter prompts; this one refuses the key,
                the model or the settings; a request was not answered in `attempts` attempts. What was answered before
                is yielded first.
        """
        check_decoding(decoding)
        if any(request.counter_prompts for request in requests):
            raise HarnessError("the openai backend has no self-debiasing, and so no use for counter prompts")
        return self._completions(requests, decoding)

    def _completions(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        conversation = _Conversation(self, requests, decoding)
        conversation.start()
        try:
            for _ in requests:
                found = conversation.ready.get()
                if found is None:
                    raise RuntimeError("the conversation with the server ended early; its thread has told why")
                if isinstance(found, HarnessError):
                    raise found
                conversation.taken()
                yield found
        finally:
            conversation.stop()

    @property
    def answered(self) -> int:
        """Requests, so far."""
        return self._answered

    def provenance(self) -> Mapping[str, str | int]:
        """URL, model, what the server reported of itself, and counts of requests, retries by reason, and tokens."""
        if not self._uncounted:
            usage = "told by the server"
        elif self._uncounted == self._answered:
            usage = "not told by the server"
        else:
            usage = f"not told by the server for {self._uncounted} of {self._answered} replies"
        reported = {
            "reported_model": ", ".join(self._models),
            "system_fingerprint": ", ".join(self._fingerprints),
        }
        return {
            "runs in": "a server",
            "server": self.spec.url,
            "model": self.spec.model,
            **{name: value for name, value in reported.items() if value},
            "concurrency_reached": self.window.reached,
            "concurrency_last": self.window.size,
            "requests_sent": self._sent,
            "completions": self._answered,
            **{f"retries: {reason}": number for reason, number in sorted(self._retries.items())},
            "usage": usage,
            "prompt_tokens": self._prompt_tokens,
            "generated_tokens": self._generated_tokens,
        }

    def client(self) -> "httpx.AsyncClient":
        import httpx

        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        most = self.spec.concurrency
        return httpx.AsyncClient(
            headers=headers,
            timeout=None,  # `ask` bounds the whole
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            verify=_tls(self._trust_env),
            trust_env=self._trust_env,
        )

    def body(self, request: Request, decoding: Decoding) -> bytes:
        """What is posted for a request. Only what every server knows, but for settings that are not off."""
        spec = self.spec
        prompt: dict[str, Any] = (
            {"prompt": request.prompt}
            if spec.style == "completion"
            else {"messages": [{"role": "user", "content": request.prompt}]}
        )
        body = {
            "model": spec.model,
            **prompt,
            "max_tokens": decoding.max_new_tokens,
            "temperature": 0 if decoding.top_k == 1 else decoding.temperature,
            "top_p": decoding.top_p,
        }
        if spec.seeded:
            body["seed"] = request.seed & 0x7FFF_FFFF  # some keep 32 bits, and llama.cpp takes all ones for "any seed"
        if decoding.stop:
            # The first alone: few servers tell which of several was hit. `_cut` sees to the others.
            body["stop"] = [decoding.stop[0]]
        if decoding.top_k > 1:
            body["top_k"] = decoding.top_k
        if decoding.repetition_penalty != 1.0:
            body["repetition_penalty"] = decoding.repetition_penalty
        if decoding.min_new_tokens:
            body["min_tokens"] = min(decoding.min_new_tokens, decoding.max_new_tokens)
        return json.dumps(body).encode()

    async def ask(self, client: "httpx.AsyncClient", body: bytes, decoding: Decoding) -> Completion | _Failure:
        """One attempt.

        Raises:
            HarnessError: no other attempt could do better.
        """
        entered = await self.window.enter()
        try:
            self._sent += 1
            reply = await self._exchange(client, body)
            if isinstance(reply, _Failure):
                return reply
            if reply.status in (429, 503):
                self.window.refused(entered, self._pause(reply))
                return _Failure(str(reply.status), f"{reply.status}: {self._words(reply)}")
            outcome = self._read(reply, decoding)
            if isinstance(outcome, Completion):
                self.window.succeeded()
            return outcome
        finally:
            self.window.leave()

    async def _exchange(self, client: "httpx.AsyncClient", body: bytes) -> _Reply | _Failure:
        import httpx

        seconds = self.spec.timeout
        try:
            async with asyncio.timeout(seconds), client.stream("POST", self.url, content=body) as reply:
                content = bytearray()
                async for piece in reply.aiter_bytes():
                    content += piece
                    if len(content) > LARGEST_REPLY:
                        return _Failure("too large", f"a reply of more than {LARGEST_REPLY:,} bytes")
                return _Reply(reply.status_code, reply.headers.get("Retry-After"), bytes(content))
        except TimeoutError:
            return _Failure("timeout", f"no whole reply within 'timeout: {seconds:g}' seconds")
        except httpx.ConnectError as error:
            return _Failure("no connection", f"no connection ({self._public(str(error))})")
        except httpx.HTTPError as error:
            return _Failure("broken off", f"the reply broke off ({self._public(str(error) or type(error).__name__)})")

    def _pause(self, reply: _Reply) -> float:
        pause = seconds_of(reply.retry_after)
        if pause > LONGEST_PAUSE:
            raise HarnessError(
                f"{self.url} wants no request for {pause:,.0f} seconds ({reply.status}: {self._words(reply)}); a quota "
                "may be spent: run this again later, what was answered is kept"
            )
        return pause

    def _read(self, reply: _Reply, decoding: Decoding) -> Completion | _Failure:
        status = reply.status
        if status == 200:
            return self._completion(reply, decoding)
        if status == 413 or (status in (400, 422) and _TOO_LONG.search(reply.content.decode(errors="replace"))):
            return Completion("", "unread", 0, 0, None)
        if status == 408 or status >= 500:
            return _Failure(str(status), f"{status}: {self._words(reply)}")
        name = self.spec.key_variable
        if status in (401, 403):  # in whose words parts of the key may stand
            found = "one that it does not accept" if self._key else "none"
            raise HarnessError(
                f"{self.url} answers {status}: expected a key in the environment variable {name}, found {found}; set "
                f"{name}, or 'key_variable' to the name of another"
            )
        if status == 404:
            raise HarnessError(
                f"{self.url} answers 404: expected the model '{self.spec.model}' there, found {self._words(reply)}; "
                "check 'model', and 'url', which often ends in /v1"
            )
        raise HarnessError(
            f"{self.url} answers {status}: expected a completion, found {self._words(reply)}; change the generator's "
            "settings to what this server can do"
        )

    def _completion(self, reply: _Reply, decoding: Decoding) -> Completion | _Failure:
        data = _json(reply.content)
        if data is None:
            return _Failure("not JSON", f"expected JSON, found {self._words(reply)}")
        try:
            choice = data["choices"][0]
            written = choice["text"] if self.spec.style == "completion" else (choice["message"]["content"] or "")
            reason = _ENDS[choice["finish_reason"]]
        except (LookupError, TypeError):  # a `finish_reason` may be "abort", or a list
            written = None
        if not isinstance(written, str):
            return _Failure("no completion", f"expected a completed text, found {self._words(reply)}")
        # Half a surrogate pair is JSON, but no text that could be written to a file.
        text, reason = _ended(written.encode(errors="replace").decode(), reason, choice, decoding.stop)
        usage = data.get("usage")
        prompt, generated = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        self._answered += 1
        self._uncounted += prompt is None or generated is None
        self._prompt_tokens += prompt or 0
        self._generated_tokens += generated or 0
        for seen, key in ((self._models, "model"), (self._fingerprints, "system_fingerprint")):
            if isinstance(data.get(key), str) and len(seen) < _REPORTED:
                seen.setdefault(self._public(data[key]))
        return Completion(text, reason, prompt or 0, generated or 0, None)

    def failed(self, failure: _Failure) -> None:
        self._retries[failure.reason] += 1

    def given_up(self, failure: _Failure) -> HarnessError:
        return HarnessError(
            f"{self.url} did not answer a request in {self.spec.attempts} attempts, the last time: {failure.detail}; "
            "check that the server runs, or raise 'attempts' or 'timeout'; what was answered is kept"
        )

    def _words(self, reply: _Reply) -> str:
        """What the server says went wrong, on one line."""
        data = _json(reply.content) or {}
        error = data.get("error")
        said = error.get("message") if isinstance(error, dict) else error
        said = said or data.get("message") or data.get("detail") or reply.content.decode(errors="replace")
        return shown(self._public(str(said)), most=_SHOWN)

    def _public(self, text: str) -> str:
        """A text without control characters, and without the key, which a server may repeat."""
        text = text.replace(self._key, "***") if self._key else text
        return "".join(character if character.isprintable() else " " for character in text[:_SHOWN])


class _Conversation:
    """All requests of a call, in an event loop in a thread of its own."""

    def __init__(self, server: OpenAIServer, requests: Sequence[Request], decoding: Decoding) -> None:
        self.ready: queue.SimpleQueue[tuple[int, Completion] | HarnessError | None] = queue.SimpleQueue()
        """Completions, in the end the error if there is one, and None."""
        self._server = server
        self._requests = requests
        self._decoding = decoding
        # A place is taken by a request from its first attempt until the caller has taken its completion.
        self._places = asyncio.Semaphore(server.spec.concurrency)
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._ask_all())
        # A daemon: the interpreter does not wait at its end for an iterator that nobody has closed.
        self._thread = threading.Thread(target=self._run, name="openai", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def taken(self) -> None:
        self._call(self._places.release)

    def stop(self) -> None:
        """Break off what is under way."""
        self._call(self._task.cancel)
        if not sys.is_finalizing():  # when the interpreter ends, no daemon runs on
            self._thread.join()

    def _call(self, what: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is done
            self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._task)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
            self.ready.put(None)

    async def _ask_all(self) -> None:
        self._server.window.open()
        failed: HarnessError | None = None
        try:
            async with self._server.client() as client, asyncio.TaskGroup() as group:
                for index, request in enumerate(self._requests):
                    await self._places.acquire()
                    group.create_task(self._ask(client, index, request))
        except* HarnessError as errors:
            failed = next(error for error in errors.exceptions if isinstance(error, HarnessError))
        if failed is not None:
            self.ready.put(failed)

    async def _ask(self, client: "httpx.AsyncClient", index: int, request: Request) -> None:
        body = self._server.body(request, self._decoding)
        most, in_a_row = self._server.spec.attempts, 0
        for attempt in itertools.count(1):
            answered = self._server.answered
            outcome = await self._server.ask(client, body, self._decoding)
            if isinstance(outcome, Completion):
                self.ready.put((index, outcome))
                return
            # A server that answers others meanwhile is there: only its ill luck with this one counts.
            in_a_row = in_a_row + 1 if self._server.answered == answered else 1
            if in_a_row >= most or attempt >= LUCKLESS * most:
                raise self._server.given_up(outcome)
            self._server.failed(outcome)
            await asyncio.sleep(backoff(request.seed, attempt))


def backoff(seed: int, attempt: int) -> float:
    """Seconds to wait after a failed attempt, the first being 1: doubled each time, and between half and all of it,
    so that requests that failed together do not come back together."""
    longest = min(LONGEST_BACKOFF, BACKOFF_SECONDS * 2.0 ** (attempt - 1))
    return longest * (0.5 + 0.5 * random.Random(derive_seed("backoff", seed, attempt)).random())


def seconds_of(retry_after: str | None) -> float:
    """The seconds that a Retry-After header asks for, as a number or until a date (RFC 9110, 10.2.3); 0 if none."""
    if retry_after is None:
        return 0.0
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            date = parsedate_to_datetime(retry_after)
        except ValueError:
            return 0.0
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def _ended(
    text: str, reason: FinishReason, choice: Mapping[str, Any], stop: tuple[str, ...]
) -> tuple[str, FinishReason]:
    """Text and end as a PLM in memory has them, which keeps the stop string that `clean` cuts at.

    A server cuts before the stop string it was given (TGI: after it). vLLM (`stop_reason`) and SGLang (`matched_stop`)
    tell that string, and null or a token's number for an end token. Others tell only "stop": then the stop string is
    taken to be hit, as it nearly always is after a prompt that opens quotes. In a text without a newline `clean` keeps
    the same either way, for both ends make it whole; with one, a text that an end token ended is kept whole and not
    cut at its newline.
    """
    if reason == "eos" and stop and choice["finish_reason"] == "stop":
        told = [choice[name] for name in ("stop_reason", "matched_stop") if name in choice]
        if not told or stop[0] in told:
            text, reason = text + stop[0], "stop"
    # Strings that the server was not given; and what a server wrote on after one that it was.
    ends = [text.index(one) + len(one) for one in stop if one in text]
    return (text[: min(ends)], "stop") if ends else (text, reason)


def _json(content: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _count(usage: object, key: str) -> int | None:
    count = usage.get(key) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def _key(spec: OpenAIGenerator) -> str:
    """The key of the environment, empty without one. No message shows it, not even a bad one."""
    key = os.environ.get(spec.key_variable, "").strip()
    if re.fullmatch(r"[\x21-\x7e]*", key) is None:
        raise HarnessError(
            f"generator '{spec.name}': expected a key of visible ASCII characters in the environment variable "
            f"{spec.key_variable}, found others among them; set it anew"
        )
    return key


@functools.cache
def _tls(trust_env: bool) -> ssl.SSLContext:
    """The certificates that httpx trusts, which take a while to read."""
    import httpx

    return httpx.create_ssl_context(trust_env=trust_env)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
