"""Links: registration, walking the tree, copies, devices and state."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

from dyrnn.engine.core import Variable
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import ShapeError
from dyrnn.link import Chain, ChainList, Link, Sequential
from tests.arrays import every_device, one_device, xp
from tests.toys import Counter, Layer, Model

pytestmark = every_device


@pytest.fixture
def model(rng):
    model = Model()
    model(Variable(rng.normal(size=(4, 5)).astype(np.float32)))
    return model


PATHS = ["/scale", "/second/W", "/second/b", "/first/W", "/first/b"]


def test_names_are_paths_in_order_of_assignment(model):
    assert [path for path, _ in model.namedparams()] == PATHS
    assert list(model.params()) == [param for _, param in model.namedparams()]
    assert [path for path, _ in model.namedlinks()] == ["/", "/second", "/first"]
    assert list(model.children()) == [model.second, model.first]
    assert list(model.links(skipself=True)) == [model.second, model.first]
    assert [param.name for param in model.params()] == ["scale", "W", "b", "W", "b"]
    assert model.first.name == "first"


@one_device("no arrays")
def test_only_what_is_assigned_in_the_scope_is_registered():
    link = Link()
    link.outside = Parameter(0.0, (1,))
    with link.init_scope():
        with link.init_scope():
            link.inside = Parameter(0.0, (1,))
        link.after = Parameter(0.0, (1,))
        link.number = 3
    assert [path for path, _ in link.namedparams()] == ["/inside", "/after"]


@one_device("no arrays")
def test_uninitialised_parameters_can_be_left_out():
    model = Model()
    assert len(list(model.params())) == 5
    assert len(list(model.params(include_uninit=False))) == 3
    assert model.count_params() == 1 + 2 + 3


def test_count_params_counts_values(model):
    assert model.count_params() == 1 + 6 + 2 + 15 + 3


def test_a_shared_parameter_is_listed_once(model):
    with model.init_scope():
        model.tied = Link()
        with model.tied.init_scope():
            model.tied.W = model.first.W
    assert [path for path, _ in model.namedparams()] == PATHS


def test_replacing_an_attribute_keeps_or_ends_its_registration(model):
    other = Layer(1)
    model.first = other
    assert other.name == "first"
    assert model["first"] is other
    model.first = None
    model.scale = None
    del model.second
    assert not list(model.namedparams())
    assert not list(model.children())


@pytest.mark.parametrize("name", ["scale", "first"])
@pytest.mark.parametrize("is_in_scope", [False, True])
def test_arithmetic_in_place_does_not_end_a_registration(model, name, is_in_scope):
    before = getattr(model, name)
    with pytest.raises(TypeError, match=rf"Model.{name} is registered, but a Variable"):
        if is_in_scope:
            with model.init_scope():
                setattr(model, name, model.scale * 2)
        else:
            setattr(model, name, model.scale * 2)
    assert getattr(model, name) is before
    assert [path for path, _ in model.namedparams()] == PATHS
    with pytest.raises(TypeError, match=r"assign to Model.scale.array\[...\] instead"):
        model.scale *= 2
    with pytest.raises(TypeError, match=r"Model.scale is registered, but a ndarray"):
        model.scale = xp.ones(1, np.float32)


def test_a_link_may_take_the_place_of_a_parameter(model):
    with model.init_scope():
        model.scale = Layer(1)
    assert [path for path, _ in model.namedparams()][-2:] == ["/scale/W", "/scale/b"]
    with model.init_scope():
        model.scale = None
    assert "/scale/b" not in dict(model.namedparams())


@one_device("no arrays")
@pytest.mark.parametrize("kind", [list, tuple, lambda x: dict(enumerate(x))])
@pytest.mark.parametrize("part", [Layer, lambda: Parameter(0.0, (1,))])
def test_links_in_a_list_are_refused_since_nothing_would_train_them(kind, part):
    model = Chain()
    with (
        pytest.raises(TypeError, match=r"Chain.layers is a \w+ of .*Use a ChainList"),
        model.init_scope(),
    ):
        model.layers = kind([1, part()])


@one_device("no arrays")
def test_links_appended_to_a_list_are_refused_but_not_those_registered():
    model = Chain()
    with pytest.raises(TypeError, match="nothing would train"), model.init_scope():
        model.layers = []
        model.layers.append(Layer())
    model = Chain()
    with model.init_scope():
        model.first, model.scale = Layer(), Parameter(0.0, (1,))
        model.both = [model.first, model.scale, "a text"]
    assert len(list(model.params())) == 3


@one_device("no arrays")
@pytest.mark.parametrize("base", [Link, Chain, ChainList, Sequential])
def test_a_forgotten_call_of_the_base_does_no_harm(base):
    class Forgetful(base):
        carried = ("h",)

        def __init__(self):
            with self.init_scope():
                self.W = Parameter(0.0, (1,))

    link = Forgetful()
    assert [path for path, _ in link.namedparams()] == ["/W"]
    assert link.h is None
    assert link.copy().W is link.W


def test_a_tree_that_was_walked_knows_what_is_registered_later(model):
    assert len(list(model.links())) == 3
    with model.first.init_scope():
        model.first.inner = Layer(1)
        model.first.inner.W = Parameter(0.0, (2,))
    assert [path for path, _ in model.namedlinks()][-1] == "/first/inner"
    assert "/first/inner/W" in dict(model.namedparams())
    clone = pickle.loads(pickle.dumps(model))
    for tree in (model, clone, model.copy()):
        del tree.first.inner
        assert "/first/inner/W" not in dict(tree.namedparams())


@one_device("no arrays")
def test_a_model_is_freed_when_nobody_holds_it():
    model = Model()
    assert list(model.namedparams())
    is_there = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert is_there() is None
    finally:
        gc.enable()


class Several(Link):
    """Its carried states are not known before its size."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        for name in self.carried:
            setattr(self, name, None)

    @property
    def carried(self):
        return tuple(f"h{i}" for i in range(self.size))


@one_device("no arrays")
def test_carried_may_be_a_property():
    for link in (copy.copy(Several(2)), pickle.loads(pickle.dumps(Several(2)))):
        assert link.carried == ("h0", "h1")
        link.reset_state()
        del link.h1
        link.reset_state()
        assert link.h1 is None


@one_device("no arrays")
def test_missing_attributes_are_named_as_always():
    with pytest.raises(AttributeError, match="'Model' object has no attribute 'thrid'"):
        _ = Model().thrid
    assert not hasattr(Model(), "third")


@one_device("no arrays")
def test_calling_a_link_without_forward():
    with pytest.raises(NotImplementedError, match="Link has no forward"):
        Link()(1)


@one_device("no arrays")
def test_shape_errors_name_the_links_on_the_way():
    class Strict(Link):
        def forward(self, x):
            raise ShapeError("sum: wrong")

    model = Chain(predictor=Chain(l1=Strict()))
    model.forward = lambda x: model.predictor(x)
    model.predictor.forward = lambda x: model.predictor.l1(x)
    with pytest.raises(ShapeError, match=r"^Chain: predictor: l1: sum: wrong$"):
        model(1)


def test_cleargrads(model):
    model(Variable(xp.ones((4, 5), np.float32))).sum().backward()
    assert all(param.grad is not None for param in model.params())
    model.cleargrads()
    assert all(param.grad is None for param in model.params())


def test_add_param_and_persistent():
    link = Link()
    link.add_param("W", (2, 2), 3.0)
    link.add_param("lazy")
    link.add_persistent("mean", xp.zeros(2))
    link.count = 1
    link.register_persistent("count")
    assert xp.array_equal(link.W.array, xp.full((2, 2), 3.0))
    assert not link.lazy.is_initialized
    with pytest.raises(AttributeError, match="Link has no attribute 'gone' to save"):
        link.register_persistent("gone")


class TestChain:
    @one_device("no arrays")
    def test_takes_links_by_name(self):
        chain = Chain(a=Layer(), b=Layer())
        chain.add_link("c", Layer())
        assert [link.name for link in chain.children()] == ["a", "b", "c"]
        assert chain["b"] is chain.b

    @one_device("no arrays")
    def test_wrong_names_and_types(self):
        chain = Chain(a=Layer())
        with pytest.raises(KeyError, match="no child link 'x'; there are: a"):
            chain["x"]
        with pytest.raises(TypeError, match=r"Chain.b must be a link, not a int"):
            chain.add_link("b", 3)
        with pytest.raises(AttributeError, match="has an attribute 'a' already"):
            chain.add_link("a", Layer())


class TestChainList:
    @one_device("no arrays")
    def test_children_are_numbered(self):
        links = ChainList(Layer(), Layer())
        links.append(Layer())
        links.add_link(Layer())
        assert [path for path, _ in links.namedlinks(skipself=True)] == [
            "/0",
            "/1",
            "/2",
            "/3",
        ]
        assert len(links) == 4
        assert links[1].name == "1"
        assert list(links) == list(links.children())

    @one_device("no arrays")
    def test_holds_links_only(self):
        with pytest.raises(TypeError, match="ChainList holds links, not a function"):
            ChainList(lambda x: x)

    @one_device("no arrays")
    def test_shared_copy_has_copies_of_the_children(self):
        links = ChainList(Counter())
        clone = links.copy()
        assert clone[0] is not links[0]
        assert clone[0].W is links[0].W
        assert clone[0].name == "0"


class TestSequential:
    def test_applies_links_and_functions_in_turn(self):
        first, last = Layer(3), Layer(2)
        model = Sequential(first, lambda y: (y, 2.0), lambda y, z: y * z)
        model.append(last)
        x = xp.ones((4, 5), np.float32)
        assert xp.array_equal(
            model(Variable(x)).array, last(first(Variable(x)) * 2.0).array
        )
        assert len(model) == 4
        assert model[3] is last
        assert next(iter(model)) is first
        assert [path for path, _ in model.namedlinks()] == ["/", "/0", "/1"]

    @one_device("no arrays")
    def test_returns_a_tuple_of_several(self):
        assert Sequential(lambda x: (x, x + 1))(1) == (1, 2)

    def test_shared_copy_uses_its_own_children(self):
        model = Sequential(Counter(), Counter())
        clone = model.copy()
        clone(Variable(xp.ones((1, 2), np.float32)))
        assert model[0].total is None
        assert clone[0].total is not None
        assert clone[0].W is model[0].W

    @one_device("no arrays")
    def test_a_copy_grows_by_itself(self):
        model = Sequential(Counter())
        model.copy().append(Counter())
        assert len(model) == 1
        assert len(list(model.links())) == 2

    @one_device("no arrays")
    def test_holds_callables_only(self):
        with pytest.raises(TypeError, match="links and functions, not a int"):
            Sequential(3)

    def test_repeat_draws_each_copy_anew(self):
        layer = Layer(2)
        layer(Variable(xp.ones((1, 2), np.float32)))
        layers = layer.repeat(3)
        values = [layer.W.array, *[copy.W.array for copy in layers]]
        assert len({value.tobytes() for value in values}) == 4
        same = layer.repeat(2, mode="copy")
        assert xp.array_equal(same[1].W.array, layer.W.array)
        assert same[1].W is not layer.W


class TestCopy:
    def test_shared_copy_has_the_parameters_but_its_own_state(self, model):
        clone = model.copy()
        assert list(clone.params()) == list(model.params())
        clone.reset_state()
        assert model.second.total is not None
        assert clone.second.total is None
        clone.second.update_enabled = False
        assert model.second.update_enabled

    def test_shared_copy_of_a_lazy_model_stays_shared(self):
        model = Model()
        clone = model.copy()
        model(Variable(xp.ones((4, 5), np.float32)))
        assert clone.first.W.shape == (3, 5)

    def test_copy_has_values_of_its_own(self, model):
        clone = model.copy("copy")
        assert [path for path, _ in clone.namedparams()] == PATHS
        for mine, other in zip(model.params(), clone.params(), strict=True):
            assert xp.array_equal(mine.array, other.array)
            assert not xp.shares_memory(mine.array, other.array)

    def test_init_draws_values_anew_and_forgets_state(self, model):
        model.scale.grad = xp.ones(1, np.float32)
        clone = model.copy("init")
        assert not xp.array_equal(clone.first.W.array, model.first.W.array)
        assert xp.isfinite(clone.first.W.array).all()
        assert xp.array_equal(clone.first.b.array, model.first.b.array)
        assert clone.scale.grad is None
        assert clone.second.total is None

    def test_deepcopy_and_pickle_keep_ties_and_values(self, model):
        with model.init_scope():
            model.tied = Link()
            with model.tied.init_scope():
                model.tied.W = model.first.W
        for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert clone.tied.W is clone.first.W
            assert xp.array_equal(clone.first.W.array, model.first.W.array)

    def test_unknown_mode(self, model):
        with pytest.raises(ValueError, match="copy mode 'deep': use 'share', 'copy'"):
            model.copy("deep")


def test_carried_state_may_begin_with_a_value_of_the_class():
    class Begun(Link):
        carried = ("h",)
        h = Variable(xp.ones(2, np.float32))

    assert Begun().h is Begun.h


class TestCopyAndAdd:
    def test_copyparams_copies_values_also_into_a_lazy_model(self, model):
        other = Model()
        other.copyparams(model)
        for mine, theirs in zip(model.params(), other.params(), strict=True):
            assert xp.array_equal(mine.array, theirs.array)
            assert not xp.shares_memory(mine.array, theirs.array)

    def test_addgrads_adds(self, model):
        other = model.copy("copy")
        model.cleargrads()
        other.scale.grad = xp.full(1, 2.0, np.float32)
        lazy = Model()
        for target in (model, lazy):
            target.addgrads(other)
            target.addgrads(other)
            assert xp.array_equal(target.scale.grad, [4.0])
        assert xp.array_equal(other.scale.grad, [2.0])

    def test_other_structures_and_shapes_are_refused(self, model):
        with pytest.raises(ValueError, match="Model and Layer .* same parameters: /W,"):
            model.copyparams(Layer())
        other = Model()
        other(Variable(xp.ones((4, 7), np.float32)))
        with pytest.raises(
            ShapeError, match=r"/first/W has shape \(3, 5\), but \(3, 7"
        ):
            model.copyparams(other)


def test_frozen_links_are_left_out_of_updates(model):
    model.second.disable_update()
    paths = [path for path, _ in model.namedparams(only_updated=True)]
    assert paths == ["/scale", "/first/W", "/first/b"]
    model.disable_update()
    assert not list(model.namedparams(only_updated=True))
    model.enable_update()
    assert len(list(model.namedparams(only_updated=True))) == 5


def test_to_device_moves_parameters_persistents_and_state(model, device):
    model.add_persistent("mean", np.ones(2))
    model.add_persistent("count", 3)
    assert model.to_device(device) is model
    assert model.device == device
    assert model.xp is device.xp
    for param in model.params():
        assert param.device == device
    assert isinstance(model.mean, device.xp.ndarray)
    assert model.count == 3
    assert model.second.total.device == device
    model.to_cpu()
    assert isinstance(model.second.total.array, np.ndarray)
    assert isinstance(model.mean, np.ndarray)


def test_lazy_parameters_are_made_on_the_device(device):
    layer = Layer().to_device(device)
    layer(device.send(np.ones((4, 5), np.float32)))
    assert layer.W.device == device


@one_device("no arrays")
@pytest.mark.gpu
def test_to_gpu():
    layer = Layer().to_gpu()
    assert layer.b.device.name == "@cupy:0"


@one_device("no arrays")
def test_repr_is_a_tree():
    model = Sequential(Chain(a=Layer(), b=Link()))
    assert repr(model) == (
        "Sequential(\n"
        "  0: Chain(\n"
        "    a: Layer(W (not yet known), b (2,))\n"
        "    b: Link()\n"
        "  )\n"
        ")"
    )
    assert repr(Model()).splitlines()[1] == "  scale (1,)"


@one_device("no arrays")
def test_a_printed_model_says_what_its_parameters_take():
    model = Model()
    before = str(model)
    assert before.startswith(repr(model)) and "wait for their shape" in before
    for param in model.params():
        if not param.is_initialized:
            param.initialize((2, 3))
    model.first.disable_update()
    values = model.count_params()
    frozen = model.first.count_params()
    assert str(model).endswith(
        f"{values} values in 5 parameters, {4 * values} bytes, {frozen} of them frozen"
    )
    page = model._repr_html_()
    assert page.count("<tr>") == 6 and "<td>/first/W</td><td>(2, 3)</td>" in page
