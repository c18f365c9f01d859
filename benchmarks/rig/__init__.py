"""What all benchmarks share: the machine, a PostgreSQL, pages to read, contests by turns, and how results are told."""
