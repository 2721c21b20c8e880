"""Files of a model and of an unfinished training. Each is complete or absent, and none holds a pickle."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from intentrec.errors import PipelineError
from intentrec.model.build import build
from intentrec.model.formats import FORMAT, LaterFormat, Stored, upgraded
from intentrec.model.network import Network
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary

WEIGHTS, ABOUT = "model.safetensors", "model.json"
CHECKPOINT = "checkpoint.pt"


def save_model(directory: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write a model directory. `about` holds at least `spec` and `vocabulary`; the other keys are the caller's."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / WEIGHTS, save_tensors({name: value.contiguous().cpu() for name, value in weights.items()}))
    _write(directory / ABOUT, json.dumps({**about, "format": FORMAT}, sort_keys=True, ensure_ascii=False).encode())


def read_model(directory: Path) -> dict[str, bytes]:
    """The files of a model directory by name.

    Raises:
        PipelineError: one is missing.
    """
    missing = [name for name in (WEIGHTS, ABOUT) if not (directory / name).is_file()]
    if missing:
        raise PipelineError(f"{directory} is no model directory: {', '.join(missing)} missing. Train a model first.")
    return {name: (directory / name).read_bytes() for name in (WEIGHTS, ABOUT)}


def model_from(files: dict[str, bytes]) -> tuple[Network, Vocabulary, dict[str, Any]]:
    """The model in evaluation mode, its vocabulary, and the content of model.json.

    Args:
        files: by name, as `read_model` returns them.

    Raises:
        ValueError: the model's variant is neither the paper's nor registered (`intentrec.model.network.register`).
        PipelineError: the format is later than this code, or the weights do not fit its layers.
    """
    about = json.loads(files[ABOUT])
    try:
        stored = upgraded(Stored(about, load_tensors(files[WEIGHTS])))
        spec = ModelSpec.from_dict(stored.about["spec"])
    except (KeyError, TypeError, LaterFormat) as error:
        raise PipelineError(
            f"a model of format {about.get('format', 1)} cannot be read by this code, which reads formats "
            f"1 to {FORMAT}: use the code that made the model, or a later one. ({error})"
        ) from error
    vocabulary = Vocabulary.from_dict(stored.about["vocabulary"])
    with torch.random.fork_rng(devices=[]):  # new layers draw random weights
        model = build(spec, vocabulary)
    try:
        model.load_state_dict(stored.weights)
    except RuntimeError as error:
        raise PipelineError(
            f"the weights of a model of format {about.get('format', 1)} do not fit the layers of this code: a layer "
            "was changed without a step in UPGRADES of intentrec/model/formats.py. " + " ".join(str(error).split())
        ) from error
    return model.eval(), vocabulary, stored.about


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """Replace the directory's checkpoint."""
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f"{CHECKPOINT}.partial"
    with partial.open("wb") as file:  # torch's own writer does not report a full disk
        torch.save(state, file)
    os.replace(partial, directory / CHECKPOINT)


def load_checkpoint(directory: Path, fingerprint: str) -> dict[str, Any] | None:
    """The directory's checkpoint, or None unless there is one of the same data, configuration and seed."""
    path = directory / CHECKPOINT
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state if state["fingerprint"] == fingerprint else None


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
