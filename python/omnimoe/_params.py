"""Finds a layer's parameters in a mapping or an object.

Names are those of the published module. A mapping may be a state dict
("gate_proj.weight", "router_norm_x.running_mean") or have the arrays directly
under the names ("gate_proj"); an object may be the module itself, or anything
with the arrays as attributes.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Tuple

from .errors import ArgumentError

#: Parameters that a layer must have: array or object with a `weight`.
REQUIRED = (
    "gate_proj",
    "up_proj",
    "down_proj",
    "router_gate_x",
    "router_gate_y",
    "up_embed",
    "down_embed",
)
NORMS = ("router_norm_x", "router_norm_y")
#: Parts of a norm: its statistics, and its scale and shift if it has them.
NORM_PARTS = ("running_mean", "running_var", "weight", "bias")
#: The same as names in a mapping.
NORM_NAMES = tuple(tuple(f"{norm}.{part}" for part in NORM_PARTS) for norm in NORMS)

Found = Tuple[Tuple[str, ...], Tuple[Any, ...]]


def find(params: Any) -> Found:
    """Names and arrays of the parameters, in a fixed order.

    Raises:
      ArgumentError: a parameter is missing.
    """
    if _is_mapping(params):
        return _from_mapping(params)
    return _from_object(params)


def _is_mapping(params: Any) -> bool:
    return type(params) is dict or isinstance(params, Mapping)  # the latter is slow


def _from_mapping(params: Mapping[str, Any]) -> Found:
    names: List[str] = []
    arrays: List[Any] = []
    for name in REQUIRED:
        array = params.get(name)
        if array is None:
            array = params.get(name + ".weight")
            if array is None:
                raise _missing(name, sorted(str(key) for key in params))
        names.append(name)
        arrays.append(array)
    for mean, variance, *affine in NORM_NAMES:
        if params.get(mean) is None:
            # Without the first part there is no norm; the second alone is a slip.
            if params.get(variance) is not None:
                raise _missing(mean, sorted(str(key) for key in params))
            continue
        for name in (mean, variance, *affine):
            array = params.get(name)
            if array is not None:
                names.append(name)
                arrays.append(array)
            elif name == variance:
                raise _missing(name, sorted(str(key) for key in params))
    return tuple(names), tuple(arrays)


def _from_object(params: Any) -> Found:
    names: List[str] = []
    arrays: List[Any] = []
    for name in REQUIRED:
        part = getattr(params, name, None)
        if part is None:
            raise _missing(name, [n for n in REQUIRED if getattr(params, n, None) is not None])
        names.append(name)
        arrays.append(getattr(part, "weight", part))
    for norm in NORMS:
        part = getattr(params, norm, None)
        if getattr(part, "running_mean", None) is None:
            continue
        for piece in NORM_PARTS:
            array = getattr(part, piece, None)
            if array is not None:
                names.append(f"{norm}.{piece}")
                arrays.append(array)
            elif piece == "running_var":
                raise _missing(f"{norm}.{piece}", [f"{norm}.running_mean"])
    return tuple(names), tuple(arrays)


def norm_eps(params: Any, default: float) -> float:
    """The epsilon of an object's norm, if it has one."""
    if _is_mapping(params):
        return default
    return float(getattr(getattr(params, NORMS[0], None), "eps", default))


def _missing(name: str, found: List[str]) -> ArgumentError:
    return ArgumentError(
        f"params: expected a parameter {name!r} (or {name + '.weight'!r}), "
        f"got {', '.join(found) or 'none'}"
    )
