"""Feature extractors: images to vectors, each record on its own."""
