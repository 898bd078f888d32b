import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from retune import __version__
from retune.step_code import STEPS

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
OWN_PACKAGES = {
    *("retune", "retune_dvc", "retune_slurm", "retune_snakemake", "retune_start"),
    "retune_workflow",
    "snakemake_logger_plugin_retune",
}


def locked_lines() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def locked() -> dict[str, str]:
    pins = (line.split("==") for line in locked_lines())
    return {canonicalize_name(name): version for name, version in pins}


def pip_requirements(environment: Path) -> list[Requirement]:
    dependencies = yaml.safe_load(environment.read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    return [Requirement(line) for line in pip]


def imported_packages(source: Path) -> set[str]:
    """The names of all imports of a file, `a.b.c` cut to `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {".".join(name.split(".")[:2]) for name in names}


def distributions(imports: set[str]) -> set[str]:
    """The installed distributions that third-party imports come from."""
    tops = {name.split(".")[0] for name in imports}
    tops -= OWN_PACKAGES | sys.stdlib_module_names
    known = packages_distributions()
    return {canonicalize_name(known[top][0]) for top in tops}


def imports_of_step(step: str) -> set[str]:
    """What a step's module and the modules it imports, in turn, import."""
    seen: set[str] = set()
    waiting = {"retune.cli.main", f"retune.steps.{step}"}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        source = ROOT / "workflow" / (name.replace(".", "/") + ".py")
        if name.startswith("retune.") and source.exists():
            waiting |= imported_packages(source) - seen
    return seen


def environments_of_steps() -> dict[str, Path]:
    """The environment each rule of the workflow names."""
    rules = {}
    for file in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for name, body in re.findall(
            r"^rule (\w+):\n((?: .*\n|\n)+)", file.read_text(), re.M
        ):
            if named := re.search(r'conda:\s+"\.\./\.\./(envs/\w+\.yaml)"', body):
                rules[name] = ROOT / named[1]
    return rules


def test_the_lock_names_exact_versions_in_order():
    lines = locked_lines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert [canonicalize_name(line.split("==")[0]) for line in lines] == sorted(
        locked()
    )


def test_the_lock_holds_the_versions_everything_was_measured_with():
    wanted = {
        "torch": "2.13.0",
        "deepspeed": "0.19.8",
        "snakemake": "9.27.1",
        "dvc": "3.67.1",
    }
    assert wanted.items() <= locked().items()


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *sum(EXTRAS.values(), [])])
def test_the_lock_satisfies_pyproject(line):
    requirement = Requirement(line)
    assert locked()[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_a_conda_environment_has_the_versions_of_the_lock(environment):
    for requirement in pip_requirements(environment):
        assert (
            str(requirement.specifier)
            == f"=={locked()[canonicalize_name(requirement.name)]}"
        )


@pytest.mark.parametrize("step", STEPS)
def test_the_conda_environment_of_a_step_has_all_that_the_step_imports(step):
    environment = environments_of_steps()[step]
    there = {canonicalize_name(each.name) for each in pip_requirements(environment)}
    assert distributions(imports_of_step(step)) <= there


def test_pyproject_names_every_package_the_library_imports():
    sources = (ROOT / "workflow").rglob("*.py")
    imports = set().union(*(imported_packages(source) for source in sources))
    extras = [line for name, lines in EXTRAS.items() if name != "dev" for line in lines]
    lines = [*PROJECT["dependencies"], *extras]
    named = {canonicalize_name(Requirement(line).name) for line in lines}
    assert distributions(imports) <= named


def test_no_file_names_a_package_index():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    # In brackets, or this line would be found.
    hosts = "pypi[.]org|pythonhoste[d]|deb[.]debian|registry[.]npmjs"
    found = subprocess.run(
        ["git", "grep", "--untracked", "-nIE", hosts],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.stdout == ""
    assert found.returncode == 1, found.stderr


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__


@pytest.mark.parametrize(
    "target", ["train", "test", "test-long", "test-slurm", "lint", "format"]
)
def test_make_offers_and_explains_a_target(target):
    assert re.search(rf"^{target}:.*## \w", (ROOT / "Makefile").read_text(), re.M)


def test_pytest_runs_every_folder_of_tests():
    listed = PYPROJECT["tool"]["pytest"]["ini_options"]["testpaths"]
    there = {
        file.relative_to(ROOT).parts[1] for file in ROOT.glob("tests/*/**/test_*.py")
    }
    assert {f"tests/{folder}" for folder in there} <= set(listed)


def test_ci_runs_what_the_readme_runs():
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    commands = script.read_text()
    [together] = re.findall(r"^for target in (.*); do$", commands, re.M)
    alone = re.findall(r"^timed ([a-z-]+)", commands, re.M)
    assert alone == ["setup", "lint", "test-slurm"]
    assert together.split() == ["test-long", "test"]


def test_files_that_the_library_reads_are_installed_with_it():
    package_data = PYPROJECT["tool"]["setuptools"]["package-data"]
    installed = {
        path
        for package, patterns in package_data.items()
        for pattern in patterns
        for path in (ROOT / "workflow" / package.replace(".", "/")).glob(pattern)
    }
    files = (ROOT / "workflow/retune").rglob("*.*")
    others = {path for path in files if path.suffix not in {".py", ".pyc"}}
    assert others
    assert others <= installed
