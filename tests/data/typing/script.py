"""What a user's typed script calls: type checkers accept all of it but the lines that say `# error`."""

from datetime import timedelta
from pathlib import Path

from cfa.cloudops import CloudClient as AnywhereClient
from cfa.cloudops import Task as CloudTask
from cfa.cloudops.local import CloudClient, Task

client = CloudClient(backend="subprocess", exclude_cli_credential=True)
CloudClient(
    existing_job="replace", at_exit="detach", on_failure="exit", isolation="task", strict=True
)
CloudClient("cloud.env", max_parallel=2, home=Path("here"), azure_tenant_id="x")
CloudClient(existing_job="replce")  # error
CloudClient(at_exit="wiat")  # error
CloudClient(on_failure="stop")  # error
CloudClient(isolation="jobs")  # error
CloudClient(max_parallel=[])  # error
AnywhereClient(existing_job="resume", backend="docker")
AnywhereClient(existing_job="resum")  # error
made = client.create_pool("p", mounts=["input-test"], vm_size="small", autoscale=False)
pool_id: str = made["pool_id"]
client.create_pool("p", mountss=[])  # error
client.create_job("j", "p", exist_ok=True)
client.create_job("j", "p", existing_job="force-replace")
client.create_job("j", "p", existing_job="force_replace")  # error

# --- the four forms of add_task
first: str = client.add_task("j", "true")
client.add_task("j", ["python3", "-c", "print(1)"])
client.add_task("j", "true", [{"source": "input-test", "target": "data"}], "x", first)
client.add_task(job_name="j", command_line="true", depends_on=[first], timeout=5)
client.add_task("true", job_name="j", depends_on_range=(1, 2), name_suffix="y")
client.add_task(["true"], job_name="j", container_image_name="python:3.12")
client.add_task("true")
client.add_task("true", depends_on=first, run_dependent_tasks_on_fail=True)
client.add_task(command_line="true", mount_pairs=[{"source": "input-test", "target": "data"}])
client.add_task("j", command_line="true")

# --- what is no form of it
client.add_task()  # error
client.add_task("j", 3)  # error
client.add_task(3)  # error
client.add_task("j", "true", depends_onn=first)  # error
client.add_task("true", job_name="j", depends_onn=first)  # error
client.add_task(job_name="j", command_line="true", depends_onn=first)  # error
client.add_task(job_name="j", command_line=3)  # error
client.add_task("j", "true", timeout="soon")  # error
client.add_task("true", job_name=7)  # error
client.add_task(["true", 3], job_name="j")  # error
number: int = client.add_task("j", "true")  # error

# --- many tasks
ids: list[str] = client.add_task_collection("j", [{"command_line": "true"}])
fit, merge = Task("fit"), CloudTask("merge", dep=[])
fit.before(merge)
by_task: dict[Task, str] = client.run_dag(fit, [merge], job_name="j", timeout=5)
client.run_dag(fit, job_name="j", timeoutt=5)  # error
client.run_dag(fit)  # error
client.generate_dag(fit, merge, file_name="graph.txt")
drawn: str = str(client.generate_dag(fit, merge))
client.add_tasks_from_yaml("j", "run", "sets.yaml", depends_on=first)
client.add_tasks_from_yaml("j", "run", "sets.yaml", depends_onn=first)  # error

# --- what there is
for job in client.list_jobs():
    states: tuple[str, str, int] = (job.id, job.pool_id, job.counts.failed)
for pool in client.list_pools():
    name: str = pool.id
for task in client.list_tasks("j"):
    took: timedelta | None = task.runtime
    if task.exit_code:
        print(client.read_task_output("j", task.id, "stderr"))
client.list_tasks()  # error
client.read_task_output("j", first, "stdin")  # error
client.delete_job("j")
client.delete_job(job_id="j")
