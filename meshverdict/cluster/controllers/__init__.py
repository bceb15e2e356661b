"""Pure controllers: from the objects that are there to the changes that are due."""
