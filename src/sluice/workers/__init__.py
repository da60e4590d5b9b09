"""Loops without decisions: they call the steps of the story, again and again."""
