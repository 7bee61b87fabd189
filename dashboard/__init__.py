"""What the pages share: the guard, the state in the URL, cached results, and how text and figures are shown."""
