"""Shows the arguments of a run."""

import sys

print(*sys.argv[1:], sep="|")
