"""Benchmarks, each against a floor or a rival in the same run: ``python -m ketenpipe_tests.benchmarks``."""
