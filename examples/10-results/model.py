"""Writes a table and a log below the folder that is given."""

import sys
from pathlib import Path

out = Path(sys.argv[1])
for folder in ("results", "logs"):
    (out / folder).mkdir(parents=True, exist_ok=True)
rows = [f"{day},{2**day}" for day in range(5)]
(out / "results" / "output.csv").write_text("\n".join(["day,cases", *rows, ""]))
(out / "logs" / "model.log").write_text("done\n")
(out / "logs" / "no-suffix").write_text("files without a dot are files too\n")
