"""The parts of the Contrasts page: the editor, what is being written in it, and the versions of what was saved."""
