"""Steering image generation by one person's taste: writers propose prompts, generators render them, a scorer rewards. Importing this imports no torch."""
