"""One run of a made-up model, with the files that were uploaded beside it."""

import argparse
import csv
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--days", type=int)
parser.add_argument("--place")
run = parser.parse_args()

here = Path(__file__).parent
title = (here / "input" / "title.txt").read_text().strip()
with open(here / "data" / "population.csv", newline="") as file:
    population = {place: int(number) for place, number in csv.reader(file)}
cases = min(population[run.place], round((1 + run.rate) ** run.days))
print(f"{title}: rate {run.rate} days {run.days} {run.place} -> {cases}")
