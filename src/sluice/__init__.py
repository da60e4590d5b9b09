"""Sluice runs flash sales: exactly the stock, to one person once, and the truth at once."""

__version__ = "0.1.0"
