"""What people read: the quality report, marts as files, the summary."""
