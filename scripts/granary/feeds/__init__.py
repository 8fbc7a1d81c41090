"""Python that belongs to one feed: a folder per feed, removed with it."""
