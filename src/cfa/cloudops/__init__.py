"""Run Azure Batch scripts anywhere."""
