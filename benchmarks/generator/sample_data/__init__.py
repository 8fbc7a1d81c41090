"""What the sample data is made of: a module for each feed, and what the feeds share."""
