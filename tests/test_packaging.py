"""``dyrnn.extensions`` is there however dyrnn comes: checkout, install, wheel, sdist.

Everything is built in temporary folders, from a copy, without a network.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys, setuptools.build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"
TELL = """
import importlib, pkgutil, dyrnn, dyrnn.extensions
names = [m.name for m in pkgutil.iter_modules(dyrnn.extensions.__path__)]
for name in names:
    importlib.import_module("dyrnn.extensions." + name)
print(dyrnn.__file__, dyrnn.extensions.__file__, *sorted(names), sep="\\n")
"""


def python(*args, cwd, executable=sys.executable, **variables):
    """Run Python away from this checkout; return what it prints.

    Kernels in C take long to compile, and are compiled for the tests already.
    """
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH")
    }
    environment |= {"DYRNN_NATIVE": "0", **variables}
    done = subprocess.run(
        [str(executable), *map(str, args)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def extension_names(folder):
    return sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")


def copy_checkout(folder, link=True):
    """Copy what a build reads, with the link ``extensions`` or without."""
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so")
    shutil.copytree(ROOT / "dyrnn", folder / "dyrnn", ignore=ignore)
    if link:
        (folder / "extensions").symlink_to("dyrnn/extensions")
    return folder


PIP = ("-m", "pip", "--python")
# Also where a dyrnn of that version is installed in the environment of the tests.
INSTALL = ("install", "--no-index", "--no-deps", "--ignore-installed")


def environment(folder):
    """Make a bare environment that sees this one's packages; return its Python.

    The packages come by a path, so that an editable dyrnn among them stays inactive.
    """
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    executable = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(python("-c", ask, cwd=folder, executable=executable).strip())
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return executable


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def sdist(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    python("-c", BUILD, "build_sdist", folder, cwd=checkout)
    (archive,) = folder.glob("dyrnn-*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Build the wheel from the unpacked sdist, as an index would."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder, **safely)
    (unpacked,) = folder.glob("dyrnn-*")
    assert not (unpacked / "extensions").exists()
    python("-c", BUILD, "build_wheel", folder, cwd=unpacked)
    (archive,) = folder.glob("dyrnn-*.whl")
    return archive


def test_checkout_imports_extensions(checkout):
    package, extensions, *names = python("-c", TELL, cwd=checkout).split("\n")[:-1]
    assert Path(package) == checkout / "dyrnn/__init__.py"
    assert Path(extensions) == checkout / "dyrnn/extensions/__init__.py"
    assert names == extension_names(checkout / "dyrnn/extensions")


def test_wheel_made_from_the_sdist_imports_extensions(checkout, wheel, tmp_path):
    executable = environment(tmp_path / "env")
    python(*PIP, executable, *INSTALL, wheel, cwd=tmp_path)
    told = python("-c", TELL, cwd=tmp_path, executable=executable)
    package, extensions, *names = told.split("\n")[:-1]
    assert (tmp_path / "env") in Path(package).parents
    assert Path(extensions) == Path(package).parent / "extensions/__init__.py"
    assert names == extension_names(checkout / "dyrnn/extensions")


@pytest.mark.skipif(
    Path(sysconfig.get_path("purelib"), "dyrnn").exists(),
    reason="a dyrnn that is installed, and not editable, is found first",
)
@pytest.mark.parametrize("link", [True, False])
def test_editable_install_imports_extensions(tmp_path, link):
    (tmp_path / "source").mkdir()
    checkout = copy_checkout(tmp_path / "source", link)
    executable = environment(tmp_path / "env")
    editable = ("--no-build-isolation", "-e", checkout)
    python(*PIP, executable, *INSTALL, *editable, cwd=tmp_path)
    told = python("-c", TELL, cwd=tmp_path, executable=executable)
    package, extensions, *names = told.split("\n")[:-1]
    assert Path(package) == checkout / "dyrnn/__init__.py"
    assert Path(extensions) == checkout / "dyrnn/extensions/__init__.py"
    assert names == extension_names(checkout / "dyrnn/extensions")


def test_wheel_holds_every_module_and_nothing_else(checkout, wheel):
    kinds = ("*.py", "*.cu", "py.typed")
    package = [path for kind in kinds for path in (checkout / "dyrnn").rglob(kind)]
    modules = {path.relative_to(checkout) for path in package}
    expected = {path.as_posix() for path in modules if "__pycache__" not in path.parts}
    assert {"dyrnn/kernels/cuda/window.cu", "dyrnn/py.typed"} <= expected
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        fields = Parser().parsestr(archive.read(metadata).decode())
    assert names == expected
    required = [x for x in fields.get_all("Requires-Dist") if "extra ==" not in x]
    required = sorted(x.replace(" ", "") for x in required)
    assert required == ["numpy<3,>=2.0", "threadpoolctl>=3.1", "tqdm"]
    assert fields["Requires-Python"] == ">=3.10"


def test_wheel_without_kernels_in_c_is_for_every_platform(checkout, wheel, tmp_path):
    assert wheel.name.endswith("-py3-none-any.whl")
    variables = {"DYRNN_NATIVE": "1", "CC": "no-compiler"}
    python("-c", BUILD, "build_wheel", tmp_path, cwd=checkout, **variables)
    assert list(tmp_path.glob("dyrnn-*-py3-none-any.whl"))


def test_an_install_goes_on_where_the_compiler_fails(checkout, tmp_path):
    folder = copy_checkout(tmp_path)
    variables = {"DYRNN_NATIVE": "1", "CC": "false"}
    command = "setup.py", "-q", "build_ext", "--inplace"
    python(*command, cwd=folder, **variables)
    told = python("-m", "dyrnn.kernels", cwd=folder, DYRNN_NATIVE="1")
    assert "in NumPy: those in C were not compiled when dyrnn was installed" in told
    assert f" in {folder / 'dyrnn'}\n" in told


def test_sdist_holds_each_source_once(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.py"} <= names
    assert {"dyrnn/extensions/__init__.py", "dyrnn/kernels/cuda/window.cu"} <= names
    assert {"dyrnn/py.typed", "dyrnn/kernels/native/kernels.h"} <= names
    assert not any(name.startswith("extensions") for name in names)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_names_a_python_that_is_not_there(tmp_path):
    for name in ("Makefile", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "lint", "PYTHON=no-python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "There is no no-python. Name a Python that is there" in done.stderr
    assert "dyrnn needs" not in done.stderr
