"""What goes together: capture a model, follow its channels, group them."""

from sentei.graph.groups import Graph, Group, Layout, Member, Slice, kept
from sentei.graph.trace import trace

__all__ = ["Graph", "Group", "Layout", "Member", "Slice", "kept", "trace"]
