"""The scripts of the cloud's package: which of our commands each is, and its letters for options.

Our commands have letters of their own, of which each means one thing; those of the scripts do not.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen


@frozen
class Script:
    """`words`: the command that it is. `letters`: the short spellings of options by the long one."""

    words: tuple[str, ...]
    letters: Mapping[str, str]


def _is(words: str, **letters: str) -> Script:
    return Script(tuple(words.split()), {name.replace("_", "-"): x for name, x in letters.items()})


SCRIPTS: Mapping[str, Script] = {
    "add_task": _is(
        "task add", job_name="jn", command_line="c", name_suffix="n", depends_on="d",
        depends_on_range="dr", run_dependent_tasks_on_fail="r", container_image_name="ci",
        timeout="t",
    ),
    "add_task_collection": _is("task add-collection", job_name="j", tasks_file="tf", name_suffix="n"),
    "add_tasks_from_yaml": _is("task add-from-yaml", job_name="j", base_cmd="c", file_path="fp"),
    "async_download_folder": _is(
        "blob async-download-folder", src_path="s", dest_path="d", container_name="c",
        include_extensions="i", exclude_extensions="e", check_size="check",
        max_concurrent_downloads="mcd",
    ),
    "async_upload_folder": _is(
        "blob async-upload-folder", folders="n", container_name="c", include_extensions="i",
        exclude_extensions="e", location_in_blob="l", max_concurrent_uploads="mcu",
        legal_hold="lh", immutability_lock_days="ild", read_only="ro",
    ),
    "check_credentials": _is("check-credentials"),
    "check_job_status": _is("job status", job_name="n"),
    "create_blob_container": _is("blob create-container", container_name="c"),
    "create_job": _is(
        "job create", job_name="n", pool_name="pn", save_logs_to_blob="s", logs_folder="l",
        task_retries="r", mark_complete="m", task_id_ints="i", timeout="t", exist_ok="e",
        verbose="v",
    ),
    "create_job_schedule": _is(
        "schedule create", job_schedule_name="n", pool_name="pn", command="c", timeout="t",
        start_window_minutes="sw", recurrence_interval_minutes="ri", do_not_run_until="dnu",
        do_not_run_after="dna", exist_ok="e", verbose="v",
    ),
    "create_pool": _is(
        "pool create", pool_name="n", mounts="m", container_image_name="c", vm_size="v",
        autoscale="a", dedicated_nodes="d", low_priority_nodes="l", max_autoscale_nodes="max",
        task_slots_per_node="t", availability_zones="az", cache_blobfuse="cache",
    ),
    "delete_blob_file": _is("blob delete-file", container_name="c", blob_name="b"),
    "delete_blob_folder": _is("blob delete-folder", container_name="c", blob_folder_name="b"),
    "delete_job": _is("job delete", job_name="n"),
    "delete_job_schedule": _is("schedule delete", job_schedule_id="n"),
    "delete_pool": _is("pool delete", pool_name="n"),
    "download_after_job": _is(
        "job download", job_name="j", blob_paths="b", target="t", container_name="c"
    ),
    "download_file": _is(
        "blob download-file", container_name="c", blob_name="b", destination_path="d",
        check_size="check",
    ),
    "download_folder": _is(
        "blob download-folder", src_path="s", dest_path="d", container_name="c",
        include_extensions="i", exclude_extensions="e", verbose="v", check_size="check",
    ),
    "download_job_stats": _is("job stats", job_name="j", file_name="path"),
    "generate_sample_env": _is("generate-sample-env"),
    "get_all_vm_quotas": _is("vm quotas"),
    "get_kv_secret": _is("get-kv-secret", secret_name="s", keyvault="k"),  # noqa: S106  letters
    "get_task_status": _is("task status", job_name="j", task_id="t"),
    "get_vm_name": _is(
        "vm name", series="s", cores="c", amd="amd", no_temp_disk="ntd", ssd="ssd", version="v",
        no_verify="nv",
    ),
    "get_vm_series_quotas": _is("vm quotas", series="s"),
    "hello": _is("hello"),
    "list_acr_tags": _is("image list-tags", registry_name="r", repo_name="n"),
    "list_available_images": _is("image available", operating_system="os"),
    "list_blob_files": _is("blob list", container_name="c"),
    "monitor_job": _is("job monitor", job_name="n", timeout="t", download_job_stats="d"),
    "package_and_upload_dockerfile": _is(
        "image build", registry_name="r", repo_name="n", tag="t", path_to_dockerfile="d",
        use_device_code="u",
    ),
    "resume_schedule": _is("schedule resume", job_schedule_id="n"),
    "suspend_schedule": _is("schedule suspend", job_schedule_id="n"),
    "test": _is("test"),
    "update_blob_protection": _is(
        "blob protect", source_path="s", container_name="c", legal_hold="lh", read_only="ro"
    ),
    "upload_docker_image": _is(
        "image upload", image_name="i", registry_name="r", repo_name="n", tag="t",
        use_device_code="u",
    ),
    "upload_file": _is(
        "blob upload-file", source_path="s", container_name="c", local_root_dir="l",
        location_in_blob="loc",
    ),
    "upload_folder": _is(
        "blob upload-folder", folder_name="n", container_name="c", include_extensions="i",
        exclude_extensions="e", location_in_blob="l", force_upload="fu",
    ),
}  # fmt: skip
