"""A step of a workflow: adds up what the steps before it left, and leaves its own result.

step.py NAME [STEP_BEFORE ...]
"""

import sys
from pathlib import Path

name, *before = sys.argv[1:]
results = Path(__file__).parent / "results"
results.mkdir(exist_ok=True)
value = sum(int((results / step).read_text()) for step in before) or 1
(results / name).write_text(str(value))
print(f"{name} = {value}")
