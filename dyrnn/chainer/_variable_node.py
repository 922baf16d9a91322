"""The nodes of Chainer's graph that stand for variables.

The graph consists of nodes, not of variables: a :class:`VariableNode` knows its
variable weakly, so that an array which no function retains is freed with its variable.
"""

import weakref

from dyrnn.chainer.utils import argument


class VariableNode:
    """A variable's place in the graph: type, shape, creator and, if retained, array."""

    variable_type: type  # Variable, set where it is defined
    dtype = None
    shape = None
    _creator_node = None
    _data = None
    _rank = 0
    _old_style_grad_generator = None
    _layout = None

    def __init__(self, variable, name, **kwargs):
        if kwargs:
            argument.check_unexpected_kwargs(
                kwargs,
                grad='unexpected keyword argument "grad": '
                "pass the gradient to Variable instead",
            )
        self._variable = weakref.ref(variable)
        self.name = name
        self._requires_grad = variable._requires_grad
        array = variable._data[0]
        if array is not None:
            self.dtype, self.shape = array.dtype, array.shape

    @property
    def creator(self):
        """The function that made the variable; an old-style one as it was written."""
        node = self._creator_node
        return getattr(node, "function", node)

    @creator.setter
    def creator(self, func):
        self.creator_node = func

    @property
    def creator_node(self):
        """The FunctionNode that made the variable."""
        return self._creator_node

    @creator_node.setter
    def creator_node(self, func):
        func = getattr(func, "node", func)  # of an old-style Function
        self._creator_node = func
        if func is not None:
            self._rank = func.rank + 1

    @property
    def data(self):
        """The array, if it is retained."""
        return self._data

    @data.setter
    def data(self, array):
        self._data = array
        self._update_data_info(array)

    @property
    def grad(self):
        """The variable's gradient array, None if the variable is gone."""
        variable = self._variable()
        return None if variable is None else variable.grad

    @property
    def grad_var(self):
        """The variable's gradient, None if the variable is gone."""
        variable = self._variable()
        return None if variable is None else variable.grad_var

    def _set_grad_var_if_available(self, gradient):
        variable = self._variable()
        if variable is not None:
            variable._set_grad_var_without_check(gradient)

    @property
    def label(self):
        """Shape and type, for drawings of the graph."""
        if self.shape == ():
            return str(self.dtype)
        return f"({', '.join(map(str, self.shape))}), {self.dtype}"

    @property
    def rank(self):
        """The number of functions on the longest way here."""
        return self._rank

    @property
    def requires_grad(self):
        """Whether a gradient is computed for it."""
        return self._requires_grad

    def get_variable(self):
        """Return the variable, or make it again."""
        variable = self._variable()
        if variable is None:
            variable = self.variable_type._init_unchecked(
                self.data, requires_grad=self.requires_grad, node=self
            )
        return variable

    def get_variable_or_none(self):
        """Return the variable if it is still there."""
        return self._variable()

    def set_creator(self, creator):
        """Set the function that made the variable."""
        self.creator = creator

    def set_creator_node(self, creator_node):
        """Set the FunctionNode that made the variable."""
        self.creator_node = creator_node

    def unchain(self):
        """Forget the function that made the variable."""
        self.creator_node = None

    def retain_data(self):
        """Keep the variable's array."""
        variable = self._variable()
        if variable is None:
            raise RuntimeError(
                "cannot retain variable data: the variable has been already released"
            )
        self.data = variable.data

    def _update_data_info(self, array):
        self.dtype = None if array is None else array.dtype
        self.shape = None if array is None else array.shape
        if self._data is not None:
            self._data = array

    def _check_old_style_gradient(self):
        if self._old_style_grad_generator is not None:
            raise RuntimeError(
                "cannot twice-differentiate an old style Function "
                f'"{self._old_style_grad_generator}"'
            )
