"""Merge and diff operations: file systems as sets of layers. Pure.

Engines with Docker's old image store have neither: ask for ``mergeop`` and ``diffop``.

Source: ``Merge`` and ``Diff`` of BuildKit's ``client/llb``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixbk.llb.vertex import SCRATCH, About, Output, seal
from nixbk.proto import ops_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixbk.llb.origin import Origin


def merge(
    layers: Sequence[Output | None], *, name: str, origin: Origin | None = None
) -> Output | None:
    """File systems one over the other, the last on top; nothing is copied.

    Empty ones drop out; of one alone there is nothing to merge.
    """
    outputs = [layer for layer in layers if layer is not None]
    if not outputs:
        return None
    if len(outputs) == 1:
        return outputs[0]
    op = pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=i) for i in range(len(outputs))]))
    return Output(seal(op, outputs, {"mergeop"}, About(name, origin)))


def diff(
    lower: Output | None, upper: Output | None, *, name: str, origin: Origin | None = None
) -> Output | None:
    """What *upper* has and *lower* has not, with whiteouts for what is gone."""
    if lower is None:
        return upper
    inputs = [lower] if upper is None else [lower, upper]
    op = pb.Op(
        diff=pb.DiffOp(
            lower=pb.LowerDiffInput(input=0),
            upper=pb.UpperDiffInput(input=SCRATCH if upper is None else 1),
        )
    )
    return Output(seal(op, inputs, {"diffop"}, About(name, origin)))
