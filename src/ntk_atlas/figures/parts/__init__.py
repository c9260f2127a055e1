"""What several figures share, and the figures of verdicts, which have rules of their own."""
