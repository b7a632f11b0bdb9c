"""Greets a user."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--user", required=True)
print(f"Hello, {parser.parse_args().user}!")
