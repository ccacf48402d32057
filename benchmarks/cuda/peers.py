"""The published Triton implementations, where they can be imported.

They are not packages of a registry: give the folder with their checkouts, or
have them on the path. Each call autotunes for up to 100 seconds the first time.
"""

import contextlib
import importlib
import signal
import sys
import types
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import torch


class OutOfTime(Exception):
    """A peer took longer than it was given."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises OutOfTime in the body after `seconds`; between two Python
    instructions, so autotuning ends, a running kernel does not."""

    def expired(*_: Any) -> None:
        raise OutOfTime(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _stub(name: str, **members: Any) -> None:
    """Puts a module in place of one that is named but not used."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        parent = ".".join(parts[:end])
        try:
            importlib.import_module(parent)
        except ImportError:
            sys.modules[parent] = types.ModuleType(parent)
            sys.modules[parent].__path__ = []  # so that it can have parts
    module = sys.modules.setdefault(name, types.ModuleType(name))
    for key, value in members.items():
        setattr(module, key, value)
    if len(parts) > 1:
        setattr(sys.modules[".".join(parts[:-1])], parts[-1], module)


def _stub_what_is_named_only() -> None:
    try:
        importlib.import_module("cuda.tile")
    except ImportError:
        types_named = dict.fromkeys(("float32", "float16", "bfloat16"))
        _stub("cuda.tile", **types_named)
    try:
        importlib.import_module("triton_kernels.numerics")
    except ImportError:
        nothing = type("Nothing", (), {})
        _stub("triton_kernels.numerics", InFlexData=nothing, OutFlexData=nothing)
        names = ("float_to_flex", "load_scale", "update_scale")
        _stub("triton_kernels.numerics_details.flexpoint", **dict.fromkeys(names))
        _stub("triton_kernels.target_info", is_hip=None, num_sms=None)


class Peers:
    """What could be imported, and why the rest could not.

    `router(rows, columns, k)`, `experts[name](x, up, down, weights, ids)`,
    `gated_experts[name](x, gate, up, down, weights, ids)` and `layer(sizes)` (a
    module) have the argument order of omnimoe's functions. Gated experts take
    `down` as [N, D, r], and ids in int64.
    """

    def __init__(self, folder: Optional[Path]) -> None:
        self.missing: List[str] = []
        self.router: Optional[Callable[..., Any]] = None
        self.experts: Dict[str, Callable[..., Any]] = {}
        self.gated_experts: Dict[str, Callable[..., Any]] = {}
        self.layer: Optional[Any] = None
        _stub_what_is_named_only()
        flash = self._import(folder, "flash_moe.ops.triton.flash_expert")
        if flash:
            function = flash.triton_flash_expert_func
            self.experts["flash_moe"] = lambda x, up, down, weights, ids: function(
                x, up, down, ids, weights
            )
        peer = self._import(folder, "flash_moe.ops.triton.peer")
        if peer:
            self.experts["PEER"] = peer.triton_peer_func
        coarse = self._import(folder, "flash_moe.ops.triton.dpskmoe")
        if coarse:
            self.gated_experts["DeepSeekMoE"] = coarse.triton_dpskmoe_func
        router = self._import(folder, "omni_moe.ops.triton.omni_router")
        if router:
            self.router = lambda rows, columns, k: router.OmniRouterFunc.apply(
                rows, columns, rows.shape[1], k
            )
        omni = self._import(folder, "omni_moe.ops.triton.omni_expert")
        if omni:
            # At 16,384 experts and more it read out of bounds, which would end
            # the process's use of the GPU.
            def omni_experts(x, up, down, weights, ids):
                if len(up) > 4096:
                    raise ValueError("not run for more than 4096 experts: reads out of bounds")
                return omni.OmniExpertFunc.apply(x, up, down, weights.to(x.dtype), ids)

            self.experts["omni_moe"] = omni_experts
        self.layer = self._import(folder, "omni_moe.modules.omni_moe", newest=False)

    def _import(self, folder: Optional[Path], name: str, newest: bool = True) -> Optional[Any]:
        """Imports a module out of the checkouts in `folder`; of two checkouts of
        one package the first that works, in order of their names (or reverse)."""
        package = name.split(".")[0]
        found = sorted(path.parent for path in folder.glob(f"*/{package}")) if folder else []
        reasons = []
        for place in [*(found if newest else reversed(found)), None]:
            for loaded in [m for m in sys.modules if m.split(".")[0] == package]:
                del sys.modules[loaded]  # of another checkout
            if place:
                sys.path.insert(0, str(place))
            try:
                return importlib.import_module(name)
            except Exception as error:  # whatever code that is not ours raises
                reasons.append(f"{place.name if place else 'installed'}: {error}")
            finally:
                if place:
                    sys.path.remove(str(place))
        self.missing.append(f"{name} ({'; '.join(reasons)})")
        return None

    def make_layer(self, hidden: int, inner: int, experts: int, top_k: int) -> torch.nn.Module:
        """The published module with random parameters, for inference."""
        config = self.layer.OmniMoEConfig(hidden, inner, "silu", experts, top_k)
        return self.layer.OmniMoE(config).cuda().bfloat16().eval()
