"""Sizes that a model computes from the picture.  How much memory it takes is then up to the picture.

What the check runs shows the memory of every later run only if all runs make tensors of the same shapes.  So no size,
count or position that a shape follows from may come from the picture's content; all shapes then follow from the input's
and from constants, and what `Shape` says of any tensor is no content either.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SIZES: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,), "BlackmanWindow": (0,), "CenterCropPad": (1,), "Col2Im": (1, 2), "ConstantOfShape": (0,),
    "DFT": (1, 2), "Expand": (1,), "HammingWindow": (0,), "HannWindow": (0,), "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4), "OneHot": (1,), "Pad": (1, 3), "Range": (0, 1, 2), "Resize": (1, 2, 3),
    "STFT": (1, 3), "Tile": (1,), "Upsample": (1,),
    "RoiAlign": (1,),  # it takes as many samples as a region is large
    # These cannot make much of little, but `Shape` of their answers could be made a size.
    "Reshape": (1,), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "TopK": (1,), "Unsqueeze": (1,),
    **{f"Reduce{how}": (1,) for how in (
        "L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare",
    )},
    # Which of the tensors of a sequence it is: they need not be of one shape.
    "SequenceAt": (1,), "SequenceErase": (1,), "SequenceInsert": (2,), "SplitToSequence": (1,),
}  # fmt: skip
"""Inputs that the shape of an operator's answer follows from, by their place; those of all opsets together."""
OF_SHAPES = frozenset(("EyeLike", "SequenceLength", "Shape", "Size"))
"""Operators whose answers follow from the shapes of what they are given."""


def sized_by_content(graphs: Iterable[Any], source: str) -> str | None:
    """Return the first operator that is given a size made of the content of the input `source`, or None.

    `graphs` are the model's and all in it; names are taken for the same in all of them.
    """
    nodes = [node for graph in graphs for node in graph.node]
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        if node.op_type not in OF_SHAPES:
            for name in node.input:
                readers.setdefault(name, []).append(node)
    content, fresh = {source}, [source]
    while fresh:
        for node in readers.pop(fresh.pop(), ()):
            made = set(node.output) - content - {""}
            content |= made
            fresh += made
    for node in nodes:
        if any(place < len(node.input) and node.input[place] in content for place in SIZES.get(node.op_type, ())):
            return str(node.op_type)
    return None
