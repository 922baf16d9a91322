import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from dyrnn import chainer
from tests.chainer.toys import Scale


def tree():
    model = chainer.Chain(b=Scale(1), a=chainer.ChainList(Scale(2), Scale(3)))
    model.add_param("W", (2,), initializer=0)
    return model


def test_parameters_are_sorted_by_name():
    assert [path for path, _ in tree().namedparams()] == [
        "/W",
        "/a/0/factor",
        "/a/1/factor",
        "/b/factor",
    ]
    assert [path for path, _ in tree().namedlinks()] == [
        "/",
        "/a",
        "/a/0",
        "/a/1",
        "/b",
    ]
    assert len(list(tree().params())) == 4 and len(list(tree().links(True))) == 4
    assert tree().count_params() == 5


def test_a_link_without_init_says_so():
    class Bad(chainer.Link):
        def __init__(self):
            pass

    with pytest.raises(RuntimeError, match="Link.__init__.. has not been called."):
        Bad()(1)


def test_names_are_registered_once():
    link = Scale()
    with pytest.raises(AttributeError, match="new parameter factor: attribute exists"):
        link.add_param("factor", 3)
    with pytest.raises(AttributeError, match="persistent value factor: attribute ex"):
        link.add_persistent("factor", 3)
    with pytest.raises(AttributeError, match="non-existent attribute n as a persis"):
        link.register_persistent("n")
    with pytest.raises(AttributeError, match="cannot register a new link b: attribu"):
        tree().add_link("b", Scale())
    with pytest.raises(TypeError, match="cannot register a non-link object as a ch"):
        tree().add_link("c", 3)


def test_children_know_their_names_and_are_shown():
    model = tree()
    assert model.b.name == "b" and model.a[1].name == "1" and model["b"] is model.b
    assert str(model) == (
        "Chain(\n  (a): ChainList(\n    (0): Scale(),\n    (1): Scale(),\n  ),\n"
        "  (b): Scale(),\n)"
    )


@pytest.mark.parametrize("mode", ["share", "copy", "init"])
def test_copies_share_or_copy_values(mode):
    model = tree()
    other = model.copy(mode)
    own, copied = model.b.factor, other.b.factor
    assert (copied.array is own.array) == (mode == "share")
    assert copied is not own and other.a[0] is not model.a[0]
    with pytest.raises(ValueError, match="either 'init','copy', or 'share'"):
        model.copy("clone")


def test_values_and_gradients_are_taken_over():
    model, other = tree(), tree()
    other.b.factor.array[...] = 7
    for p in other.params():
        p.grad = np.ones_like(p.array)
    model.cleargrads()
    model.copyparams(other)
    model.addgrads(other)
    assert model.b.factor.array == 7 and model.a[0].factor.grad == 1


def test_hooks_are_called_around_forward():
    class Hook(chainer.LinkHook):
        def __init__(self):
            self.calls = []

        def forward_preprocess(self, args):
            self.calls.append(("before", args.link.name))

        def forward_postprocess(self, args):
            self.calls.append(("after", float(args.out.array)))

    x = np.array(3, np.float32)
    hook = Hook()
    with hook:
        Scale(2)(x)
        with pytest.raises(KeyError, match="hook LinkHook already exists"):
            hook.__enter__()
    link = Scale(5)
    link.add_hook(hook)
    link(x)
    link.delete_hook("LinkHook")
    link(x)
    assert hook.calls == [("before", None), ("after", 6)] + [
        ("before", None),
        ("after", 15),
    ]
    with pytest.raises(KeyError, match="Hook LinkHook does not exist"):
        link.delete_hook("LinkHook")
    with pytest.raises(TypeError, match="Hook must be of type LinkHook"):
        link.add_hook(3)


def test_a_call_on_the_instance_is_ignored():
    link = Scale(2)
    link.__call__ = None
    assert link(np.array(3, np.float32)).array == 6


def test_models_are_pickled():
    model = pickle.loads(pickle.dumps(tree()))
    assert model.a[1].factor.array == 3
    assert copy.deepcopy(tree()).a[1].factor.array == 3


def test_sequential_is_a_list_of_callables():
    double = Scale(2)
    model = chainer.Sequential(double, abs_, Scale(3))
    assert model(np.array(2, np.float32)).array == 12
    assert [path for path, _ in model.namedparams()] == ["/0/factor", "/1/factor"]
    model.insert(1, Scale(5))
    assert [child.name for child in model.children()] == ["0", "1", "2"]
    model.remove(double)
    assert len(model) == 3 and model.count_by_layer_type("Scale") == 2
    both = model + chainer.Sequential(abs_)
    assert both.count(abs_) == 2 and len(both.copy().flatten()) == 4
    both.remove_by_layer_type("abs_")
    assert len(both) == 2
    with pytest.raises(ValueError, match="should be callable. But given 3 is not"):
        model.append(3)
    with pytest.raises(RuntimeError, match="Sequential does not have any layer."):
        chainer.Sequential()(1)
    with pytest.raises(ValueError, match="Lambda function can not be pickled"):
        pickle.dumps(chainer.Sequential(lambda x: x))


def abs_(x):
    return x


def test_repeat_makes_a_sequential():
    assert len(Scale().repeat(3, mode="copy")) == 3


def test_version_one_sets_of_functions():
    model = chainer.FunctionSet(l1=Scale(2))
    model.l2 = Scale(3)
    assert [path for path, _ in model.namedparams()] == ["/l1/factor", "/l2/factor"]
    assert model.collect_parameters() is model
    model.copy_parameters_from([np.array(5, np.float32), np.array(6, np.float32)])
    assert model.parameters == (5, 6) and len(model.gradients) == 2
    with pytest.warns(DeprecationWarning, match="zerograds? is deprecated") as seen:
        model.zerograds()
    assert model.gradients == (0, 0)
    # not in the script, where Python would print it and Chainer's it does not
    assert Path(seen[0].filename).name == "link.py"


def test_devices_follow_their_specifiers():
    cpu = chainer.get_device("@numpy")
    assert cpu == chainer.get_device(-1) and str(cpu) == "@numpy" and cpu.xp is np
    assert not cpu >= 0
    with pytest.raises(RuntimeError, match="ChainerX is not available"):
        chainer.get_device("native:0")
    with pytest.raises(ValueError, match="Actual: @numpy:0"):
        chainer.get_device("@numpy:0")
    with pytest.raises(TypeError, match="Device specifier must be"):
        chainer.get_device(None)
    with pytest.warns(DeprecationWarning, match="Please use to_device.'@numpy'."):
        Scale().to_cpu()
    assert Scale().to_device("@numpy").device == cpu


def test_a_mixin_may_bring_its_own_call():
    class Doubling:
        def __call__(self, x):
            return 2 * x

    class Doubled(chainer.Link, Doubling):
        pass

    assert Doubled()(3) == 6


def test_links_of_a_sequential_have_the_numbers_of_chainer():
    first, second, third, fourth = (Scale(i) for i in range(4))
    model = chainer.Sequential(first, abs, second, third)
    assert list(model.children()) == [first, third, second]
    assert [link.name for link in (first, third, second)] == ["0", "1", "2"]
    model[-1] = fourth
    assert list(model) == [first, abs, second, fourth]
    assert list(model.children()) == [first, fourth, second]
    del model[0]
    assert [link.name for link in (fourth, second)] == ["0", "1"]
    model.clear()
    assert not list(model.params()) and not len(model)
