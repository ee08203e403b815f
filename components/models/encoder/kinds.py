"""Which kinds of encoder can be adapted to labels: those whose classifier of transformers is tried by a test, from
training to int8. Nothing heavy is imported here."""

HEAD_DROPOUT: dict[str, str | None] = {
    "albert": "classifier_dropout_prob",
    "bert": "classifier_dropout",
    "camembert": "classifier_dropout",
    "deberta-v2": "cls_dropout",
    "distilbert": "seq_classif_dropout",
    "electra": "classifier_dropout",
    "modernbert": "classifier_dropout",
    "mpnet": None,
    "roberta": "classifier_dropout",
    "xlm-roberta": "classifier_dropout",
}
"""Each kind, by the `model_type` of its config.json, and what it calls the dropout of its classifier; None where that
is the encoder's own."""


def refusal(model_type: object) -> str | None:
    """Why an encoder of this kind cannot be used, in a line; None where it can."""
    if model_type in HEAD_DROPOUT:
        return None
    return (
        f"an encoder of the kind {model_type!r} (model_type of its config.json) is not supported; choose one of "
        f"{', '.join(HEAD_DROPOUT)}"
    )
