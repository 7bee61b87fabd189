"""The parts of the Projections page: points on a canvas, small pictures of heads, what was chosen, UMAP at work."""
