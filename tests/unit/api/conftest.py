"""Every test here has a world of its own."""

from client_world import own_world, root, standin

__all__ = ["own_world", "root", "standin"]
