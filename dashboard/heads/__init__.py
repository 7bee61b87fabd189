"""The parts of the Heads page: the map with its keyboard, the table, and a second contrast or run beside the first."""
