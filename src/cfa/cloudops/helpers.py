"""Images, and what scripts ask about logging and paths."""

from __future__ import annotations

from attrs import frozen

from cfa.cloudops.client.logs import level
from cfa.cloudops.faces import CLOUD, Face

__all__ = [
    "format_rel_path",
    "get_log_level",
    "list_acr_tags",
    "package_and_upload_dockerfile",
    "upload_docker_image",
]


def get_log_level() -> int:
    """The level that `LOG_LEVEL` asks for, as a number of `logging`."""
    return level()


def format_rel_path(rel_path: str) -> str:
    """A path without the slash at its beginning."""
    return rel_path.removeprefix("/")


@frozen
class Images:
    """Functions about images, which choose an engine as a client of the face does."""

    face: Face

    def package_and_upload_dockerfile(
        self,
        registry_name: str,
        repo_name: str,
        tag: str,
        path_to_dockerfile: str = "./Dockerfile",
        use_device_code: bool = False,
    ) -> str:
        """See `CloudClient.package_and_upload_dockerfile`."""
        return self.face.client().package_and_upload_dockerfile(
            registry_name, repo_name, tag, path_to_dockerfile, use_device_code
        )

    def upload_docker_image(
        self,
        image_name: str,
        registry_name: str,
        repo_name: str,
        tag: str,
        use_device_code: bool = False,
    ) -> str:
        """See `CloudClient.upload_docker_image`."""
        return self.face.client().upload_docker_image(
            image_name, registry_name, repo_name, tag, use_device_code
        )

    def list_acr_tags(self, registry_name: str, repo_name: str) -> list[str]:
        """See `CloudClient.list_acr_tags`."""
        return self.face.client().list_acr_tags(registry_name, repo_name)


_images = Images(CLOUD)
package_and_upload_dockerfile = _images.package_and_upload_dockerfile
upload_docker_image = _images.upload_docker_image
list_acr_tags = _images.list_acr_tags
