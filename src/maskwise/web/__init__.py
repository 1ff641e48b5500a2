"""The web page: drop a picture, see what a classifier uses."""
