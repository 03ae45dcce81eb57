"""One module per upstream: find its native files, verify them, read them, and refuse what is wrong in one sentence.

Belongs here: everything between a file and a typed Arrow table (or a matrix) with a record of what became of it. Does
not belong here: indicators, Dagster, the network.
"""
