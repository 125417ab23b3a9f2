"""Text: words, phones, the pronouncing lexicon."""
