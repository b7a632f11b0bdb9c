"""One task that says something; the script ends and shows it. With nothing but the client's names."""

from cfa.cloudops.local import CloudClient

client = CloudClient()
client.create_pool("bench", container_image_name="cloudops-test/busybox:1")
client.create_job("bench", pool_name="bench")
client.add_task("bench", "echo here I am")
