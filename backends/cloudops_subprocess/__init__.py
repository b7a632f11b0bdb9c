"""The subprocess backend: nodes are plain processes, in a bubblewrap sandbox where that works.

Read `executor` first, then `node`; `view` says what of the host a sandbox shows (`mounts` by which
paths that can be reached), `sandbox` turns it and a node's binds into arguments of bubblewrap, and
`processes` finds and ends everything that belongs to a node.
"""

from cloudops_subprocess.executor import SubprocessExecutor

__all__ = ["SubprocessExecutor"]
