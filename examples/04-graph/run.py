"""Every way to say that one task comes after another, and two chains in one call."""

from cfa.cloudops.local import CloudClient, Task

STEP = "python3 /input-test/step.py"

client = CloudClient(existing_job="replace")
client.create_blob_container("input-test")
client.upload_files("step.py", container_name="input-test")
client.create_pool("dag-pool", mounts=["input-test"], container_image_name="python:3.10-slim")

t1 = Task(f"{STEP} one")
t2 = Task(f"{STEP} two one")
t3 = Task(f"{STEP} three")
t4 = Task(f"{STEP} four three")
t5 = Task(f"{STEP} five four")

t2.after(t1)  # a single task
t3.before(t4)  # the other way round
t5.after([t4])  # a list
client.create_job("chains", pool_name="dag-pool")
client.run_dag(t1, t2, t3, t4, t5, job_name="chains")
client.monitor_job("chains")

# Other ways: at creation, upstream and downstream, arrows.
a = Task(f"{STEP} a", id="a")
b = Task(f"{STEP} b a", dep=[a])
c = Task(f"{STEP} c b")
d = Task(f"{STEP} d c")
e = Task(f"{STEP} e d")
c.set_upstream(b)
c.set_downstream(d)
d >> e
client.create_job("words", pool_name="dag-pool")
ids = client.run_dag(a, b, c, d, e, job_name="words")
client.monitor_job("words")
print("the task a ran as", ids[a])
