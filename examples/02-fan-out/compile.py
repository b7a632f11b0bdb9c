"""Adds up what the tasks of the states left."""

from pathlib import Path

print(sum(int(file.read_text()) for file in (Path(__file__).parent / "data").glob("*.txt")))
