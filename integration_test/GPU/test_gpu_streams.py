"""Graphs, streams, threads and devices."""

import threading

import numpy as np
import pytest
import reference
from gpu_arrays import (
    SCHEDULES,
    all_to_gpu,
    assert_close,
    make_experts,
    params_to_gpu,
    poison,
    skip_unless_lowered,
    to_gpu,
    torch,
)
from helpers import make_layer, normal

import omnimoe


def capture(function):
    """The graph of a call, and its result; called before, so that nothing is
    left to be compiled."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        function()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        result = function()
    return graph, result


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_graph_of_experts(schedule):
    """Replays on new values, ids included; nothing about them was captured."""
    skip_unless_lowered(schedule)
    arguments = all_to_gpu(make_experts(1, 130, 64, 64, 8, dtype="bf16"))
    graph, y = capture(lambda: omnimoe.experts(*arguments, schedule=schedule))
    for seed, ids in ((2, "random"), (3, "one"), (4, "wild")):
        changed = make_experts(seed, 130, 64, 64, 8, dtype="bf16", ids=ids)
        for tensor, value in zip(arguments, all_to_gpu(changed)):
            tensor.copy_(value)
        y.fill_(float("nan"))
        graph.replay()
        assert_close(y, reference.experts(*changed), "bf16")


def test_graph_of_a_layer_and_route():
    params = params_to_gpu(make_layer(5, 64, 96, 8, 8))
    rng = np.random.default_rng(6)
    x, rows, columns = (to_gpu(normal(rng, (40, n), "f32")) for n in (64, 16, 12))

    def call():
        return omnimoe.layer(x, params, top_k=6), *omnimoe.route(rows, columns, 20)

    graph, results = capture(call)
    for seed in (7, 8):
        rng = np.random.default_rng(seed)
        for tensor in (x, rows, columns):
            tensor.copy_(to_gpu(normal(rng, tuple(tensor.shape), "f32")))
        graph.replay()
        torch.cuda.synchronize()
        found = [result.clone() for result in results]
        for result, expected in zip(found, call()):
            assert torch.equal(result, expected)


def test_first_call_may_be_captured():
    """Compiling and loading happen while the stream captures."""
    arguments = make_experts(9, 11, 40, 24, 3)  # sizes of no other test
    gpu = all_to_gpu(arguments)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = omnimoe.experts(*gpu)
    y.fill_(float("nan"))
    graph.replay()
    assert_close(y, reference.experts(*arguments), "f32")


def test_check_cannot_be_captured():
    gpu = all_to_gpu(make_experts(10, 5, 32, 16, 4))
    omnimoe.experts(*gpu, check=True)
    with pytest.raises((omnimoe.DeviceError, RuntimeError)):
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            omnimoe.experts(*gpu, check=True)
    torch.cuda.synchronize()


def test_two_streams():
    """Calls on two streams at once do not share memory, and each waits for its
    own inputs only."""
    made = [make_experts(seed, 400, 256, 256, 16, dtype="bf16") for seed in (11, 12)]
    expected = [reference.experts(*arguments) for arguments in made]
    gpu = [all_to_gpu(arguments) for arguments in made]
    for arguments in gpu:
        omnimoe.experts(*arguments)
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in gpu]
    results = []
    for _ in range(10):
        for stream, arguments in zip(streams, gpu):
            with torch.cuda.stream(stream):
                # What is made late on this stream is an input of the call.
                late = arguments[0] * 1
                results.append(omnimoe.experts(late, *arguments[1:]))
    torch.cuda.synchronize()
    for i, result in enumerate(results):
        assert_close(result, expected[i % 2], "bf16")


def test_current_stream():
    """A call waits for nothing but its stream: it is enqueued behind it."""
    gpu = all_to_gpu(make_experts(13, 30, 64, 64, 8))
    expected = omnimoe.experts(*gpu)
    x = torch.zeros_like(gpu[0])
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.copy_(gpu[0])
        y = omnimoe.experts(x, *gpu[1:])
        assert not stream.query()  # the call returned while the stream still sleeps
    stream.synchronize()
    assert torch.equal(y, expected)


def test_threads():
    """Threads that compile, load and launch at once, each on its own stream."""
    made = [make_experts(seed, 60, 56, 40, 5) for seed in range(14, 18)]  # one program
    expected = [reference.experts(*arguments) for arguments in made]
    found = [None] * len(made)
    errors = []
    start = threading.Barrier(len(made))

    def work(index):
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                gpu = all_to_gpu(made[index])
                start.wait()
                for _ in range(20):
                    found[index] = omnimoe.experts(*gpu)
                torch.cuda.current_stream().synchronize()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(made))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for result, values in zip(found, expected):
        assert_close(result, values, "f32")


def test_arguments_on_the_host_and_the_gpu():
    arguments = make_experts(18, 5, 32, 16, 4)
    gpu = all_to_gpu(arguments)
    with pytest.raises(omnimoe.DeviceError, match="up: expected an array on cuda:0 as x, got .* cpu"):
        omnimoe.experts(gpu[0], torch.from_numpy(arguments.up), *gpu[2:])
    with pytest.raises(omnimoe.DeviceError, match="x"):
        omnimoe.compile(
            lambda x, up, down, weights, ids: omnimoe.experts(x, up, down, weights, ids), args=gpu
        )(*arguments)


def test_wrong_arguments_on_the_gpu():
    gpu = all_to_gpu(make_experts(19, 5, 32, 16, 4))
    with pytest.raises(omnimoe.ShapeError, match="down"):
        omnimoe.experts(gpu[0], gpu[1], gpu[2][:, :31].contiguous(), *gpu[3:])
    with pytest.raises(omnimoe.ShapeError, match="experts"):
        omnimoe.experts(*gpu[:4], gpu[4].long())
    with pytest.raises(omnimoe.ArgumentError, match="top_k"):
        omnimoe.route(gpu[3], gpu[3], 17)


@pytest.fixture
def two_devices():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")


def test_each_device(two_devices):
    """Arrays say where a call runs, whatever device is current."""
    arguments = make_experts(20, 30, 64, 64, 8)
    expected = reference.experts(*arguments)
    for device in ("cuda:1", "cuda:0", "cuda:1"):
        y = omnimoe.experts(*all_to_gpu(arguments, device))
        assert str(y.device) == device
        assert_close(y, expected, "f32")


def test_two_devices_in_a_call(two_devices):
    arguments = make_experts(21, 5, 32, 16, 4)
    first, second = all_to_gpu(arguments, "cuda:0"), all_to_gpu(arguments, "cuda:1")
    with pytest.raises(omnimoe.DeviceError, match="down: expected an array on cuda:0 as x, got .* cuda:1"):
        omnimoe.experts(*first[:2], second[2], *first[3:])


def test_memory_comes_back():
    """Neither results nor workspaces pile up."""
    gpu = all_to_gpu(make_experts(22, 300, 128, 256, 16, dtype="bf16"))
    omnimoe.experts(*gpu)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(50):
        omnimoe.experts(*gpu)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before
    poison()
