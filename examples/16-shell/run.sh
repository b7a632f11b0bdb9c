#!/bin/sh
# One job from a shell. Each command is a process of its own, and all of them use the same job.
# The options are those of the cloud's scripts.
set -eu
cloudops create_blob_container -c shell-input
cloudops upload_file -s hello.sh -c shell-input
cloudops create_pool -n shell-pool -m shell-input -c python:3.10-slim
cloudops create_job -n shell-job -pn shell-pool --exist_ok
cloudops add_task -jn shell-job -c "sh /shell-input/hello.sh one" # prints the id of the task
cloudops add_task -jn shell-job -c "sh /shell-input/hello.sh two"
cloudops monitor_job -n shell-job # its exit status says whether all tasks succeeded
cloudops logs shell-job
cloudops delete_job -n shell-job
