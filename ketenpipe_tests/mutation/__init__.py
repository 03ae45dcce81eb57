"""Mutation testing of the formula modules, apart from the default tests: ``python -m ketenpipe_tests.mutation``."""
