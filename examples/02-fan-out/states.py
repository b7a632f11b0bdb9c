"""Looks up the population of one state and leaves it in the folder `data` beside this script."""

import argparse
import csv
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("-s", "--state", required=True)
state = parser.parse_args().state

# A path beside the script, not in the current directory: it holds wherever the script is mounted.
here = Path(__file__).parent
with open(here / "us_pop_by_state.csv", newline="") as file:
    population = {row["state"]: int(row["population"]) for row in csv.DictReader(file)}[state]
(here / "data").mkdir(exist_ok=True)
(here / "data" / f"{state}.txt").write_text(str(population))
print(f"{state}: {population}")
