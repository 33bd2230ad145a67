"""Files of others: where each is published, whether it is here and is what it should be, how it gets here. No torch."""
