"""A BERT-like encoder, with a classification head or a masked-language-modelling head."""
