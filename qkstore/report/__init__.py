"""The report on runs of the paper's language-model programme."""
