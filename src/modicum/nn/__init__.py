"""What several methods compute with: softmax over catalogues, attention, dropout, ranking."""
