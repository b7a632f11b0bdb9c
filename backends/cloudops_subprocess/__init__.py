"""The subprocess backend: nodes are plain processes, in a bubblewrap sandbox where that works.

Read `executor` first, then `node`; `sandbox` turns a node's binds into arguments of bubblewrap, and
`processes` finds and ends everything that belongs to a node.
"""

from cloudops_subprocess.executor import SubprocessExecutor

__all__ = ["SubprocessExecutor"]
