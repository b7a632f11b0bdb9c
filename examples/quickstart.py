"""A parameter sweep and its report: upload, pool, job, parallel tasks, dependencies, results.

Runs on a machine with Python alone. Set CLOUDOPS_BACKEND=docker or podman to run the same script in
containers, or change the import to `from cfa.cloudops import CloudClient` for the cloud.
"""

import atexit
import os
import tempfile
from pathlib import Path

os.environ.setdefault("CLOUDOPS_BACKEND", "subprocess")  # the embedded default: no engine needed

from cfa.cloudops.local import CloudClient

SIMULATE = """\
import random, sys
from pathlib import Path
rate = float(sys.argv[1])
random.seed(7)
infected = 1.0
for day in range(100):
    infected += infected * rate * random.random()
Path(__file__).with_name(f"result-{rate}.txt").write_text(f"{rate} {infected:.1f}\\n")
print(f"rate {rate}: {infected:.1f} infected after 100 days")
"""

REPORT = """\
from pathlib import Path
for file in sorted(Path(__file__).parent.glob("result-*.txt")):
    print("report:", file.read_text().strip())
"""

# Everything of this example lies in a directory of its own, which stays.
here = tempfile.mkdtemp(prefix="cloudops-quickstart-")
os.chdir(here)
atexit.register(
    print, f"Results are in {here}/sweep, output of tasks in {here}/.cloudops/root/workitems."
)
Path("simulate.py").write_text(SIMULATE)
Path("report.py").write_text(REPORT)

client = CloudClient()
client.create_blob_container("sweep")
client.upload_files(["simulate.py", "report.py"], container_name="sweep")
client.create_pool("small", mounts=["sweep"], container_image_name="python:3.10-slim")
client.create_job("sweep", pool_name="small")
rates = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
runs = [client.add_task("sweep", f"python3 /sweep/simulate.py {rate}") for rate in rates]
client.add_task("sweep", "python3 /sweep/report.py", depends_on=runs)
print(f"added {len(runs) + 1} tasks; the script ends here, its tasks do not")
