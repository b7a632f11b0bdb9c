"""Waits until as many tasks are here at the same time as were expected.

meet.py NAME HOW_MANY FOLDER
"""

import sys
import time
from pathlib import Path

name, many, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
(folder / f"{name}.here").touch()
end = time.monotonic() + 60
while len(list(folder.glob("*.here"))) < many:
    if time.monotonic() > end:
        sys.exit("the others did not come")
    time.sleep(0.05)
print(f"{name} met the others")
