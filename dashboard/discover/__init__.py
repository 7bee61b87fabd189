"""The pieces of the Discover page: the search that it waits for, and its ranked list."""
