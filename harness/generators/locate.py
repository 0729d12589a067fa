"""Where a PLM's files are: shipped with the harness, a folder, a mirror of the hub, or the hub itself."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.errors import HarnessError, did_you_mean, one_of, shown
from harness.files import named_path

EMBEDDED = "embedded:"
_WEIGHT_FILES = (".safetensors", ".json", ".txt", ".model", ".jinja")


@dataclass(frozen=True)
class ModelPlace:
    """A PLM that can be loaded: `source` and `revision` for `from_pretrained`, `identity` for keys and signatures.
    `size_bytes`: of the weights, None for a hub model that is not here yet, 0 behind a server."""

    source: str
    revision: str | None
    identity: str
    size_bytes: int | None

    @property
    def is_local(self) -> bool:
        return self.revision is None


def server_place(url: str, model: str) -> ModelPlace:
    """A PLM behind a server, identified by what both are called: what runs there cannot be told from here."""
    return ModelPlace(f"{model} at {url}", None, f"server:{url}#{model}", 0)


def short_identity(place: ModelPlace) -> str:
    """Eight characters for a signature: of the revision, of the content of the files, or of a server's name."""
    if place.identity.startswith("server:"):
        return hashlib.sha256(place.identity.encode()).hexdigest()[:8]
    return place.identity.rpartition("@")[2].removeprefix("files:")[:8]


def embedded_folder() -> Path:
    return Path(__file__).parent / "embedded"


def embedded_names() -> list[str]:
    return sorted(path.name for path in embedded_folder().iterdir() if path.is_dir())


def locate_model(model: str, revision: str | None, mirror: Path | None, folder: Path | None = None) -> ModelPlace:
    """Find a PLM's files. `folder` is where the naming YAML stands: relative folders start there.

    A local folder is identified by the content of its files, a hub model by its revision.

    Raises:
        HarnessError: no such embedded PLM or folder; a hub model without a revision.
    """
    if model.startswith(EMBEDDED):
        name = model.removeprefix(EMBEDDED)
        if name not in embedded_names():
            hint = did_you_mean(name, embedded_names())
            raise HarnessError(f"no embedded PLM {shown(name)}{hint} (shipped: {one_of(embedded_names())})")
        return _local(embedded_folder() / name)
    candidates = [named_path(model, folder or Path()), named_path(model)]
    if mirror is not None:
        candidates.append(mirror / "models" / model)
    for candidate in candidates:
        if (candidate / "config.json").is_file():
            return _local(candidate)
    looked = "nor in the mirror" if mirror else "and no mirror is set (HARNESS_MIRROR or --mirror)"
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise HarnessError(f"model '{model}': no folder with a config.json there, {looked}")
    if revision is None:
        raise HarnessError(
            f"model '{model}' is no folder here, {looked}; to take it from the hub, pin its 'revision' (a commit)"
        )
    return ModelPlace(model, revision, f"hub:{model}@{revision}", None)


def _local(folder: Path) -> ModelPlace:
    folder = folder.resolve()
    files = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHT_FILES)
    files += sorted(folder.glob("*/config.json"))  # how an encoder's states become an embedding
    if not any(path.suffix == ".safetensors" for path in files):
        raise HarnessError(f"{folder} holds no .safetensors weights; other formats are not read (they can run code)")
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(
            f"{path.relative_to(folder).as_posix()}:{_file_hash(path, status.st_size, status.st_mtime_ns)}\n".encode()
        )
    size = sum(path.stat().st_size for path in files if path.suffix == ".safetensors")
    return ModelPlace(str(folder), None, f"files:{digest.hexdigest()}", size)


@lru_cache(maxsize=1024)
def _file_hash(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
