"""The kernels of a PTX text: their instructions, and the order to run them in."""

import re
from typing import Any, Dict, List, Tuple

import numpy as np


class Kernel:
    """One `.entry` of a PTX text."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.parameters = re.findall(r"\.param .*?(\w+_param_\d+)", text[: text.index("{")])
        self.code: List[Tuple[str, bool, str, List[str]]] = []
        self.labels: Dict[str, int] = {}
        self.shared: Dict[str, int] = {}
        self.shared_bytes = 0
        # Where the tables are that the text holds besides.
        self.tables: Dict[str, int] = {}
        body = text[text.index("{") + 1 :]
        for line in body.splitlines():
            line = line.split("//")[0].strip()
            if match := re.match(r"\.shared \.align (\d+) \.[bu](\d+) ([\w$]+)(?:\[(\d+)\])?;", line):
                align, symbol = int(match[1]), match[3]
                size = int(match[2]) // 8 * int(match[4] or 1)
                self.shared_bytes = -(-self.shared_bytes // align) * align
                self.shared[symbol] = self.shared_bytes
                self.shared_bytes += size
            elif match := re.match(r"(\$\w+):", line):
                self.labels[match[1]] = len(self.code)
            elif match := re.match(r"(?:@(!?)(%p\d+)\s+)?([a-z][\w.]*)\s*(.*);$", line):
                operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", match[4])
                self.code.append((match[2] or "", bool(match[1]), match[3], operands))
            else:
                # Directives, and braces around all of the body.
                assert not line or line in "{}" or line[0] == ".", f"{name}: {line}"
        self.rank = self.order()

    def successors(self, at: int) -> List[int]:
        guard, _, op, operands = self.code[at]
        found = []
        if op in ("bra", "bra.uni"):
            found.append(self.labels[operands[0]])
        if guard or op not in ("bra", "bra.uni", "ret"):
            found.append(at + 1)
        return found

    def order(self) -> np.ndarray:
        """A number for each instruction: those behind a branch come after both
        of its ways, and those behind a loop after the loop."""
        end = len(self.code)
        starts = {0, end, *self.labels.values()}
        starts |= {at + 1 for at in range(end) if self.code[at][2] in ("bra", "bra.uni", "ret")}
        blocks = sorted(starts)
        last = dict(zip(blocks, [start - 1 for start in blocks[1:]]))
        edges = {start: self.successors(last[start]) for start in blocks[:-1]}
        edges[end] = []
        reach = {start: set(edges[start]) for start in blocks}
        for _ in blocks:
            for start in blocks:
                reach[start] = reach[start].union(*(reach[other] for other in reach[start]))
        done: List[int] = []
        seen = {0}
        stack = [(0, self.leaving_first(0, edges, reach))]
        while stack:
            start, rest = stack[-1]
            if rest:
                other = rest.pop(0)
                if other not in seen:
                    seen.add(other)
                    stack.append((other, self.leaving_first(other, edges, reach)))
            else:
                done.append(start)
                stack.pop()
        rank = np.zeros(end + 1, np.int64)
        number = 0
        for start in reversed(done):
            for at in range(start, last.get(start, end) + 1):
                rank[at] = number
                number += 1
        return rank

    @staticmethod
    def leaving_first(start: int, edges: Any, reach: Any) -> List[int]:
        return sorted(edges[start], key=lambda other: start in reach[other] or start == other)


def kernels(ptx: str) -> Dict[str, Kernel]:
    parts = re.split(r"\.visible \.entry ", ptx)[1:]
    return {part.split("(")[0]: Kernel(part.split("(")[0], part) for part in parts}


def tables(ptx: str) -> Dict[str, np.ndarray]:
    """The bytes of a text's constant data, by their names; zeros at the end are
    not written."""
    found = re.findall(r"\.global \.align \d+ \.b8 (\w+)\[(\d+)\] = \{([^}]*)\};", ptx)
    made = {name: np.zeros(int(size), np.uint8) for name, size, _ in found}
    for name, _, text in found:
        values = text.split(",")
        made[name][: len(values)] = values
    return made
