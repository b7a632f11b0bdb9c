"""The interfaces that a plugin implements. Start with `executor`, the smallest and most useful."""
