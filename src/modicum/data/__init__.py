"""Tables in: readers, vocabulary, histories, splits, audit, sample data, simulators. No torch."""
