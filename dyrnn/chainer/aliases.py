"""Chainer's module paths: ``chainer.functions.rnn.lstm`` and so on, on our files.

An import finder is put in front; :func:`install` makes it answer ``import chainer.X``
with the module ``dyrnn.chainer.X``, the very same object, and
``chainer.functions.rnn.lstm`` (Chainer has one file for each function) with a *view*: a
module that looks a name up in all files of ``dyrnn.chainer.functions``. Scripts and
tests reach classes by such paths, and patch them there: a view passes assignments on to
where the name lives.
No file of ours may have the name of one of Chainer's folders below.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

from dyrnn.chainer import absent

ROOT = __package__
# Stand-ins for other packages that scripts for Chainer import.
STANDINS = {"chainerx": f"{ROOT}.chainerx_stub", "chainermn": f"{ROOT}.mn"}

# Chainer's folders and their files, where ours are cut differently.
FOLDERS = """
functions.activation: clipped_relu crelu elu hard_sigmoid leaky_relu log_softmax lstm
    maxout prelu relu selu sigmoid slstm softmax softplus swish tanh
functions.array: broadcast cast concat copy diagonal dstack expand_dims flatten flip
    fliplr flipud get_item hstack moveaxis pad pad_sequence permutate repeat reshape
    rollaxis scatter_add select_item separate split_axis squeeze stack swapaxes tile
    transpose transpose_sequence vstack where
functions.connection: bilinear convolution_2d embed_id linear n_step_gru n_step_lstm
    n_step_rnn
functions.evaluation: accuracy binary_accuracy classification_summary r2_score
functions.loss: absolute_error black_out crf1d ctc hinge huber_loss mean_absolute_error
    mean_squared_error negative_sampling sigmoid_cross_entropy softmax_cross_entropy
    squared_error vae
functions.math: arctanh average basic_math batch_l2_norm_squared bias ceil clip cumprod
    cumsum einsum erf exponential exponential_m1 fix floor fmod hyperbolic identity
    linear_interpolate logarithm_1p logsumexp matmul maximum minimum minmax prod scale
    sign sqrt square squared_difference sum tensordot trigonometric
functions.noise: dropout gaussian gumbel_softmax simplified_dropconnect zoneout
functions.normalization: batch_normalization l2_normalization layer_normalization
functions.pooling: average_pooling_2d max_pooling_2d
functions.rnn: lstm n_step_gru n_step_lstm n_step_rnn slstm tree_lstm
links.activation: maxout prelu simplified_dropconnect swish
links.connection: bias bilinear convolution_2d embed_id gru highway linear lstm
    n_step_gru n_step_lstm n_step_rnn parameter peephole scale zoneoutlstm
links.loss: black_out crf1d hierarchical_softmax negative_sampling
links.model: classifier
links.normalization: batch_normalization layer_normalization
links.rnn: gru lstm mgu n_step_gru n_step_lstm n_step_rnn peephole tree_lstm zoneoutlstm
training: _updater extension trainer trigger updater util
training.extensions: _snapshot computational_graph evaluator exponential_shift
    fail_on_nonnumber inverse_shift linear_shift log_report micro_average
    multistep_shift parameter_statistics plot_report polynomial_shift print_report
    progress_bar snapshot_writers step_shift value_observation
    warmup_shift
training.triggers: early_stopping_trigger interval interval_trigger
    manual_schedule_trigger minmax_value_trigger once_trigger time_trigger
training.updaters: standard_updater
dataset: convert dataset_mixin download iterator
datasets: _mnist_helper concatenated_dataset dict_dataset fashion_mnist mnist ptb
    sub_dataset text_dataset transform_dataset tuple_dataset
iterators: _statemachine multiprocess_iterator multithread_iterator order_samplers
    serial_iterator
serializers: hdf5 npz
optimizers: ada_delta ada_grad adam corrected_momentum_sgd momentum_sgd msvag
    nesterov_ag rmsprop rmsprop_graves sgd smorms3
optimizer_hooks: gradient_clipping gradient_hard_clipping gradient_noise
    lasso weight_decay
initializers: constant normal orthogonal sampling uniform
utils: precision error
"""


def _folders():
    """Return {folder: its files' names}."""
    folders: dict[str, list[str]] = {}
    for line in FOLDERS.strip().splitlines():
        if not line.startswith(" "):
            folder, _, line = line.partition(":")
            folders[folder] = []
        folders[folder] += line.split()
    return folders


_FILES = _folders()


class View(types.ModuleType):
    """A module path of Chainer: looks names up in the files of one package."""

    def __init__(self, name, package):
        super().__init__(name)
        folder = name.partition(".")[2]
        self.__dict__["_package"] = package
        self.__dict__["_files"] = _FILES.get(folder, ())
        self.__dict__["_replaced"] = {}
        if self._files:
            self.__dict__["__path__"] = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._files:
            return importlib.import_module(f"{self.__name__}.{name}")
        return getattr(self._owner(name), name)

    def _owner(self, name):
        """Return the module that defines ``name``."""
        modules = [
            module
            for key, module in sorted(sys.modules.items())
            if f"{key}.".startswith(f"{self._package}.") and name in vars(module)
        ]
        for module in modules:
            if getattr(vars(module)[name], "__module__", None) == module.__name__:
                return module
        if modules:
            return modules[0]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name, value):
        try:
            owner = self._owner(name)
        except AttributeError:
            owner = None
        if owner is None or name.startswith("__") or name in self._files:
            super().__setattr__(name, value)
            return
        self._replaced.setdefault(name, (owner, getattr(owner, name)))
        setattr(owner, name, value)

    def __delattr__(self, name):
        if name in self._replaced:
            owner, value = self._replaced.pop(name)
            setattr(owner, name, value)
        else:
            super().__delattr__(name)


class AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``chainer`` and what is below it, once ``chainer`` means this package.

    That is after :func:`install`, or ``sys.modules["chainer"] = dyrnn.chainer``.
    """

    is_installed = False

    def find_spec(self, fullname, path=None, target=None):
        # ``from chainer.links import X`` asks here, too, if there is no such link.
        path = fullname.removeprefix(f"{ROOT}.").removeprefix("chainer.")
        if path != fullname and path in absent.ADVICE:
            raise ImportError(absent.message(path), name=fullname)
        if (
            not self.is_installed
            and sys.modules.get("chainer") is not sys.modules[ROOT]
        ):
            return None
        top, _, rest = fullname.partition(".")
        if top == "chainer":
            name = f"{ROOT}.{rest}" if rest else ROOT
        elif top in STANDINS:
            name = STANDINS[top] + (f".{rest}" if rest else "")
        else:
            return None
        folder, _, leaf = rest.rpartition(".")
        if top == "chainer" and (
            leaf in _FILES.get(folder, ()) or (rest in _FILES and folder)
        ):
            source = self._view(fullname, rest, folder, leaf)
        else:
            source = self._real(name)
        if source is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self)
        spec.loader_state = source
        if hasattr(source, "__path__"):
            spec.submodule_search_locations = list(source.__path__)
        return spec

    @staticmethod
    def _real(name):
        try:
            if importlib.util.find_spec(name) is None:
                return None
        except ModuleNotFoundError:
            return None
        return importlib.import_module(name)

    def _view(self, fullname, rest, folder, leaf):
        if rest in _FILES and (folder == "training" or not folder):
            real = self._real(f"{ROOT}.{rest}")  # a package of ours, too
            if real is not None:
                return real
        package = f"{ROOT}.{rest.partition('.')[0]}"
        importlib.import_module(package)
        return View(fullname, package)

    def create_module(self, spec):
        module = spec.loader_state
        spec.loader_state = getattr(module, "__spec__", None)
        return module

    def exec_module(self, module):
        # importlib has written its spec over the module's own one. A view that is
        # loaded again has none: what it shows is as it was.
        own = module.__spec__.loader_state
        if isinstance(own, importlib.machinery.ModuleSpec):
            module.__spec__ = own


def folder_or_raise(module, name):
    """Answer ``chainer.functions.rnn`` and the like: a package's ``__getattr__``."""
    path = f"{module.removeprefix(ROOT)}.{name}".strip(".")
    if path in _FILES or name in _FILES.get(path.rpartition(".")[0], ()):
        install()
        return importlib.import_module(f"chainer.{path}")
    raise AttributeError(absent.message(path))


def _finder():
    """Return the finder, which importing this module has put in front."""
    for finder in sys.meta_path:
        if isinstance(finder, AliasFinder):
            return finder
    sys.meta_path.insert(0, AliasFinder())
    return sys.meta_path[0]


def install():
    """Make ``import chainer`` and all below it mean this package, in this process.

    Raises
    ------
    RuntimeError
        If the real Chainer was imported before.
    """
    root = sys.modules[ROOT]
    if sys.modules.get("chainer", root) is not root:
        raise RuntimeError(
            "dyrnn.chainer.install() was called after `import chainer` had loaded "
            f"{sys.modules['chainer'].__file__}. Call it first."
        )
    _finder().is_installed = True
    importlib.import_module("chainer")
    importlib.import_module("chainerx")


_finder()
