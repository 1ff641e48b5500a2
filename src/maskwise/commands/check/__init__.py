"""The sanity checks of saliency maps."""
