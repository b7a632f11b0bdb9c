"""The task: says where it is and reads a file beside it."""

from pathlib import Path

print("hello from a task")
print(Path(__file__).with_name("words.txt").read_text().strip())
