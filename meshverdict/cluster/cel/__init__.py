"""The Common Expression Language, as far as rules of CustomResourceDefinitions use it."""
