"""Extensions that look at, or cut, the graph behind reported variables."""

import os
import shutil
import subprocess

from dyrnn.chainer import computational_graph
from dyrnn.chainer._variable import Variable
from dyrnn.chainer.configuration import config
from dyrnn.chainer.training.bases import Extension


def is_graphviz_available():
    """Return whether there is a ``dot`` to draw graphs."""
    return shutil.which("dot") is not None


_var_style = computational_graph._VARIABLE_STYLE
_func_style = computational_graph._FUNCTION_STYLE


class DumpGraph(Extension):
    """Writes the graph of a reported variable in DOT language, once.

    Parameters
    ----------
    root_name : str
        The reported variable.
    filename : str
        Where, in the trainer's folder; ``dot``, if there is one, draws a ``.png``, too.
    variable_style, function_style : dict, optional
        Attributes of the nodes in DOT.
    """

    default_name = "dump_graph"

    def __init__(
        self,
        root_name,
        filename=None,
        variable_style=None,
        function_style=None,
        *,
        out_name="cg.dot",
    ):
        self._root_name = root_name
        self._filename = out_name if filename is None else filename
        self._variable_style = _var_style if variable_style is None else variable_style
        self._function_style = _func_style if function_style is None else function_style
        self._original_flag = None
        self._flag_called = False

    def initialize(self, trainer):
        if not self._flag_called:
            self._original_flag = config.keep_graph_on_report
            config.keep_graph_on_report = True

    def trigger(self, trainer):
        """Fire once."""
        is_first = not self._flag_called
        self._flag_called = True
        return is_first

    def __call__(self, trainer):
        try:
            variable = trainer.observation[self._root_name]
            if not isinstance(variable, Variable):
                raise TypeError("root value is not a Variable")
            graph = computational_graph.build_computational_graph(
                [variable],
                variable_style=self._variable_style,
                function_style=self._function_style,
            )
            path = os.path.join(trainer.out, self._filename)
            with open(path, "w") as file:
                file.write(graph.dump())
            if is_graphviz_available():
                image = os.path.splitext(path)[0] + ".png"
                subprocess.check_call(["dot", "-Tpng", path, "-o", image])
        finally:
            config.keep_graph_on_report = self._original_flag

    def serialize(self, serializer):
        self._original_flag = serializer("_original_flag", self._original_flag)
        self._flag_called = serializer("_flag_called", self._flag_called)
