"""The engine: variables, operations, and how gradients flow back and add up.

Read ``core.py`` first (variables, operations, the graph), then ``backprop.py`` (in
which order the graph runs backwards) and ``gradients.py`` (how contributions add up):
these are the first derivatives. Then ``higher_order.py`` (gradients of gradients),
``grouping.py`` (nodes that run together), ``operators.py`` (``a + b`` and the like),
``parameter.py`` (what a model trains) and ``hooks.py`` (who may watch).
"""
