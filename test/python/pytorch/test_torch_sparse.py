"""sparse_grad: gradients with rows of the chosen experts alone."""

import pytest

torch = pytest.importorskip("torch")

import omnimoe.torch as omt
import torch_reference as reference
from torch_helpers import GRADIENT_TOLERANCE, assert_close, expert_arguments, normal, upcast

from omnimoe.torch import _differentiate


def sparse_experts(*arguments, **options):
    return omt.experts(*arguments, sparse_grad=True, **options)


def check(arguments, gate=None):
    """Against float64 autograd, and which rows there are."""
    given = [gate] if gate is not None else []
    exact = upcast([*given, *arguments])
    options = {"gate": gate} if given else {}
    y = sparse_experts(*arguments, **options)
    expected = reference.experts(*exact[len(given) :], **({"gate": exact[0]} if given else {}))
    cotangent = normal(*y.shape, seed=99).to(y)
    y.backward(cotangent)
    expected.backward(cotangent.double())
    ids, tables = arguments[4], [*given, *arguments[1:3]]
    chosen = ids[(ids >= 0) & (ids < len(arguments[1]))].unique().long()
    for table in tables:
        # Each expert once, though torch forgets that of what it accumulated.
        assert table.grad.is_sparse
        assert torch.equal(table.grad._indices()[0], chosen)
    for tensor, other in zip([*given, *arguments], exact):
        if tensor.requires_grad:
            assert tensor.grad.dtype == tensor.dtype
            assert_close(tensor.grad.to_dense(), other.grad, GRADIENT_TOLERANCE[tensor.dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "sizes",
    [{}, {"tokens": 1}, {"tokens": 0}, {"count": 900}, {"width": 3}, {"hidden": 19, "count": 7}],
    ids=str,
)
def test_gradients(dtype, sizes):
    check(expert_arguments(dtype=dtype, **sizes))


def test_gated_experts():
    arguments = expert_arguments(count=200)
    check(arguments, normal(200, 32, scale=32**-0.5, seed=9, grad=True))


def test_ids_of_no_expert():
    arguments = expert_arguments(count=200)
    arguments[4][0, :2] = torch.tensor([-1, 200])
    arguments[4][1] = -5
    check(arguments)
    arguments = expert_arguments(count=200)
    arguments[4][:] = 1000
    check(arguments)


@pytest.mark.parametrize("schedule", ["token_centric", "expert_centric", "dense"])
def test_rows_are_those_of_the_dense_gradient(schedule):
    found = []
    for sparse in (False, True):
        x, up, down, weights, ids = expert_arguments(tokens=40, count=300)
        omt.experts(
            x, up, down, weights, ids, schedule=schedule, sparse_grad=sparse
        ).square().sum().backward()
        found.append([t.grad for t in (x, up, down, weights)])
    for dense, sparse in zip(*found):
        assert_close(sparse.to_dense(), dense, 1e-6)


def test_tables_without_a_gradient():
    x, up, down, weights, ids = expert_arguments(count=200)
    sparse_experts(x, up.detach(), down, weights, ids).sum().backward()
    assert down.grad.is_sparse and not x.grad.is_sparse
    x, up, down, weights, ids = expert_arguments(count=200)
    sparse_experts(x, up.detach(), down.detach(), weights, ids).sum().backward()
    assert not x.grad.is_sparse and weights.grad is not None
    with torch.no_grad():
        assert not sparse_experts(x, up, down, weights, ids).requires_grad


def test_gradients_add_up():
    arguments = expert_arguments(count=200)
    other = arguments[4] + 100
    for ids in (arguments[4], other):
        sparse_experts(*arguments[:4], ids % 200).sum().backward()
    exact = upcast(arguments)
    for ids in (arguments[4], other):
        reference.experts(*exact[:4], ids % 200).sum().backward()
    assert arguments[1].grad.is_sparse
    for tensor, right in zip(arguments[1:3], exact[1:3]):
        assert_close(tensor.grad.to_dense(), right.grad, 1e-5)


def test_few_programs_serve_all_numbers_of_rows():
    before = _differentiate._BACKWARD.misses
    for tokens in range(20, 41):  # 50 to 120 experts
        x, up, down, weights, ids = expert_arguments(tokens=tokens, count=4096, hidden=16)
        sparse_experts(x, up, down, weights, ids).sum().backward()
        assert up.grad._nnz() == len(ids.unique())
    assert _differentiate._BACKWARD.misses - before <= 2


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.SparseAdam, torch.optim.Adagrad])
def test_optimizers(optimizer):
    tables = []
    for sparse in (False, True):
        x, up, down, weights, ids = expert_arguments(count=200)
        made = optimizer([up, down], lr=0.1)
        omt.experts(x, up, down, weights, ids, sparse_grad=sparse).sum().backward()
        if not sparse and optimizer is torch.optim.SparseAdam:
            up.grad, down.grad = up.grad.to_sparse(1), down.grad.to_sparse(1)
        made.step()
        tables.append((up.detach(), down.detach()))
    for dense, sparse in zip(*tables):
        assert_close(sparse, dense, 1e-6)


def test_module():
    def train(sparse):
        torch.manual_seed(0)
        config = omt.OmniMoEConfig(32, 48, "silu", 400, 5, sparse_grad=sparse)
        layer = omt.OmniMoE(config)
        layer(normal(12, 32)).square().sum().backward()
        return layer

    dense, sparse = train(False), train(True)
    for (name, p), q in zip(dense.named_parameters(), sparse.parameters()):
        assert q.grad.is_sparse == name.endswith("embed.weight")
        assert_close(q.grad.to_dense(), p.grad, 1e-5)
    assert sparse.up_embed.weight.grad._nnz() <= 60


def test_compiled_code_breaks_its_graph():
    arguments = expert_arguments(count=200)
    call = lambda *a: sparse_experts(*a) * 2  # noqa: E731
    torch.compile(call, backend="eager")(*arguments).sum().backward()
    assert arguments[1].grad.is_sparse
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(call, backend="eager", fullgraph=True)(*arguments)


def test_second_derivatives_are_refused():
    x, *rest = expert_arguments(count=200)
    y = sparse_experts(x, *rest).square()
    (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_transforms_are_refused():
    x, *rest = expert_arguments(count=200, grad=False)
    with pytest.raises(NotImplementedError, match="sparse_grad"):
        torch.func.vmap(lambda v: sparse_experts(v, *rest))(x[None])
