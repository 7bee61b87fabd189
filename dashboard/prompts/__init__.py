"""Prompts on pages: which one is shown, and its tokens."""
