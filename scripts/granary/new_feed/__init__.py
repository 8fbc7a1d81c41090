"""bin/feed new: from files to a feed. Data flows one way: layouts -> readings -> texts, and all is written last."""
