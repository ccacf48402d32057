"""What kernels compute, without a GPU: see interpreted.py."""

import pytest

pytest.importorskip("torch")


@pytest.fixture
def check(run_on_fake_gpu):
    return lambda script: run_on_fake_gpu(
        "import numpy as np\nfrom interpreted import *\n" + script
    )


@pytest.mark.parametrize(
    "sizes",
    [
        "(0, 1, 5, 700), 3, 5",
        "(1, 33), 1, 1",
        "(0, 40), 6, 100, 16",
        "(30,), 4, 511",
        "(1, 600), 4, 520",
        "(600,), 4, 1100",
        "(3000,), 3, 20, 4, 1",
    ],
)
def test_dispatch(check, sizes):
    """Of no token and of one; in several blocks, tiles of a block, and passes."""
    check(f"check_dispatch({sizes})")


@pytest.mark.parametrize(
    "sizes",
    [
        "(0, 1, 70), 12, 9, 14",
        "(40,), 33, 20, 11",
        "(3,), 300, 40, 40",
        "(2,), 4200, 70, 70",
        "(9,), 5, 600, 500",
    ],
)
def test_dispatch_by_lines(check, sizes):
    """Several chunks of tokens; pairs of a token in shared memory, and too many for that; too
    many groups for a table."""
    check(f"check_line_dispatch({sizes})")


@pytest.mark.parametrize(
    "sizes",
    ["5, (5, 32), 3, np.float32", "9, (6, 3, 40), 3, np.float16", "4, (6, 1032), 3, np.float16"],
)
def test_experts(check, sizes):
    """Token by token, sums to experts by expert."""
    check(f"program = check_experts({sizes})\nassert 'column_tile' not in program.ir('tile')")


@pytest.mark.parametrize("sizes", ["40, (7, 256), 4, np.float32", "35, (4, 512), 3, np.float16"])
def test_products_by_expert(check, sizes):
    """In passing, with more pairs of an expert than a warp has lanes."""
    check(f"""
program = check_experts({sizes})
assert "grouped_matmul ins(" in program.ir("tile")
assert program.ir("tile").count("expert_centric") == 3
""")


@pytest.mark.parametrize(
    "sizes", ["4, (40, 512), 37, np.float16, 20000", "4, (12, 256), 32, np.float32, 3200"]
)
def test_tables_in_slices(check, sizes):
    check(f"program = check_experts({sizes})\nassert 'column_tile' in program.ir('tile')")


@pytest.mark.parametrize(
    "sizes",
    [
        "(20, (48, 64), 6)",
        "(150, (110, 128), 9)",
        "(150, (60, 64), 37)",
        "(40, (18, 320), 12, False, 3)",
        "(9, (18, 64), 5, True)",
    ],
)
def test_groups(check, sizes):
    """On tensor cores; tiles that are full and not, or share many pairs evenly, and
    repeated experts."""
    check(f"check_forward{sizes}")


@pytest.mark.parametrize(
    "sizes",
    [
        "(20, (49, 64), 6)",
        "(150, (100, 128), 40)",
        "(300, (16, 320), 12, False, 3)",
        "(3, (400, 64), 260)",
        "(1, (9, 64), 2)",
    ],
)
def test_groups_that_are_lines(check, sizes):
    """Of a grid, by two blocks that share vectors: tiles of several slots and of
    none, lines of a few pairs and of many, and tokens whose pairs are sorted."""
    check(f"program = check_forward{sizes}\nassert '.reqnctapercluster 1, 1, 2' in program.ptx")


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [
        "0, (3, 16, 64), 2, {}",
        "1, (3, 16, 64), 2, {}",
        "40, (3, 20, 64), 4, {}, 1",
        "9, (5, 256, 128), 2, {}",
        "7, (3, 300, 192), 2, {}",
        "3, (4, 2, 640), 1, {}",
        "6, (140, 160, 64), 2, {}",
    ],
)
def test_wide_experts(check, sizes, gated):
    """On tensor cores: none and one token; an expert with more pairs than a tile has
    rows, twice by a token; all columns of a tile; several tiles an expert; hardly any;
    two passes a tile."""
    check(f"check_forward({sizes.format(gated)})")


def test_gated_pairs_in_parts(check):
    """Both products of a gate are cut alike."""
    check(
        "program = check_forward(2, (9, 20, 64), 16, True, schedule='token_centric')\n"
        "cut = [line for line in program.ir('schedule').splitlines() if ' pair_split =' in line]\n"
        "sums = sum('omnimoe.combine' in line for line in cut)\n"
        "assert sums and sum('omnimoe.grouped_matmul' in line for line in cut) == 2 * sums"
    )


def test_gradients_of_mlp(check):
    check("check_mlp(9, 20, 12)\ncheck_mlp(70, 8, 70)")


@pytest.mark.parametrize(
    "sizes",
    [
        "(0, 1, 9), 20, 60, 5, 2",
        "(6,), 300, 1000, 10, 2, 136",
        "(5,), 17, 300, 300, 18",
        "(5,), 4, 9, 2, 2",
        "(3,), 40, 40, 1, 1",
    ],
)
def test_partition(check, sizes):
    """Lists that a block looks through in one turn or two, and short ones; no
    group is crowded, and all are."""
    check(f"check_partition({sizes})")


@pytest.mark.parametrize(
    "sizes", ["20, 48, 6", "300, 320, 20", "150, 400, 30", "300, 256, 100", "70, 1024, 9, 100000"]
)
def test_tiles_of_slots(check, sizes):
    """Tiles that are full or not, of more pairs than shared memory takes, and of
    several chunks of tokens."""
    check(f"check_tiles({sizes})")


@pytest.mark.parametrize(
    "sizes",
    [
        "129, 1, 256, 64",
        "300, 77, 512, 520",
        "257, 3000, 320, 200, guarded=True",
        "300, 50, 288, 136, matrices=2",
        "150, 50, 288, 136, result='f32'",
        "17000, 90, 256, 64",
        "140, 30, 256, 2056",  # a long summed loop goes backwards
    ],
)
def test_products_of_gathered_rows(check, sizes):
    """Of tiles that are full or not, one or several of a block; some rows are
    none of the matrix."""
    check(f"check_gathered({sizes})")


@pytest.mark.parametrize(
    "sizes",
    [
        "1, 128, 64, 64, 16",  # one token of a cluster's 64
        "70, 136, 64, 48, 16",  # two clusters; a summed loop of two parts and a piece
        "33, 1152, 33, 7, 32",  # more steps than stages
        "5, 128, 40, 64, 24, True",
    ],
)
def test_router_and_its_projections(check, sizes):
    check(f"check_router({sizes})")


@pytest.mark.parametrize(
    "sizes",
    [
        "9, 64, 48, 16",
        "9, 64, 48, 16, 20",
        "4, 64, 64, 5, 1000",
        "5, 33, 20, 24, 2",
        "4, 70, 90, 40, 1000",
        "2, 200, 130, 100, 1000",
        "2, 300, 20, 10",
    ],
)
def test_route(check, sizes):
    """Logits and sums that are equal, or equal but for their last bits."""
    check(f"check_route({sizes})")
