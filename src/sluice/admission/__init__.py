"""May they try now? Passes today; challenges, limits and the waiting room join here."""
