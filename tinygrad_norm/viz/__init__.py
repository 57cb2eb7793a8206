"""The graph of a computation: as data, as a picture, as a page, and what it costs."""

from tinygrad_norm.viz.compare import Comparison, compare_graphs
from tinygrad_norm.viz.drawing import Drawing, draw_graph
from tinygrad_norm.viz.graph import Graph, Node
from tinygrad_norm.viz.timeline import Timeline

__all__ = ["Comparison", "Drawing", "Graph", "Node", "Timeline", "compare_graphs", "draw_graph"]
