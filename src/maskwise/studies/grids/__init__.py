"""The studies, one file a family."""
