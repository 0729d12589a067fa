"""The schema of the YAML files: tasks, generators, boards. Unknown keys are refused, every error is reported at once.

A file is read in two steps. `parse` checks its shape (types, ranges, unknown keys) against the models below. What needs
other files (does the named task exist? has it that prompt set?) is checked by `harness.resolve`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from harness.errors import did_you_mean, one_of, shown
from harness.yaml_source import Location, Problem, Source

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""Text for people on one line: a control character could rewrite their terminal."""

Family = Literal["text-classification", "text-pair-classification", "extractive-qa"]
Style = Literal["completion", "chat"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Baseline = Literal["majority", "prompting", "prompting-calibrated", "supervised"]
Metric = Literal["accuracy", "macro_f1", "exact_match", "f1"]
Column = Literal["text", "text_pair", "label", "id", "context", "question", "answers"]
HubName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*$", max_length=200)]

MAX_ROWS = 10_000_000


class Spec(BaseModel):
    """Base of every record read from YAML: frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitSource(Spec):
    """Where the rows of one real split come from: a hub (or mirror) dataset, or a file beside the task's YAML."""

    hub: HubName | None = Field(None, description="dataset id, e.g. stanfordnlp/imdb")
    config: Name = "default"
    revision: str | None = Field(
        None, pattern=r"^[0-9a-f]{40}$", description="commit on the hub; none: read from a mirror only"
    )
    split: Name = "train"
    file: str | None = Field(None, description="a .jsonl, .csv or .parquet file, relative to the task file")
    columns: dict[Column, str] = Field(default_factory=dict, description="our column -> the source's column")
    labels: dict[str | int, str] = Field(default_factory=dict, description="the source's value -> label name")

    @model_validator(mode="after")
    def _one_place(self) -> "SplitSource":
        if (self.hub is None) == (self.file is None):
            raise ValueError("expected exactly one of 'hub' (a dataset id) and 'file' (a path)")
        return self


class ContextSource(SplitSource):
    """Real unlabelled text that contexts are drawn from: premises, paragraphs."""

    unit: Literal["text", "sentence"] = Field("text", description="sentence: each sentence of a text is a context")


class Prompts(Spec):
    """The prompts of one style. `<C>` stands for the context, `<X>` for the text, `<Y>` for the answer."""

    context: tuple[str, ...] = Field((), description="label-free prompts for the context stage; none: no such stage")
    text: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="label -> prompts after which the PLM writes a text (families with labels)"
    )
    question: tuple[str, ...] = Field((), description="prompts with <C> and <Y> after which it asks (extractive-qa)")
    classify: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="label -> prompts for PROMPTING; completion prompts hold <X>"
    )
    answer: str | None = Field(None, description="PROMPTING of extractive-qa: a prompt with <C> and the question <X>")


class SelfDebiasing(Spec):
    """Self-debiasing against the other labels' prompts (Schick et al., TACL 2021)."""

    decay: float = Field(200.0, ge=0, le=1e6, description="the paper's lambda")
    epsilon: float = Field(0.01, gt=0, le=1, description="the least that a token's probability is scaled by")


class PromptSet(Spec):
    """A prompting method for one task: its prompts and the decoding lengths and cleaning rule that go with them."""

    source: str = Field(description="where the prompts come from")
    completion: Prompts | None = None
    chat: Prompts | None = None
    classify_loss: Literal["prompt", "text"] = Field(
        "prompt",
        description="PROMPTING: mean token loss of the whole prompt (ZeroGen), or of the text in it alone",
    )
    stop: Annotated[str, Field(min_length=1, max_length=20)] | None = Field(
        '"', description="a text ends at this string; null: at a newline, else after the last whole sentence"
    )
    cut_after: Annotated[str, Field(min_length=1, max_length=20)] | None = Field(
        None, description="a text is cut after the first of this, and dropped without one: '?' for questions"
    )
    self_debiasing: SelfDebiasing | None = None
    candidates: str = Field(
        "rules",
        pattern=r"^(rules|spacy:[A-Za-z0-9_-]+)$",
        description="what finds answers in a context: rules, spacy:PIPELINE",
    )
    max_new_tokens: StrictInt = Field(40, ge=1, le=4096)
    answer_max_new_tokens: StrictInt = Field(20, ge=1, le=1024)
    context_max_new_tokens: StrictInt = Field(10, ge=1, le=1024)
    min_words: StrictInt = Field(10, ge=1, le=1000)
    samples_per_context: StrictInt = Field(
        32, ge=1, le=10_000, description="texts per label about one context that the PLM wrote; real ones take turns"
    )
    answers_in_turn: StrictInt = Field(
        5, ge=1, le=1000, description="extractive-qa: questions about one context, read once for all, before the next"
    )

    @model_validator(mode="after")
    def _some_style(self) -> "PromptSet":
        if self.completion is None and self.chat is None:
            raise ValueError("expected prompts in at least one style: 'completion' or 'chat'")
        return self


class Task(Spec):
    """What is to be learnt, and on which real data it is tested."""

    name: Name
    title: Line
    family: Family
    language: str = Field("en", max_length=20)
    labels: tuple[Name, ...] = Field((), max_length=1000, description="none for extractive-qa")
    metric: Metric = Field(description="default: accuracy; f1 for extractive-qa")
    splits: dict[Literal["train", "test", "unlabelled"], SplitSource]
    contexts: tuple[ContextSource, ...] = Field(
        (), max_length=10, description="families with real contexts: where they come from; the first in reach is used"
    )
    prompts: dict[Name, PromptSet] = Field(min_length=1)
    license: Line = "see the data's own page"

    @model_validator(mode="before")
    @classmethod
    def _default_metric(cls, data: Any) -> Any:
        if isinstance(data, dict) and "metric" not in data:
            return {**data, "metric": "f1" if data.get("family") == "extractive-qa" else "accuracy"}
        return data

    @model_validator(mode="after")
    def _whole(self) -> "Task":
        if "test" not in self.splits:
            raise ValueError("'splits' has no 'test': students are scored on real rows")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label stands twice in 'labels'")
        is_qa = self.family == "extractive-qa"
        if is_qa and self.labels:
            raise ValueError("extractive-qa has no labels: leave 'labels' out")
        if not is_qa and len(self.labels) < 2:
            raise ValueError(f"{self.family} needs at least two 'labels'")
        if (self.metric in ("exact_match", "f1")) != is_qa:
            known = "exact_match or f1" if is_qa else "accuracy or macro_f1"
            raise ValueError(f"the metric of {self.family} is {known}, found '{self.metric}'")
        if self.contexts and self.family == "text-classification":
            raise ValueError("text-classification has no real contexts: leave 'contexts' out")
        if not self.contexts and self.family != "text-classification":
            raise ValueError(f"{self.family} needs 'contexts': real unlabelled texts to write about")
        return self


class Writer(Spec):
    """A PLM that writes the data here, whatever runs it: its prompts and how it draws tokens."""

    name: Name
    style: Style = "completion"
    prompts: Name | None = Field(None, description="the task's prompt set; default: the task's first")
    top_p: float = Field(0.9, gt=0, le=1)
    top_k: StrictInt = Field(0, ge=0, description="0: off")
    temperature: float = Field(1.0, gt=0, le=100)
    repetition_penalty: float = Field(
        1.0, gt=0, le=100, description="what the logits of tokens that are there already are divided by; 1: off"
    )
    no_repeat_ngram_size: StrictInt = Field(0, ge=0, le=100, description="no n-gram of so many tokens twice; 0: off")
    min_new_tokens: StrictInt = Field(0, ge=0, le=4096, description="no end token before so many tokens")
    title: Line | None = None
    license: Line | None = None


class TransformersGenerator(Writer):
    """A PLM run by the `transformers` backend, on the CPU or a CUDA device."""

    backend: Literal["transformers"] = "transformers"
    model: str = Field(min_length=1, description="hub id (mirror included), a folder, or embedded:NAME")
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    dtype: Dtype = "auto"
    strict: StrictBool = Field(
        False, description="decode in blocks of `block_rows` rows each by itself: the same bits on every run"
    )
    block_rows: StrictInt = Field(256, ge=1, le=65_536, description="rows of a block, and lost at most by a kill")
    trust_remote_code: StrictBool = False


class VllmGenerator(Writer):
    """A PLM run by vLLM in this process, on NVIDIA GPUs."""

    backend: Literal["vllm"]
    model: str = Field(min_length=1, description="hub id (mirror included), a folder, or embedded:NAME")
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    dtype: Dtype = "auto"
    gpus: StrictInt = Field(1, ge=1, le=64, description="how many the weights are split over (tensor parallelism)")
    memory_share: float = Field(0.9, gt=0, le=1, description="of each GPU's memory, for weights and cache")
    trust_remote_code: StrictBool = False


def _server_url(value: str) -> str:
    # No message shows the value: what is wrong with it can be a password.
    if re.fullmatch(r"https?://[^/?#@\s\\]+(/[^?#\s]*)?", value) is None or len(value) > 1000:
        raise ValueError(
            "expected the base of a server, as http://localhost:8000/v1: http or https, without credentials, query and "
            "fragment (the key comes from the environment variable 'key_variable')"
        )
    try:
        parts = urlsplit(value)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        reachable = False
    if not reachable:
        raise ValueError("expected a host, and a port from 1 to 65535 if any, in the URL of the server")
    return value.rstrip("/")


def _variable(value: str) -> str:
    # Neither does this one: it may be the key itself.
    if re.fullmatch(r"[A-Z_][A-Z0-9_]{0,99}", value) is None:
        raise ValueError("expected the name of an environment variable, as OPENAI_API_KEY, never the key itself")
    return value


class Prices(Spec):
    """What a server charges for a million tokens read, and for a million written."""

    prompt: float = Field(ge=0, le=1e9)
    generated: float = Field(ge=0, le=1e9)
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="three letters, as in ISO 4217")

    def of(self, prompt_tokens: int, generated_tokens: int) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt + generated_tokens * self.generated) / 1e6


class OpenAIGenerator(Writer):
    """A PLM behind a server that speaks the OpenAI protocol: vLLM, TGI, llama.cpp, OpenAI."""

    backend: Literal["openai"]
    url: Annotated[str, AfterValidator(_server_url)] = Field(description="base, as http://localhost:8000/v1")
    model: Line = Field(min_length=1, description="its name on that server")
    key_variable: Annotated[str, AfterValidator(_variable)] = Field(
        "OPENAI_API_KEY", description="the environment variable that holds the key; unset: no key is sent"
    )
    concurrency: StrictInt = Field(32, ge=1, le=1024, description="the most requests at a time")
    timeout: float = Field(120.0, gt=0, le=3600, description="seconds for a whole reply")
    attempts: StrictInt = Field(
        12, ge=1, le=100, description="of one request, while the server answers no other; four times as many in all"
    )
    prices: Prices | None = Field(None, description="per million tokens; none: not accounted for")
    seeded: StrictBool = Field(True, description="send each row's `seed`; false for a server that refuses it")


WritingSpec = TransformersGenerator | VllmGenerator | OpenAIGenerator


class ReplayGenerator(Spec):
    """A dataset that somebody generated elsewhere, replayed as it is."""

    name: Name
    backend: Literal["replay"]
    data: str | dict[str, str] = Field(
        description="JSONL, CSV, Parquet or a saved `datasets` folder; or one path per task"
    )
    format: Literal["columns", "zerogen"] = "columns"
    columns: dict[Column, str] = Field(default_factory=dict, description="our column -> the file's column")
    labels: dict[str | int, str] = Field(default_factory=dict, description="the file's value -> label name")
    title: Line | None = None
    license: Line | None = None


Generator = Annotated[WritingSpec | ReplayGenerator, Field(discriminator="backend")]


def _size(value: Any) -> Any:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ROWS):
        return value
    raise ValueError(f"expected a number of rows from 1 to {MAX_ROWS:,}, or 'all', found {shown(value)}")


Size = Annotated[int | Literal["all"], BeforeValidator(_size)]


class TaskEntry(Spec):
    """A task on a board. `test_rows` caps the test split to a fixed, balanced, seeded sample."""

    task: str
    test_rows: StrictInt | None = Field(None, ge=2, le=MAX_ROWS)


class StudentEntry(BaseModel):
    """A student on a board: its name in the catalogue and, as further keys, settings of its recipe."""

    model_config = ConfigDict(extra="allow", frozen=True)
    student: str
    name: Name | None = None

    @property
    def overrides(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class MeasuringModel(Spec):
    """A pre-trained model that a measure is taken with."""

    model: str = Field(min_length=1, description="hub id (mirror included), a folder, or embedded:NAME")
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")


class Measuring(Spec):
    """What measures are taken with; a model is looked for only where a measure of the board needs it."""

    rows: StrictInt | None = Field(
        None, ge=2, le=MAX_ROWS, description="the common size of the datasets; default: that of the smallest"
    )
    embeddings: MeasuringModel = MeasuringModel(
        model="sentence-transformers/all-MiniLM-L6-v2", revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
    )
    perplexity: MeasuringModel = MeasuringModel(
        model="openai-community/gpt2", revision="607a30d783dfa663caf39e06633721c8d4cfcd7e"
    )
    oracle: StudentEntry = Field(
        StudentEntry(
            student="encoder",
            model="FacebookAI/roberta-large",
            revision="722cf37b1afa9454edce342e7895e588b6ff1d59",
        ),
        description="the student that is trained on gold labels and then asked about synthetic ones",
    )


class Board(Spec):
    """A fixed comparison: tasks x generators x students x sizes x seeds, and baselines."""

    name: Name
    title: Line = ""
    tasks: tuple[TaskEntry, ...] = Field(min_length=1)
    generators: tuple[Generator, ...]
    students: tuple[StudentEntry, ...] = Field(min_length=1)
    sizes: tuple[Size, ...] = Field((1000,), min_length=1)
    seeds: tuple[Annotated[StrictInt, Field(ge=0, lt=2**31)], ...] = Field((13, 21, 42), min_length=1)
    baselines: tuple[Baseline, ...] | None = Field(None, description="default: those the tasks allow")
    measures: tuple[str, ...] | Literal["all"] | None = None
    measuring: Measuring = Measuring()
    profile: StrictBool = True


_Model = TypeVar("_Model", bound=BaseModel)


def parse(model: type[_Model], source: Source) -> tuple[_Model | None, list[Problem]]:
    """Check the shape of a file: the record, or every problem in it."""
    try:
        return model.model_validate(source.data), []
    except ValidationError as error:
        return None, problems_of(error, model, source)


def parse_board(source: Source, known: Mapping[str, dict[str, Any]]) -> tuple[Board | None, list[Problem]]:
    """Check the shape of a board whose `generators` may also be names from the catalogue `known`.

    Names that it does not know are among the problems; the board has stand-ins in their places.
    """
    source.data, problems = write_out(source, known)
    board, more = parse(Board, source)
    return board, problems + more


def write_out(source: Source, known: Mapping[str, dict[str, Any]]) -> tuple[Any, list[Problem]]:
    """Write the short forms of a board out: `tasks: [sst2]` as `tasks: [{task: sst2}]`, a generator's name in full."""
    if not isinstance(source.data, dict):
        return source.data, []
    data: dict[str, Any] = dict(source.data)
    problems: list[Problem] = []
    for plural, key in (("tasks", "task"), ("students", "student")):
        if isinstance(data.get(plural), list):
            data[plural] = [{key: entry} if isinstance(entry, str) else entry for entry in data[plural]]
    if isinstance(measuring := data.get("measuring"), dict):
        for name, key in (("embeddings", "model"), ("perplexity", "model"), ("oracle", "student")):
            if isinstance(entry := measuring.get(name), str):
                measuring = {**measuring, name: {key: entry}}
        data["measuring"] = measuring
    if isinstance(data.get("generators"), list):
        written: list[Any] = []
        for index, entry in enumerate(data["generators"]):
            if isinstance(entry, str) and entry not in known:
                hint = did_you_mean(entry, known)
                message = f"unknown generator '{entry}'{hint} (known: {one_of(known)}; or write one out)"
                problems.append(Problem(("generators", index), message, source.line(("generators", index))))
                entry = {"name": "unknown", "model": "unknown"}  # keeps the others in their places
            record = known[entry] if isinstance(entry, str) else entry
            written.append({"backend": "transformers", **record} if isinstance(record, dict) else record)
        data["generators"] = written
    return data, problems


def problems_of(error: ValidationError, model: type[BaseModel], source: Source, at: Location = ()) -> list[Problem]:
    """Pydantic's errors as problems with the path, the line and a hint, one for each place that is wrong."""
    found: dict[Location, list[str]] = {}
    for item in error.errors(include_url=False):
        path = (*at, *_path_in_data(item["loc"], source.data, at, item["type"]))
        found.setdefault(path, []).append(_message(item, model))
    problems = []
    for path, messages in found.items():
        if any(path == other[: len(path)] != other for other in found):
            continue  # the other member of a union, or a list too short because its entries are wrong
        problems.append(Problem(path, _either(messages), source.line(path)))
    return problems


def _either(messages: list[str]) -> str:
    """What each member of a union expected, in one sentence."""
    parts = [message.rpartition(", found ") for message in dict.fromkeys(messages)]
    if len(parts) == 1 or not all(expected.startswith("expected ") for expected, _, _ in parts):
        return messages[0]
    expected = " or ".join(expected.removeprefix("expected ") for expected, _, _ in parts)
    return f"expected {expected}, found {parts[0][2]}"


def _path_in_data(loc: Location, data: Any, at: Location, kind: str) -> Location:
    """Pydantic's location without the names of union members, which do not stand in the file."""
    for part in at:
        data = data[part]
    path: list[str | int] = []
    for position, part in enumerate(loc):
        children: Any = dict(enumerate(data)) if isinstance(data, list) else data
        if isinstance(children, dict) and part in children:
            data = children[part]
            path.append(part)
        elif kind == "missing" and position == len(loc) - 1:
            path.append(part)
    if kind == "union_tag_invalid":
        path.append("backend")
    return tuple(path)


_EXPECTED = {
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "invalid_key": "a word as key",
}
_PLAIN_WORDS = (
    ("Input should be greater", "a number greater"),
    ("Input should be less", "a number less"),
    ("Input should be ", ""),
    ("String should have ", "a text of "),
    ("String should match pattern ", "a text that matches "),
    ("Tuple should have ", "a list of "),
    ("Dictionary should have ", "a mapping of "),
)


def _message(item: Any, model: type[BaseModel]) -> str:
    kind, message = item["type"], str(item["msg"])
    if kind == "extra_forbidden":
        key = str(item["loc"][-1])
        return _unknown("key", key, _fields_at(model, item["loc"][:-1]))
    if kind == "union_tag_invalid":
        return _unknown("backend", item["ctx"]["tag"], re.findall("'([^']*)'", item["ctx"]["expected_tags"]))
    if kind == "missing":
        return "expected this key, found nothing"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    expected, found = _EXPECTED.get(kind), shown(item["input"])
    for start, instead in _PLAIN_WORDS:
        if expected is None and message.startswith(start):
            expected = instead + message.removeprefix(start).partition(" after validation")[0]
    hint = ""
    if kind == "literal_error":
        hint = did_you_mean(str(item["input"]), re.findall("'([^']*)'", message))
    elif kind == "string_type" and isinstance(item["input"], int | float):
        hint = "; quotes make it a text"
    return f"expected {expected or message}, found {found}{hint}"


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    return f"unknown {what} {shown(name)}{did_you_mean(name, known)} (known: {one_of(known)})"


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the record at a location may have, found by walking the JSON schema."""
    schema = TypeAdapter(model).json_schema()
    definitions = schema.get("$defs", {})

    def resolve(node: dict[str, Any]) -> dict[str, Any]:
        return definitions[node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node

    def options(node: dict[str, Any]) -> list[dict[str, Any]]:
        node = resolve(node)
        return [resolve(child) for key in ("anyOf", "oneOf") for child in node.get(key, [])] or [node]

    nodes = [schema]
    for part in loc:
        step: list[dict[str, Any]] = []
        for node in nodes:
            for option in options(node):
                backend = option.get("properties", {}).get("backend", {}).get("const")
                if isinstance(part, int) and "items" in option:
                    step.append(option["items"])
                elif part in option.get("properties", {}):
                    step.append(option["properties"][part])
                elif isinstance(option.get("additionalProperties"), dict):
                    step.append(option["additionalProperties"])
                elif backend == part:
                    step.append(option)
        nodes = step or nodes
    return sorted({key for node in nodes for option in options(node) for key in option.get("properties", {})})
