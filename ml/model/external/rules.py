"""What an ONNX file may hold.  Runs in a process of its own (`check.py`): the file is hostile until this has passed.

`python -m ml.model.external.rules FILE`, the manifest on standard input; prints `{}` or a code and a sentence as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ml.model.external.sizes import sized_by_content

MEMORY_BYTES = 4 * 1024**3
"""Address space beyond what the libraries take."""
CPU_S = 120
MIN_OPSET, MAX_OPSET = 7, 23
MAX_NODES = 20_000
MAX_DEPTH = 8
MAX_WEIGHT_BYTES = 1024**3
"""That all tensors in the file together may claim."""
LENGTHS = range(1, 11)
"""Of sequences, where a model takes any: one face, and as many as a person has at most."""
KEY = "dfd_manifest"
REFUSED_OPERATORS = frozenset(
    (
        "Loop", "Scan", "If", "SequenceMap",  # may never end, or do another thing once it is trusted
        "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli",
        # How much memory they take is up to the picture.
        "NonZero", "Compress", "Unique", "NonMaxSuppression", "ImageDecoder",
        "StringConcat", "StringNormalizer", "StringSplit",
    )
)  # fmt: skip


class Refusal(Exception):
    """Code and sentence."""


def main() -> None:
    """Check the file of the first argument under limits and print the answer."""
    import numpy  # noqa: F401 (before the limits: what the libraries take is not the file's)
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    manifest = json.loads(sys.stdin.read())
    said, sys.stdout = sys.stdout, sys.stderr  # ONNX Runtime prints that it tries again
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = {}
    try:
        check(Path(sys.argv[1]), manifest)
    except Refusal as refusal:
        answer = {"code": refusal.args[0], "detail": refusal.args[1]}
    except MemoryError:
        answer = {"code": "too_much_memory", "detail": f"The model needs more than {MEMORY_BYTES // 1024**3} GB."}
    said.write(json.dumps(answer))
    said.flush()


def check(path: Path, manifest: dict[str, Any]) -> None:
    """Read the file, hold it against the rules, and run it.  Raises Refusal or MemoryError."""
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except MemoryError:
        raise
    except Exception as error:  # protobuf has several
        raise Refusal("unreadable", "The file is no ONNX model, or it is damaged.") from error
    if not model.graph.node or not model.opset_import:
        raise Refusal("unreadable", "The file is no ONNX model: it has no operators.")
    if any(entry.key == KEY for entry in model.metadata_props):
        raise Refusal(
            "manifest_inside", f"The file has an entry {KEY} already; register the model that it was made of."
        )
    try:
        _check_operators(model)
        _check_tensors(model)
        _check_ports(model, manifest)
        _check_sizes(model, manifest)
    except TypeError as error:  # a name that is no text comes as bytes
        raise Refusal("unreadable", "The file is no ONNX model: it has names that are no text.") from error
    del model
    _run(path, manifest)


def _graphs(graph: Any, depth: int = 0) -> Iterator[Any]:
    if depth > MAX_DEPTH:
        raise Refusal("too_large", f"The model's graphs lie deeper than {MAX_DEPTH} in each other.")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _graphs(inner, depth + 1)


def _check_operators(model: Any) -> None:
    import onnx

    if len(model.functions):
        raise Refusal("custom_operators", "The model brings functions of its own; only standard operators are run.")
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            raise Refusal(
                "custom_operators",
                f"The model uses operators of {entry.domain[:60]!r}; only those of the ONNX standard are run.",
            )
        if not MIN_OPSET <= entry.version <= MAX_OPSET:
            raise Refusal(
                "unsupported_opset",
                f"The model is of opset {entry.version}; {MIN_OPSET} to {MAX_OPSET} are read. Export it again.",
            )
    nodes = 0
    for graph in _graphs(model.graph):
        nodes += len(graph.node)
        if nodes > MAX_NODES:
            raise Refusal("too_large", f"The model has more than {MAX_NODES:,} operators.")
        for node in graph.node:
            if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
                raise Refusal(
                    "custom_operators",
                    f"The model uses the operator {node.op_type[:60]!r}, which the ONNX standard does not have.",
                )
            if node.op_type in REFUSED_OPERATORS:
                raise Refusal(
                    "refused_operator",
                    f"The model uses {node.op_type}: loops, branches, chance and answers of any length are not run.",
                )


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                if attribute.HasField("t"):
                    yield attribute.t
                for sparse in (*attribute.sparse_tensors, attribute.sparse_tensor):
                    yield from (sparse.values, sparse.indices)


def _check_tensors(model: Any) -> None:
    import onnx

    claimed = 0
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
            raise Refusal(
                "external_data",
                "The model keeps weights in other files. Save it as one file: nothing outside of it is read.",
            )
        if any(size < 0 for size in tensor.dims):
            raise Refusal("unreadable", "The model has a tensor of negative size.")
        claimed += 8 * _product(tensor.dims)
        if claimed > MAX_WEIGHT_BYTES * 2:  # counted as 8 bytes a number, of which most have 4
            raise Refusal("too_large", f"The model's tensors claim more than {MAX_WEIGHT_BYTES // 1024**2:,} MB.")


def _check_ports(model: Any, manifest: dict[str, Any]) -> None:
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [port for port in model.graph.input if port.name not in constants]
    names = ", ".join(port.name[:40] for port in inputs[:5]) or "none"
    named = [port for port in inputs if port.name == manifest["input"]]
    if not named:
        raise Refusal("missing_input", f"The model has no input {manifest['input'][:60]!r}; its inputs: {names}.")
    if len(inputs) != 1:
        raise Refusal("too_many_inputs", f"The model has {len(inputs)} inputs ({names}); it must have one.")
    if manifest["output"] not in [port.name for port in model.graph.output]:
        names = ", ".join(port.name[:40] for port in model.graph.output[:5])
        raise Refusal("missing_output", f"The model has no output {manifest['output'][:60]!r}; its outputs: {names}.")
    given = named[0].type.tensor_type
    if given.elem_type != onnx.TensorProto.FLOAT:
        raise Refusal("wrong_input", "The model's input is not float32.")
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in given.shape.dim]
    wanted = _wanted(manifest)
    if len(dims) != len(wanted) or any(
        dim is not None and dim != want for dim, (_, want) in zip(dims, wanted, strict=True)
    ):
        shape = " x ".join("?" if dim is None else str(dim) for dim in dims)
        said = " x ".join(name if want in (None, 1) else str(want) for name, want in wanted)
        raise Refusal(
            "wrong_input",
            f"The model's input is {shape or 'unknown'}; the manifest says {said}.{_hint(dims, manifest)}",
        )


def _check_sizes(model: Any, manifest: dict[str, Any]) -> None:
    name = sized_by_content(_graphs(model.graph), manifest["input"])
    if name is not None:
        raise Refusal(
            "refused_operator",
            f"The model gives {name} a size that it computes from what the picture shows;"
            " only sizes that follow from the shape of its input are run.",
        )


def _wanted(manifest: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Return each dimension of the input by its letter in `shape`; None where the model must take any size."""
    sizes = {"N": 1, "B": 1, "T": manifest["pictures"], "C": 3, "H": manifest["size"], "W": manifest["size"]}
    return [(letter, sizes[letter]) for letter in manifest["shape"]]


def _hint(dims: list[int | None], manifest: dict[str, Any]) -> str:
    """Return a further sentence where only the number of pictures is at fault."""
    place = manifest["shape"].find("T")
    fixed = dims[place] if 0 <= place < len(dims) == len(manifest["shape"]) else None
    return f" Are its `pictures` {fixed}?" if fixed not in (None, manifest["pictures"]) else ""


def _run(path: Path, manifest: dict[str, Any]) -> None:
    """Ask for an answer to three pictures, or sequences of the least and greatest length that it may be shown, twice.

    To those of each length in between once: what memory a model takes may depend on the length in any way.
    """
    import numpy as np

    from ml.faces.mtcnn.networks import open_session

    wanted = _wanted(manifest)
    any_length = any(want is None for _, want in wanted)
    shapes = [[want or many for _, want in wanted] for many in (LENGTHS if any_length else LENGTHS[:1])]
    try:
        session = open_session(path)
        inputs: list[Any] = []
        for shape in shapes[:: max(1, len(shapes) - 1)]:
            noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
            inputs += [np.zeros_like(noise), np.ones_like(noise), noise]
        answers = [session.run([manifest["output"]], {manifest["input"]: one})[0] for one in (*inputs, *inputs)]
        between = [np.zeros(shape, np.float32) for shape in shapes[1:-1]]
        others = [session.run([manifest["output"]], {manifest["input"]: one})[0] for one in between]
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime has an exception for each way in which a model may be wrong
        if "bad_alloc" in str(error) or "allocate memory" in str(error):
            raise MemoryError from error
        what = "a picture of this size"
        if "T" in manifest["shape"]:
            what = f"{manifest['pictures'] or f'{LENGTHS[0]} to {LENGTHS[-1]}'} pictures of this size together"
        raise Refusal("cannot_run", f"ONNX Runtime cannot run the model on {what}.") from error
    for answer in (*answers, *others):
        _check_answer(answer, manifest)
    if any(not np.array_equal(a, b) for a, b in zip(answers[: len(inputs)], answers[len(inputs) :], strict=True)):
        raise Refusal("not_reproducible", "The model gives two answers to one picture, or to one sequence of them.")


def _check_answer(answer: Any, manifest: dict[str, Any]) -> None:
    import numpy as np

    if (
        not isinstance(answer, np.ndarray)
        or answer.dtype != np.float32
        or answer.ndim not in (1, 2)
        or len(answer) != 1
    ):
        raise Refusal(
            "wrong_output", "The model's output is not one row of float32 numbers for one picture or sequence."
        )
    classes, fake = answer.size, manifest["fake"]
    if isinstance(fake, str) and classes != 1:
        raise Refusal("wrong_output", f"The output has {classes} classes: `fake` must be the number of one of them.")
    if not isinstance(fake, str) and (classes < 2 or fake >= classes):
        hint = (
            ' of a single number say "high" or "low"' if classes == 1 else f"they are counted from 0 to {classes - 1}"
        )
        raise Refusal("wrong_output", f"The output has no class {fake}: {hint}.")
    if not np.isfinite(answer).all():
        raise Refusal("not_finite", "The model answers with NaN or infinity.")
    if manifest["output_kind"] == "probabilities":
        sound = (answer >= -1e-4).all() and (answer <= 1 + 1e-4).all()
        if not sound or (classes > 1 and abs(float(answer.sum()) - 1) > 1e-2):
            raise Refusal("wrong_output", "The output is no probabilities; say `logits` in the manifest.")


def _product(sizes: Iterable[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


if __name__ == "__main__":
    main()
