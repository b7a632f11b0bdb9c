"""The work: a check that a model still gives the number it should."""

total = sum(range(101))
print("total", total)
raise SystemExit(0 if total == 5050 else 1)
