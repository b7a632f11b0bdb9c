"""Conformance kits and offline images, for our own backends and a stranger's."""
