"""The commands about heads: the scores of all, the strongest pairs of one and its nearest heads, and swaps in it."""
