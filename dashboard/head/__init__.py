"""The parts of the Head page: its figures and charts, its strongest pairs, and the heads that are nearest to it."""
