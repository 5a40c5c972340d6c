"""The door: `mitmdump -s addon/sessionbridge.py`. It exposes `addons` and nothing else.

mitmproxy takes every callable name in this file for a hook, and leaves the file out of
`sys.modules`; so all of the house is in the package beside it.
"""

from sessionbridge.proxy.addon import addons

__all__ = ["addons"]
