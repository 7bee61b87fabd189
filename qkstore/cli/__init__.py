"""The command line.

terminal: the parser, argument types, tables and progress of both command lines, qkstore's and ingest's.
arguments: the options that several commands share, and the contrast that they name.
analyses, heads, contrasts, notes, stores, summaries, team, programs: the commands.
Each one's arguments stand above what it does.
"""
