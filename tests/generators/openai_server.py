"""A server that speaks the OpenAI protocol, as a process of its own: `python openai_server.py` prints its port.

Its PLM writes what stands in the prompt after `WRITE:`, a token a word, with the request's seed in the place of `SEED`,
and then an end token. `POST /plan` with a JSON object says how it behaves from now on and forgets what it saw;
`GET /seen` tells what it has seen since.

    faults        : what the attempts at each prompt meet in turn: "ok", or a name among `FAULTS`; then "ok"
    only          : faults for prompts with this in them alone
    fail_share    : the share of attempts that meet one of `faults`, by chance, but no prompt more than `most_faults`
    room          : more requests at a time than this are refused with 429
    seconds, slow : how long it writes after prompts with this in them; a client that goes away meanwhile is seen
    told          : the key under which it tells the stop string that it met (as `stop_reason`), if any
    after_stop    : whether it cuts after the stop string, as TGI does, and tells "stop_sequence"
    answer        : members of the reply instead of its own
    choice        : members of the reply's choice instead of its own
    status, error : instead of an answer
"""

import json
import random
import select
import socket
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ["429", "429-seconds", "503", "500", "hang", "half", "half-chunk", "closed", "not-json", "no-choices", "huge"]
RETRY_AFTER = "0.25"


class State:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.seen: list[dict[str, Any]] = []
        self.attempts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.chance = random.Random(5)
        self.under_way = 0


LOCK = threading.Lock()
STATE = State({})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        with LOCK:
            self.reply(200, STATE.seen)

    def do_POST(self) -> None:
        global STATE
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/plan":
            STATE = State(body)
            self.reply(200, {})
            return
        state = STATE
        prompt = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
        record = {"path": self.path, "headers": dict(self.headers), "body": body, "at": time.monotonic()}
        with LOCK:
            state.under_way += 1
            crowded = state.under_way > state.plan.get("room", 1 << 30)
            fault = "429" if crowded else self.fault(state, prompt)
            state.seen.append(record)
        record["met"] = fault
        try:
            self.meet(fault, state.plan, body, prompt, record)
        finally:
            with LOCK:
                state.under_way -= 1

    def fault(self, state: State, prompt: str) -> str:
        plan = state.plan
        if plan.get("only", "") not in prompt:
            return "ok"
        faults: list[str] = plan.get("faults", [])
        if "fail_share" in plan:
            if state.faults[prompt] == plan["most_faults"] or state.chance.random() >= plan["fail_share"]:
                return "ok"
            state.faults[prompt] += 1
            return state.chance.choice(faults)
        state.attempts[prompt] += 1
        return faults[state.attempts[prompt] - 1] if state.attempts[prompt] <= len(faults) else "ok"

    def meet(self, fault: str, plan: dict[str, Any], body: dict[str, Any], prompt: str, record: dict[str, Any]) -> None:
        if fault in ("429", "503", "500"):
            self.reply(int(fault), {"error": {"message": "not now"}})
        elif fault == "429-seconds":
            self.reply(429, {"error": {"message": "not now"}}, {"Retry-After": RETRY_AFTER})
        elif fault == "hang":
            self.gone_within(30)
            self.close_connection = True
        elif fault == "half":
            self.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b'{"choices": [{"te')
        elif fault == "half-chunk":
            self.raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{"choices": [{"te')
        elif fault == "closed":
            self.raw(b"")
        elif fault == "not-json":
            self.raw(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"choices": [{"te')
        elif fault == "no-choices":
            self.reply(200, {"error": "the engine is restarting"})
        elif fault == "huge":
            self.raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * ((8 << 20) + 1))
        elif "status" in plan:
            self.reply(plan["status"], plan["error"])
        elif plan.get("slow", "") in prompt and self.gone_within(plan.get("seconds", 0)):
            record["gone"] = True
            self.close_connection = True
        else:
            self.reply(200, answer(plan, body, prompt))

    def gone_within(self, seconds: float) -> bool:
        """Whether the client closes the connection in this time, which passes otherwise."""
        readable, _, _ = select.select([self.connection], [], [], seconds) if seconds else ([], [], [])
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def raw(self, content: bytes) -> None:
        self.close_connection = True
        self.wfile.write(content)

    def reply(self, status: int, data: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client is gone

    def log_message(self, format: str, *args: Any) -> None:
        pass


def answer(plan: dict[str, Any], body: dict[str, Any], prompt: str) -> dict[str, Any]:
    words = prompt.partition("WRITE:")[2].replace("SEED", str(body.get("seed"))).split(" ")
    written = words[: body["max_tokens"]]
    text, tokens = " ".join(written), len(written)
    reason, met = ("length", None) if len(words) > tokens else ("stop", None)
    places = [(text.index(one), one) for one in body.get("stop", []) if one in text]
    if places:
        place, met = min(places)
        reason, tokens = "stop", len(text[: place + len(met)].split(" "))
        text = text[: place + len(met)] if plan.get("after_stop") else text[:place]
        reason = "stop_sequence" if plan.get("after_stop") else "stop"
    elif reason == "stop":
        tokens += 1  # the end token
    choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
    choice |= {"text": text} if "prompt" in body else {"message": {"role": "assistant", "content": text}}
    if "told" in plan:
        choice[plan["told"]] = met
    reply: dict[str, Any] = {
        "model": "some-plm",
        "system_fingerprint": "fp_1",
        "choices": [choice | plan.get("choice", {})],
        "usage": {"prompt_tokens": len(prompt.split(" ")), "completion_tokens": tokens},
    }
    reply.update(plan.get("answer", {}))
    return reply


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # until whoever started it closes the pipe, or ends
