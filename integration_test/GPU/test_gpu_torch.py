"""omnimoe.torch on the GPU: gradients, modules, torch.compile, a training step as
one CUDA graph."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "python" / "pytorch"))

import torch_reference as reference
from gpu_arrays import poison
from torch_helpers import (
    assert_close,
    check_gradients,
    expert_arguments,
    layer_params,
    mlp_arguments,
    normal,
)

import omnimoe.torch as omt

TYPES = [torch.float32, torch.bfloat16]


def on_gpu(tensors):
    poison()
    return [t.detach().cuda().requires_grad_(t.requires_grad) for t in tensors]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "sizes",
    [pytest.param({}, marks=pytest.mark.sanitizer), {"tokens": 1}, {"tokens": 0},
     {"tokens": 200, "hidden": 64}, pytest.param({"hidden": 19, "count": 7}, marks=pytest.mark.sanitizer),
     {"width": 3}, pytest.param({"hidden": 512, "count": 300}, marks=pytest.mark.sanitizer),
     {"tokens": 200, "hidden": 512, "count": 7},
     {"hidden": 2048, "count": 9}, {"hidden": 512, "count": 65536, "top_k": 100},
     {"hidden": 1024, "count": 8192, "top_k": 70, "width": 8}],
    ids=str,
)
def test_gradients_of_experts(dtype, sizes):
    arguments = on_gpu(expert_arguments(dtype=dtype, **sizes))
    check_gradients(omt.experts, reference.experts, arguments)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "sizes",
    [pytest.param({"tokens": 300, "hidden": 64, "count": 100, "top_k": 12}, marks=pytest.mark.sanitizer),
     {"tokens": 17, "hidden": 192, "count": 49},
     {"tokens": 700, "hidden": 1024, "count": 1600, "top_k": 24}, {"tokens": 0, "hidden": 64}],
    ids=str,
)
def test_gradients_of_groups(dtype, sizes):
    """The forward program saves products that its tensor cores computed."""
    arguments = on_gpu(expert_arguments(dtype=dtype, **sizes))
    arguments[-1][:1, :1] = -1  # an expert of nobody
    check_gradients(
        lambda *given: omt.experts(*given, schedule="expert_centric"), reference.experts, arguments
    )


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", TYPES)
def test_gradients_of_mlp(dtype):
    for sizes in ({}, {"tokens": 130, "hidden": 64, "inner": 96}):
        check_gradients(omt.mlp, reference.mlp, on_gpu(mlp_arguments(dtype=dtype, **sizes)))


@pytest.mark.sanitizer
def test_gradients_of_route():
    rows, columns = on_gpu([normal(17, 6, grad=True), normal(17, 8, seed=1, grad=True)])
    ids = omt.route(rows, columns, 5)[1]
    assert torch.equal(ids.cpu(), omt.route(rows.cpu(), columns.cpu(), 5)[1])
    check_gradients(
        lambda r, c: omt.route(r, c, 5)[0],
        lambda r, c: reference.scores_of(r, c, ids),
        [rows, columns],
    )


@pytest.mark.sanitizer
def test_gradients_of_layer():
    params = layer_params(grad=True)
    tensors = on_gpu([normal(17, 32, seed=7, grad=True), *params.values()])
    check_gradients(
        lambda x, *v: omt.layer(x, dict(zip(params, v)), top_k=5),
        lambda x, *v: reference.layer(x, dict(zip(params, v)), 5),
        tensors,
    )


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("sizes", [{"count": 900}, {"count": 20, "width": 3}, {"tokens": 0}], ids=str)
def test_sparse_gradients(dtype, sizes):
    """The rows of the dense gradient that are of chosen experts."""
    found = []
    for sparse in (False, True):
        x, up, down, weights, ids = on_gpu(expert_arguments(dtype=dtype, **sizes))
        if len(ids):
            ids[0, :2] = torch.tensor([-1, len(up)])
        omt.experts(x, up, down, weights, ids, sparse_grad=sparse).square().sum().backward()
        found.append([t.grad for t in (x, up, down, weights)])
    chosen = ids[(ids >= 0) & (ids < len(up))].unique().long()
    assert torch.equal(found[1][1]._indices()[0], chosen)
    for dense, sparse in zip(*found):
        assert_close(sparse.to_dense(), dense, 1e-5)


def make(device="cuda", **options):
    torch.manual_seed(0)
    return omt.OmniMoE(omt.OmniMoEConfig(64, 96, "silu", 64, 5, **options)).to(device)


@pytest.mark.parametrize("training", [True, False])
def test_module_agrees_with_the_cpu(training):
    layer = make(balance_coefficient=0.1, count_usage=True).train(training)
    other = make("cpu", balance_coefficient=0.1, count_usage=True).train(training)
    x = normal(70, 64, seed=1)
    y, expected = layer(x.cuda()), other(x)
    assert_close(y.cpu(), expected, 1e-4)
    y.square().mean().backward()
    expected.square().mean().backward()
    for p, q in zip(layer.parameters(), other.parameters()):
        assert_close(p.grad.cpu(), q.grad, 1e-3)
    assert torch.equal(layer.expert_usage.cpu(), other.expert_usage)


def test_training_in_bfloat16_under_autocast_and_compiled():
    layer = make(weighting="softmax")
    x = normal(70, 64, seed=1).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), layer(x), 1e-5)


def test_training_step_as_one_graph():
    """Replayed steps do what the steps do."""

    def start():
        layer = make(balance_coefficient=0.01, deterministic=True)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, capturable=True)
        return layer, optimizer

    def step(layer, optimizer, x):
        optimizer.zero_grad(set_to_none=True)
        loss = (layer(x) - x).square().mean() + layer.auxiliary_loss
        loss.backward()
        optimizer.step()
        return loss.detach()

    batches = [normal(32, 64, seed=i).cuda() for i in range(8)]
    layer, optimizer = start()
    eager = [step(layer, optimizer, x).item() for x in batches]

    layer, optimizer = start()
    x = batches[0].clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        replayed = []
        for batch in batches[:3]:
            x.copy_(batch)
            replayed.append(step(layer, optimizer, x).item())
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss = step(layer, optimizer, x)
    for batch in batches[3:]:
        x.copy_(batch)
        graph.replay()
        replayed.append(loss.item())
    assert replayed == pytest.approx(eager, rel=1e-4)
    assert eager[-1] < eager[0]
