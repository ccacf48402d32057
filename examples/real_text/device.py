"""Where the example runs: on a CUDA GPU if there is one, else on the CPU."""

from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

import omnimoe

from benchmarks.measure import Times, interleave


class CPU:
    """NumPy arrays, and torch tensors over the same memory."""

    target = "cpu"
    #: What the report says of the times.
    note = "All with the same threads."

    def __init__(self, torch: Optional[Any]) -> None:
        self.torch = torch

    def describe(self, program: Any) -> str:
        return f"{program.chip}, {omnimoe.get_num_threads()} threads"

    def put(self, array: np.ndarray) -> np.ndarray:
        """An array as omnimoe takes it."""
        return array

    def get(self, array: Any) -> np.ndarray:
        """A result on the host."""
        return array

    def tensor(self, array: Any) -> Any:
        """An array as torch takes it."""
        return self.torch.from_numpy(array)

    def time(self, runs: Dict[str, Callable[[], Any]]) -> Times:
        """Times the libraries in turns."""
        turns = {library: lambda _, f=run: f() for library, run in runs.items()}
        return interleave(turns, rounds=3)


class GPU(CPU):
    """torch tensors on the current CUDA device; NumPy stays on the host."""

    note = "omnimoe and torch on the GPU, each call launched by itself; NumPy on the host."

    def __init__(self, torch: Any, info: omnimoe.DeviceInfo) -> None:
        super().__init__(torch)
        self.info = info
        self.target = info.target

    def describe(self, program: Any) -> str:
        return f"{self.info.description} ({program.chip})"

    def put(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(array).to(self.info.name)

    def get(self, array: Any) -> np.ndarray:
        return array.cpu().numpy()

    def tensor(self, array: Any) -> Any:
        return array

    def time(self, runs: Dict[str, Callable[[], Any]]) -> Times:
        from benchmarks.cuda.measure import QUICK, single_call

        found = {}
        for library, run in runs.items():
            if library == "NumPy":
                found.update(super().time({library: run}).rounds)
            else:
                found[library] = [single_call(lambda _, f=run: f(), 1, QUICK)]
        return Times(found)


def import_torch() -> Optional[Any]:
    """torch with as many threads as omnimoe and NumPy take, which is one a core;
    None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(omnimoe.get_num_threads())
    torch.set_grad_enabled(False)
    return torch


def pick(wanted: str) -> Tuple[CPU, str]:
    """The device for "auto", "cpu" or "gpu", and why it is not the GPU ("" if it
    is, or need not be).

    Raises:
      omnimoe.DeviceError: the GPU was asked for and there is none to use.
    """
    torch = import_torch()
    missing = ""
    if wanted != "cpu":
        try:
            usable = [device for device in omnimoe.devices() if device.target]
            if usable and torch is not None and torch.cuda.is_available():
                return GPU(torch, usable[0]), ""
            if not usable:
                missing = "omnimoe cannot compile for this machine's GPU"
            else:
                missing = "the arrays are to be torch's, and no torch for CUDA is installed"
        except omnimoe.DeviceError as error:
            missing = str(error)
    if wanted == "gpu":
        raise omnimoe.DeviceError(missing)
    return CPU(torch), missing
