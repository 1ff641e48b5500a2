"""The commands, one family a file; ``maskwise.cli`` puts them together. Heavy imports wait until one is called."""
