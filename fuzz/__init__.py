"""Feed every reader of files that strangers made with broken ones: ``make fuzz``."""
