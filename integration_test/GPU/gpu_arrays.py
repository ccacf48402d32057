"""Arrays on the GPU, memory that shows what was not written, and comparisons."""

from typing import Any, Dict, Iterable, List, Optional, Sequence

import ml_dtypes
import numpy as np
import pytest
from helpers import DTYPES, TOLERANCE, Experts, make_experts, relative_error

import omnimoe

torch = pytest.importorskip("torch")

SCHEDULES = ("token_centric", "expert_centric", "dense", "hybrid")
TOKENS = (0, 1, 17, 130)


def to_gpu(array: np.ndarray, device: Any = "cuda") -> Any:
    """A torch tensor on the GPU with the values of a NumPy array."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16).to(device)
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def all_to_gpu(arrays: Iterable[np.ndarray], device: Any = "cuda") -> List[Any]:
    return [to_gpu(array, device) for array in arrays]


def params_to_gpu(params: Dict[str, np.ndarray]) -> Dict[str, Any]:
    return {name: to_gpu(array) for name, array in params.items()}


def to_numpy(tensor: Any) -> np.ndarray:
    """float64, or int32, on the host."""
    tensor = tensor.detach().cpu()
    return tensor.numpy() if tensor.dtype == torch.int32 else tensor.double().numpy()


def poison() -> None:
    """Fills free memory of torch's allocator with ones: NaN in every float type,
    -1 in int32. Results and workspaces of the next call lie in it."""
    if torch.cuda.is_current_stream_capturing():
        return
    sizes = [512, 2048, 8192, 1 << 15, 1 << 17, (1 << 20) - 512] * 6
    sizes += [2 << 20, 5 << 20, 20 << 20, 64 << 20]
    held = [torch.full((size,), 0xFF, dtype=torch.uint8, device="cuda") for size in sizes]
    del held


def take(arguments: Experts, tokens: int) -> Experts:
    """The first tokens of the arguments."""
    x, up, down, weights, ids = arguments
    return Experts(x[:tokens], up, down, weights[:tokens], ids[:tokens])


def assert_close(result: Any, expected: np.ndarray, dtype: str, times: float = 1.0) -> None:
    error = relative_error(to_numpy(result), expected)
    assert error < times * TOLERANCE[dtype], f"relative error {error:.2e} for {dtype}"


def assert_same(results: Sequence[Any], expected: Sequence[Any]) -> None:
    """Bit for bit."""
    for result, other in zip(results, expected):
        assert torch.equal(result, other)


def is_lowered(schedule: Optional[str], arguments: Experts, dtype: str) -> bool:
    """Whether a schedule that has a lowering takes these arguments."""
    if schedule in (None, "auto", "token_centric"):
        return True
    hidden, table = arguments.x.shape[1], arguments.up.shape
    fits = len(table) == 2 or (table[1] > 1 and schedule == "expert_centric")
    return dtype in ("f16", "bf16") and hidden % 64 == 0 and fits


def skip_unless_lowered(schedule: str) -> None:
    """Skips where this version has no lowering of a schedule to the GPU at all."""
    arguments = all_to_gpu(make_experts(0, 1, 64, 64, 8, dtype="bf16"))
    try:
        omnimoe.experts(*arguments, schedule=schedule)
    except omnimoe.CompileError as error:
        if "no lowering" in str(error) or "is not available on target" in str(error):
            pytest.skip(f"{schedule} has no lowering to the GPU in this version")
        raise


__all__ = [
    "DTYPES",
    "SCHEDULES",
    "TOKENS",
    "all_to_gpu",
    "assert_close",
    "assert_same",
    "is_lowered",
    "make_experts",
    "params_to_gpu",
    "poison",
    "relative_error",
    "skip_unless_lowered",
    "take",
    "to_gpu",
    "to_numpy",
    "torch",
]
