"""The commands about one head: its strongest pairs and nearest heads, and swaps in it."""
