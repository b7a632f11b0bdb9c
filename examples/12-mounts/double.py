"""Reads numbers.txt in one folder and writes their doubles to another."""

import sys
from pathlib import Path

source, target = map(Path, sys.argv[1:])
numbers = (source / "numbers.txt").read_text().split()
(target / "doubled.txt").write_text(" ".join(str(2 * int(number)) for number in numbers))
