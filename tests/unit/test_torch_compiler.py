"""torch.compile without a compiler is refused before a rank starts."""

import pytest

from plans import make_plan
from retune.errors import RetuneError
from retune.launching.torch_compiler import check_compiler


@pytest.fixture(autouse=True)
def no_compiler_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("accelerator", "wanted"), [("cpu", r"g\+\+"), ("cuda", "gcc or clang or cc")]
)
def test_a_missing_compiler_is_told(accelerator, wanted):
    plan = make_plan(torch_compile=True, accelerator=accelerator)
    told = f"^configure.torch_compile needs a compiler, and {wanted} is not here"
    with pytest.raises(RetuneError, match=told):
        check_compiler(plan)


@pytest.mark.parametrize(
    ("accelerator", "variable", "value"),
    [("cpu", "CXX", "g++ -m64"), ("cuda", "CC", "ccache gcc")],
)
def test_options_are_refused_as_pytorch_refuses_them(
    no_compiler_here, monkeypatch, accelerator, variable, value
):
    for name in value.split():
        (no_compiler_here / name).touch(mode=0o755)
    monkeypatch.setenv(variable, value)
    plan = make_plan(torch_compile=True, accelerator=accelerator)
    with pytest.raises(RetuneError) as error:
        check_compiler(plan)
    told = f"{variable}={value}, taken for the name of one program without options,"
    assert f"needs a compiler, and {told} is not here" in str(error.value)


@pytest.mark.parametrize(("name", "variable"), [("g++", None), ("my-compiler", "CXX")])
def test_a_compiler_is_found(no_compiler_here, monkeypatch, name, variable):
    compiler = no_compiler_here / name
    compiler.touch(mode=0o755)
    if variable:
        monkeypatch.setenv(variable, name)
    check_compiler(make_plan(torch_compile=True))


def test_without_compiling_none_is_needed():
    check_compiler(make_plan())
