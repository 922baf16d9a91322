"""Chainer's names, versions 1 to 7, for scripts about text, recurrent nets and MLPs.

``import dyrnn.chainer as chainer`` in an edited script, ``python -m dyrnn.chainer
script.py ARGS...`` for an unedited one, ``%load_ext dyrnn.chainer`` in a notebook,
:func:`install` in any running process.

Where things are: ``_variable``, ``variable``, ``function_node``, ``function``,
``_backprop``, ``_grad`` are an engine with Chainer's semantics, on NumPy or CuPy arrays
through ``backend``; ``bridging.py`` turns a function of dyrnn into one for this engine,
derivatives of any order included; ``link``, ``sequential``, ``reporter``,
``configuration``, ``gradient_check``, ``testing``, ``utils``, ``initializers`` are
Chainer's modules of these names. ``functions`` and ``links`` are cut by topic, not one
file for each name: ``aliases.py`` answers for Chainer's paths. All legacy lives in this
package; the rest of dyrnn does not know it.

Files inside import each other's modules, never this one, which imports them all.
"""

import functools

from dyrnn.chainer import (
    _backend,
    _runtime_info,
    _version,
    backend,
    backends,
    computational_graph,
    configuration,
    cuda,
    dataset,
    datasets,
    flag,
    functions,
    gradient_check,
    initializers,
    iterators,
    links,
    optimizer_hooks,
    optimizers,
    serializers,
    testing,
    training,
    types,
    utils,
    warnings,
)
from dyrnn.chainer._backend import is_arrays_compatible
from dyrnn.chainer._backprop import backward
from dyrnn.chainer._grad import grad
from dyrnn.chainer._runtime_info import print_runtime_info
from dyrnn.chainer._version import __version__
from dyrnn.chainer.aliases import folder_or_raise, install
from dyrnn.chainer.backend import get_device, using_device
from dyrnn.chainer.backends.cuda import (
    should_use_cudnn,
    should_use_cudnn_tensor_core,
)
from dyrnn.chainer.chainerx_stub import Fallback
from dyrnn.chainer.configuration import (
    DebugMode,
    config,
    force_backprop_mode,
    get_compute_mode,
    get_dtype,
    global_config,
    is_debug,
    mixed16,
    no_backprop_mode,
    set_debug,
    using_config,
)
from dyrnn.chainer.device_resident import DeviceResident
from dyrnn.chainer.flag import AUTO, OFF, ON, Flag
from dyrnn.chainer.function import Function, FunctionAdapter
from dyrnn.chainer.function_hook import FunctionHook, get_function_hooks
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.function_set import FunctionSet
from dyrnn.chainer.functions import basic_math
from dyrnn.chainer.initializer import Initializer
from dyrnn.chainer.link import Chain, ChainList, Link
from dyrnn.chainer.link_hook import LinkHook, _get_link_hooks
from dyrnn.chainer.optimizer import GradientMethod, Optimizer, UpdateRule
from dyrnn.chainer.reporter import (
    DictSummary,
    Reporter,
    Summary,
    get_current_reporter,
    report,
    report_scope,
)
from dyrnn.chainer.sequential import Sequential
from dyrnn.chainer.serializer import AbstractSerializer, Deserializer, Serializer
from dyrnn.chainer.unedited import load_ipython_extension
from dyrnn.chainer.utils import walker_alias as _walker_alias
from dyrnn.chainer.variable import Parameter, Variable, as_array, as_variable

disable_experimental_feature_warning = False
get_array_types = _backend.array_types
get_cpu_array_types = _backend.cpu_array_types

# It needs devices, which need the other utils.
utils.WalkerAlias = _walker_alias.WalkerAlias

# Version 1 had links among the functions: FunctionSet(l1=F.Linear(3, 2)).
for _name in (
    "BatchNormalization",
    "Bilinear",
    "BinaryHierarchicalSoftmax",
    "Convolution2D",
    "EmbedID",
    "Linear",
    "NegativeSampling",
    "PReLU",
    "Parameter",
):
    setattr(functions, _name, getattr(links, _name))

__getattr__ = functools.partial(folder_or_raise, __name__)
