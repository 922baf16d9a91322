"""One test class made into many, each put into the module where it was written."""

import collections
import inspect
import sys

_TestCaseTuple = collections.namedtuple(
    "_TestCaseTuple", ("klass", "module_name", "class_name")
)


class _ParameterizedTestCaseBundle:
    """What a decorator leaves in place of the class."""

    def __init__(self, cases):
        self.cases = cases


def make_decorator(generate):
    """Return a class decorator.

    ``generate(base)`` yields (class name, members, method generator); the last makes a
    test method out of the base's one, or None to leave it out.
    """

    def decorator(cases):
        if isinstance(cases, _ParameterizedTestCaseBundle):
            cases = cases.cases
        else:
            cases = [_TestCaseTuple(cases, None, None)]
        made = []
        for base, module_name, class_name in cases:
            if module_name is None:
                module_name = base.__module__
            else:  # made by a decorator further in, and now replaced
                delattr(sys.modules[module_name], class_name)
            module = sys.modules[module_name]
            made += [_make(base, module, *case) for case in generate(base)]
        return _ParameterizedTestCaseBundle(made)

    return decorator


def _make(base, module, class_name, members, method_generator):
    members = dict(members)
    for name, method in inspect.getmembers(base, inspect.isroutine):
        if name.startswith("test_"):
            members[name] = method_generator(method)
    cls = type(class_name, (base,), members)
    cls.__module__ = module.__name__
    setattr(module, class_name, cls)
    return _TestCaseTuple(cls, module.__name__, class_name)
