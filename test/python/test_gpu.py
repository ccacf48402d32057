"""Calls on arrays of a GPU, against a driver that runs nothing but keeps the
rules (see test/Runtime/FakeCUDA.h); and what is said where there is no GPU.

Each test is a process, since a process has one driver.
"""

from pathlib import Path

import pytest

import omnimoe

DRIVER = (
    Path(omnimoe.__file__).parents[2] / "test" / "Runtime" / "libomnimoe-fake-cuda.so"
)

START = """
import functools, numpy as np, omnimoe, pytest
from helpers import make_experts
arguments = make_experts(0, 5, 64, 32, 4)
call = functools.partial(omnimoe.experts, schedule="token_centric")
@omnimoe.jit
def weighted(x, up, down, weights, ids):
    return call(x, up, down, weights, ids)
"""

GPU = START + """
import fake_gpu
from fake_gpu import to_gpu
def experts(device=0, kind=fake_gpu.Array, **changes):
    return [to_gpu(a, device, kind) for a in arguments._replace(**changes)]
"""


@pytest.fixture
def on_gpu(run_python, tmp_path):
    if not DRIVER.exists():
        pytest.skip(f"the driver for tests is not built: {DRIVER}")

    def run(script, devices=2, cache="", **setup):
        options = ",".join(f"{key}={value}" for key, value in setup.items())
        return run_python(
            GPU + script,
            OMNIMOE_CUDA_DRIVER=DRIVER,
            OMNIMOE_CACHE_DIR=cache or tmp_path / "cache",
            FAKE_CUDA=f"devices={devices}," + options,
        ).stdout

    return run


@pytest.fixture
def without_gpu(run_python, tmp_path):
    return lambda script: run_python(
        START + script,
        OMNIMOE_CUDA_DRIVER=tmp_path / "none",
        OMNIMOE_CACHE_DIR=tmp_path / "cache",
    ).stdout


def test_launches(on_gpu):
    on_gpu("""
gpu = experts()
y = call(*gpu)
assert isinstance(y, fake_gpu.Array) and y.index == 0
assert y.shape == (5, 64) and y.dtype == np.float32
found = fake_gpu.launches()
assert found and all(launch["device"] == 0 and launch["stream"] == 0 for launch in found)
words = {word for launch in found for word in launch["parameters"]}
# Every array is passed where it lies, and T with it: nothing is copied.
assert {array.address for array in gpu + [y]} | {5} <= words
# Debuggers report calls of the driver that fail.
assert "forbidden" not in fake_gpu.log() and "failed=" not in fake_gpu.log()
assert fake_gpu.count("cuStreamSynchronize") == 0

fake_gpu.clear()
call(*gpu)
assert fake_gpu.count("cuModuleLoadData") == 0
assert len(fake_gpu.launches()) == len(found)
assert omnimoe.cache_info().misses == 1 and omnimoe.cache_info().hits == 1
""")


def test_no_tokens(on_gpu):
    on_gpu("""
few = arguments._replace(x=arguments.x[:0], weights=arguments.weights[:0], ids=arguments.ids[:0])
y = call(*[to_gpu(a) for a in few])
assert y.shape == (0, 64) and not fake_gpu.launches()
""")


def test_cpu_and_gpu_are_different_programs(on_gpu):
    on_gpu("""
y = call(*arguments)
assert isinstance(y, np.ndarray)
z = call(*experts())
assert isinstance(z, fake_gpu.Array)
assert omnimoe.cache_info().programs == 2
""")


def test_several_devices(on_gpu):
    on_gpu("""
for device in 1, 0, 1:
    fake_gpu.clear()
    y = call(*experts(device))
    assert y.index == device
    assert {launch["device"] for launch in fake_gpu.launches()} == {device}
assert omnimoe.cache_info().programs == 1
""")


def test_one_device_a_call(on_gpu):
    on_gpu("""
gpu, other = experts(), experts(1)
for position, name in enumerate(["up", "down", "weights", "experts"], 1):
    for wrong, where in (other[position], "cuda:1"), (arguments[position], "cpu"):
        mixed = gpu[:position] + [wrong] + gpu[position + 1:]
        message = f"{name}: expected an array on cuda:0 as x, got one on {where}"
        with pytest.raises(omnimoe.DeviceError, match=message):
            call(*mixed)
mixed = [arguments.x] + gpu[1:]
with pytest.raises(omnimoe.DeviceError, match="up: expected an array on cpu as x, got one on cuda:0"):
    call(*mixed)
executable = omnimoe.compile(weighted, args=gpu)
assert executable.target == executable.chip == "sm_90a"
with pytest.raises(omnimoe.DeviceError, match="x: expected an array on a GPU, got one on cpu$"):
    executable(*arguments)
with pytest.raises(omnimoe.DeviceError, match="up: expected an array on cuda:0 as x"):
    executable(gpu[0], *other[1:])
assert not fake_gpu.launches()
""")


def test_streams(on_gpu):
    on_gpu("""
cupy = fake_gpu.install_cupy()
for device in 0, 1:
    fake_gpu.clear()
    fake_gpu.Array.exported.clear()
    y = call(*experts(device, cupy.ndarray))
    assert type(y) is cupy.ndarray and y.index == device
    assert {launch["stream"] for launch in fake_gpu.launches()} == {cupy.streams[device]}
    # CuPy works on that stream already, so it need not wait.
    assert set(fake_gpu.Array.exported) == {-1}
# Others wait for what they enqueued elsewhere.
fake_gpu.Array.exported.clear()
call(*experts())
assert set(fake_gpu.Array.exported) == {1}
""")


def test_cuda_array_interface(on_gpu):
    on_gpu("""
gpu = experts(1, fake_gpu.InterfaceArray)
y = fake_gpu.Array((5, 64), np.float32, 1)
gpu[0].stream = fake_gpu.stream(1)
executable = omnimoe.compile(weighted, args=gpu)
executable.invoke(*gpu, y)
assert {launch["stream"] for launch in fake_gpu.launches()} == {gpu[0].stream}
assert {launch["device"] for launch in fake_gpu.launches()} == {1}
with pytest.raises(omnimoe.DeviceError, match="__array_namespace__ that has empty"):
    call(*gpu)
""")


def test_layouts(on_gpu):
    on_gpu("""
cupy = fake_gpu.install_cupy()
for kind in fake_gpu.Array, fake_gpu.InterfaceArray, cupy.ndarray:
    for what in "odd address", "transposed":
        gpu = [to_gpu(a, 0, cupy.ndarray) for a in arguments]
        if what == "odd address":
            gpu[1] = to_gpu(arguments.up, 0, kind, offset=4)
        else:
            gpu[1] = to_gpu(np.ascontiguousarray(arguments.up.T), 0, kind)
            gpu[1].host = gpu[1].host.T
        if kind is cupy.ndarray:
            call(*gpu)
            continue
        with pytest.raises(omnimoe.ArgumentError, match="row-major and aligned to 16 bytes"):
            call(*gpu)
""")


def test_capture(on_gpu):
    on_gpu("""
cupy = fake_gpu.install_cupy()
gpu = experts(0, cupy.ndarray)
handle = cupy.cuda.get_current_stream().ptr
fake_gpu.capture(handle, True)
fake_gpu.clear()
call(*gpu)
call(*gpu)
assert fake_gpu.launches() and "forbidden" not in fake_gpu.log()
with pytest.raises(omnimoe.DeviceError, match="cannot be copied"):
    call(*gpu, check=True)
fake_gpu.capture(handle, False)
fake_gpu.clear()
# A graph may launch the kernels again, so they are never unloaded.
omnimoe.clear_cache()
assert fake_gpu.count("cuModuleUnload") == 0
call(*gpu)
omnimoe.clear_cache()
assert fake_gpu.count("cuModuleUnload") == 1
""")


def test_check(on_gpu):
    on_gpu("""
call(*experts(), check=True)
ids = arguments.ids.copy()
ids[3, 2] = 32
with pytest.raises(omnimoe.ExpertIdError, match=r"expected 0 <= id < 32, got 32 at \\[3, 2\\]"):
    call(*experts(ids=ids), check=True)
""")


def test_invoke(on_gpu):
    on_gpu("""
gpu = experts(1)
executable = omnimoe.compile(weighted, args=gpu)
y = fake_gpu.Array((5, 64), np.float32, 1)
executable.invoke(*gpu, y)
size = executable.workspace_size(5)
workspace = fake_gpu.Array((size + 255,), np.uint8, 1)
executable.invoke(*gpu, y, workspace=workspace)
with pytest.raises(omnimoe.DeviceError, match="workspace: expected an array on cuda:1"):
    executable.invoke(*gpu, y, workspace=fake_gpu.Array((size + 255,), np.uint8, 0))
with pytest.raises(omnimoe.ArgumentError, match="workspace: expected an array on a GPU, got bytes"):
    executable.invoke(*gpu, y, workspace=b"")
if size:
    with pytest.raises(omnimoe.ArgumentError, match=f"workspace: expected at least {size} bytes"):
        executable.invoke(*gpu, y, workspace=fake_gpu.Array((size - 1,), np.uint8, 1))
with pytest.raises(omnimoe.DeviceError, match="expected an array on cuda:1 as"):
    executable.invoke(*gpu, fake_gpu.Array((5, 64), np.float32, 0))
""")


def test_tuning(on_gpu, tmp_path):
    on_gpu("""
gpu = experts(1)
fake_gpu.clear()
tuned = omnimoe.compile(omnimoe.experts, args=gpu, tune=True)
assert tuned.schedule == "token_centric" and tuned.schedules[0].measured
assert {launch["device"] for launch in fake_gpu.launches()} == {1}
assert len(fake_gpu.launches()) > 2 and "cuMemcpyDtoHAsync" in fake_gpu.log()
""")
    table = (tmp_path / "cache" / "tuned" / "fake-gpu.json").read_text()
    assert '"f32-n32-r1-d64-k4": {\n"5": {"token_centric": ' in table


def test_disk_cache(on_gpu, tmp_path):
    script = """
import sys
executable = omnimoe.compile(weighted, args=experts())
executable(*experts())
print(executable.cached, fake_gpu.count("cuModuleLoadData"))
executable.save({path!r})
"""
    path = str(tmp_path / "experts.omni")
    script = script.format(path=path)
    assert on_gpu(script).split() == ["False", "1"]
    assert on_gpu(script).split() == ["True", "1"]
    load = f"""
executable = omnimoe.load({path!r})
executable(*experts())
print(executable.target, fake_gpu.count("cuModuleLoadData"))
"""
    assert on_gpu(load, cache=str(tmp_path / "other")).split() == ["sm_90a", "1"]


def test_kernels_are_loaded_when_they_are_launched(on_gpu):
    """A product by warpgroups is loaded when T is large enough for it; in none of
    this does a call of the driver fail."""
    few, many = on_gpu("""
half = lambda *shape: to_gpu(np.zeros(shape, np.float16))
weights = half(512, 256), half(512, 256), half(256, 512)
for tokens in 1, 4096:
    fake_gpu.clear()
    for _ in range(2):
        omnimoe.mlp(half(tokens, 256), *weights)
    assert "failed=" not in fake_gpu.log()
    kernels = {launch["kernel"] for launch in fake_gpu.launches()}
    print(len(kernels), fake_gpu.count("cuModuleLoadData"))
""").splitlines()
    for line in few, many:
        launched, loaded = line.split()
        assert launched == loaded != "0"


def test_failures(on_gpu):
    on_gpu("""
for function, result, message in [
    ("cuModuleLoadData", 222, "driver is too old for the program: .* PTX 8.6 needs .* CUDA 12.7"),
    ("cuLaunchKernelEx", 700, "kernel 'experts_0' cannot be launched .* CUDA_ERROR_ILLEGAL_ADDRESS"),
]:
    fake_gpu.fail(function, result)
    with pytest.raises(omnimoe.DeviceError, match=message):
        call(*experts())
    fake_gpu.fail(function, 0)
call(*experts())
""")


def test_other_chips(on_gpu):
    on_gpu(
        """
message = "x: cuda:0: this build cannot compile for Fake GPU, a GPU of compute capability 10.0"
with pytest.raises(omnimoe.DeviceError, match=message):
    call(*experts())
assert omnimoe.devices()[0].target is None
program = omnimoe.compile(omnimoe.jit(lambda a, b: omnimoe.route(a, b, 2)), target="cpu",
                          args=[np.zeros((3, 4), np.float32)] * 2)
assert program.target == "cpu"
""",
        capability=100,
    )


def test_devices(on_gpu):
    on_gpu("""
first, second = omnimoe.devices()
assert first == ("cuda:0", "Fake GPU", (9, 0), 132, "sm_90a") and second.name == "cuda:1"
""")


IR = """
ir = omnimoe.compile(weighted, args=arguments).ir("input")
program = omnimoe.compile(ir, target="sm_90a")
"""


def test_without_gpu(without_gpu, tmp_path):
    without_gpu(IR + f"""
missing = "no CUDA driver: OMNIMOE_CUDA_DRIVER names .*none, which cannot be loaded"
with pytest.raises(omnimoe.DeviceError, match="^" + missing):
    omnimoe.devices()
assert [target.name for target in omnimoe.targets()] == ["cpu", "sm_90a"]
assert omnimoe.Target("sm_90a").chip == program.target == program.chip == "sm_90a"
# All but running works.
assert ".visible .entry" in program.ptx and ".target sm_90a" in program.ptx
assert program.ir("ptx") == program.ptx and "gpu.func" in program.ir("kernel")
assert "omnimoe_gpu_launch" in program.llvm
assert program.workspace_size(1000) >= 0
program.save({str(tmp_path / "p.omni")!r})
loaded = omnimoe.load({str(tmp_path / "p.omni")!r})
assert loaded.target == "sm_90a" and loaded.cached
for each in program, loaded:
    with pytest.raises(omnimoe.DeviceError, match=r"x: expected an array on a GPU, got one on cpu "
                       r"\\(programs for sm_90a do not run here: " + missing):
        each(*arguments)
""")


def test_auto_target(without_gpu):
    without_gpu(IR + """
assert omnimoe.compile(ir).target == "cpu"
attribute = omnimoe.Target("sm_90a").info.attribute
assert "module {" in ir
module = ir.replace("module {", "module attributes {omnimoe.target = " + attribute + "} {")
assert omnimoe.compile(module).target == "sm_90a"
with pytest.raises(omnimoe.DeviceError, match='the module is for chip "sm_90a"'):
    omnimoe.compile(module, target="cpu")
import os
os.environ["OMNIMOE_TARGET"] = "sm_90a"
assert omnimoe.compile(ir).target == "sm_90a"
# Arrays decide where they are given.
assert isinstance(call(*arguments), np.ndarray)
""")
