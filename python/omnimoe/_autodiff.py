"""Gradients of programs, as programs."""

from __future__ import annotations

from typing import Optional, Sequence

from . import _core


def backward_ir(
    forward_ir: str,
    *,
    wrt: Optional[Sequence[int]] = None,
    save: bool = False,
    emit: str = "backward",
    sparse: Sequence[int] = (),
    rows: int = 0,
) -> str:
    """The program of the gradients of a program.

    Args:
      forward_ir: MLIR text with one public function, `@f(args) -> results`.
      wrt: numbers of the arguments to differentiate by, in the order wanted;
        all arguments of a float type if None.
      save: whether products and choices of experts are saved by the forward
        program rather than computed again.
      emit: "backward" for `@f_backward(args, saved, cotangents) -> gradients`,
        where `saved` is empty without `save`; "forward" for the function that
        returns the saved values behind its results.
      sparse: numbers of the tables of expert vectors whose gradients have
        `rows` rows; the program's last argument is then the row of each pair's
        expert.

    Raises:
      CompileError: the IR does not parse, or has no derivative.
    """
    options = [f"save={'true' if save else 'false'}", f"emit={emit}"]
    if wrt is not None:
        options.append("wrt=" + ",".join(str(int(number)) for number in wrt))
    if sparse:
        options.append(f"sparse={','.join(str(int(number)) for number in sparse)} rows={rows}")
    return _core.run_pipeline(
        forward_ir, f"builtin.module(omnimoe-differentiate{{{' '.join(options)}}})"
    )
