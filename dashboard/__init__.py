"""What the pages share.

shell: login, the list of pages, links, and the frame that shows errors. state: the choices in the URL. results: cached.
panel, text, style, space: how figures, text and points are shown. editor: of contrasts.
"""
