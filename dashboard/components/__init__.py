"""The pieces of the page of components: the head, its components, one of them, pictures of scores, a group."""
